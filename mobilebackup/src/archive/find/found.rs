//! One backup as its folder and its property lists show it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use cabled_wire::plist::Value;
use serde::{Serialize, Serializer};

use super::name::{ArchivedAt, FolderName};
use super::roots::System;
use super::{FindError, Size, size};
use crate::archive::keybag::Keybag;
use crate::archive::layout::{self, Layout, OpenNote, damaged};
use crate::archive::observe::Observer;
use crate::archive::plists::{Info, Manifest, Status};
use crate::archive::{ArchiveError, OpenOptions};

/// A backup that was found and not opened. Everything comes from the folder's name and from the property lists, which
/// anybody can read and change; nothing needs a password.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct FoundBackup {
    /// Where it is.
    pub folder: PathBuf,
    /// The device's UDID: what the property lists say, otherwise what the folder is named.
    pub udid: Option<String>,
    /// When Finder or iTunes archived it; `None` for the backup that goes on being updated.
    pub archived: Option<ArchivedAt>,
    /// The device's name.
    pub device_name: Option<String>,
    /// The name shown by Finder and iTunes; that of an archived backup has its date in it.
    pub display_name: Option<String>,
    /// Such as `iPhone12,1`.
    pub product_type: Option<String>,
    /// The marketing name, if the program that made the backup wrote it.
    pub product_name: Option<String>,
    /// The version of iOS.
    pub product_version: Option<String>,
    /// The phone number, if there is one.
    pub phone_number: Option<String>,
    /// Start of the last backup, by the computer's clock if known, otherwise by the device's. Unix seconds in JSON.
    #[serde(serialize_with = "unix_seconds")]
    pub last_backup: Option<SystemTime>,
    /// Whether a password is needed; `None` if `Manifest.plist` is missing or damaged.
    pub encrypted: Option<bool>,
    /// Whether the last run came to its end; `None` if `Status.plist` is missing or damaged.
    pub finished: Option<bool>,
    /// Which index there is; `None` if there is none.
    pub layout: Option<Layout>,
    /// How many apps it lists.
    pub apps: usize,
    /// Why it cannot be opened, if that shows already. Text in JSON.
    #[serde(serialize_with = "text_of")]
    pub problem: Option<ArchiveError>,
    /// What else is odd: missing lists, a run that was cut off.
    pub notes: Vec<OpenNote>,
}

impl FoundBackup {
    fn new(folder: &Path) -> Self {
        let name = folder
            .file_name()
            .map(|name| name.to_string_lossy())
            .unwrap_or_default();
        let name = FolderName::parse(&name);
        Self {
            folder: folder.to_owned(),
            udid: name.is_udid().then(|| name.device.to_owned()),
            archived: name.archived,
            device_name: None,
            display_name: None,
            product_type: None,
            product_name: None,
            product_version: None,
            phone_number: None,
            last_backup: None,
            encrypted: None,
            finished: None,
            layout: None,
            apps: 0,
            problem: None,
            notes: Vec::new(),
        }
    }

    /// Whether nothing speaks against opening it. It may still be [unfinished](FoundBackup::finished).
    #[must_use]
    pub const fn is_usable(&self) -> bool {
        self.problem.is_none()
    }

    /// How much room it takes. Walks all of its files: seconds to minutes for a large one. Links inside are not
    /// followed.
    ///
    /// # Errors
    /// [`ArchiveError::Io`], [`ArchiveError::Cancelled`].
    pub fn size_on_disk(&self, observer: &mut dyn Observer) -> Result<Size, ArchiveError> {
        size::of_folder(&self.folder, observer)
    }

    fn take_info(&mut self, info: &Info) {
        let text = |text: Option<&str>| text.map(str::to_owned);
        self.device_name = text(info.device_name());
        self.display_name = text(info.display_name());
        self.product_type = text(info.product_type());
        self.product_name = text(info.product_name());
        self.product_version = text(info.product_version());
        self.phone_number = text(info.phone_number());
        self.last_backup = info.last_backup_date();
        let told = info.target_identifier().or_else(|| info.unique_identifier());
        self.udid = text(told).or_else(|| self.udid.take());
    }

    /// What `Info.plist` did not say.
    fn take_manifest(&mut self, manifest: &Manifest) {
        let lockdown = |key| manifest.lockdown(key).and_then(Value::as_string).map(str::to_owned);
        let fill = |known: &mut Option<String>, key| {
            if known.is_none() {
                *known = lockdown(key);
            }
        };
        fill(&mut self.device_name, "DeviceName");
        fill(&mut self.product_type, "ProductType");
        fill(&mut self.product_version, "ProductVersion");
        fill(&mut self.udid, "UniqueDeviceID");
        self.last_backup = self.last_backup.or_else(|| manifest.date());
        self.encrypted = manifest.is_encrypted().ok();
        let apps = manifest.applications().filter(|(_, app)| {
            let class = app.get("ContainerContentClass").and_then(Value::as_string);
            class.is_none_or(|class| class == "Data/Application")
        });
        self.apps = apps.count();
    }
}

/// Describes the backup in `folder`: `None` if there is none.
///
/// # Errors
/// [`FindError`], if the folder cannot be read. A backup that is damaged is described, with
/// [`problem`](FoundBackup::problem) saying how.
pub fn describe(folder: impl AsRef<Path>) -> Result<Option<FoundBackup>, FindError> {
    let folder = folder.as_ref();
    let system = System::of_this_process();
    let meta = fs::metadata(folder).map_err(|e| FindError::new(folder, e, system))?;
    if !meta.is_dir() {
        return Err(FindError::NotAFolder {
            folder: folder.to_owned(),
        });
    }
    fs::read_dir(folder).map_err(|e| FindError::new(folder, e, system))?;
    Ok(describe_any(folder))
}

/// As [`describe`]; a folder that looks like a backup and cannot be read is described as far as its name goes.
pub(super) fn describe_any(folder: &Path) -> Option<FoundBackup> {
    let is_there = |name: &str| match fs::metadata(folder.join(name)) {
        Ok(meta) => Ok(meta.is_file()),
        Err(e) if layout::is_absent(&e) => Ok(false),
        Err(e) => Err(e),
    };
    let any = |names: &[&str]| -> io::Result<bool> {
        for name in names {
            if is_there(name)? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    let mut found = FoundBackup::new(folder);
    let named_by_udid = found.udid.is_some();
    match any(&["Manifest.plist", "Manifest.db", "Manifest.mbdb"]) {
        Ok(true) => {}
        // What a first backup that was cut off has.
        Ok(false) => {
            if !(named_by_udid && any(&["Info.plist", "Status.plist"]).unwrap_or(false)) {
                return None;
            }
        }
        Err(e) => {
            tracing::debug!(folder = %folder.display(), error = %e, "folder of backups not readable");
            found.problem = Some(e.into());
            return named_by_udid.then_some(found);
        }
    }
    if let Err(problem) = read_lists(&mut found) {
        found.problem = Some(problem);
    }
    Some(found)
}

/// Reads the three lists, and says why [`Archive::open`](crate::archive::Archive::open) would refuse.
fn read_lists(found: &mut FoundBackup) -> Result<(), ArchiveError> {
    let folder = found.folder.clone();
    let info = layout::descriptive(&folder, "Info.plist", Info::parse, &mut found.notes)?;
    if let Some(info) = &info {
        found.take_info(info);
    }
    let status = layout::descriptive(&folder, "Status.plist", Status::parse, &mut found.notes)?;
    found.finished = status.as_ref().map(Status::is_finished);
    layout::note_state(&folder, status.as_ref(), &mut found.notes)?;
    let index = layout::find_index(&folder)?;
    found.layout = index.as_ref().map(|index| index.layout);
    let manifest = match layout::read_plist(&folder, "Manifest.plist")? {
        Some(bytes) => Some(Manifest::parse(&bytes).map_err(damaged("Manifest.plist"))?),
        None => None,
    };
    if let Some(manifest) = &manifest {
        found.take_manifest(manifest);
    }
    let Some(index) = index else {
        return Err(layout::without_index(&folder, manifest.as_ref()));
    };
    let Some(manifest) = manifest else {
        return Err(ArchiveError::NoManifest {
            index_is_plain: index.is_readable(),
        });
    };
    let protection = layout::protection_of(&manifest, &index, &OpenOptions::default(), &mut found.notes)?;
    let keybag = manifest.backup_keybag().map_err(damaged("Manifest.plist"))?;
    if protection == layout::Protection::Encrypted {
        Keybag::parse(keybag.ok_or(ArchiveError::NoKeybag)?)?;
    }
    Ok(())
}

fn unix_seconds<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    let seconds = time.map(|time| match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, i64::wrapping_neg),
    });
    seconds.serialize(serializer)
}

fn text_of<S: Serializer>(problem: &Option<ArchiveError>, serializer: S) -> Result<S::Ok, S::Error> {
    problem.as_ref().map(ToString::to_string).serialize(serializer)
}
