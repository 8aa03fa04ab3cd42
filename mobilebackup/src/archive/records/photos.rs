//! Photos and videos: what the library knows of them, their albums, and whether the backup has them.
//!
//! # Example
//! Are all pictures here?
//! ```
//! use cabled_mobilebackup::archive::Archive;
//! use cabled_mobilebackup::archive::records::photos::{Original, PhotoLibrary};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/plain-v10");
//! let backup = Archive::open(folder)?;
//! if let Some(library) = PhotoLibrary::read(&backup)? {
//!     let counts = library.counts();
//!     println!("{} are in the backup, {} are only in iCloud", counts.in_backup, counts.only_in_icloud);
//!     for asset in library.assets.iter().filter(|asset| asset.original == Original::Missing) {
//!         println!("{:?} is nowhere", asset.filename);
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! [`PhotoLibrary::read`] reads `Photos.sqlite` with its assets and albums, whose tables have other names and numbers
//! in each iOS version, and lays them over the files of the domain `CameraRollDomain`. Files that no asset names are
//! listed on their own, so that a lost library does not hide pictures.
//!
//! # Limits
//! Whether an original is in the backup is decided by its file; whether a missing one is in iCloud by what the library
//! last knew. Faces, places, memories and the steps of an edit are not read. At most 2 million files are looked at; if
//! there are more, a note says so.

mod albums;
mod assets;
mod export;
mod files;
#[cfg(test)]
mod tests;

use serde::Serialize;

use super::note::{Notes, Problem, RecordNote};
use super::time::Timestamp;
use super::{RecordError, Source, Store};
use crate::archive::{Archive, Kind};

pub(super) use export::EXPORTER;
/// Where the library is.
const LIBRARY: (&str, &str) = ("CameraRollDomain", "Media/PhotoData/Photos.sqlite");

/// A library of photos.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct PhotoLibrary {
    /// The store; none if the backup has pictures and no library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Photos and videos, in the order of their rows.
    pub assets: Vec<Asset>,
    /// Albums and folders of albums.
    pub albums: Vec<Album>,
    /// Pictures in the backup that no asset names: relative paths.
    pub unlisted: Vec<String>,
    /// What could not be read.
    pub problems: Notes,
    /// Why nothing or not all of the store could be read; told among the problems, too.
    #[serde(skip)]
    pub failure: Option<RecordError>,
}

/// Where an original is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Original {
    /// In the backup.
    InBackup,
    /// The index lists its file, and the payload is not there.
    PayloadMissing,
    /// Not in the backup; the library says that iCloud has it.
    OnlyInIcloud,
    /// In an album that somebody shares, or another's part of it: never in a backup.
    Shared,
    /// Put there by a computer: never in a backup.
    SyncedFromComputer,
    /// Not in the backup, and the library knows of no other place.
    Missing,
    /// The row names no file.
    Unknown,
}

/// What an asset is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AssetKind {
    /// A photo.
    Photo,
    /// A video.
    Video,
    /// A sound.
    Audio,
    /// Something else.
    Other {
        /// Its number.
        number: i64,
    },
}

/// What sort of photo or video it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AssetSort {
    /// A panorama.
    Panorama,
    /// A photo with a video of its moment.
    LivePhoto,
    /// A picture of the screen.
    Screenshot,
    /// In slow motion.
    SlowMotion,
    /// In fast motion.
    Timelapse,
    /// A video of the screen.
    ScreenRecording,
    /// A sort this version does not know.
    Other {
        /// Its number.
        number: i64,
    },
}

/// A photo or video.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Asset {
    /// Its row.
    pub id: i64,
    /// Its identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Photo or video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<AssetKind>,
    /// Of which sort; none for ordinary ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<AssetSort>,
    /// Its relative path in `CameraRollDomain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The name of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// The name it had where it came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original_filename: Option<String>,
    /// Its uniform type identifier, such as `public.heic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uti: Option<String>,
    /// When it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub taken: Option<Timestamp>,
    /// The zone it was taken in, such as `Europe/Zurich`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
    /// Seconds that the clock was ahead of UTC where it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utc_offset: Option<i64>,
    /// When it came into the library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub added: Option<Timestamp>,
    /// When it was changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<Timestamp>,
    /// Degrees north and east.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coordinates: Option<(f64, f64)>,
    /// Width and height in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<(i64, i64)>,
    /// Length in seconds, of videos.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// What its title says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Marked as a favourite.
    pub favorite: bool,
    /// In the hidden album.
    pub hidden: bool,
    /// Deleted, and kept for a month.
    pub trashed: bool,
    /// When it was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trashed_at: Option<Timestamp>,
    /// Edited; the original is kept beside the outcome.
    pub edited: bool,
    /// The burst it belongs to: the same for all of its photos.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<String>,
    /// Where the original is.
    pub original: Original,
    /// Bytes of the file in the backup, as recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The video of a live photo, the outcome of an edit and the like: relative paths of files in the backup.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub companions: Vec<String>,
}

/// An album, or a folder of albums.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Album {
    /// Its row.
    pub id: i64,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// `ZKIND` as stored: 2 is an album of the user's, 4000 a folder of theirs, 1505 a shared album.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<i64>,
    /// The row of the folder it lies in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<i64>,
    /// The rows of its assets, in its order.
    pub assets: Vec<i64>,
    /// Deleted, and kept for a month.
    pub trashed: bool,
}

impl Album {
    /// Whether the user made it, or takes part in it; all others are the system's own.
    #[must_use]
    pub const fn is_users(&self) -> bool {
        matches!(self.kind, Some(2 | 1505 | 4000) | None)
    }
}

/// How many assets are where. Deleted ones are counted in [`trashed`](PhotoCounts::trashed) only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PhotoCounts {
    /// The original is in the backup.
    pub in_backup: u64,
    /// The index lists it, and the payload is not there.
    pub payload_missing: u64,
    /// Only iCloud has it.
    pub only_in_icloud: u64,
    /// In a shared album.
    pub shared: u64,
    /// Put there by a computer.
    pub synced_from_computer: u64,
    /// Not in the backup and nowhere known.
    pub missing: u64,
    /// The row names no file.
    pub unknown: u64,
    /// Deleted, whether in the backup or not.
    pub trashed: u64,
    /// Files in the backup that the library does not name.
    pub unlisted: u64,
}

impl PhotoLibrary {
    /// Reads the photos of a backup; `None` if it has neither a library nor pictures. A library that cannot be read is
    /// said in [`failure`](PhotoLibrary::failure), and its pictures are [`unlisted`](PhotoLibrary::unlisted).
    ///
    /// Looks at every row of the index and for the payload of every asset, without reading it.
    ///
    /// # Errors
    /// [`RecordError::Archive`] if the backup is locked or its index damaged.
    pub fn read(archive: &Archive) -> Result<Option<Self>, RecordError> {
        let entry = archive
            .entry_at(LIBRARY.0, LIBRARY.1)?
            .filter(|entry| entry.kind == Kind::File);
        let mut library = Self {
            source: entry.as_ref().map(Source::from),
            assets: Vec::new(),
            albums: Vec::new(),
            unlisted: Vec::new(),
            problems: Notes::default(),
            failure: None,
        };
        let mut clouds = assets::Clouds::default();
        if let Some(entry) = &entry
            && let Err(error) = Store::open(archive, entry).and_then(|store| {
                library.problems.append(store.notes());
                library.read_store(store.connection(), &mut clouds)
            })
        {
            let reason = super::export::with_causes(&error);
            library
                .problems
                .push(RecordNote::table("the store", Problem::Damaged { reason }));
            library.failure = Some(error);
        }
        let mut files = files::Files::of(archive, &mut library.problems)?;
        files.judge(archive, &mut library.assets, &clouds);
        library.unlisted = files.left();
        Ok((entry.is_some() || !library.unlisted.is_empty()).then_some(library))
    }

    fn read_store(&mut self, db: &rusqlite::Connection, clouds: &mut assets::Clouds) -> Result<(), RecordError> {
        let schema = super::schema::Schema::of(db)?;
        assets::read(db, &schema, &mut self.assets, clouds, &mut self.problems)?;
        albums::read(db, &schema, &mut self.albums, &self.assets, &mut self.problems)
    }

    /// How many assets are where.
    #[must_use]
    pub fn counts(&self) -> PhotoCounts {
        let mut counts = PhotoCounts {
            unlisted: self.unlisted.len() as u64,
            ..PhotoCounts::default()
        };
        for asset in &self.assets {
            let count = match asset.original {
                _ if asset.trashed => &mut counts.trashed,
                Original::InBackup => &mut counts.in_backup,
                Original::PayloadMissing => &mut counts.payload_missing,
                Original::OnlyInIcloud => &mut counts.only_in_icloud,
                Original::Shared => &mut counts.shared,
                Original::SyncedFromComputer => &mut counts.synced_from_computer,
                Original::Missing => &mut counts.missing,
                Original::Unknown => &mut counts.unknown,
            };
            *count = count.saturating_add(1);
        }
        counts
    }
}
