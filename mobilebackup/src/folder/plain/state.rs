use std::fmt;
use std::io::Read;

use cabled_wire::plist::{self, DictExt, Limits};

/// `SnapshotState` of Status.plist: how far a run got. Spec 9.1.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SnapshotState {
    /// Files are being received into `Snapshot/`; the old backup is intact.
    Uploading,
    /// Files are being moved into place.
    Moving,
    /// Old files are being removed.
    Removing,
    /// The backup is complete.
    Finished,
    /// A word this version does not know.
    Other(String),
}

impl fmt::Display for SnapshotState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Uploading => "uploading",
            Self::Moving => "moving",
            Self::Removing => "removing",
            Self::Finished => "finished",
            Self::Other(word) => word,
        })
    }
}

impl SnapshotState {
    /// Reads the state out of a Status.plist of at most 64 KiB; `None` if it is none.
    #[must_use]
    pub fn read(status: impl Read) -> Option<Self> {
        const LARGEST: u64 = 64 << 10;
        let mut bytes = Vec::new();
        status.take(LARGEST).read_to_end(&mut bytes).ok()?;
        let dict = plist::read_dict(&bytes, &Limits::default()).ok()?;
        Some(match dict.text("SnapshotState").ok()? {
            "uploading" => Self::Uploading,
            "moving" => Self::Moving,
            "removing" => Self::Removing,
            "finished" => Self::Finished,
            other => Self::Other(other.to_owned()),
        })
    }
}

/// What the last run left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovery {
    /// There is no Status.plist: no backup, or a first run that never got that far.
    Empty,
    /// The backup is finished.
    Finished,
    /// A run stopped half-way. Keep the folder for the next run, which continues or repairs it, or, if `roll_back`,
    /// undo the run with [`super::PlainFolder::roll_back`].
    Interrupted {
        /// How far it got; `None` when Status.plist cannot be read.
        state: Option<SnapshotState>,
        /// Can the backup from before that run be had back?
        roll_back: bool,
    },
}
