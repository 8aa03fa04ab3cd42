//! Safari: where one has been, what one has kept, and what was open.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::Archive;
//! use cabled_mobilebackup::archive::records::safari::{Bookmarks, History};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/plain-v10");
//! let backup = Archive::open(folder)?;
//! for history in History::read_all(&backup)? {
//!     println!("{}: {} visits", history.source.path, history.visits.len());
//! }
//! for bookmarks in Bookmarks::read_all(&backup)? {
//!     bookmarks.write_netscape(&mut std::io::stdout())?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! [`History`] reads every `History.db`, those of profiles included; [`Bookmarks`] every `Bookmarks.db`, with the
//! favourites and the reading list, and writes them in the form that all browsers import; [`Tabs`] the tabs of
//! `BrowserState.db` and, since iOS 15, `SafariTabs.db`.
//!
//! # Limits
//! Only encrypted backups have a history. The phone forgets it after a year at most. Tabs that were opened in private
//! are told as such where the store says so. The pages themselves are not in a backup.

mod bookmarks;
mod export;
mod history;
mod tabs;
#[cfg(test)]
mod tests;

use super::{RecordError, Source};
use crate::archive::{Archive, FileEntry, Kind};

pub use bookmarks::{Bookmark, BookmarkKind, Bookmarks};
pub(super) use export::EXPORTER;
pub use history::{History, Visit};
pub use tabs::{Tab, Tabs};

/// Most stores of one kind that are read: a phone has one per profile.
const MAX_STORES: usize = 256;

/// The stores whose path ends so, wherever Safari keeps them: in its own folder, or in that of a profile.
fn stores(archive: &Archive, names: &[&str]) -> Result<Vec<FileEntry>, RecordError> {
    let mut found = Vec::new();
    for entry in archive.entries()? {
        let entry = entry?;
        let name = entry.path.rsplit('/').next().unwrap_or("");
        let ours = entry.path.starts_with("Library/Safari/")
            && (*entry.domain == *"HomeDomain" || entry.domain.contains("com.apple.mobilesafari"));
        if ours && entry.kind == Kind::File && names.contains(&name) {
            if found.len() == MAX_STORES {
                return Err(RecordError::TooManyStores { limit: MAX_STORES });
            }
            found.push(entry);
        }
    }
    Ok(found)
}

/// The profile in a path, if there is one.
fn profile_of(source: &Source) -> Option<String> {
    let (_, after) = source.path.split_once("/Profiles/")?;
    Some(after.split_once('/')?.0.to_owned())
}
