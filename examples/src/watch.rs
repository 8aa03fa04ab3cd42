//! A progress bar for a job over a backup at rest.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cabled::mobilebackup::archive::{Observer, Phase, Progress};
use indicatif::ProgressBar;

use crate::progress::bar;
use crate::table::bytes;

/// Shows how far a job over a backup is, and stops it at Ctrl-C.
#[derive(Debug)]
pub struct Watch {
    bar: ProgressBar,
    stop: Arc<AtomicBool>,
}

impl Watch {
    /// A bar with a title; hidden where nobody watches a terminal.
    pub fn new(title: &str) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let flag = stop.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                // A second one ends the program as ever.
                if tokio::signal::ctrl_c().await.is_ok() {
                    flag.store(true, Ordering::Relaxed);
                    let _ = tokio::signal::ctrl_c().await;
                    std::process::exit(130);
                }
            });
        }
        Self {
            bar: bar(title, "{prefix} [{bar:30}] {percent:>3}%  {msg}"),
            stop,
        }
    }

    /// Takes the bar away.
    pub fn done(self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for Watch {
    fn on_progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        let (done, total) = match progress.total_bytes {
            Some(total) if total > 0 => (progress.bytes, Some(total)),
            _ => (progress.done, progress.total),
        };
        if let Some(total) = total {
            self.bar.set_length(total);
            self.bar.set_position(done);
        }
        self.bar.set_message(match progress.phase {
            Phase::ReadingIndex => format!("{} rows read", progress.done),
            _ => format!("{} rows, {}", progress.done, bytes(progress.bytes)),
        });
        if self.stop.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}
