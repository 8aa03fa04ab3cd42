//! What the device's final code means, and what to do about it. Spec 13.

use std::fmt;

/// What a final `ErrorCode` means, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceErrorKind {
    /// 1 with "Error copying keychain data": the device was locked and had no escrow bag.
    Keychain,
    /// 1 about `WillEncrypt`, underlying 22: device management requires encrypted backups.
    ForbiddenByPolicy,
    /// 3: an earlier run left a file-system snapshot on the device.
    SnapshotLeftOver,
    /// 4: no complete backup where the device looked.
    NoSuchFile,
    /// 24: the host refused a path.
    HostRefused,
    /// 100: input or output failed, on the host or on the device.
    InputOutput,
    /// 102: an earlier restore waits for its restart.
    RestorePending,
    /// 103: status or manifest could not be read, or the device was locked without an escrow bag.
    Unreadable,
    /// 104: some files could not be sent, or the snapshot folder could not be removed.
    FilesFailed,
    /// 105: too little space on the host.
    HostFull,
    /// 205: the backup is damaged or incomplete.
    BackupInvalid,
    /// 207: wrong backup password.
    WrongPassword,
    /// 208: the device is locked, or nobody entered the passcode in time.
    Locked,
    /// 211: Find My must be off.
    FindMyOn,
    /// 212: the setup assistant is not finished.
    SetupUnfinished,
    /// 1 without more, or a code this version does not know.
    Other,
}

/// How much room the device wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceWanted {
    /// Bytes that must be free for this run.
    pub needed: u64,
    /// Bytes that were reported free.
    pub free: u64,
}

/// The device ended the request with an error.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceError {
    /// `ErrorCode`; `None` when the device gave none that is a number.
    pub code: Option<i64>,
    /// `ErrorDescription`, at most 4 KiB. It may hold paths and identifiers: keep it out of routine logs.
    pub description: Option<String>,
    /// The errors beneath it that the description names: domain and code, at most eight.
    pub underlying: Vec<(String, i64)>,
    /// What it means.
    pub kind: DeviceErrorKind,
    /// What the device wanted, when it asked for more space in this run.
    pub space: Option<SpaceWanted>,
}

impl std::error::Error for DeviceError {}

impl DeviceError {
    pub(crate) fn new(code: Option<i64>, description: Option<String>, space: Option<SpaceWanted>) -> Self {
        let text = description.as_deref().unwrap_or_default();
        let underlying = underlying(text, code);
        let kind = kind(code, text, &underlying);
        Self {
            code,
            description,
            underlying,
            kind,
            space,
        }
    }

    /// What a person can do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self.kind {
            DeviceErrorKind::Keychain => "keep the device unlocked; pair it again while it is unlocked",
            DeviceErrorKind::ForbiddenByPolicy => "backups of this device must be encrypted: device management says so",
            DeviceErrorKind::SnapshotLeftOver => "restart the device and try again",
            DeviceErrorKind::NoSuchFile => "choose a folder that holds a complete backup of this device",
            DeviceErrorKind::HostRefused => "check that the backup folder is writable",
            DeviceErrorKind::InputOutput => "check the disk and the permissions of the backup folder",
            DeviceErrorKind::RestorePending => "restart the device, then restore again",
            DeviceErrorKind::Unreadable => {
                "unlock the device and try again; if it stays, pair it again while it is unlocked"
            }
            DeviceErrorKind::FilesFailed => {
                "restart the device, make sure it has at least 500 MB of free space, and try again"
            }
            DeviceErrorKind::HostFull => "free space on the disk that holds the backup, or choose another",
            DeviceErrorKind::BackupInvalid => "this backup is damaged or incomplete: choose another, or make a new one",
            DeviceErrorKind::WrongPassword => "check the backup password",
            DeviceErrorKind::Locked => "unlock the device, enter the passcode when it asks, and try again",
            DeviceErrorKind::FindMyOn => "turn Find My off on the device, then try again",
            DeviceErrorKind::SetupUnfinished => "finish the setup assistant on the device, then try again",
            DeviceErrorKind::Other => "try again; if it stays, restart the device",
        }
    }
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            DeviceErrorKind::Keychain => "could not read its keychain",
            DeviceErrorKind::ForbiddenByPolicy => "is managed and must make encrypted backups",
            DeviceErrorKind::SnapshotLeftOver => "has a snapshot left over from an earlier run",
            DeviceErrorKind::NoSuchFile => "did not find a complete backup",
            DeviceErrorKind::HostRefused => "was refused a file by this computer",
            DeviceErrorKind::InputOutput => "met an input/output error",
            DeviceErrorKind::RestorePending => "waits for a restart after an earlier restore",
            DeviceErrorKind::Unreadable => "could not read the backup's status or properties",
            DeviceErrorKind::FilesFailed => "could not send some files",
            DeviceErrorKind::HostFull => "needs more free space on this computer",
            DeviceErrorKind::BackupInvalid => "says that the backup is damaged or incomplete",
            DeviceErrorKind::WrongPassword => "says that the backup password is wrong",
            DeviceErrorKind::Locked => "is locked",
            DeviceErrorKind::FindMyOn => "has Find My turned on",
            DeviceErrorKind::SetupUnfinished => "is not set up yet",
            DeviceErrorKind::Other => "reported an error",
        };
        write!(f, "the device {what}")?;
        match self.code {
            Some(code) => write!(f, " (error {code}); ")?,
            None => f.write_str(" (no error code); ")?,
        }
        if let Some(space) = self.space {
            write!(f, "{} bytes are needed and {} are free; ", space.needed, space.free)?;
        }
        f.write_str(self.remedy())
    }
}

fn kind(code: Option<i64>, text: &str, underlying: &[(String, i64)]) -> DeviceErrorKind {
    let beneath = |wanted| {
        underlying
            .iter()
            .any(|(domain, code)| domain == "MBErrorDomain" && *code == wanted)
    };
    match code {
        Some(1) if text.contains("keychain") => DeviceErrorKind::Keychain,
        Some(1) if text.contains("WillEncrypt") || beneath(22) => DeviceErrorKind::ForbiddenByPolicy,
        Some(3) => DeviceErrorKind::SnapshotLeftOver,
        Some(4) => DeviceErrorKind::NoSuchFile,
        Some(24) => DeviceErrorKind::HostRefused,
        Some(100) => DeviceErrorKind::InputOutput,
        Some(102) => DeviceErrorKind::RestorePending,
        Some(103) => DeviceErrorKind::Unreadable,
        Some(104) => DeviceErrorKind::FilesFailed,
        Some(105) => DeviceErrorKind::HostFull,
        Some(205) => DeviceErrorKind::BackupInvalid,
        Some(207) => DeviceErrorKind::WrongPassword,
        Some(208) => DeviceErrorKind::Locked,
        Some(211) => DeviceErrorKind::FindMyOn,
        Some(212) => DeviceErrorKind::SetupUnfinished,
        _ => DeviceErrorKind::Other,
    }
}

/// Finds every `(SomeDomain/12)` in the description, but the first one that only repeats the code.
fn underlying(text: &str, code: Option<i64>) -> Vec<(String, i64)> {
    let named = text.split('(').skip(1).filter_map(|part| {
        let (domain, number) = part.split_once(')')?.0.split_once('/')?;
        let plain =
            !domain.is_empty() && domain.len() <= 100 && domain.chars().all(|c| c.is_ascii_alphanumeric() || c == '.');
        plain.then_some(())?;
        Some((domain.to_owned(), number.parse().ok()?))
    });
    let mut named: Vec<(String, i64)> = named.take(9).collect();
    if named
        .first()
        .is_some_and(|(domain, number)| domain == "MBErrorDomain" && Some(*number) == code)
    {
        named.remove(0);
    }
    named.truncate(8);
    named
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(code: i64, text: &str) -> DeviceError {
        DeviceError::new(Some(code), Some(text.to_owned()), None)
    }

    #[test]
    fn recorded_final_responses_are_understood() {
        assert_eq!(
            error(208, "Device locked (MBErrorDomain/208)").kind,
            DeviceErrorKind::Locked
        );
        let full = "Insufficient free disk space on drive to back up (MBErrorDomain/105)";
        assert_eq!(error(105, full).kind, DeviceErrorKind::HostFull);
        assert_eq!(
            error(205, "Domain name cannot contain a slash (MBErrorDomain/205)").kind,
            DeviceErrorKind::BackupInvalid
        );
        assert_eq!(
            error(1, "Error copying keychain data (MBErrorDomain/1)").kind,
            DeviceErrorKind::Keychain
        );
        let policy = "Error setting WillEncrypt value in lockdown (MBErrorDomain/1). Underlying error: Not allowed (MBErrorDomain/22).";
        assert_eq!(error(1, policy).kind, DeviceErrorKind::ForbiddenByPolicy);
        assert_eq!(error(1, policy).underlying, [("MBErrorDomain".to_owned(), 22)]);
        assert_eq!(error(77, "new").kind, DeviceErrorKind::Other);
        assert_eq!(DeviceError::new(None, None, None).kind, DeviceErrorKind::Other);
    }

    #[test]
    fn odd_descriptions_are_taken_as_they_are() {
        for text in [
            "(",
            "()",
            "(/)",
            "(a/b)",
            "(MBErrorDomain/99999999999999999999)",
            "((x/1))",
            &"(d/1)".repeat(50),
        ] {
            assert!(error(205, text).underlying.len() <= 8, "{text}");
        }
    }
}
