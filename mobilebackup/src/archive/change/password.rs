//! Changing, setting and removing the password of a backup at rest (spec backup-format, 10).

use std::path::Path;

use cabled_wire::plist::{Dictionary, Value};
use cabled_wire::secret::SecretString;

use super::index::{WorkIndex, WorkRow};
use super::record::{Edit, Field, edit, edit_flat};
use super::rekey::{Rekeyed, rekey};
use super::work::{Unlock, Work, copy_small, has_payload};
use super::{ChangeError, ChangeOptions, Changed};
use crate::archive::build::keybag::{BagKind, INDEX_CLASS, NewKeybag};
use crate::archive::build::secrets::Secrets;
use crate::archive::entry::FileEntry;
use crate::archive::index::Index;
use crate::archive::keybag::{ClassKeys, Keybag, UnlockError};
use crate::archive::layout::{Layout, Protection};
use crate::archive::observe::{Observer, Phase, Progress};
use crate::archive::wrap::{Key, WrappedKey};
use crate::archive::{Archive, ArchiveError};

/// Makes a copy of an unlocked, encrypted backup that opens with another password.
///
/// The class keys are wrapped anew with fresh salts; files, index and their keys stay as they are, byte for byte. So
/// whoever has the old backup **and** the old password can open both: this protects a copy that is given away or kept,
/// it does not undo a leak. **Untested on devices**: reading programs accept the result, whether a device restores it
/// was never tried.
///
/// Costs one derivation, and the copy of the payloads.
///
/// # Errors
/// [`ChangeError::Password`] for a backup without one, [`EmptyPassword`](ChangeError::EmptyPassword),
/// [`Archive`](ChangeError::Archive) with [`ArchiveError::Locked`] for a locked one,
/// [`Incomplete`](ChangeError::Incomplete), [`MetadataEncryption`](ChangeError::MetadataEncryption),
/// [`Inside`](ChangeError::Inside), [`Build`](ChangeError::Build), [`Verification`](ChangeError::Verification),
/// [`Cancelled`](ChangeError::Cancelled).
pub fn change_password_untested_on_devices(
    archive: &Archive,
    folder: impl AsRef<Path>,
    password: impl Into<SecretString>,
    options: &ChangeOptions,
    observer: &mut dyn Observer,
) -> Result<Changed, ChangeError> {
    let password = not_empty(password.into())?;
    require(archive, Protection::Encrypted)?;
    let mut work = Work::begin(archive, folder.as_ref(), options.clone())?;
    let bag = archive.keybag().ok_or(ArchiveError::NoKeybag)?;
    let keys = archive.class_keys().ok_or(ArchiveError::Locked)?;
    let mut secrets = Secrets::new(options.seed);
    let two_stages = bag.has_first_stage();
    let new = rekey(bag, keys, &password, two_stages, options, &mut secrets, observer)?;

    let index = WorkIndex::of(archive, &work.staging, observer)?;
    work.transfer_all(&index, observer)?;
    let mut manifest = archive.manifest().as_dictionary().clone();
    manifest.insert("BackupKeyBag".to_owned(), Value::Data(new.bag));
    match archive.index()? {
        // Encrypted as a whole under a key of its own, which stays: not a byte changes.
        Index::Database { .. } if manifest.contains_key("ManifestKey") => {
            drop(index);
            copy_small(archive.folder(), "Manifest.db", &work.staging)?;
        }
        Index::Database { .. } => index.write(&work.staging, None, false, &mut pulse(observer))?,
        Index::Flat(_) => {
            drop(index);
            copy_small(archive.folder(), "Manifest.mbdb", &work.staging)?;
            copy_small(archive.folder(), "Manifest.mbdx", &work.staging)?;
        }
    }
    work.plists(Some(manifest))?;
    work.finish(Unlock::Key(new.kek.clone()), Some(new.kek), observer)
}

/// Makes an encrypted copy of a backup that has no password: every file under a key of its own, and the index where the
/// layout has that.
///
/// The class keys of the backup's keybag stay, so that its keychain items stay readable for the device that made them;
/// like those of any backup without a password, they stay bound to it. The original is **not** removed, and it is as
/// readable as before. **Untested on devices**: reading programs accept the result, whether a device restores it was
/// never tried.
///
/// # Errors
/// As [`change_password_untested_on_devices`], and [`ChangeError::Payload`] for a file that cannot be read,
/// [`Record`](ChangeError::Record) for one whose record cannot be changed.
pub fn set_password_untested_on_devices(
    archive: &Archive,
    folder: impl AsRef<Path>,
    password: impl Into<SecretString>,
    options: &ChangeOptions,
    observer: &mut dyn Observer,
) -> Result<Changed, ChangeError> {
    let password = not_empty(password.into())?;
    require(archive, Protection::Plain)?;
    let mut work = Work::begin(archive, folder.as_ref(), options.clone())?;
    let mut secrets = Secrets::new(options.seed);
    let (new, keys) = encrypted_bag(archive, &password, options, &mut secrets, observer)?;

    let index = WorkIndex::of(archive, &work.staging, observer)?;
    work.each_row(&index, observer, |work, row, observer| {
        let Some(entry) = row.entry.as_ref().filter(|entry| has_payload(entry)) else {
            return Ok(());
        };
        let file_key = secrets.key()?;
        // Records of other programs may name a class that protects no file.
        let usual = [entry.protection_class, 3, 4];
        let wrapped = usual.iter().find_map(|class| keys.wrap(&file_key, *class));
        let wrapped = wrapped.ok_or(ChangeError::NoSuchClass { class: 3 })?;
        let stored = work.recode(entry, Some(&file_key), observer)?;
        let change = Edit {
            key: Field::Set(wrapped.encode()),
            class: (wrapped.class() != entry.protection_class).then_some(wrapped.class()),
            digest: stored.and_then(|stored| stored.digest).map_or(Field::Keep, Field::Set),
            ..Edit::default()
        };
        update(work, &index, row, entry, &change)
    })?;

    let mut manifest = archive.manifest().as_dictionary().clone();
    manifest.insert("BackupKeyBag".to_owned(), Value::Data(new.bag));
    manifest.insert("IsEncrypted".to_owned(), true.into());
    let mut index_key = None;
    if archive.layout() == Layout::Current {
        let key = secrets.key()?;
        let class = INDEX_CLASS;
        let wrapped: WrappedKey = keys.wrap(&key, class).ok_or(ChangeError::NoSuchClass { class })?;
        manifest.insert("ManifestKey".to_owned(), Value::Data(wrapped.encode().to_vec()));
        index_key = Some(key);
    }
    let older = work.has_older_index();
    index.write(&work.staging, index_key.as_ref(), older, &mut pulse(observer))?;
    work.plists(Some(manifest))?;
    work.finish(Unlock::Key(new.kek.clone()), Some(new.kek), observer)
}

/// Makes a copy of an unlocked, encrypted backup without its password: every file and the index decrypted.
///
/// **Everything in it is readable by whoever has the folder**, keychain items that are not bound to the device among
/// them: their class keys stay in the keybag, which then opens with the empty password, so that nothing is lost. A
/// backup that a device makes without a password binds those to the device. **Untested on devices**: reading programs
/// accept the result, whether a device restores it was never tried.
///
/// # Errors
/// As [`set_password_untested_on_devices`], but not [`EmptyPassword`](ChangeError::EmptyPassword).
pub fn remove_password_untested_on_devices(
    archive: &Archive,
    folder: impl AsRef<Path>,
    options: &ChangeOptions,
    observer: &mut dyn Observer,
) -> Result<Changed, ChangeError> {
    require(archive, Protection::Encrypted)?;
    let mut work = Work::begin(archive, folder.as_ref(), options.clone())?;
    let bag = archive.keybag().ok_or(ArchiveError::NoKeybag)?;
    let keys = archive.class_keys().ok_or(ArchiveError::Locked)?;
    let mut secrets = Secrets::new(options.seed);
    let new = rekey(
        bag,
        keys,
        &SecretString::default(),
        false,
        options,
        &mut secrets,
        observer,
    )?;

    let index = WorkIndex::of(archive, &work.staging, observer)?;
    work.each_row(&index, observer, |work, row, observer| {
        let Some(entry) = row.entry.as_ref().filter(|entry| has_payload(entry)) else {
            return Ok(());
        };
        let stored = work.recode(entry, None, observer)?;
        let change = Edit {
            key: Field::Remove,
            digest: stored.and_then(|stored| stored.digest).map_or(Field::Keep, Field::Set),
            ..Edit::default()
        };
        update(work, &index, row, entry, &change)
    })?;

    let mut manifest: Dictionary = archive.manifest().as_dictionary().clone();
    manifest.insert("BackupKeyBag".to_owned(), Value::Data(new.bag));
    manifest.insert("IsEncrypted".to_owned(), false.into());
    manifest.remove("ManifestKey");
    let older = work.has_older_index();
    index.write(&work.staging, None, older, &mut pulse(observer))?;
    work.plists(Some(manifest))?;
    work.finish(Unlock::Plain, Some(new.kek), observer)
}

fn not_empty(password: SecretString) -> Result<SecretString, ChangeError> {
    match password.expose() {
        "" => Err(ChangeError::EmptyPassword),
        _ => Ok(password),
    }
}

fn require(archive: &Archive, wanted: Protection) -> Result<(), ChangeError> {
    match archive.protection() {
        Protection::AlreadyDecrypted => Err(ChangeError::AlreadyDecrypted),
        protection if protection == wanted => Ok(()),
        protection => Err(ChangeError::Password { protection }),
    }
}

/// Writes a row's changed record.
pub(super) fn update(
    work: &mut Work<'_>,
    index: &WorkIndex,
    row: &WorkRow,
    entry: &FileEntry,
    change: &Edit<'_>,
) -> Result<(), ChangeError> {
    let file_id = entry.file_id;
    let record = match work.archive.layout() {
        Layout::Current => edit(&row.record, change).map_err(|_| ChangeError::Record { file_id })?,
        Layout::Flat => edit_flat(&row.record, change)
            .map_err(|_| ChangeError::Record { file_id })?
            .encode()?,
    };
    index.update(row.row_id, &record)?;
    work.rows.changed = work.rows.changed.saturating_add(1);
    Ok(())
}

/// The bag of a backup without a password, under one; a new bag where there is none that opens.
fn encrypted_bag(
    archive: &Archive,
    password: &SecretString,
    options: &ChangeOptions,
    secrets: &mut Secrets,
    observer: &mut dyn Observer,
) -> Result<(Rekeyed, ClassKeys), ChangeError> {
    let two_stages = archive.layout() == Layout::Current;
    if let Some(bag) = archive.keybag() {
        let opened = bag
            .derive(b"", archive.round_limits(), observer)
            .and_then(|kek| bag.unwrap(&kek));
        match opened {
            Ok(keys) if keys.usable().any(|class| class == INDEX_CLASS) => {
                let new = rekey(bag, &keys, password, two_stages, options, secrets, observer)?;
                return Ok((new, keys));
            }
            Err(UnlockError::Cancelled) => return Err(ChangeError::Cancelled),
            // Its keys protect nothing but keychain items, and nobody can open those with it.
            _ => {}
        }
    }
    let rounds = options.rounds.unwrap_or((10_000_000, 10_000));
    let kind = BagKind {
        layout: archive.layout(),
        encrypted: true,
        rounds,
    };
    let new = NewKeybag::new(kind, secrets)?;
    let kek: Key = new.derive(password.expose().as_bytes(), observer)?;
    let bag = new.encode(&kek);
    let damaged = |e| ChangeError::Archive(ArchiveError::Keybag(e));
    let keys = Keybag::parse(&bag)
        .map_err(damaged)?
        .unwrap(&kek)
        .map_err(ArchiveError::from)?;
    Ok((Rekeyed { bag, kek }, keys))
}

/// Tells the observer how much of the index is written.
pub(super) fn pulse(observer: &mut dyn Observer) -> impl FnMut(u64) -> bool {
    let mut done = 0_u64;
    move |bytes| {
        done = done.saturating_add(bytes);
        observer
            .on_progress(&Progress::new(Phase::CopyingIndex, done, None))
            .is_continue()
    }
}
