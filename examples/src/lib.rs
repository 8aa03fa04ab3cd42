//! What the examples share: finding and pairing a device, opening a backup, showing progress and tables.

pub mod check;
pub mod demo;
pub mod memory;
pub mod open;
pub mod pairing;
pub mod password;
pub mod person;
pub mod phones;
pub mod progress;
pub mod reach;
pub mod table;
pub mod watch;

use std::io::{self, BufWriter, Write};

/// What an example ends with when something goes wrong: the error and each of its causes, as one paragraph.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Runs an example's main function, prints a failure with all its causes, and says so by the exit code.
pub fn run(main: impl Future<Output = Result<(), Failure>>) -> std::process::ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(e) => {
            eprintln!("error: no runtime: {e}");
            return std::process::ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(main);
    // Somebody may still be expected to type a line.
    runtime.shutdown_background();
    match ended {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {}", with_causes(&*failure));
            std::process::ExitCode::FAILURE
        }
    }
}

/// Prints to the terminal or a pipe; that whoever reads has seen enough is no failure.
pub fn print(body: impl FnOnce(&mut dyn Write) -> Result<(), Failure>) -> Result<(), Failure> {
    let out = &mut BufWriter::new(io::stdout().lock());
    let is_closed_pipe = |e: &io::Error| e.kind() == io::ErrorKind::BrokenPipe;
    match body(out).and_then(|()| Ok(out.flush()?)) {
        Err(e) if e.downcast_ref().is_some_and(is_closed_pipe) => Ok(()),
        done => done,
    }
}

/// An error's text with those of its causes behind it, none twice.
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
