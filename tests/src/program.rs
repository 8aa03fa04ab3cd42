//! Runs other people's programs: with a home of their own, a time limit, and everything they said kept for the report.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Whether a missing program is a failure: in CI it is, on a developer's machine the test is ignored with the reason.
pub fn missing_is_failure() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Finds a program on the `PATH`.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    command: String,
    /// How it ended; `None` when the time limit ended it.
    pub status: Option<ExitStatus>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// The output, if the program ended by itself with exit code 0.
    pub fn ok(self) -> Result<Self, String> {
        if self.status.is_some_and(|status| status.success()) {
            Ok(self)
        } else {
            Err(self.to_string())
        }
    }

    /// The output, if the program ended by itself with another exit code.
    pub fn refused(self) -> Result<Self, String> {
        if self.status.is_some_and(|status| !status.success()) {
            Ok(self)
        } else {
            Err(self.to_string())
        }
    }

    /// Checks that a text is in what it printed.
    pub fn says(self, text: &str) -> Result<Self, String> {
        if self.stdout.contains(text) || self.stderr.contains(text) {
            Ok(self)
        } else {
            Err(format!("{text:?} is missing in the output\n{self}"))
        }
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.status {
            Some(status) => writeln!(f, "`{}` ended with {status} after {:.1?}", self.command, self.took)?,
            None => writeln!(f, "`{}` did not end within {:.0?}", self.command, self.took)?,
        }
        writeln!(
            f,
            "--- stdout\n{}\n--- stderr\n{}",
            tail(&self.stdout),
            tail(&self.stderr)
        )
    }
}

fn tail(text: &str) -> &str {
    let start = text.len().saturating_sub(6000);
    (start..text.len())
        .find(|at| text.is_char_boundary(*at))
        .and_then(|at| text.get(at..))
        .unwrap_or(text)
}

/// Runs a program to its end, or kills it after `limit`.
pub fn run<S: AsRef<OsStr>>(
    program: &str,
    args: &[S],
    env: &[(&str, &OsStr)],
    folder: &Path,
    limit: Duration,
) -> Result<Ran, String> {
    let shown: Vec<_> = args
        .iter()
        .map(|arg| arg.as_ref().to_string_lossy().into_owned())
        .collect();
    let command = format!("{program} {}", shown.join(" "));
    let out = folder.join(format!("{program}.stdout"));
    let err = folder.join(format!("{program}.stderr"));
    let file = |path: &Path| std::fs::File::create(path).map_err(|e| format!("{}: {e}", path.display()));
    let mut child = Command::new(program)
        .args(args)
        .envs(env.iter().copied())
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(file(&out)?)
        .stderr(file(&err)?)
        .spawn()
        .map_err(|e| format!("{command}: {e}"))?;
    let started = Instant::now();
    let status = loop {
        match child.try_wait().map_err(|e| e.to_string())? {
            Some(status) => break Some(status),
            None if started.elapsed() > limit => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned();
    Ok(Ran {
        command,
        status,
        stdout: read(&out),
        stderr: read(&err),
        took: started.elapsed(),
    })
}
