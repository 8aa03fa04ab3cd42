//! What scenarios share: waiting, other people's programs, the ports of the virtual controller.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::guest::Failure;

/// The virtual host controller's files.
pub const CONTROLLER: &str = "/sys/devices/platform/vhci_hcd.0";
/// Where usbmuxd listens.
pub const SOCKET: &str = "/var/run/usbmuxd";
/// Where usbmuxd keeps pair records.
const RECORDS: &str = "/var/lib/lockdown";

/// Waits until something is so.
///
/// # Errors
/// It is not so after `limit`; `what` says what it was.
pub fn until(limit: Duration, what: &str, mut so: impl FnMut() -> bool) -> Result<Duration, Failure> {
    let started = Instant::now();
    while !so() {
        if started.elapsed() > limit {
            return Err(format!("after {limit:.0?} still not: {what}").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(started.elapsed())
}

/// Runs a program to its end; what it printed.
///
/// # Errors
/// It ends with another code than 0 or takes longer than `limit`; its output is in the text.
pub fn output(program: &str, args: &[&str], limit: Duration) -> Result<String, Failure> {
    let path = format!("/tmp/output-{}", std::process::id());
    let file = File::create(&path)?;
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .spawn()
        .map_err(|error| format!("{program}: {error}"))?;
    let mut status = None;
    let ended = until(limit, "", || {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
    println!("$ {program} {}\n{text}", args.join(" "));
    if ended.is_err() {
        child.kill()?;
        child.wait()?;
        return Err(format!("{program} {} did not end within {limit:.0?}: {text}", args.join(" ")).into());
    }
    match status {
        Some(status) if status.success() => Ok(text),
        _ => Err(format!("{program} {} failed: {text}", args.join(" ")).into()),
    }
}

/// A daemon that ends with the scenario.
#[derive(Debug)]
pub struct Daemon(Child);

impl Daemon {
    /// Starts the stock usbmuxd and waits for its socket.
    ///
    /// # Errors
    /// It does not come up within ten seconds.
    pub fn usbmuxd() -> Result<Self, Failure> {
        let _ = fs::remove_file(SOCKET);
        let daemon = Self(
            Command::new("/usr/sbin/usbmuxd")
                .args(["-f", "-v"])
                .stdin(Stdio::null())
                .spawn()?,
        );
        until(Duration::from_secs(10), "usbmuxd listens", || {
            Path::new(SOCKET).exists()
        })?;
        Ok(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ports of the controller that something is plugged into.
pub fn used_ports() -> Vec<String> {
    const FREE: &str = "004";
    let status = fs::read_to_string(format!("{CONTROLLER}/status")).unwrap_or_default();
    let ports = status
        .lines()
        .filter(|line| line.starts_with("hs") || line.starts_with("ss"));
    let used = ports.filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (port, state) = (words.next()?, words.next()?);
        (state != FREE).then(|| port.to_owned())
    });
    used.collect()
}

/// Makes the guest as it was before a scenario.
pub fn clear() {
    for port in used_ports() {
        let _ = fs::write(format!("{CONTROLLER}/detach"), &port);
    }
    let _ = until(Duration::from_secs(5), "all ports are free", || used_ports().is_empty());
    let _ = fs::remove_file(SOCKET);
    for entry in fs::read_dir(RECORDS).into_iter().flatten().flatten() {
        let _ = fs::remove_file(entry.path());
    }
}
