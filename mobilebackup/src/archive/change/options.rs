//! How a backup is changed, and what came of it.

use std::path::PathBuf;

use crate::archive::file_id::FileId;
use crate::archive::verify::{Level, Report};
use crate::archive::wrap::Key;

/// How payloads that stay as they are come into the new backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Transfer {
    /// Copies, which share nothing with the original: whatever becomes of either, the other stays. On file systems that
    /// can (APFS, Btrfs, XFS), the system makes them clones, which cost no room until one side changes.
    #[default]
    Copy,
    /// Hard links: no room and no time, but one file in both backups. Safe only as long as every program that writes
    /// into either folder replaces files instead of rewriting them. Where a link is not possible, a copy is made.
    HardLink,
}

/// How a backup is changed. Default: payloads are copied, the result is checked for presence, damaged files stop it.
#[derive(Clone, Debug)]
pub struct ChangeOptions {
    pub(super) transfer: Transfer,
    pub(super) level: Level,
    pub(super) salvage: bool,
    pub(super) rounds: Option<(u32, u32)>,
    pub(super) seed: Option<u64>,
}

impl Default for ChangeOptions {
    fn default() -> Self {
        Self {
            transfer: Transfer::default(),
            level: Level::Presence,
            salvage: false,
            rounds: None,
            seed: None,
        }
    }
}

impl ChangeOptions {
    /// How unchanged payloads come into the new backup. Default: [`Transfer::Copy`], the only one that no other program
    /// can turn into damage of the original.
    #[must_use]
    pub const fn transfer(mut self, transfer: Transfer) -> Self {
        self.transfer = transfer;
        self
    }

    /// How thoroughly the new backup is checked before it gets its name; never below [`Level::Presence`].
    /// [`Level::Content`] reads everything of both backups. Default: [`Level::Presence`].
    #[must_use]
    pub fn verify(mut self, level: Level) -> Self {
        self.level = level.max(Level::Presence);
        self
    }

    /// Goes on where a file of the original cannot be decrypted when a password is set or removed: it then holds what
    /// is left of it, or nothing, and [`Changed::lost`] names it. Default: off, which stops.
    #[must_use]
    pub const fn salvage(mut self, on: bool) -> Self {
        self.salvage = on;
        self
    }

    /// Rounds of both stages of a new password. Few rounds protect nothing: for tests only. Default: as many as the
    /// backup has; as many as devices write where it has none.
    #[must_use]
    pub const fn rounds(mut self, first: u32, second: u32) -> Self {
        self.rounds = Some((first, second));
        self
    }

    /// Makes new keys and salts follow from a number, so that a test makes the same bytes every time. **Whoever knows
    /// the number can open the backup without its password.** Default: the system's random source.
    #[must_use]
    pub const fn insecure_test_seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}

/// A changed backup.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Changed {
    /// The new backup.
    pub folder: PathBuf,
    /// Rows that were added, changed and removed.
    pub rows: RowChanges,
    /// Payloads that were written anew: added, replaced, encrypted or decrypted.
    pub written: u64,
    /// Payloads that were copied as they are.
    pub copied: u64,
    /// Payloads that both backups share now.
    pub linked: u64,
    /// Files whose payload the original does not have.
    pub missing: u64,
    /// Files that could not be decrypted as a whole and of which less than everything is there now; only with
    /// [`ChangeOptions::salvage`].
    pub lost: Vec<FileId>,
    /// What the check of the new backup found. Damage in it is damage of the original, brought along.
    pub report: Report,
    /// The key that a new password derives to, as sensitive as the password; `None` if the password did not change.
    pub key: Option<Key>,
}

/// How many rows of the index changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowChanges {
    /// Rows that are new, parent directories included.
    pub added: u64,
    /// Rows whose record is another one now.
    pub changed: u64,
    /// Rows that are gone.
    pub removed: u64,
}
