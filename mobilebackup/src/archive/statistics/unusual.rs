//! Entries that no sound backup of a device has, or few do.

use std::collections::BTreeMap;

use crate::archive::{EntryNote, FileEntry, Kind};

/// The most unusual entries that are named one by one.
pub const MAX_UNUSUAL: usize = 1000;

/// What can be odd about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Oddity {
    /// The path is absolute, has an empty, `.` or `..` part, or a NUL: it must not be taken as it is.
    Climbs,
    /// The path is longer than 1024 bytes, more than any system of Apple's allows.
    LongPath,
    /// The stored id is malformed, or not the one that domain and path give.
    WrongId,
    /// Neither index nor mode say what it is.
    UnknownKind,
    /// The column `flags` says something else than the mode.
    KindDiffers,
    /// The record has another path than its row, or a digest or key of the wrong length.
    DamagedRecord,
    /// A link without a target.
    NoTarget,
    /// A file without a key in an encrypted backup: it is handed out as stored.
    NoKey,
    /// A file that would run as its owner or group.
    SetId,
    /// `Flags` of the record is 128, whose meaning is unknown, or another number.
    Flags,
    /// Contents were changed before 1970.
    BeforeUnix,
}

impl Oddity {
    /// The name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Climbs => "climbs",
            Self::LongPath => "long_path",
            Self::WrongId => "wrong_id",
            Self::UnknownKind => "unknown_kind",
            Self::KindDiffers => "kind_differs",
            Self::DamagedRecord => "damaged_record",
            Self::NoTarget => "no_target",
            Self::NoKey => "no_key",
            Self::SetId => "set_id",
            Self::Flags => "flags",
            Self::BeforeUnix => "before_unix",
        }
    }
}

/// One unusual entry.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct UnusualEntry {
    /// Its domain.
    pub domain: String,
    /// Its path, shortened to 4096 characters.
    pub path: String,
    /// What is odd about it.
    pub oddity: Oddity,
}

/// What is odd about single entries.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Unusual {
    /// How many entries there are of each kind.
    pub counts: BTreeMap<&'static str, u64>,
    /// The first of them.
    pub entries: Vec<UnusualEntry>,
}

impl Unusual {
    pub(super) fn look_at(&mut self, entry: &FileEntry, encrypted: bool) {
        for oddity in oddities(entry, encrypted) {
            let count = self.counts.entry(oddity.as_str()).or_default();
            *count = count.saturating_add(1);
            if self.entries.len() < MAX_UNUSUAL {
                self.entries.push(UnusualEntry {
                    domain: entry.domain.to_string(),
                    path: entry.path.chars().take(4096).collect(),
                    oddity,
                });
            }
        }
    }
}

/// What is odd about an entry.
fn oddities(entry: &FileEntry, encrypted: bool) -> impl Iterator<Item = Oddity> {
    let has = |wanted: fn(&EntryNote) -> bool| entry.notes.iter().any(wanted);
    let is_file = entry.kind == Kind::File;
    let climbs = |part: &str| matches!(part, "" | "." | "..") || part.contains('\0');
    let by_mode = match entry.mode & 0o170_000 {
        0o100_000 => Some(Kind::File),
        0o040_000 => Some(Kind::Directory),
        0o120_000 => Some(Kind::Symlink),
        _ => None,
    };
    let found = [
        (
            !entry.path.is_empty() && entry.path.split('/').any(climbs),
            Oddity::Climbs,
        ),
        (entry.path.len() > 1024, Oddity::LongPath),
        (
            has(|note| matches!(note, EntryNote::MalformedId { .. })) || entry.file_id != entry.computed_id(),
            Oddity::WrongId,
        ),
        (entry.kind == Kind::Unknown, Oddity::UnknownKind),
        (by_mode.is_some_and(|kind| kind != entry.kind), Oddity::KindDiffers),
        (
            has(|note| {
                let differs = matches!(note, EntryNote::PathDiffers { .. });
                differs || matches!(note, EntryNote::DigestLength { .. } | EntryNote::KeyLength { .. })
            }),
            Oddity::DamagedRecord,
        ),
        (
            entry.kind == Kind::Symlink && entry.link_target.is_none(),
            Oddity::NoTarget,
        ),
        (encrypted && is_file && entry.encryption_key.is_none(), Oddity::NoKey),
        (is_file && entry.mode & 0o6000 != 0, Oddity::SetId),
        (entry.flags != 0, Oddity::Flags),
        (entry.modified.is_some_and(|seconds| seconds < 0), Oddity::BeforeUnix),
    ];
    found.into_iter().filter(|(is, _)| *is).map(|(_, oddity)| oddity)
}
