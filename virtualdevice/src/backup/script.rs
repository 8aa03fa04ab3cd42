//! Behaviour no well-meaning phone shows, to test a host with (spec mobilebackup2 19, item 6).

use std::time::Duration;

use cabled_devicelink::msg::Status;

use crate::fs::{Content, Fs, FsError, Kind, Meta};

/// What a backup does besides the plain script that every client finishes.
///
/// The plain script is the empty one. libimobiledevice 1.3.0 and pymobiledevice3 11.45 do not survive most of what can
/// be put here (spec 19.5); a host of this family must survive all of it, and the backup must be right afterwards.
///
/// ```
/// use cabled_virtualdevice::backup::{Script, Torture};
/// let script = Script::plain().with(Torture::EmptyDownload).with(Torture::ProgressBackwards);
/// assert_eq!(script.steps().len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script {
    steps: Vec<Torture>,
}

/// When something of a script happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Moment {
    /// After the request, before the phone's first message.
    First,
    /// Between two upload batches.
    BetweenBatches,
    /// In an upload, between two files.
    BetweenFiles,
    /// In an upload, after the first block of a file.
    InsideFile,
    /// After the last upload, before the first move.
    BeforeMoving,
    /// Before the result.
    BeforeResult,
}

/// The messages that carry paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathMessage {
    /// `DLMessageDownloadFiles`.
    Download,
    /// The host name of a file in `DLMessageUploadFiles`.
    Upload,
    /// `DLContentsOfDirectory`.
    List,
    /// `DLMessageCreateDirectory`.
    Create,
    /// The source of `DLMessageMoveItems`.
    MoveFrom,
    /// The destination of `DLMessageMoveItems`.
    MoveTo,
    /// `DLMessageRemoveItems`.
    Remove,
    /// The source of `DLMessageCopyItem`.
    CopyFrom,
    /// The destination of `DLMessageCopyItem`.
    CopyTo,
}

impl PathMessage {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Download,
        Self::Upload,
        Self::List,
        Self::Create,
        Self::MoveFrom,
        Self::MoveTo,
        Self::Remove,
        Self::CopyFrom,
        Self::CopyTo,
    ];
}

/// One thing a script does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Torture {
    /// A `DLMessageDownloadFiles` with no paths.
    EmptyDownload,
    /// A message nobody knows, such as `DLMessageWarpDrive`.
    UnknownMessage(String),
    /// `DLMessagePurgeDiskSpace`, whatever the host has free; the answer is not held against it.
    Purge {
        /// Bytes to free.
        amount: u64,
        /// 4 in every log seen.
        urgency: i64,
    },
    /// A listing of a directory that does not exist.
    ListMissing,
    /// A removal of paths that do not exist.
    RemoveMissing,
    /// `DLMessageMoveFiles` and `DLMessageRemoveFiles` in place of `…Items`.
    LegacyNames,
    /// Progress values that fall as well as rise.
    ProgressBackwards,
    /// The phone says nothing for a while.
    Silence {
        /// When.
        at: Moment,
        /// How long.
        lasting: Duration,
    },
    /// A message with a path that must not reach the file system; placeholders are left as they are. The phone goes on
    /// whatever the answer, which [`State::answers`](super::State::answers) keeps.
    HostilePath {
        /// The message.
        message: PathMessage,
        /// The path; an upload cannot carry the empty one.
        path: String,
    },
    /// The upload of a payload ends in a failure block. The manifest leaves the file out and the run goes on, as with
    /// the one file that fails in normal runs of iOS 17.
    FailUpload {
        /// Which payload of the run, counted from 0.
        nth: u64,
        /// The block's code: `0x06`, `0x0b` or another.
        code: u8,
        /// The block's text; may be empty.
        text: String,
        /// Payload bytes sent before, at most those of one block.
        after: usize,
    },
    /// Every file's first data block has no data (length 1).
    EmptyBlocks,
    /// Host names of uploads begin with a slash.
    LeadingSlashes,
    /// `DLMessageDisconnect` in place of what would come next.
    Disconnect {
        /// When.
        at: Moment,
        /// The reason.
        reason: String,
    },
}

/// What the host said to a step of a script.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Answer {
    /// The step.
    pub step: Torture,
    /// The host's status.
    pub status: Status,
}

/// Paths that no host may follow, and two (`/` in front, doubled slashes) that it may clean.
pub const HOSTILE_PATHS: &[&str] = &[
    "..",
    "../escape",
    "a/../../escape",
    "/",
    "/etc/escape",
    "//",
    ".",
    "nul\0byte",
];

impl Script {
    /// Nothing but the script of spec 14.2, which every client finishes.
    #[must_use]
    pub fn plain() -> Self {
        Self::default()
    }

    /// Everything at once that leaves the backup whole: a host of this family ends with success and every file.
    ///
    /// `target` is the UDID of the phone: hostile paths climb out of its directory.
    #[must_use]
    pub fn torture(target: &str) -> Self {
        let mut script = Self::plain()
            .with(Torture::EmptyDownload)
            .with(Torture::UnknownMessage("DLMessageWarpDrive".into()))
            .with(Torture::Purge {
                amount: 1 << 40,
                urgency: 4,
            })
            .with(Torture::ListMissing)
            .with(Torture::RemoveMissing)
            .with(Torture::LegacyNames)
            .with(Torture::ProgressBackwards)
            .with(Torture::EmptyBlocks)
            .with(Torture::Silence {
                at: Moment::BetweenFiles,
                lasting: Duration::from_millis(20),
            });
        for message in PathMessage::ALL {
            let climbing = [
                format!("{target}/../escape"),
                format!("{target}/Snapshot/../../escape"),
                "x".repeat(5000),
            ];
            let paths = HOSTILE_PATHS.iter().map(|path| (*path).to_owned()).chain(climbing);
            for path in paths {
                // On the wire of an upload 5,000 bytes are a broken stream, not a bad path.
                if message != PathMessage::Upload || path.len() < 4096 {
                    script = script.with(Torture::HostilePath { message, path });
                }
            }
        }
        script
    }

    /// Adds a step.
    #[must_use]
    pub fn with(mut self, step: Torture) -> Self {
        self.steps.push(step);
        self
    }

    /// The steps.
    #[must_use]
    pub fn steps(&self) -> &[Torture] {
        &self.steps
    }

    pub(super) fn has(&self, step: &Torture) -> bool {
        self.steps.contains(step)
    }

    pub(super) fn silence(&self, moment: Moment) -> Option<Duration> {
        self.steps.iter().find_map(|step| match step {
            Torture::Silence { at, lasting } if *at == moment => Some(*lasting),
            _ => None,
        })
    }

    pub(super) fn disconnect(&self, moment: Moment) -> Option<&str> {
        self.steps.iter().find_map(|step| match step {
            Torture::Disconnect { at, reason } if *at == moment => Some(reason.as_str()),
            _ => None,
        })
    }

    pub(super) fn failure(&self, payload: u64) -> Option<(u8, &str, usize)> {
        self.steps.iter().find_map(|step| match step {
            Torture::FailUpload { nth, code, text, after } if *nth == payload => Some((*code, text.as_str(), *after)),
            _ => None,
        })
    }
}

/// Puts files of every awkward length into `MediaDomain`: empty, around a cipher block, and multiples of the block
/// sizes of both directions, and returns how many.
///
/// # Errors
/// Those of [`Fs::put`].
pub fn put_awkward_files(fs: &Fs) -> Result<usize, FsError> {
    const LENGTHS: [u64; 15] = [
        0, 1, 15, 16, 17, 32_767, 32_768, 32_769, 65_536, 98_304, 262_143, 262_144, 262_145, 524_288, 786_432,
    ];
    fs.create_dir_all("MediaDomain", "Media/Awkward")?;
    for length in LENGTHS {
        let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect();
        let meta = Meta::file().with_times(crate::fs::now());
        fs.put(
            "MediaDomain",
            &format!("Media/Awkward/{length:07}.bin"),
            Kind::File(Content::bytes(bytes)),
            meta,
        )?;
    }
    Ok(LENGTHS.len())
}
