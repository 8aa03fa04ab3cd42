//! What a backup does not contain, and why (spec backup-format, 12).
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::Archive;
//! use cabled_mobilebackup::archive::completeness::{Gap, Reason};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/plain-v10");
//! let backup = Archive::open(folder)?;
//! let gaps = backup.completeness()?;
//! let health = gaps.iter().find(|gap| gap.what == "health").expect("a plain backup has none");
//! assert_eq!(health.reason, Reason::NotEncrypted);
//! println!("{health}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits together
//! [`verify`](super::verify) tells whether what should be there is there; this tells what was never meant to be. Every
//! [`Gap`] has a [`Reason`] and the [`Evidence`] for it in this very backup: a file that is absent, a setting, numbers
//! that do not meet, or nothing but what is known of all backups.
//!
//! # Limits
//! A backup does not say what it leaves out, so this is what can be concluded. What lies in iCloud is seen only where
//! an index of it is in the backup: the photo library counts pictures that are not there.

use std::fmt;

use super::entry::{FileEntry, Kind};
use super::layout::Protection;
use super::select::Category;
use super::sqlite::DatabaseOptions;
use super::{Archive, ArchiveError};

/// Instructions that a look into a database may take: some seconds.
const WORK: u64 = 2_000_000_000;

/// Why something is not in a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// Only encrypted backups have it, and this one is not.
    NotEncrypted,
    /// It is in iCloud, from where a restored phone loads it again.
    InCloud,
    /// It was put on the phone by a computer, which is to do so again.
    SyncedFromComputer,
    /// It comes from the App Store again.
    FromStore,
    /// An app or the system marked it as not to be backed up.
    Excluded,
    /// The backup was cut off before its end.
    CutOff,
    /// No backup of any sort has it.
    Never,
}

/// What shows that something is not there.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "evidence")]
#[non_exhaustive]
pub enum Evidence {
    /// The index has no such file.
    Absent {
        /// Its domain.
        domain: String,
        /// Its path.
        path: String,
    },
    /// A setting in one of the backup's own files says so.
    Setting {
        /// The file.
        file: &'static str,
        /// The key in it.
        key: String,
        /// Its value, or what of it matters.
        value: String,
    },
    /// Numbers that should be the same are not, or that say how much it is.
    Counted {
        /// What was counted.
        what: &'static str,
        /// How many there should be.
        listed: u64,
        /// How many are in the backup.
        present: u64,
    },
    /// Nothing in this backup: it is so with every one.
    General,
}

/// Something that a backup does not contain. `Display` gives one sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Gap {
    /// A stable name, such as `health` or `photos`.
    pub what: &'static str,
    /// Why it is not there.
    pub reason: Reason,
    /// What shows it.
    pub evidence: Vec<Evidence>,
    /// What it is, for people.
    pub description: &'static str,
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.reason {
            Reason::NotEncrypted => "is in encrypted backups only, and this one is not encrypted",
            Reason::InCloud => "is in iCloud and not in the backup",
            Reason::SyncedFromComputer => "is synced from a computer again after a restore",
            Reason::FromStore => "is loaded from the App Store again after a restore",
            Reason::Excluded => "is marked as not to be backed up",
            Reason::CutOff => "is missing because the backup was cut off",
            Reason::Never => "is in no backup",
        };
        write!(f, "{} {why}", self.description)?;
        let mut between = " (";
        for evidence in &self.evidence {
            match evidence {
                Evidence::Absent { domain, path } => write!(f, "{between}{domain}/{path} is absent")?,
                Evidence::Setting { file, key, value } => write!(f, "{between}{file}: {key} is {value}")?,
                Evidence::Counted { what, listed, present } => {
                    write!(f, "{between}{listed} {what}, {present} in the backup")?;
                }
                Evidence::General => continue,
            }
            between = "; ";
        }
        if between != " (" {
            f.write_str(")")?;
        }
        Ok(())
    }
}

impl Gap {
    const fn new(what: &'static str, reason: Reason, description: &'static str, evidence: Vec<Evidence>) -> Self {
        Self {
            what,
            reason,
            evidence,
            description,
        }
    }
}

/// What only encrypted backups contain: name, description and the category whose stores tell.
const ENCRYPTED_ONLY: [(&str, &str, Category); 6] = [
    ("health", "Health data", Category::Health),
    ("call_history", "The call history", Category::CallHistory),
    ("safari_history", "The history of websites", Category::Safari),
    ("wifi", "The list of known Wi-Fi networks", Category::Wifi),
    ("homekit", "HomeKit accessories and homes", Category::HomeKit),
    ("keychain", "Saved passwords", Category::Keychain),
];

/// What no backup contains.
const NEVER: [(&str, &str); 4] = [
    ("face_id", "Face ID and Touch ID data"),
    ("passcode", "The passcode"),
    ("apple_pay", "Apple Pay cards"),
    (
        "device_bound_passwords",
        "A password that is bound to the device (readable by no other one)",
    ),
];

/// What a pass over the index counts.
#[derive(Default)]
struct Counted {
    pictures: u64,
    excluded: u64,
}

impl Counted {
    fn see(&mut self, entry: &FileEntry) {
        let is_picture = entry.kind == Kind::File
            && &*entry.domain == "CameraRollDomain"
            && (entry.path.starts_with("Media/DCIM/") || entry.path.starts_with("Media/PhotoData/CPLAssets/"));
        self.pictures = self.pictures.saturating_add(is_picture.into());
        let attributes = entry.attributes().unwrap_or_default();
        let is_excluded = attributes.keys().any(|name| name.ends_with("Backup_excludeItem"));
        self.excluded = self.excluded.saturating_add(is_excluded.into());
    }
}

impl Archive {
    /// What this backup does not contain and why. One pass over the index and a look into the photo library.
    ///
    /// # Errors
    /// [`ArchiveError::Locked`], and as [`rows`](Archive::rows) if the index is damaged. A photo library that does not
    /// open is left out.
    pub fn completeness(&self) -> Result<Vec<Gap>, ArchiveError> {
        let mut counted = Counted::default();
        for entry in self.entries()? {
            counted.see(&entry?);
        }
        let mut gaps = Vec::new();
        self.cut_off(&mut gaps);
        if self.protection() == Protection::Plain {
            self.not_encrypted(&mut gaps)?;
        }
        gaps.extend(self.photos_elsewhere(counted.pictures)?);
        self.accounts_elsewhere(&mut gaps)?;
        let apps = self.manifest().applications().count() as u64;
        gaps.push(Gap::new(
            "apps",
            Reason::FromStore,
            "An app itself, as against its data,",
            vec![Evidence::Counted {
                what: "apps are listed",
                listed: apps,
                present: 0,
            }],
        ));
        gaps.push(self.synced_media());
        if counted.excluded > 0 {
            gaps.push(Gap::new(
                "excluded",
                Reason::Excluded,
                "What an app marked so",
                vec![Evidence::Counted {
                    what: "marked files are listed",
                    listed: counted.excluded,
                    present: counted.excluded,
                }],
            ));
        } else {
            let general = vec![Evidence::General];
            gaps.push(Gap::new(
                "caches",
                Reason::Excluded,
                "What apps keep as a cache",
                general,
            ));
        }
        let never = NEVER.into_iter();
        gaps.extend(never.map(|(what, text)| Gap::new(what, Reason::Never, text, vec![Evidence::General])));
        Ok(gaps)
    }

    fn cut_off(&self, gaps: &mut Vec<Gap>) {
        if self.is_incomplete() {
            let state = self.status().and_then(|status| status.snapshot_state());
            gaps.push(Gap::new(
                "rest",
                Reason::CutOff,
                "Whatever the phone had still to send",
                vec![Evidence::Setting {
                    file: "Status.plist",
                    key: "SnapshotState".to_owned(),
                    value: state.unwrap_or("absent").to_owned(),
                }],
            ));
        }
    }

    /// What this backup lacks for not being encrypted. Some releases of iOS put some of it into plain backups: what is
    /// there is no gap, but for passwords, which are there and do not open.
    fn not_encrypted(&self, gaps: &mut Vec<Gap>) -> Result<(), ArchiveError> {
        for (what, description, category) in ENCRYPTED_ONLY {
            let (mut evidence, mut present) = (Vec::new(), false);
            for (domain, path) in category.places().iter().filter_map(|place| place.single_file()) {
                // Bookmarks are in every backup.
                if category == Category::Safari && !path.ends_with("History.db") {
                    continue;
                }
                match self.entry_at(domain, path)? {
                    Some(_) => present = true,
                    None => evidence.push(Evidence::Absent {
                        domain: domain.to_owned(),
                        path: path.to_owned(),
                    }),
                }
            }
            if present && category != Category::Keychain {
                continue;
            }
            if present {
                evidence = vec![Evidence::Setting {
                    file: "Manifest.plist",
                    key: "IsEncrypted".to_owned(),
                    value: "false".to_owned(),
                }];
            }
            gaps.push(Gap::new(what, Reason::NotEncrypted, description, evidence));
        }
        Ok(())
    }

    /// Pictures that the library lists and the backup lacks.
    fn photos_elsewhere(&self, present: u64) -> Result<Option<Gap>, ArchiveError> {
        let Some(library) = self.entry_at("CameraRollDomain", "Media/PhotoData/Photos.sqlite")? else {
            return Ok(None);
        };
        let options = DatabaseOptions::default().work_limit(WORK);
        let database = match self.open_database_with(&library, options) {
            Ok(database) => database,
            Err(e) => {
                tracing::warn!(error = %e, "the photo library does not open");
                return Ok(None);
            }
        };
        // iOS 14 renamed the table.
        let assets = ["ZASSET", "ZGENERICASSET"].into_iter().find_map(|table| {
            let count = format!("SELECT count(*) FROM {table}");
            database
                .connection()
                .query_row(&count, [], |row| row.get::<_, i64>(0))
                .ok()
        });
        let listed = assets.and_then(|assets| u64::try_from(assets).ok()).unwrap_or(0);
        Ok((listed > present).then(|| {
            let evidence = Evidence::Counted {
                what: "pictures and videos are in the library",
                listed,
                present,
            };
            Gap::new("photos", Reason::InCloud, "A part of the photos", vec![evidence])
        }))
    }

    /// Stores that are absent although accounts keep something of that sort, and messages.
    fn accounts_elsewhere(&self, gaps: &mut Vec<Gap>) -> Result<(), ArchiveError> {
        const STORES: [(&str, &str, &str, Category); 3] = [
            ("Contacts", "contacts", "A contact of an account", Category::Contacts),
            ("Calendars", "calendar", "A calendar of an account", Category::Calendar),
            ("Notes", "notes", "A note of an account", Category::Notes),
        ];
        for (key, what, description, category) in STORES {
            let accounts = self
                .manifest()
                .lockdown("com.apple.mobile.data_sync")
                .and_then(|sync| {
                    sync.as_dictionary()?
                        .get(key)?
                        .as_dictionary()?
                        .get("AccountNames")?
                        .as_array()
                })
                .map(|names| names.iter().filter_map(|name| name.as_string()).collect::<Vec<_>>())
                .unwrap_or_default();
            let mut evidence = self.absent_stores(category)?;
            if accounts.is_empty() || evidence.is_empty() {
                continue;
            }
            evidence.push(Evidence::Setting {
                file: "Manifest.plist",
                key: format!("com.apple.mobile.data_sync/{key}"),
                value: accounts.join(", ").chars().take(200).collect(),
            });
            gaps.push(Gap::new(what, Reason::InCloud, description, evidence));
        }
        let evidence = self.absent_stores(Category::Messages)?;
        if !evidence.is_empty() {
            gaps.push(Gap::new("messages", Reason::InCloud, "The store of messages", evidence));
        }
        Ok(())
    }

    /// Every known store of a category, if none of them is there.
    fn absent_stores(&self, category: Category) -> Result<Vec<Evidence>, ArchiveError> {
        let mut absent = Vec::new();
        for (domain, path) in category.places().iter().filter_map(|place| place.single_file()) {
            if self.entry_at(domain, path)?.is_some() {
                return Ok(Vec::new());
            }
            absent.push(Evidence::Absent {
                domain: domain.to_owned(),
                path: path.to_owned(),
            });
        }
        Ok(absent)
    }

    fn synced_media(&self) -> Gap {
        let info = self.info().map(|info| info.as_dictionary());
        let evidence = ["Sync Settings", "iTunes Settings"].into_iter().find_map(|key| {
            let settings = info?
                .get(key)?
                .as_dictionary()
                .filter(|settings| !settings.is_empty())?;
            Some(Evidence::Setting {
                file: "Info.plist",
                key: key.to_owned(),
                value: format!("a list of {} settings", settings.len()),
            })
        });
        Gap::new(
            "synced_media",
            Reason::SyncedFromComputer,
            "Music, films and pictures that a computer put on the phone: what",
            vec![evidence.unwrap_or(Evidence::General)],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::build::{BuildOptions, Builder, Details};
    use crate::archive::golden;

    fn gap<'a>(gaps: &'a [Gap], what: &str) -> Option<&'a Gap> {
        gaps.iter().find(|gap| gap.what == what)
    }

    #[test]
    fn a_plain_backup_lacks_what_only_encrypted_ones_have() {
        let plain = Archive::open(golden::folder().join("synthetic/plain-v10")).unwrap();
        let gaps = plain.completeness().unwrap();
        for (what, ..) in ENCRYPTED_ONLY {
            let gap = gap(&gaps, what).unwrap_or_else(|| panic!("{what}"));
            assert_eq!(gap.reason, Reason::NotEncrypted);
            assert!(
                !gap.evidence.is_empty() && !gap.evidence.contains(&Evidence::General),
                "{gap}"
            );
        }
        let mut encrypted = Archive::open(golden::folder().join("synthetic/enc-v10")).unwrap();
        assert!(matches!(encrypted.completeness(), Err(ArchiveError::Locked)));
        encrypted.unlock("vector-pass-1").unwrap();
        let gaps = encrypted.completeness().unwrap();
        assert!(gaps.iter().all(|gap| gap.reason != Reason::NotEncrypted));
        assert!(gap(&gaps, "passcode").is_some());
    }

    #[test]
    fn pictures_that_only_the_library_knows_are_in_the_cloud() {
        let root = tempfile::tempdir().unwrap();
        let library = root.path().join("library");
        let db = rusqlite::Connection::open(&library).unwrap();
        db.execute_batch("CREATE TABLE ZASSET (Z_PK INTEGER PRIMARY KEY); INSERT INTO ZASSET VALUES (1), (2), (3)")
            .unwrap();
        drop(db);
        let mut builder = Builder::create(root.path().join("backup"), BuildOptions::default()).unwrap();
        let details = Details::default();
        let library = std::fs::read(&library).unwrap();
        builder
            .file(
                "CameraRollDomain",
                "Media/PhotoData/Photos.sqlite",
                &library[..],
                &details,
            )
            .unwrap();
        builder
            .file(
                "CameraRollDomain",
                "Media/DCIM/100APPLE/IMG_0001.JPG",
                &b"x"[..],
                &details,
            )
            .unwrap();
        let name = "com.apple.metadata:com_apple_cloudBackup_excludeItem";
        let marked = details.clone().attribute(name, b"1".to_vec());
        builder
            .file("AppDomain-x", "Documents/big.bin", &b"x"[..], &marked)
            .unwrap();
        let backup = Archive::open(builder.finish().unwrap().folder).unwrap();
        let gaps = backup.completeness().unwrap();
        let photos = gap(&gaps, "photos").unwrap();
        assert_eq!(
            photos.to_string(),
            "A part of the photos is in iCloud and not in the backup \
             (3 pictures and videos are in the library, 1 in the backup)"
        );
        assert!(matches!(
            gap(&gaps, "excluded").unwrap().evidence[..],
            [Evidence::Counted { listed: 1, .. }]
        ));
        assert!(gap(&gaps, "messages").is_some(), "this backup has no store of messages");
        let json = serde_json::to_value(photos).unwrap();
        assert_eq!(json["evidence"][0]["listed"], 3);
    }
}
