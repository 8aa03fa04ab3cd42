//! What of ours runs inside the guest: the first program, the relay of events, and the scenarios.

#![forbid(unsafe_code)]

#[cfg(target_os = "linux")]
mod plug;
#[cfg(target_os = "linux")]
mod relay;
#[cfg(target_os = "linux")]
mod runner;
#[cfg(target_os = "linux")]
mod scenarios;
#[cfg(target_os = "linux")]
mod system;
#[cfg(target_os = "linux")]
mod tools;
#[cfg(target_os = "linux")]
mod work;
#[cfg(target_os = "linux")]
mod workbench;

#[cfg(target_os = "linux")]
use std::process::ExitCode;

/// What went wrong, in words.
type Failure = Box<dyn std::error::Error + Send + Sync>;
/// What a scenario ends with: figures for the report.
type Outcome = Result<String, Failure>;

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("the guest is a Linux");
}

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let ended = match args.as_slice() {
        ["run"] => runner::run(),
        ["relay"] => relay::run(),
        ["device", seed] => scenarios::device(seed),
        ["scenario", name] => scenarios::run(name),
        _ => Err("usage: usblab-guest run | relay | device SEED | scenario NAME".into()),
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
#[cfg(target_os = "linux")]
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
