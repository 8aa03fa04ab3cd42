//! The scenarios, by name.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::guest::{Failure, Outcome, chain};
use crate::runner::NOTE;
use crate::tools::{self, CONTROLLER, Daemon};

/// Runs one and leaves its note.
pub fn run(name: &str) -> Result<(), Failure> {
    let outcome = match name {
        "boot" | "boot-udevd" => boot(),
        _ => Err(format!("nothing is called {name}").into()),
    };
    match outcome {
        Ok(note) => Ok(fs::write(NOTE, note)?),
        Err(error) => {
            fs::write(NOTE, chain(error.as_ref()))?;
            Err(error)
        }
    }
}

fn boot() -> Outcome {
    if !Path::new(CONTROLLER).exists() {
        return Err("there is no virtual USB controller".into());
    }
    let ports = fs::read_to_string(format!("{CONTROLLER}/status"))?
        .lines()
        .count()
        .saturating_sub(1);
    let _usbmuxd = Daemon::usbmuxd()?;
    let listed = tools::output("idevice_id", &["-l"], Duration::from_secs(10))?;
    if !listed.trim().is_empty() {
        return Err(format!("nothing is plugged in, and usbmuxd lists {listed}").into());
    }
    Ok(format!("{ports} ports; usbmuxd lists no device"))
}
