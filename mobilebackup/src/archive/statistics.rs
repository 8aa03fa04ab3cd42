//! What a backup holds, counted: by domain, category, app and type of file.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::statistics::Statistics;
//! use cabled_mobilebackup::archive::{Archive, Silent};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/plain-v10");
//! let backup = Archive::open(folder)?;
//! let statistics = Statistics::of(&backup, &mut Silent)?;
//! assert_eq!(statistics.domains.get("CameraRollDomain").map(|count| count.files), Some(3));
//! assert_eq!(statistics.types.get("jpg").map(|count| count.files), Some(3));
//! // One path climbs out of its domain.
//! assert_eq!(statistics.unusual.counts.get("climbs"), Some(&1));
//! println!("{}", serde_json::to_string_pretty(&statistics)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! [`Statistics::of`] passes once over the index of an open [`Archive`]; no payload is touched, so lengths are the
//! recorded ones, which are stale for some databases. [`Category::of`](super::select::Category::of) tells the category,
//! [`Apps`] the app. [`Statistics::of_selection`] counts part of a backup.
//!
//! # Limits
//! Each table names at most [`MAX_NAMES`] things and counts what comes after them together, so that no index can make it
//! grow without end; of unusual entries [`MAX_UNUSUAL`] are named and all are counted.

mod count;
mod unusual;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::select::{Apps, Category, Selection};
use super::{Archive, ArchiveError, FileEntry, Kind, Observer, Phase, Progress};

pub use self::count::{Count, MAX_NAMES, Table};
pub use self::unusual::{MAX_UNUSUAL, Oddity, Unusual, UnusualEntry};

/// Rows between two calls of the observer.
const STEP: u64 = 4096;

/// The longest extension that is taken for one, in bytes.
const MAX_EXTENSION: usize = 16;

/// What a backup holds.
#[derive(Clone, Debug, Default, serde::Serialize)]
#[non_exhaustive]
pub struct Statistics {
    /// All of it.
    pub total: Count,
    /// By domain.
    pub domains: Table,
    /// By category, each entry in the one that fits it best; what fits none is under `other`.
    pub categories: BTreeMap<Cow<'static, str>, Count>,
    /// By app, extensions and groups with the app that their names tell. What is no app's is not in it.
    pub apps: Table,
    /// Files only, by the lower-case extension of their names; those without one are under `(none)`.
    pub types: Table,
    /// What is odd about single entries.
    pub unusual: Unusual,
    /// Rows of the index that make no sense and are not counted.
    pub skipped: u64,
}

impl Statistics {
    /// Counts a whole backup. One pass over the index, some microseconds a row.
    ///
    /// # Errors
    /// As [`Archive::rows`], damage to the index, [`ArchiveError::Cancelled`].
    pub fn of(archive: &Archive, observer: &mut dyn Observer) -> Result<Self, ArchiveError> {
        Self::of_selection(archive, &Selection::default(), observer)
    }

    /// Counts what a selection means.
    ///
    /// # Errors
    /// As [`of`](Statistics::of).
    pub fn of_selection(
        archive: &Archive,
        selection: &Selection,
        observer: &mut dyn Observer,
    ) -> Result<Self, ArchiveError> {
        let apps = Apps::of(archive)?;
        let encrypted = archive.protection() == super::Protection::Encrypted;
        let mut statistics = Self::default();
        let mut selected = archive.select(selection)?;
        let mut rows = 0_u64;
        for entry in selected.by_ref() {
            statistics.add(&entry?, &apps, encrypted);
            rows = rows.saturating_add(1);
            if rows.is_multiple_of(STEP) {
                let progress = Progress::new(Phase::ReadingIndex, rows, None);
                if let ControlFlow::Break(()) = observer.on_progress(&progress) {
                    return Err(ArchiveError::Cancelled);
                }
            }
        }
        statistics.skipped = selected.skipped();
        Ok(statistics)
    }

    fn add(&mut self, entry: &FileEntry, apps: &Apps, encrypted: bool) {
        self.total.add(entry);
        self.domains.entry(&entry.domain).add(entry);
        let category = Category::of(&entry.domain, &entry.path).map_or("other", Category::as_str);
        self.categories.entry(category.into()).or_default().add(entry);
        if let Some(app) = apps.owner(&entry.domain) {
            self.apps.entry(app).add(entry);
        }
        if entry.kind == Kind::File {
            self.types.entry(&extension_of(&entry.path)).add(entry);
        }
        self.unusual.look_at(entry, encrypted);
    }
}

/// The lower-case extension of a file's name: `jpg`, `sqlite-wal`; `(none)` without one, `(other)` for what is none
/// although it follows a dot.
///
/// ```
/// use cabled_mobilebackup::archive::statistics::extension_of;
///
/// assert_eq!(extension_of("Media/DCIM/100APPLE/IMG_0001.JPG"), "jpg");
/// assert_eq!(extension_of("Library/Preferences/.GlobalPreferences"), "(none)");
/// ```
#[must_use]
pub fn extension_of(path: &str) -> Cow<'_, str> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return "(none)".into();
    };
    if stem.is_empty() || extension.is_empty() {
        return "(none)".into();
    }
    let is_plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'+');
    if extension.len() > MAX_EXTENSION || !extension.bytes().all(is_plain) {
        return "(other)".into();
    }
    match extension.bytes().any(|c| c.is_ascii_uppercase()) {
        true => extension.to_ascii_lowercase().into(),
        false => extension.into(),
    }
}

#[cfg(test)]
mod tests;
