//! What can go wrong in a session.

use std::fmt;
use std::io;
use std::time::Duration;

use cabled_wire::WireError;

use super::Phase;

/// The link to the sync service is over. After any of these it is unusable; a new connection starts anew.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The device speaks a newer link version than this library knows.
    #[error(
        "the device speaks version {major}.{minor} of the link, newer than this library knows; \
         allow it in the options if you want to try"
    )]
    UnsupportedLinkVersion {
        /// The device's major version.
        major: u64,
        /// The device's minor version.
        minor: u64,
    },
    /// Another sync, backup or restore is running on the device.
    #[error("the device is busy: {reason}; try again when it is done")]
    Busy {
        /// The device's words.
        reason: String,
    },
    /// The device ended the connection in place of an answer.
    #[error("the device ended the connection during {phase}{}", .reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
    Disconnected {
        /// What was being waited for.
        phase: Phase,
        /// The device's words.
        reason: Option<String>,
    },
    /// The stream ended.
    #[error(
        "the connection to the device was lost during {phase}; nothing of this session is kept on the device unless the commit had begun"
    )]
    Closed {
        /// What was being waited for.
        phase: Phase,
    },
    /// Nothing, or next to nothing, came for too long.
    #[error("the device did not answer for {} seconds during {phase}", .after.as_secs())]
    TimedOut {
        /// What was being waited for.
        phase: Phase,
        /// How long.
        after: Duration,
    },
    /// The device sent something that is no message, or a damaged one.
    #[error("the device's message is malformed (during {phase})")]
    Wire {
        /// What was being waited for.
        phase: Phase,
        /// What is wrong with it.
        #[source]
        source: WireError,
    },
    /// A message that makes no sense at this point, or for another class.
    #[error("the device sent `{message}` during {phase}")]
    Unexpected {
        /// The message's name, cut to 200 characters.
        message: String,
        /// What was being waited for.
        phase: Phase,
    },
    /// The device gave two new records one identifier.
    #[error("the device gave the same identifier `{id}` to two new records")]
    AmbiguousRemap {
        /// The identifier.
        id: String,
    },
    /// The link failed.
    #[error("the link to the device broke during {phase}")]
    Io {
        /// What was going on.
        phase: Phase,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// The caller did something out of turn; nothing was sent.
    #[error("`{call}` is not possible during {phase}")]
    OutOfTurn {
        /// What was called.
        call: &'static str,
        /// What was going on.
        phase: Phase,
    },
}

/// Why a device does not open a class; the link stays usable. Spec: mobilesync, section 5.5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it means.
    pub kind: RefusalKind,
    /// The device's words.
    pub text: String,
}

/// What a refusal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RefusalKind {
    /// Sync over the cable is switched off for the class, or an account serves it.
    DisabledOnDevice,
    /// The device has no place for such records.
    NoDataStore,
    /// The device wants a newer computer.
    VersionTooOld,
    /// Something else on the device holds the class.
    LockedOnDevice,
    /// Words this version does not know.
    Other,
}

impl Refusal {
    pub(super) fn new(text: String) -> Self {
        let lower = text.to_lowercase();
        let says = |word: &str| lower.contains(word);
        let kind = if says("data store") {
            RefusalKind::NoDataStore
        } else if says("out of date") {
            RefusalKind::VersionTooOld
        } else if says("disabled") {
            RefusalKind::DisabledOnDevice
        } else if says("lock") {
            RefusalKind::LockedOnDevice
        } else {
            RefusalKind::Other
        };
        Self { kind, text }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            RefusalKind::DisabledOnDevice => {
                "the device does not sync this class over the cable; an account serves it or it is switched off"
            }
            RefusalKind::NoDataStore => "the device has no store for this class",
            RefusalKind::VersionTooOld => "the device asks for a newer version of this class",
            RefusalKind::LockedOnDevice => "another program on the device holds this class; try again",
            RefusalKind::Other => "the device refused",
        };
        write!(f, "{what} ({})", WireError::excerpt(&self.text))
    }
}

impl std::error::Error for Refusal {}

/// Why a device gave a session up; it keeps nothing of it, and the link stays usable. Spec: mobilesync, section 5.5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancellation {
    /// What it means.
    pub kind: CancellationKind,
    /// The device's words.
    pub text: String,
}

/// What a cancellation means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CancellationKind {
    /// The class could not be cleared.
    ClearFailed,
    /// The changes could not be committed.
    CommitFailed,
    /// Words this version does not know; mostly a person at the device.
    Other,
}

impl Cancellation {
    pub(super) fn new(text: String, phase: Phase) -> Self {
        let kind = match phase {
            Phase::Finishing => CancellationKind::CommitFailed,
            Phase::Clearing => CancellationKind::ClearFailed,
            _ => CancellationKind::Other,
        };
        Self { kind, text }
    }
}

impl fmt::Display for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            CancellationKind::ClearFailed => "the device could not clear its records",
            CancellationKind::CommitFailed => "the device could not commit; it keeps what it had before",
            CancellationKind::Other => "the device gave the session up; it keeps what it had before",
        };
        write!(f, "{what} ({})", WireError::excerpt(&self.text))
    }
}

impl std::error::Error for Cancellation {}
