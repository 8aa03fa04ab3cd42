//! Runs scenarios one after the other, each in a process and a process group of its own, and tells the host.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cabled_usblab::{COMMAND_LINE, Events, Line, RESULTS, Scenario, Verdict};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::Failure;
use crate::tools;

/// Where a scenario leaves its note.
pub const NOTE: &str = "/tmp/usblab-note";

/// The first program: reads the kernel's command line and does what it says.
pub fn run() -> Result<(), Failure> {
    let line = fs::read_to_string("/proc/cmdline")?;
    let word = |key: &str| {
        line.split_whitespace()
            .find_map(|word| word.strip_prefix(key))
            .unwrap_or_default()
    };
    let mut host = File::options().append(true).open(RESULTS)?;
    let events = Events::ALL
        .into_iter()
        .find(|events| events.name() == word("usblab.events="));
    let _daemon = start(events.unwrap_or(Events::Nothing))?;
    tell(&mut host, &Line::Ready)?;
    for name in word(COMMAND_LINE).split(',') {
        let Some(scenario) = cabled_usblab::find(name) else {
            continue;
        };
        tell(&mut host, &Line::Begin(name.to_owned()))?;
        let started = Instant::now();
        let ended = attempt(scenario);
        let seconds = started.elapsed().as_secs_f64();
        let verdict = |note: String| Verdict {
            name: name.to_owned(),
            seconds,
            note,
        };
        tell(
            &mut host,
            &match ended {
                Ok(note) => Line::Pass(verdict(note)),
                Err(error) => Line::Fail(verdict(error.to_string())),
            },
        )?;
        tools::clear();
    }
    tell(&mut host, &Line::Done)
}

fn tell(host: &mut File, line: &Line) -> Result<(), Failure> {
    let text = line.encode();
    println!("usblab: {text}");
    writeln!(host, "{text}")?;
    Ok(())
}

/// Starts whatever tells of devices.
fn start(events: Events) -> Result<Option<Child>, Failure> {
    match events {
        Events::Nothing => Ok(None),
        Events::Relay => Ok(Some(
            Command::new("usblab-guest").arg("relay").process_group(0).spawn()?,
        )),
        Events::Udevd => {
            let daemon = Command::new("/usr/lib/systemd/systemd-udevd")
                .process_group(0)
                .spawn()?;
            tools::until(Duration::from_secs(15), "systemd-udevd answers", || {
                Path::new("/run/udev/control").exists()
            })?;
            Ok(Some(daemon))
        }
    }
}

/// One scenario, ended by force after its limit; the note it left, or why it failed.
fn attempt(scenario: &Scenario) -> Result<String, Failure> {
    let _ = fs::remove_file(NOTE);
    let mut child = Command::new("usblab-guest")
        .args(["scenario", scenario.name])
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()?;
    let started = Instant::now();
    let ended = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if started.elapsed() > scenario.limit => break None,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    // Whatever it started and left behind.
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    child.wait()?;
    let note = fs::read_to_string(NOTE).unwrap_or_default();
    match ended {
        Some(status) if status.success() => Ok(note),
        Some(status) if note.is_empty() => Err(format!("ended with {status} and said nothing").into()),
        Some(_) => Err(note.into()),
        None => Err(format!("did not end within {:.0?} {note}", scenario.limit).into()),
    }
}
