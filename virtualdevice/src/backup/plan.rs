//! What a run has to do: the phone's files beside those of the manifest that the host handed back.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::LocalError;
use super::format::database::{self, Reader};
use super::format::keybag::ClassKeys;
use super::format::record::Record;
use super::state::Revisions;
use super::{FileId, scope};
use crate::fs::{Entry, Kind};

/// A manifest to build on.
#[derive(Debug)]
pub(super) struct Base {
    reader: Reader,
    rows: HashMap<FileId, BaseRow>,
    /// Known when this phone made that backup not long ago.
    revisions: Option<Arc<Revisions>>,
    /// When that backup began, Unix seconds: a file changed in that very second may have changed after it was read.
    began: i64,
}

#[derive(Clone, Copy, Debug)]
struct BaseRow {
    rowid: i64,
    is_file: bool,
}

/// What happens to one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A directory or a link: a row and no payload.
    Row,
    /// The payload is sent.
    Send,
    /// An earlier run that was cut off left the payload in `Snapshot`.
    Staged,
    /// The host has the payload; its record stays, with the key in it.
    Keep { rowid: i64 },
}

/// One entry of the backup to be.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) entry: Arc<Entry>,
    pub(super) id: FileId,
    pub(super) work: Work,
}

impl Item {
    pub(super) fn sends(&self) -> bool {
        self.work == Work::Send
    }
}

impl Base {
    /// Reads the ids of a manifest. Costs 60 bytes of memory per row.
    pub(super) fn load(
        reader: Reader,
        revisions: Option<Arc<Revisions>>,
        began: SystemTime,
    ) -> Result<Self, LocalError> {
        let mut rows = HashMap::new();
        reader.rows(|row| {
            rows.insert(
                row.id,
                BaseRow {
                    rowid: row.rowid,
                    is_file: row.flags == database::FILE,
                },
            );
            Ok(())
        })?;
        Ok(Self {
            reader,
            rows,
            revisions,
            began: unix_seconds(began),
        })
    }

    /// The archive of a kept row.
    pub(super) fn record(&self, rowid: i64) -> Result<Vec<u8>, LocalError> {
        Ok(self.reader.file(rowid)?)
    }

    /// Ids of the payloads that this backup has.
    pub(super) fn payloads(&self) -> impl Iterator<Item = FileId> {
        self.rows.iter().filter(|(_, row)| row.is_file).map(|(id, _)| *id)
    }

    /// Ids of payloads with the length their records give.
    pub(super) fn recorded_sizes(&self) -> Result<HashMap<FileId, u64>, LocalError> {
        let mut sizes = HashMap::new();
        self.reader.rows(|row| {
            if row.flags == database::FILE
                && let Ok(record) = Record::decode(row.file)
            {
                sizes.insert(row.id, record.size);
            }
            Ok(())
        })?;
        Ok(sizes)
    }

    /// Whether the payload of this file is the one the backup has.
    fn has(&self, entry: &Entry, id: FileId, keys: Option<&ClassKeys>) -> Result<Option<i64>, LocalError> {
        let Some(row) = self.rows.get(&id).filter(|row| row.is_file) else {
            return Ok(None);
        };
        let known = self.revisions.as_ref().and_then(|revisions| revisions.get(&id));
        if known.is_some_and(|revision| *revision != entry.revision) {
            return Ok(None);
        }
        let Ok(record) = Record::decode(&self.reader.file(row.rowid)?) else {
            return Ok(None);
        };
        let key_opens = match (keys, &record.key) {
            (None, None) => true,
            (Some(keys), Some(key)) => keys.unwrap_file_key(key, None).is_some(),
            _ => false,
        };
        let same = known.is_some() || self.looks_unchanged(entry, &record);
        Ok((key_opens && same).then_some(row.rowid))
    }

    /// Without revisions: size, times and inode number, and neither time so young that the clock's second hides a
    /// change.
    fn looks_unchanged(&self, entry: &Entry, record: &Record) -> bool {
        let meta = &entry.meta;
        let (mtime, ctime) = (seconds(meta.mtime), seconds(meta.ctime));
        let settled = mtime.max(ctime) < self.began.saturating_sub(1);
        settled
            && (record.size, record.inode) == (entry.len(), meta.inode)
            && (record.mtime, record.ctime) == (mtime, ctime)
    }
}

/// The whole plan, in the order of the snapshot: parents before children.
///
/// `keys` are those of an encrypted backup; without them only unencrypted records are kept.
pub(super) fn make(
    snapshot: Vec<Arc<Entry>>,
    base: Option<&Base>,
    keys: Option<&ClassKeys>,
    withhold_private: bool,
) -> Result<Vec<Item>, LocalError> {
    let mut items = Vec::with_capacity(snapshot.len());
    for entry in snapshot {
        if withhold_private && keys.is_none() && scope::is_private(&entry) {
            continue;
        }
        let id = FileId::of(&entry.domain, &entry.path);
        let work = match &entry.kind {
            Kind::File(_) => {
                let kept = base.map(|base| base.has(&entry, id, keys)).transpose()?.flatten();
                kept.map_or(Work::Send, |rowid| Work::Keep { rowid })
            }
            Kind::Directory | Kind::Symlink(_) => Work::Row,
        };
        items.push(Item { entry, id, work });
    }
    Ok(items)
}

/// The record of an entry, before key and digest are known.
pub(super) fn record_of(entry: &Entry) -> Record {
    let meta = &entry.meta;
    // Records of devices never have a time before 1970, and some readers do not expect one.
    let time = |nanoseconds| seconds(nanoseconds).max(0);
    Record {
        path: entry.path.to_string(),
        mode: meta.mode,
        size: entry.len(),
        mtime: time(meta.mtime),
        ctime: time(meta.ctime),
        birth: time(meta.btime),
        flags: i64::from(meta.flags),
        uid: i64::from(meta.uid),
        gid: i64::from(meta.gid),
        inode: meta.inode,
        class: if entry.is_file() {
            file_class(meta.protection_class)
        } else {
            meta.protection_class
        },
        target: entry.link_target().map(str::to_owned),
        key: None,
        digest: None,
        xattrs: meta.xattrs.clone(),
    }
}

/// Files are in classes 1 to 4; anything else gets the default of the system, "until first unlock".
pub(super) fn file_class(class: u8) -> u8 {
    if (1..=4).contains(&class) { class } else { 3 }
}

pub(super) fn flags_of(entry: &Entry) -> i64 {
    match entry.kind {
        Kind::File(_) => database::FILE,
        Kind::Directory => database::DIRECTORY,
        Kind::Symlink(_) => database::SYMLINK,
    }
}

fn seconds(nanoseconds: i64) -> i64 {
    nanoseconds.div_euclid(1_000_000_000)
}

fn unix_seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
