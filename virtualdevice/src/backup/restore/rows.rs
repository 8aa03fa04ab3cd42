//! The manifest's rows: checked, filtered, and turned into what is fetched and staged.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use super::super::error::LocalError;
use super::super::format::database::{self, Reader};
use super::super::format::record::Record;
use super::super::report::Skipped;
use super::super::{FileId, scope};
use super::receive::Wanted;
use super::stage::StagedEntry;
use crate::fs::{Fs, Kind, Meta};

/// A regular file of the manifest that will be fetched.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileRow {
    pub(super) rowid: i64,
    pub(super) id: FileId,
    pub(super) size: u64,
}

/// What of a manifest is brought back.
pub(super) struct Scope {
    pub(super) system_files: bool,
    pub(super) preserve_settings: bool,
    pub(super) fs: Fs,
}

impl Scope {
    fn skips(&self, domain: &str, path: &str) -> Option<Skipped> {
        if !self.system_files && scope::is_system(domain) {
            return Some(Skipped::SystemFile);
        }
        let kept = self.preserve_settings && scope::is_setting(domain, path);
        (kept && self.fs.get(domain, path).is_some()).then_some(Skipped::Setting)
    }
}

pub(super) struct Rows {
    pub(super) files: Vec<FileRow>,
    /// Directories and links.
    pub(super) others: Vec<StagedEntry>,
    pub(super) skipped: BTreeMap<Skipped, u64>,
}

pub(super) enum RowError {
    Local(LocalError),
    Invalid(&'static str),
}

pub(super) fn read_rows(place: &Path, scope: &Scope) -> Result<Rows, RowError> {
    let reader = Reader::open(place).map_err(|error| RowError::Local(error.into()))?;
    let mut rows = Rows {
        files: Vec::new(),
        others: Vec::new(),
        skipped: BTreeMap::new(),
    };
    let mut domains: HashMap<String, Arc<str>> = HashMap::new();
    let mut invalid = None;
    let read = reader.rows(|row| {
        let stop = |invalid: &mut Option<&'static str>, text| {
            *invalid = Some(text);
            Err(super::super::format::FormatError::Database(text))
        };
        if row.domain.is_empty() || row.domain.contains('/') {
            return stop(&mut invalid, "Domain name cannot contain a slash");
        }
        if !valid_path(row.path) || row.domain.contains('\0') {
            return stop(&mut invalid, "File path is invalid");
        }
        if row.id != FileId::of(row.domain, row.path) {
            return stop(&mut invalid, "Manifest references files not in backup");
        }
        let mut skip = |reason| {
            let count = rows.skipped.entry(reason).or_default();
            *count = count.saturating_add(1);
            Ok(())
        };
        if let Some(reason) = scope.skips(row.domain, row.path) {
            return skip(reason);
        }
        let record = Record::decode(row.file)?;
        match kind_of(row.flags, record.mode) {
            database::FILE => rows.files.push(FileRow {
                rowid: row.rowid,
                id: row.id,
                size: record.size,
            }),
            kind @ (database::DIRECTORY | database::SYMLINK) => {
                let domain = domains
                    .entry(row.domain.to_owned())
                    .or_insert_with(|| row.domain.into());
                let meta = meta_of(&record);
                let kind = match record.target {
                    Some(target) if kind == database::SYMLINK => Kind::Symlink(target),
                    _ if kind == database::SYMLINK => return skip(Skipped::UnknownKind),
                    _ => Kind::Directory,
                };
                let path = row.path.to_owned();
                rows.others.push(StagedEntry {
                    domain: Arc::clone(domain),
                    path,
                    kind,
                    meta,
                });
            }
            _ => return skip(Skipped::UnknownKind),
        }
        Ok(())
    });
    match (read, invalid) {
        (Ok(()), _) => Ok(rows),
        (Err(_), Some(text)) => Err(RowError::Invalid(text)),
        (Err(error), None) => Err(RowError::Local(error.into())),
    }
}

/// Third-party writers leave odd flags; the mode says the same.
fn kind_of(flags: i64, mode: u32) -> i64 {
    match (flags, mode & 0o170_000) {
        (database::FILE | database::DIRECTORY | database::SYMLINK, _) => flags,
        (_, 0o100_000) => database::FILE,
        (_, 0o040_000) => database::DIRECTORY,
        (_, 0o120_000) => database::SYMLINK,
        _ => 0,
    }
}

fn valid_path(path: &str) -> bool {
    path.is_empty()
        || (!path.contains('\0')
            && path
                .split('/')
                .all(|part| !part.is_empty() && part != "." && part != ".."))
}

/// One name of each domain, shared by all its entries.
pub(super) type Domains = HashMap<String, Arc<str>>;

/// Looks up the records of a batch.
pub(super) fn wanted(
    place: &Path,
    rows: &[FileRow],
    source: &str,
    mut domains: Domains,
) -> Result<(Vec<Wanted>, Domains), LocalError> {
    let reader = Reader::open(place)?;
    let mut out = Vec::with_capacity(rows.len());
    for row in rows {
        let record = Record::decode(&reader.file(row.rowid)?)?;
        let (domain, path) = reader.place(row.rowid)?;
        let domain = Arc::clone(
            domains
                .entry(domain)
                .or_insert_with_key(|domain| domain.as_str().into()),
        );
        // The column is what the id was checked against; a record that says otherwise is not believed.
        let record = Record { path, ..record };
        out.push(Wanted {
            path: format!("{source}/{}", row.id.stored_path()),
            domain,
            record,
        });
    }
    Ok((out, domains))
}

pub(super) fn meta_of(record: &Record) -> Meta {
    let nanoseconds = |seconds: i64| seconds.saturating_mul(1_000_000_000);
    let owner = |id: i64| i32::try_from(id).unwrap_or(501);
    Meta {
        mode: record.mode,
        uid: owner(record.uid),
        gid: owner(record.gid),
        // The number belongs to the phone that was backed up.
        inode: 0,
        mtime: nanoseconds(record.mtime),
        ctime: nanoseconds(record.ctime),
        btime: nanoseconds(record.birth),
        protection_class: record.class,
        flags: u32::try_from(record.flags).unwrap_or(0),
        xattrs: record.xattrs.clone(),
    }
}
