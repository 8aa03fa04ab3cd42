//! How a backup connection ends.

use std::io;
use std::time::Duration;

use cabled_devicelink::msg::Status;
use cabled_wire::WireError;

use super::format::FormatError;
use crate::fs::FsError;

/// Why a backup connection ended before its time. A request that the phone refuses is none: the host gets a `Response`
/// with an `ErrorCode`, and [`State::last_outcome`](super::State::last_outcome) keeps it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The host closed the stream where it owed an answer.
    #[error("the host closed the backup connection while the phone waited for {phase}")]
    Closed {
        /// What was due.
        phase: &'static str,
    },
    /// The host said `DLMessageDisconnect` in the middle of a request.
    #[error("the host ended the backup connection while the phone waited for {phase}")]
    Disconnected {
        /// What was due.
        phase: &'static str,
        /// The host's reason, where it gave one.
        reason: Option<String>,
    },
    /// The host neither sent nor read for too long.
    #[error("the host was silent for {after:?} while the phone waited for {phase}")]
    Silent {
        /// What was due.
        phase: &'static str,
        /// The limit, see [`State::set_idle_limit`](super::State::set_idle_limit).
        after: Duration,
    },
    /// The host said something where something else was due.
    #[error("the host sent `{name}` while the phone waited for {phase}")]
    Unexpected {
        /// What was due.
        phase: &'static str,
        /// Element 0 of the message.
        name: String,
    },
    /// A message or a raw transfer is malformed.
    #[error("the host's message is malformed")]
    Wire(#[from] WireError),
    /// A raw transfer breaks the rules of its blocks.
    #[error("the host's file transfer is malformed: {what}")]
    Transfer {
        /// The rule.
        what: &'static str,
    },
    /// The host sent a block larger than the backup agent can hold; a real phone kills the agent.
    #[error("a block of {length} bytes from the host is more than the phone's backup agent can hold")]
    OutOfMemory {
        /// Bytes announced.
        length: u64,
    },
    /// The phone could not make a file it was sending; the stream ends in the middle of it.
    #[error("the phone's own storage failed: {reason}")]
    Storage {
        /// What failed.
        reason: String,
    },
    /// A script ended the connection.
    #[error("the script ended the connection")]
    Script,
    /// Unback on a phone that only pretends, or another request real phones drop.
    #[error("phones of this generation drop the connection on `{request}`")]
    Dropped {
        /// `MessageName`.
        request: String,
    },
    /// The link broke.
    #[error("the link to the host broke")]
    Io(#[from] io::Error),
}

/// The request ends with this `ErrorCode`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: i64,
    /// `ErrorDescription`, with the domain and number phones add.
    pub(super) text: String,
}

/// Ends a request, from anywhere inside it.
#[derive(Debug)]
pub(super) enum Stop {
    /// Tell the host.
    Refuse(Refusal),
    /// There is nobody to tell.
    End(ServeError),
}

impl<E: Into<ServeError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::End(error.into())
    }
}

pub(super) type Outcome<T> = Result<T, Stop>;

/// `text (MBErrorDomain/code)`, as phones write it.
pub(super) fn refusal(code: i64, text: &str) -> Refusal {
    let text = format!("{text} (MBErrorDomain/{code})");
    Refusal { code, text }
}

/// As [`refusal`], with the error behind it.
pub(super) fn refusal_under(code: i64, text: &str, under: &str, under_code: i64) -> Refusal {
    let text = format!("{text} (MBErrorDomain/{code}). Underlying error: {under} (MBErrorDomain/{under_code}).");
    Refusal { code, text }
}

pub(super) fn refuse<T>(code: i64, text: &str) -> Outcome<T> {
    Err(Stop::Refuse(refusal(code, text)))
}

/// A request of ours that the host answered with a failure: `text` says what we wanted.
pub(super) fn refused_by_host(code: i64, text: &str, status: &Status) -> Stop {
    // What phones make of DeviceLink codes: -6 is 4, everything else 100 (spec mobilebackup2 5.1).
    let under = if status.code == -6 { 4 } else { 100 };
    let shown: String = status.text.chars().take(200).collect();
    Stop::Refuse(refusal_under(code, text, &shown, under))
}

/// Something of our own broke: the host gets code 1 and the reason.
pub(super) fn internal(generic: i64, error: &dyn std::error::Error) -> Stop {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        source = inner.source();
    }
    Stop::Refuse(refusal(generic, &text))
}

/// What can go wrong in the phone's own files during a run.
#[derive(Debug, thiserror::Error)]
pub(super) enum LocalError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("the phone's storage failed")]
    Fs(#[from] FsError),
    #[error("the phone's storage failed")]
    Io(#[from] io::Error),
    #[error("the work was abandoned")]
    Abandoned,
}
