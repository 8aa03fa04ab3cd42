//! Writing `Manifest.mbdb` and `Manifest.mbdx` (spec backup-format, 7.1 and 7.2).

use std::io::{self, BufWriter, Write};
use std::path::Path;

use rusqlite::Connection;

use super::BuildError;
use super::staging::create_new;
use crate::archive::file_id::FileId;
use crate::archive::mbdb::{MbdbReader, MbdbRecord};

/// The longest string of the format, in bytes; one more stands for none.
const MAX_STRING: usize = 65_534;

impl MbdbRecord {
    /// The record as `Manifest.mbdb` stores it. Empty link targets, digests and keys are written as no string.
    ///
    /// # Errors
    /// [`BuildError::TooLong`] for a string of more than 65,534 bytes, or more than 255 attributes.
    pub fn encode(&self) -> Result<Vec<u8>, BuildError> {
        let mut out = Vec::with_capacity(256);
        put(&mut out, "domain", &self.domain, false)?;
        put(&mut out, "path", &self.path, false)?;
        put(&mut out, "link target", &self.target, true)?;
        put(&mut out, "digest", &self.digest, true)?;
        put(&mut out, "encryption key", &self.encryption_key, true)?;
        out.extend(self.mode.to_be_bytes());
        out.extend(self.inode.to_be_bytes());
        out.extend(self.user_id.to_be_bytes());
        out.extend(self.group_id.to_be_bytes());
        out.extend(self.modified.to_be_bytes());
        out.extend(self.status_changed.to_be_bytes());
        out.extend(self.created.to_be_bytes());
        out.extend(self.size.to_be_bytes());
        out.push(self.protection_class);
        let len = self.attributes.len();
        out.push(u8::try_from(len).map_err(|_| BuildError::TooLong {
            field: "extended attributes",
            len,
            max: u8::MAX.into(),
        })?);
        for (name, value) in &self.attributes {
            put(&mut out, "attribute name", name, false)?;
            put(&mut out, "attribute value", value, false)?;
        }
        Ok(out)
    }
}

fn put(out: &mut Vec<u8>, field: &'static str, value: &[u8], empty_is_none: bool) -> Result<(), BuildError> {
    if value.is_empty() && empty_is_none {
        out.extend([0xff; 2]);
        return Ok(());
    }
    let len = u16::try_from(value.len())
        .ok()
        .filter(|len| usize::from(*len) <= MAX_STRING);
    let len = len.ok_or(BuildError::TooLong {
        field,
        len: value.len(),
        max: MAX_STRING,
    })?;
    out.extend(len.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

/// What `Manifest.mbdx` repeats about one record.
struct Place {
    id: FileId,
    offset: u32,
    mode: [u8; 2],
}

/// In which order the rows of a flat index are written; readers must not care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    ByName,
    AsAdded,
}

/// Writes the rows that wait in a table as `Manifest.mbdb`, and as `Manifest.mbdx` if that is asked for.
pub(crate) fn write(rows: &Connection, order: Order, folder: &Path, with_older: bool) -> Result<(), BuildError> {
    let mut out = BufWriter::with_capacity(256 << 10, create_new(&folder.join("Manifest.mbdb"))?);
    out.write_all(&MbdbReader::<&[u8]>::MAGIC)?;
    let (mut places, mut offset) = (Vec::new(), 0_u64);
    let mut query = rows.prepare(match order {
        Order::ByName => "SELECT fileID, file FROM Files ORDER BY domain, relativePath",
        Order::AsAdded => "SELECT fileID, file FROM Files ORDER BY _rowid_",
    })?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let id = row.get_ref(0)?.as_bytes().ok().and_then(FileId::from_hex);
        let record = row.get_ref(1)?.as_blob().unwrap_or_default();
        if let Some(id) = id.filter(|_| with_older) {
            places.push(place(id, offset, record)?);
        }
        offset = offset.saturating_add(record.len() as u64);
        out.write_all(record)?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    if with_older {
        // Apple's is in the order of a hash table; that of the ids is as good and always the same.
        places.sort_unstable_by_key(|place| place.id);
        write_older(&folder.join("Manifest.mbdx"), &places)?;
    }
    Ok(())
}

fn place(id: FileId, offset: u64, record: &[u8]) -> Result<Place, BuildError> {
    let wrong = BuildError::TooLong {
        field: "Manifest.mbdb",
        len: usize::try_from(offset).unwrap_or(usize::MAX),
        max: u32::MAX as usize,
    };
    Ok(Place {
        id,
        offset: u32::try_from(offset).map_err(|_| wrong)?,
        mode: read(record).map_or(0, |record| record.mode).to_be_bytes(),
    })
}

/// A record of `Manifest.mbdb` on its own.
pub(crate) fn read(record: &[u8]) -> Option<MbdbRecord> {
    let whole = [&MbdbReader::<&[u8]>::MAGIC[..], record].concat();
    let mut reader = MbdbReader::new(whole.as_slice()).ok()?;
    Some(reader.next_record().ok()??.1)
}

fn write_older(path: &Path, places: &[Place]) -> Result<(), BuildError> {
    let count = u32::try_from(places.len()).unwrap_or(u32::MAX);
    let mut out = BufWriter::new(create_new(path)?);
    out.write_all(b"mbdx\x02\x00")?;
    out.write_all(&count.to_be_bytes())?;
    for place in places {
        out.write_all(place.id.as_bytes())?;
        out.write_all(&place.offset.to_be_bytes())?;
        out.write_all(&place.mode)?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::golden::{self, bytes};

    #[test]
    fn known_records_are_written_again_byte_for_byte() {
        let stored = bytes(&golden::vectors()["mbdb"]["mbdb"]);
        let mut reader = MbdbReader::new(stored.as_slice()).unwrap();
        let mut written = MbdbReader::<&[u8]>::MAGIC.to_vec();
        while let Some((_, record)) = reader.next_record().unwrap() {
            written.extend(record.encode().unwrap());
        }
        assert_eq!(hex::encode(written), hex::encode(stored));
    }

    #[test]
    fn what_has_no_room_is_refused() {
        let record = MbdbRecord {
            path: vec![b'x'; 65_535],
            ..Default::default()
        };
        assert!(matches!(
            record.encode(),
            Err(BuildError::TooLong {
                field: "path",
                len: 65_535,
                ..
            })
        ));
        let record = MbdbRecord {
            attributes: vec![(b"n".to_vec(), Vec::new()); 256],
            ..Default::default()
        };
        assert!(matches!(record.encode(), Err(BuildError::TooLong { len: 256, .. })));
    }
}
