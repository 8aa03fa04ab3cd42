//! One line for each scenario, on the terminal and in a file.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use cabled_usblab::{Scenario, Verdict};

use crate::Failure;

/// Verdicts as they come in.
#[derive(Debug, Default)]
pub struct Report {
    text: String,
    passed: usize,
    failed: usize,
}

impl Report {
    /// Prints and keeps a verdict.
    pub fn verdict(&mut self, passed: bool, verdict: &Verdict) {
        if passed {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
        let word = if passed { "PASS" } else { "FAIL" };
        self.line(&format!(
            "{word} {:<28} {:>6.1} s  {}",
            verdict.name, verdict.seconds, verdict.note
        ));
    }

    /// A scenario that said nothing.
    pub fn silent(&mut self, scenario: &Scenario, why: &str) {
        let verdict = Verdict {
            name: scenario.name.to_owned(),
            seconds: 0.0,
            note: why.to_owned(),
        };
        self.verdict(false, &verdict);
    }

    /// Any other line.
    pub fn line(&mut self, line: &str) {
        println!("{line}");
        let _ = writeln!(self.text, "{line}");
    }

    /// The last line, and the file; whether all passed.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(mut self, took: Duration, to: &Path) -> Result<bool, Failure> {
        let summary = format!(
            "{} passed, {} failed, {:.0} s in all",
            self.passed,
            self.failed,
            took.as_secs_f64()
        );
        self.line(&summary);
        fs::write(to, &self.text)?;
        Ok(self.failed == 0 && self.passed > 0)
    }
}
