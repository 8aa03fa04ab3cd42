//! A progress bar for a run with a device.

use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cabled::mobilebackup::live::{HumanStep, Notice, Observer, Progress};
use indicatif::{ProgressBar, ProgressStyle};

use crate::table::bytes;

/// Shows how far a run is, says what a person has to do, and stops it when told to.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
}

impl Bar {
    /// A bar with a title; hidden where nobody watches a terminal.
    pub fn new(title: &str) -> Self {
        Self {
            bar: bar(title, "{prefix:<28} [{bar:30}] {percent:>3}%  {msg}"),
            stop: Arc::default(),
        }
    }

    /// Stops the run at its next step when it is set; for a Ctrl-C handler.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Takes the bar away.
    pub fn done(self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for Bar {
    fn on_progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        self.bar.set_position(progress.percent as u64);
        let files = progress.files_received + progress.files_sent;
        self.bar.set_message(format!(
            "{}, {files} files, {}",
            progress.phase,
            bytes(progress.run_bytes())
        ));
        if self.stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn on_notice(&mut self, notice: &Notice) {
        let text = match notice {
            Notice::Human(HumanStep::EnterPasscode) => "Enter the passcode on the device.".to_owned(),
            Notice::Human(_) | Notice::BackupDomainChanged => return,
            other => format!("note: {other:?}"),
        };
        self.bar.suspend(|| eprintln!("{text}"));
    }
}

/// A bar with a title; hidden where nobody watches a terminal.
pub(crate) fn bar(title: &str, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template)
        .map(|style| style.progress_chars("=> "))
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new(100)
    } else {
        ProgressBar::hidden()
    };
    bar.with_style(style).with_prefix(title.to_owned())
}
