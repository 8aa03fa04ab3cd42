use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::msg::{Operation, PacketError, PathError, Status};

/// Why an operation on the device's files did not happen.
///
/// The device said no ([`AfcError::Refused`]), the link or the peer broke ([`AfcError::Broken`]), nothing came
/// ([`AfcError::TimedOut`]), or the call itself could not be made (all others).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AfcError {
    /// The device answered with an error. Match on `status` to tell them apart.
    #[error("{operation}{} was refused: {}", on(path.as_deref()), reason(*operation, *status))]
    Refused {
        /// What was asked.
        operation: Operation,
        /// The path it was asked about, where there is one.
        path: Option<String>,
        /// What the device said.
        status: Status,
    },
    /// No answer in time. The connection stays usable: a late answer is thrown away.
    #[error("{operation}{}: nothing happened for {} seconds while {phase}", on(path.as_deref()), after.as_secs_f32())]
    TimedOut {
        /// What was asked.
        operation: Operation,
        /// The path it was asked about, where there is one.
        path: Option<String>,
        /// What was being waited for.
        phase: &'static str,
        /// How long.
        after: Duration,
    },
    /// The connection is of no more use; this and every later call on it fails. Start the service again.
    #[error("{operation}{}: {cause}", on(path.as_deref()))]
    Broken {
        /// What was asked.
        operation: Operation,
        /// The path it was asked about, where there is one.
        path: Option<String>,
        /// What broke it, for all calls that were waiting.
        cause: Broken,
    },
    /// The path given cannot be sent.
    #[error(transparent)]
    Path(#[from] PathError),
    /// Removing the root of the service would remove everything the device lets us see; we do not ask for it.
    #[error("`{path}` is the root of the service, which is never removed; remove what is in it by name")]
    Root {
        /// The path as given.
        path: String,
    },
    /// A name in a folder is no UTF-8. [`crate::Afc::read_dir_raw`] gives the bytes.
    #[error("the folder `{path}` holds a name that is no UTF-8 (`{name}`)")]
    ListingName {
        /// The folder.
        path: String,
        /// The name, with U+FFFD for what is no UTF-8.
        name: String,
    },
    /// The file has more bytes than the caller wants to hold.
    #[error("`{path}` is longer than the {limit} bytes allowed; read it in pieces")]
    TooLarge {
        /// The file.
        path: String,
        /// The limit the caller gave, in bytes.
        limit: u64,
    },
    /// Folders inside folders beyond any sense; the device may be leading us in a circle.
    #[error("`{path}` nests deeper than {limit} folders")]
    TooDeep {
        /// The folder at which we stopped.
        path: String,
        /// The limit, in folders.
        limit: usize,
    },
    /// The local side of a copy failed: the reader or writer that the caller passed.
    #[error("the local side of the copy of `{path}` failed")]
    Local {
        /// The file on the device.
        path: String,
        /// What the reader or writer said.
        #[source]
        source: io::Error,
    },
}

/// What made a connection unusable. One cause is told to every call that was waiting on it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Broken {
    /// The device closed the stream.
    #[error("the device closed the connection")]
    Closed,
    /// The device closed the stream inside a packet.
    #[error("the device closed the connection inside a packet, after {received} of its bytes")]
    Cut {
        /// Bytes of the packet that came.
        received: usize,
    },
    /// The link failed.
    #[error("the link to the device broke: {0}")]
    Io(Arc<io::Error>),
    /// The device sent what is no AFC packet.
    #[error("the device broke the protocol: {0}")]
    Packet(PacketError),
    /// An answer to a question nobody asked.
    #[error(
        "the device broke the protocol: it answered packet {packet_num} with {operation}, which nobody is waiting for"
    )]
    Unasked {
        /// The number of the answer.
        packet_num: u64,
        /// What the answer is.
        operation: Operation,
    },
    /// An answer that does not fit the question.
    #[error("the device broke the protocol: it answered {asked} with {answered}")]
    WrongAnswer {
        /// What was asked.
        asked: Operation,
        /// What the answer is.
        answered: Operation,
    },
    /// A name in a folder would lead out of it.
    #[error("the device broke the protocol: the folder `{folder}` holds the name `{name}`")]
    Name {
        /// The folder.
        folder: String,
        /// The name, with U+FFFD for what is no UTF-8.
        name: String,
    },
    /// Too many questions without an answer; most of them were given up by their callers.
    #[error("the device left {count} requests unanswered")]
    Unanswered {
        /// How many.
        count: usize,
    },
}

/// What a caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Remedy {
    /// Look at the path: it is missing, exists, or is of another kind.
    CheckPath,
    /// Unlock the device with its passcode (data protection), or keep to the folders the service allows.
    UnlockDevice,
    /// Make room on the device.
    FreeSpace,
    /// Close files that are open on this connection.
    CloseFiles,
    /// The same call may succeed in a moment.
    RetryLater,
    /// Ask for less at once.
    SmallerRequest,
    /// This device does not have the operation; do without.
    DoWithout,
    /// Start the service again and go on with a new connection.
    Reconnect,
    /// The call is wrong; no device would take it.
    FixCall,
    /// Nothing is known to help; report it with a trace log.
    Report,
}

impl AfcError {
    /// The device's answer, if this is one.
    #[must_use]
    pub fn status(&self) -> Option<Status> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the path does not exist. For questions about a path, devices say so with [`Status::ReadError`] too, when
    /// a part of the path is a regular file (afc 5).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        match self {
            Self::Refused {
                status: Status::ObjectNotFound,
                ..
            } => true,
            Self::Refused {
                status: Status::ReadError,
                operation,
                ..
            } => *operation == Operation::FileInfo,
            _ => false,
        }
    }

    /// Whether a folder could not be removed because there is something in it. Devices have no code of their own for
    /// it (afc 5).
    #[must_use]
    pub fn is_not_empty(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                status: Status::UnknownError,
                operation: Operation::RemovePath,
                ..
            }
        )
    }

    /// Whether the connection can be used no more.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        matches!(self, Self::Broken { .. })
    }

    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Refused { status, .. } => status.remedy(),
            Self::TimedOut { .. } => Remedy::RetryLater,
            Self::Broken { .. } => Remedy::Reconnect,
            Self::TooLarge { .. } => Remedy::SmallerRequest,
            Self::ListingName { .. } | Self::Local { .. } => Remedy::CheckPath,
            Self::TooDeep { .. } => Remedy::Report,
            Self::Path(_) | Self::Root { .. } => Remedy::FixCall,
        }
    }
}

impl Status {
    /// What to do when a device answers with it.
    #[must_use]
    pub fn remedy(self) -> Remedy {
        match self {
            Self::ObjectNotFound | Self::ObjectIsDirectory | Self::ObjectExists | Self::ReadError => Remedy::CheckPath,
            Self::PermissionDenied | Self::IoError => Remedy::UnlockDevice,
            Self::NoSpaceLeft => Remedy::FreeSpace,
            Self::NoResources => Remedy::CloseFiles,
            Self::ObjectBusy
            | Self::OperationWouldBlock
            | Self::OperationInProgress
            | Self::OperationInterrupted
            | Self::OperationTimedOut => Remedy::RetryLater,
            Self::TooMuchData => Remedy::SmallerRequest,
            Self::UnknownPacketType | Self::OperationNotSupported => Remedy::DoWithout,
            Self::ServiceNotConnected => Remedy::Reconnect,
            Self::InvalidArgument | Self::OperationHeaderInvalid => Remedy::FixCall,
            _ => Remedy::Report,
        }
    }
}

fn on(path: Option<&str>) -> String {
    path.map(|path| format!(" of `{path}`")).unwrap_or_default()
}

fn reason(operation: Operation, status: Status) -> String {
    let code = status.code();
    match (operation, status) {
        (Operation::RemovePath, Status::UnknownError) => format!("the folder is not empty (code {code})"),
        (Operation::FileLock, Status::OperationWouldBlock) => format!("somebody else holds the lock (code {code})"),
        _ => format!("{status} (code {code})"),
    }
}
