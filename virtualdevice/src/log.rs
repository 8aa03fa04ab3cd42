//! What peers asked the phone, for assertions in tests.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One thing a peer asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogEntry {
    /// Number of this entry since the phone was made, from 0; gaps never occur, old entries are dropped.
    pub number: u64,
    /// The service, such as `com.apple.afc`; lockdown itself is [`LOCKDOWN`](crate::service::LOCKDOWN).
    pub service: Arc<str>,
    /// The request in the protocol's word, such as `GetValue` or `Backup`.
    pub request: String,
    /// What it was about: a key, a path, the keys of a dictionary. Never a secret.
    pub detail: String,
}

impl fmt::Display for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.service, self.request)?;
        if !self.detail.is_empty() {
            write!(f, " {}", self.detail)?;
        }
        Ok(())
    }
}

/// The requests a phone has seen, the newest [`RequestLog::CAPACITY`] of them. Cheap to clone; all clones are one log.
///
/// Passwords, keys and file contents are never written here.
#[derive(Clone, Debug, Default)]
pub struct RequestLog {
    inner: Arc<Mutex<Entries>>,
}

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    entries: VecDeque<LogEntry>,
}

impl RequestLog {
    /// Entries kept; older ones are dropped.
    pub const CAPACITY: usize = 20_000;
    /// Bytes of a request or a detail that are kept.
    const MAX_TEXT: usize = 1024;

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Entries are pushed whole, so a panic elsewhere leaves them usable.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an entry. `detail` must hold no secret; long texts are cut.
    pub fn record(&self, service: &str, request: &str, detail: impl Into<String>) {
        let detail = cut(detail.into());
        tracing::debug!(service, request, detail, "request");
        let mut log = self.lock();
        let number = log.next;
        log.next = log.next.wrapping_add(1);
        if log.entries.len() >= Self::CAPACITY {
            log.entries.pop_front();
        }
        log.entries.push_back(LogEntry {
            number,
            service: service.into(),
            request: cut(request.to_owned()),
            detail,
        });
    }

    /// All entries kept, oldest first.
    #[must_use]
    pub fn entries(&self) -> Vec<LogEntry> {
        self.lock().entries.iter().cloned().collect()
    }

    /// The requests of one service, in order, without details.
    #[must_use]
    pub fn requests(&self, service: &str) -> Vec<String> {
        self.lock()
            .entries
            .iter()
            .filter(|e| &*e.service == service)
            .map(|e| e.request.clone())
            .collect()
    }

    /// How often a service was asked something.
    #[must_use]
    pub fn count(&self, service: &str, request: &str) -> usize {
        self.lock()
            .entries
            .iter()
            .filter(|e| &*e.service == service && e.request == request)
            .count()
    }

    /// Forgets all entries; numbering goes on.
    pub fn clear(&self) {
        self.lock().entries.clear();
    }
}

/// At most [`RequestLog::MAX_TEXT`] bytes of a text from a peer, cut between characters.
fn cut(mut text: String) -> String {
    if text.len() > RequestLog::MAX_TEXT {
        let mut end = RequestLog::MAX_TEXT;
        while !text.is_char_boundary(end) {
            end = end.saturating_sub(1);
        }
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_in_order_and_per_service() {
        let log = RequestLog::default();
        log.record("a", "One", "x");
        log.record("b", "Two", "");
        log.record("a", "Three", "");
        assert_eq!(log.requests("a"), ["One", "Three"]);
        assert_eq!(log.count("b", "Two"), 1);
        assert_eq!(log.entries()[0].to_string(), "a One x");
        log.clear();
        assert!(log.entries().is_empty());
        log.record("a", "Four", "");
        assert_eq!(log.entries()[0].number, 3);
    }

    #[test]
    fn the_log_stays_bounded_in_entries_and_text() {
        let log = RequestLog::default();
        for _ in 0..RequestLog::CAPACITY + 5 {
            log.record("a", "One", "");
        }
        assert_eq!(log.entries().len(), RequestLog::CAPACITY);
        assert_eq!(log.entries()[0].number, 5);
        log.record("a", "Long", "é".repeat(5000));
        let detail = log.entries().pop().unwrap().detail;
        assert!(detail.len() <= 1024 && detail.chars().all(|c| c == 'é'));
    }
}
