//! What scenarios share: waiting, other people's programs, the ports of the virtual controller.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::system::{RECORDS, SOCKET};

/// The virtual host controller's files.
pub const CONTROLLER: &str = "/sys/devices/platform/vhci_hcd.0";

/// Waits until something is so.
///
/// # Errors
/// It is not so after `limit`; `what` says what it was.
pub fn until(limit: Duration, what: &str, so: impl FnMut() -> bool) -> Result<Duration, Failure> {
    until_every(Duration::from_millis(5), limit, what, so)
}

/// As [`until`], for looks that take time themselves: the guest has one processor.
///
/// # Errors
/// As [`until`].
pub fn until_every(
    pause: Duration,
    limit: Duration,
    what: &str,
    mut so: impl FnMut() -> bool,
) -> Result<Duration, Failure> {
    let started = Instant::now();
    while !so() {
        if started.elapsed() > limit {
            return Err(format!("after {limit:.0?} still not: {what}").into());
        }
        std::thread::sleep(pause);
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

/// Devices of Apple's in sysfs.
pub fn usb_devices() -> Vec<PathBuf> {
    let devices = fs::read_dir("/sys/bus/usb/devices").into_iter().flatten().flatten();
    let apple = |path: &Path| fs::read_to_string(path.join("idVendor")).is_ok_and(|vendor| vendor.trim() == "05ac");
    devices.map(|entry| entry.path()).filter(|path| apple(path)).collect()
}

/// The configuration a device is in; 0 for none.
pub fn configuration(device: &Path) -> u8 {
    let text = fs::read_to_string(device.join("bConfigurationValue")).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}
