//! Programs of the host, each with a limit.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;

/// How often a running program is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Finds a program on the `PATH`, or where administrators' programs are.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Runs a program with no input and gives what it printed, or says what it complained about.
///
/// # Errors
/// It cannot be started, ends with another code than 0, or takes longer than `limit`.
pub fn run(command: &mut Command, limit: Duration) -> Result<String, Failure> {
    let shown = format!("{command:?}");
    let mut output = scratch()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .spawn()
        .map_err(|error| format!("{shown}: {error}"))?;
    let ended = wait(&mut child, limit)?;
    let mut text = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    match ended {
        Some(status) if status.success() => Ok(text),
        Some(status) => Err(format!("{shown} ended with {status}: {}", tail(&text, 12)).into()),
        None => Err(format!("{shown} did not end within {limit:.0?}: {}", tail(&text, 12)).into()),
    }
}

/// Runs a program from one file to another.
///
/// # Errors
/// As [`run`].
pub fn filter(command: &mut Command, input: &[u8], to: &Path, limit: Duration) -> Result<(), Failure> {
    let shown = format!("{command:?}");
    let mut from = scratch()?;
    io::Write::write_all(&mut from, input)?;
    from.rewind()?;
    let mut child = command
        .stdin(from)
        .stdout(File::create(to)?)
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("{shown}: {error}"))?;
    match wait(&mut child, limit)? {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(format!("{shown} ended with {status}").into()),
        None => Err(format!("{shown} did not end within {limit:.0?}").into()),
    }
}

/// Waits for a program, and kills it after `limit`; `None` then.
pub fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>, Failure> {
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

/// The last lines of a text.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or(&[]).join("\n")
}

/// A file without a name.
fn scratch() -> Result<File, Failure> {
    Ok(tempfile::tempfile()?)
}
