//! What of ours runs inside the guest: the first program, the relay of events, and the scenarios.

#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
mod relay;
#[cfg(target_os = "linux")]
mod runner;
#[cfg(target_os = "linux")]
mod scenarios;
#[cfg(target_os = "linux")]
mod tools;

#[cfg(target_os = "linux")]
mod guest {
    use std::process::ExitCode;

    use crate::{relay, runner, scenarios};

    /// What went wrong, in words.
    pub type Failure = Box<dyn std::error::Error + Send + Sync>;
    /// What a scenario ends with: figures for the report.
    pub type Outcome = Result<String, Failure>;

    pub fn main() -> ExitCode {
        let args: Vec<String> = std::env::args().skip(1).collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = match args.as_slice() {
            ["run"] => runner::run(),
            ["relay"] => relay::run(),
            ["scenario", name] => scenarios::run(name),
            _ => Err("usage: usblab-guest run | relay | scenario NAME".into()),
        };
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{}", chain(error.as_ref()));
                ExitCode::FAILURE
            }
        }
    }

    /// An error with all that caused it.
    pub fn chain(error: &dyn std::error::Error) -> String {
        let causes = std::iter::successors(error.source(), |cause| cause.source());
        causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    guest::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {}
