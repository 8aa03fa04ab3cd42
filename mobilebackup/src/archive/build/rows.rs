//! The row of a new entry, and which directories must have rows because of it.

use std::collections::HashSet;
use std::time::SystemTime;

use cabled_wire::plist::{self, Dictionary, Value};

use super::BuildError;
use super::index::NewRow;
use super::options::{Details, DigestMode};
use crate::archive::entry::Kind;
use crate::archive::file_id::FileId;
use crate::archive::layout::Layout;
use crate::archive::mbdb::MbdbRecord;
use crate::archive::mbfile::MbFile;
use crate::archive::wrap::WrappedKey;

/// Domains whose files have a digest (spec backup-format, 5.3).
const WITH_DIGEST: [&str; 11] = [
    "HomeDomain",
    "RootDomain",
    "HealthDomain",
    "WirelessDomain",
    "SystemPreferencesDomain",
    "DatabaseDomain",
    "HomeKitDomain",
    "InstallDomain",
    "ManagedPreferencesDomain",
    "KeyboardDomain",
    "KeychainDomain",
];

/// The user `mobile`, to whom nearly everything belongs.
const MOBILE: i32 = 501;

/// The class of files that say nothing about it: until first unlock.
const USUAL_CLASS: u32 = 3;

/// Whether a file of this domain gets a digest.
pub(crate) fn wants_digest(mode: DigestMode, domain: &str) -> bool {
    match mode {
        DigestMode::Auto => WITH_DIGEST.contains(&domain),
        DigestMode::Always => true,
        DigestMode::Never => false,
    }
}

/// Extended attributes as a record holds them: a property list of its own.
pub(crate) fn encode_attributes(details: &Details) -> Option<Vec<u8>> {
    if details.attributes.is_empty() {
        return None;
    }
    let pairs = details.attributes.iter();
    let pairs = pairs.map(|(name, value)| (name.clone(), Value::Data(value.clone())));
    Some(plist::to_binary(&Value::Dictionary(pairs.collect::<Dictionary>())))
}

/// Times before 1970 make other readers fail, for the whole backup.
pub(crate) fn refuse_early_times(details: &Details) -> Result<(), BuildError> {
    let times = [
        ("LastModified", details.modified),
        ("LastStatusChange", details.status_changed),
        ("Birth", details.created),
    ];
    match times
        .into_iter()
        .find_map(|(field, value)| Some((field, value.filter(|value| *value < 0)?)))
    {
        Some((field, value)) => Err(BuildError::Range { field, value }),
        None => Ok(()),
    }
}

/// Whole seconds since 1970, 0 before.
pub(crate) fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// An entry that is about to get its row.
pub(crate) struct NewEntry<'a> {
    pub(crate) id: FileId,
    pub(crate) kind: Kind,
    pub(crate) domain: &'a str,
    pub(crate) path: &'a str,
    pub(crate) class: u32,
    pub(crate) size: u64,
    pub(crate) target: Option<&'a str>,
    pub(crate) digest: Option<[u8; 20]>,
    pub(crate) key: Option<WrappedKey>,
    details: &'a Details,
    mode: u32,
    inode: u64,
    modified: i64,
    status_changed: i64,
    created: i64,
}

impl<'a> NewEntry<'a> {
    pub(crate) fn new(
        kind: Kind,
        domain: &'a str,
        path: &'a str,
        details: &'a Details,
        now: i64,
        inode: u64,
    ) -> Result<Self, BuildError> {
        let (kind_bits, usual) = match kind {
            Kind::Directory => (0o040_000, 0o755),
            Kind::Symlink => (0o120_000, 0o755),
            Kind::File | Kind::Unknown => (0o100_000, 0o644),
        };
        let class = match kind {
            Kind::File => details.protection_class.unwrap_or(USUAL_CLASS),
            _ => 0,
        };
        if kind == Kind::File && !(1..=4).contains(&class) {
            return Err(BuildError::ProtectionClass { class });
        }
        let modified = details.modified.unwrap_or(now);
        let entry = Self {
            id: FileId::of(domain, path),
            kind,
            domain,
            path,
            class,
            size: 0,
            target: None,
            digest: None,
            key: None,
            details,
            mode: kind_bits | (details.mode.unwrap_or(usual) & 0o7777),
            inode: details.inode.unwrap_or(inode),
            modified,
            status_changed: details.status_changed.unwrap_or(modified),
            created: details.created.unwrap_or(modified),
        };
        refuse_early_times(details)?;
        Ok(entry)
    }

    const fn times(&self) -> [(&'static str, i64); 3] {
        [
            ("LastModified", self.modified),
            ("LastStatusChange", self.status_changed),
            ("Birth", self.created),
        ]
    }

    /// The record in the form that the layout's index has.
    pub(crate) fn encode(&self, layout: Layout) -> Result<Vec<u8>, BuildError> {
        match layout {
            Layout::Current => Ok(self.encode_current()),
            Layout::Flat => self.flat()?.encode(),
        }
    }

    fn encode_current(&self) -> Vec<u8> {
        let key = self.key.map(|key| key.encode());
        let attributes = encode_attributes(self.details);
        let record = MbFile {
            relative_path: self.path.into(),
            size: self.size,
            mode: self.mode,
            flags: self.details.flags.unwrap_or(0),
            user_id: self.details.user.unwrap_or(MOBILE).into(),
            group_id: self.details.group.unwrap_or(MOBILE).into(),
            inode: self.inode,
            last_modified: Some(self.modified),
            last_status_change: Some(self.status_changed),
            birth: Some(self.created),
            protection_class: self.class,
            target: self.target.map(Into::into),
            encryption_key: key.as_ref().map(<[u8; 44]>::as_slice),
            digest: self.digest.as_ref().map(<[u8; 20]>::as_slice),
            extended_attributes: attributes.as_deref(),
        };
        record.encode()
    }

    fn flat(&self) -> Result<MbdbRecord, BuildError> {
        let short =
            |(field, value): (&'static str, i64)| u32::try_from(value).map_err(|_| BuildError::Range { field, value });
        let [modified, status_changed, created] = self.times();
        let attributes = self.details.attributes.iter();
        Ok(MbdbRecord {
            domain: self.domain.into(),
            path: self.path.into(),
            target: self.target.unwrap_or_default().into(),
            digest: self.digest.map(Vec::from).unwrap_or_default(),
            encryption_key: self.key.map(|key| key.encode().to_vec()).unwrap_or_default(),
            mode: self.short_mode(),
            inode: self.inode,
            user_id: self.details.user.unwrap_or(MOBILE),
            group_id: self.details.group.unwrap_or(MOBILE),
            modified: short(modified)?,
            status_changed: short(status_changed)?,
            created: short(created)?,
            size: self.size,
            protection_class: u8::try_from(self.class).unwrap_or_default(),
            attributes: attributes
                .map(|(name, value)| (name.clone().into(), value.clone()))
                .collect(),
        })
    }

    /// Type and permissions have 16 bits.
    fn short_mode(&self) -> u16 {
        u16::try_from(self.mode).unwrap_or_default()
    }

    pub(crate) fn row<'r>(&'r self, layout: Layout, record: &'r [u8]) -> NewRow<'r> {
        let flags = match (layout, self.kind) {
            (Layout::Flat, _) => 0,
            (Layout::Current, Kind::Directory) => 2,
            (Layout::Current, Kind::Symlink) => 4,
            (Layout::Current, Kind::File | Kind::Unknown) => 1,
        };
        NewRow {
            id: self.id,
            domain: self.domain,
            path: self.path,
            flags,
            record,
        }
    }
}

/// Directories that have a row. Some 60 bytes each.
#[derive(Debug, Default)]
pub(crate) struct Parents {
    known: HashSet<FileId>,
    /// Of those, the ones that nobody asked for.
    implied: HashSet<FileId>,
}

impl Parents {
    pub(crate) fn know(&mut self, id: FileId) {
        self.known.insert(id);
    }

    pub(crate) fn imply(&mut self, id: FileId) {
        self.implied.insert(id);
    }

    /// Whether the row is there and nobody asked for it; from now on somebody has.
    pub(crate) fn take_implied(&mut self, id: &FileId) -> bool {
        self.implied.remove(id)
    }

    /// Calls `visit` with every directory above `path` that has no row yet, the domain's root included.
    pub(crate) fn missing<'p>(&mut self, domain: &str, path: &'p str, mut visit: impl FnMut(&'p str)) {
        let mut rest = path;
        while !rest.is_empty() {
            rest = rest.rsplit_once('/').map_or("", |(above, _)| above);
            if !self.known.insert(FileId::of(domain, rest)) {
                // What is above a known directory is known.
                return;
            }
            visit(rest);
        }
    }
}
