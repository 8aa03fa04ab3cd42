//! A smaller backup from a larger one.

use std::collections::HashSet;
use std::path::Path;

use super::edit::new_index_key;
use super::index::WorkIndex;
use super::work::Work;
use super::{ChangeError, ChangeOptions, Changed};
use crate::archive::Archive;
use crate::archive::build::rows::Parents;
use crate::archive::entry::FileEntry;
use crate::archive::file_id::FileId;
use crate::archive::observe::Observer;

/// Makes a smaller backup of the entries for which `keep` says so, their parent directories and domain roots.
/// **Experimental**: readers open the result; whether a device restores it, or takes it for the base of its next run,
/// was never tried.
///
/// Password, keys, records and payloads stay as they are, and nothing is decrypted but the index. The property lists
/// stay as well: what they say about the device and its apps is not reduced. Rows that make no sense are left out.
/// Memory: some 60 bytes per kept entry.
///
/// ```
/// use cabled_mobilebackup::archive::change::{self, ChangeOptions};
/// use cabled_mobilebackup::archive::{Archive, Silent};
///
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/plain-v10");
/// let whole = Archive::open(folder)?;
/// let root = tempfile::tempdir()?;
/// let mut messages = |entry: &_| {
///     let entry: &cabled_mobilebackup::archive::FileEntry = entry;
///     entry.path.starts_with("Library/SMS/")
/// };
/// let target = root.path().join("messages");
/// let small = change::derive_experimental(&whole, target, &mut messages, &ChangeOptions::default(), &mut Silent)?;
/// let small = Archive::open(&small.folder)?;
/// assert!(small.entry_at("HomeDomain", "Library/SMS/sms.db")?.is_some());
/// assert!(small.entry_at("HomeDomain", "Library/SMS")?.is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`change_password_untested_on_devices`](super::change_password_untested_on_devices), but not for passwords.
pub fn derive_experimental(
    archive: &Archive,
    folder: impl AsRef<Path>,
    keep: &mut dyn FnMut(&FileEntry) -> bool,
    options: &ChangeOptions,
    observer: &mut dyn Observer,
) -> Result<Changed, ChangeError> {
    let mut work = Work::begin(archive, folder.as_ref(), options.clone())?;
    let index = WorkIndex::of(archive, &work.staging, observer)?;
    // Ids, not row ids: what is above an entry may come before it.
    let (mut kept, mut parents) = (HashSet::new(), Parents::default());
    work.each_row(&index, observer, |_, row, _| {
        if let Some(entry) = row.entry.as_ref().filter(|entry| keep(entry)) {
            kept.insert(entry.file_id);
            parents.missing(&entry.domain, &entry.path, |path| {
                kept.insert(FileId::of(&entry.domain, path));
            });
        }
        Ok(())
    })?;
    work.each_row(&index, observer, |work, row, _| {
        if row.entry.as_ref().is_none_or(|entry| !kept.contains(&entry.file_id)) {
            index.delete(row.row_id)?;
            work.rows.removed = work.rows.removed.saturating_add(1);
        }
        Ok(())
    })?;
    work.transfer_all(&index, observer)?;
    let (key, manifest, unlock) =
        new_index_key(archive, &mut crate::archive::build::secrets::Secrets::new(options.seed))?;
    let older = work.has_older_index();
    index.write(
        &work.staging,
        key.as_ref(),
        older,
        &mut super::password::pulse(observer),
    )?;
    work.plists(manifest)?;
    work.finish(unlock, None, observer)
}
