use cabled_afc::{AfcError, SyncLockError};
use cabled_devicelink::DeviceLinkError;
use cabled_lockdown::services::ServiceError;

use super::device_error::DeviceError;
use crate::folder::FolderError;
use crate::folder::plain::SnapshotState;

/// A backup, restore or other request did not succeed.
///
/// Kept apart: the device said no ([`Self::Device`]), the link or the protocol broke ([`Self::DeviceLink`] and the
/// services' own), the storage failed ([`Self::Folder`]), a check before the request failed, the run was stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The device ended the request with an error code.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The exchange broke: link lost, silence, or nonsense from the device.
    #[error("the exchange with the device broke{}", during(.file.as_deref()))]
    DeviceLink {
        /// The file under way, as the device spells it.
        file: Option<String>,
        /// How it broke, and in which phase.
        #[source]
        source: DeviceLinkError,
    },
    /// No session, or no service.
    #[error("the device's services could not be started")]
    Lockdown(#[from] cabled_lockdown::Error),
    /// A companion service failed where the run depends on it.
    #[error("a service on the device failed")]
    Service(#[from] ServiceError),
    /// A file on the device that the run depends on could not be written.
    #[error("the device's files could not be reached")]
    Afc(#[from] AfcError),
    /// The sync lock could not be had: another program syncs or backs up.
    #[error("the sync lock of the device could not be taken")]
    Lock(#[source] SyncLockError),
    /// The storage failed.
    #[error("the backup folder failed")]
    Folder(#[from] FolderError),
    /// Some files could not be stored, although the device says that all went well.
    #[error("{count} files could not be stored, the first of them `{first}`; the backup is not complete")]
    Incomplete {
        /// How many.
        count: u64,
        /// The first, relative to the backup root.
        first: String,
    },
    /// The device reported success, but its Status.plist does not say `finished`.
    #[error("the device reported success, but the backup's status is {}", .state.as_ref().map_or_else(|| "missing".to_owned(), ToString::to_string))]
    NotFinished {
        /// What it says; `None` when it is missing or cannot be read.
        state: Option<SnapshotState>,
    },
    /// The device reported success, but wrote no Status.plist: the backup in the folder is the one from before.
    #[error("the device reported success, but it wrote no backup")]
    NothingWritten,
    /// There is no complete backup to restore or to look at.
    #[error("`{device}` holds no complete backup: {why}")]
    NoBackup {
        /// The folder.
        device: String,
        /// What is missing.
        why: &'static str,
    },
    /// The backup is encrypted and no password was given.
    #[error("the backup is encrypted; its password is needed")]
    PasswordNeeded,
    /// A password must not be empty: an empty one travels as none.
    #[error("an empty backup password is not allowed")]
    EmptyPassword,
    /// Encryption is on already.
    #[error("backups of this device are encrypted already; change the password, or remove it with the present one")]
    AlreadyEncrypted,
    /// Encryption is off.
    #[error("backups of this device are not encrypted; there is no password to change or remove")]
    NotEncrypted,
    /// The device reported success, but its `WillEncrypt` says otherwise.
    #[error("the device reported success, but its backups are {} encrypted", if *.encrypts { "still" } else { "still not" })]
    PasswordNotApplied {
        /// What the device says now.
        encrypts: bool,
    },
    /// The backup is from a newer system than the device's.
    #[error("the backup was made by version {backup}, and the device has {device}; update the device first")]
    NewerBackup {
        /// `ProductVersion` of the backup.
        backup: String,
        /// `ProductVersion` of the device.
        device: String,
    },
    /// Find My is on: a restore would be refused.
    #[error("Find My is turned on; turn it off on the device, then restore")]
    FindMyOn,
    /// The observer stopped the run.
    #[error("the run was cancelled")]
    Cancelled,
    /// Cancel was pressed on the device.
    #[error("the run was cancelled on the device")]
    CancelledOnDevice,
    /// The device does not say who it is.
    #[error("the device does not tell its identifier")]
    NoIdentifier,
    /// The thread that works on the folder is gone: the program shuts down.
    #[error("the program is shutting down")]
    ShuttingDown,
}

impl BackupError {
    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Device(error) => error.remedy(),
            Self::DeviceLink { source, .. } => match source {
                DeviceLinkError::TimedOut { .. } => "unlock the device, check the cable, and try again",
                DeviceLinkError::Closed { .. } | DeviceLinkError::Io { .. } => {
                    "check the cable or the network, and try again"
                }
                DeviceLinkError::Disconnected { .. } => "try again; if it stays, restart the device",
                _ => "try again; if it stays, report it with a trace log",
            },
            Self::Lockdown(error) => error.remedy(),
            Self::Service(error) => error.remedy(),
            Self::Afc(_) => "unlock the device and try again",
            Self::Lock(SyncLockError::Held { .. }) => "end the other sync or backup of this device, then try again",
            Self::Lock(_) => "restart the device and try again",
            Self::Folder(_) | Self::Incomplete { .. } => {
                "check the disk, its free space and the permissions of the backup folder"
            }
            Self::NotFinished { .. } | Self::NothingWritten => "run the backup again",
            Self::NoBackup { .. } => "choose a folder that holds a complete backup, or make one",
            Self::PasswordNeeded | Self::EmptyPassword => "give the backup's password",
            Self::AlreadyEncrypted => "change the password, or remove it with the present one",
            Self::NotEncrypted => "set a password first",
            Self::PasswordNotApplied { .. } => "enter the passcode when the device asks, and try again",
            Self::NewerBackup { .. } => "update the device first",
            Self::FindMyOn => "turn Find My off on the device, then restore",
            Self::Cancelled | Self::CancelledOnDevice | Self::ShuttingDown => "start again when you are ready",
            Self::NoIdentifier => "unlock the device, pair it again and try again",
        }
    }

    /// The device's own code, where it gave one.
    #[must_use]
    pub fn device_code(&self) -> Option<i64> {
        match self {
            Self::Device(error) => error.code,
            _ => None,
        }
    }
}

fn during(file: Option<&str>) -> String {
    file.map(|file| format!(" while `{}` was under way", cabled_wire::WireError::excerpt(file)))
        .unwrap_or_default()
}
