use std::io;
use std::time::Duration;

use cabled_wire::WireError;

use crate::machine::Phase;
use crate::transfer::TransferError;

/// A DeviceLink connection cannot go on. After any of these it is unusable.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceLinkError {
    /// The device sent something that is no DeviceLink message, or a damaged one.
    #[error("the device's message is malformed")]
    Wire(#[from] WireError),
    /// A file transfer from the device is damaged; there is no point to resynchronise at.
    #[error("the device's file transfer is malformed")]
    Transfer(#[from] TransferError),
    /// A message that makes no sense at this point.
    #[error("the device sent `{message}` while {phase} was due")]
    Unexpected {
        /// The message's name, cut to 200 characters.
        message: String,
        /// What was going on.
        phase: Phase,
    },
    /// `Hello` was answered with `ErrorCode` 1: no protocol version in common.
    #[error("the device speaks no backup protocol version that this library knows")]
    NoCommonVersion,
    /// `Hello` was answered with another error.
    #[error("the device refused the opening message with error {code}{}", .text.as_deref().map(|t| format!(": {t}")).unwrap_or_default())]
    HelloRefused {
        /// `ErrorCode`.
        code: i64,
        /// `ErrorDescription`, cut to 4 KiB.
        text: Option<String>,
    },
    /// `DLMessageDisconnect` before a result.
    #[error("the device ended the connection during {phase}{}", .reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default())]
    Disconnected {
        /// What was going on.
        phase: Phase,
        /// What the device gave as its reason, cut to 4 KiB.
        reason: Option<String>,
    },
    /// The stream ended.
    #[error("the connection to the device was lost during {phase}")]
    Closed {
        /// What was going on.
        phase: Phase,
    },
    /// Nothing came for too long.
    #[error("nothing came from the device for {} seconds during {phase}", .after.as_secs())]
    TimedOut {
        /// What was going on.
        phase: Phase,
        /// How long nothing came.
        after: Duration,
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
