//! Which part of a backup is meant: by category, domain, pattern, app or id.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::Archive;
//! use cabled_mobilebackup::archive::select::{Category, Selection};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/plain-v10");
//! let backup = Archive::open(folder)?;
//! let selection = Selection::default().category(Category::Messages).glob("CameraRollDomain/Media/DCIM/**")?;
//! let mut names = Vec::new();
//! for entry in backup.select(&selection)? {
//!     names.push(entry?.path);
//! }
//! names.sort();
//! assert_eq!(names, ["Library/SMS".into(), "Library/SMS/sms.db".into(), "Media/DCIM/100APPLE/IMG_0001.JPG".into()]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! [`Category`] knows the places of everything people ask for by name, [`Glob`] is a pattern over `domain/path`,
//! [`Apps`] tells whose extensions and groups are whose. [`Selection`] puts them together, and
//! [`Archive::select`](crate::archive::Archive::select) hands out the entries that are meant.
//!
//! # Limits
//! Names are compared byte for byte, as backups do. Places that future versions of iOS invent are not known: an empty
//! category means that none of its known places is there, not that there is no such data.

mod apps;
mod category;
mod companions;
mod glob;
mod place;
mod places;
mod selected;
mod selection;

pub use apps::Apps;
pub use category::{Category, UnknownCategory};
pub use companions::{COMPANIONS, main_of};
pub use glob::{Glob, GlobError, MAX_NESTING, MAX_PATTERN_LEN};
pub use place::Place;
pub use selected::Selected;
pub use selection::Selection;
