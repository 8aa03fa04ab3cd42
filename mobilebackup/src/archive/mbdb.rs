//! `Manifest.mbdb` and `Manifest.mbdx`: the index of iOS 4 to 9 (spec backup-format, 7.1 and 7.2).

use std::io::{self, BufRead, Read, Seek, SeekFrom};

use super::file_id::FileId;

/// One record of `Manifest.mbdb`. Absent and empty strings are the same thing to a device and here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MbdbRecord {
    /// Domain, normally UTF-8.
    pub domain: Vec<u8>,
    /// Relative path, normally UTF-8; empty for the domain's root.
    pub path: Vec<u8>,
    /// Target of a symbolic link, an absolute path on the device.
    pub target: Vec<u8>,
    /// SHA-1 of the payload as stored, on some files: 20 bytes, or none.
    pub digest: Vec<u8>,
    /// The wrapped file key: 44 bytes, or none.
    pub encryption_key: Vec<u8>,
    /// Full `st_mode`: `0xA000` link, `0x8000` file, `0x4000` directory.
    pub mode: u16,
    /// Inode number on the device.
    pub inode: u64,
    /// Owner; -2 is common.
    pub user_id: i32,
    /// Group.
    pub group_id: i32,
    /// Unix seconds of the last change of the contents.
    pub modified: u32,
    /// Unix seconds of the last change of the record.
    pub status_changed: u32,
    /// Unix seconds of the creation.
    pub created: u32,
    /// Recorded length in bytes; not to be trusted, spec 6.3.
    pub size: u64,
    /// Protection class, 0 on links and directories.
    pub protection_class: u8,
    /// Extended attributes: name and raw value, in their order.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// `Manifest.mbdb` or `Manifest.mbdx` is damaged, or could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MbdbError {
    /// The file does not start as such a file does.
    #[error("the index does not start with `{magic}`")]
    Magic {
        /// What it should start with.
        magic: &'static str,
    },
    /// The record that starts at `offset` ends after the file does.
    #[error("the index is cut off inside the record at byte {offset}")]
    Truncated {
        /// Bytes from the start of the file.
        offset: u64,
    },
    /// The number of records in `Manifest.mbdx` does not fit its length.
    #[error("the index lists {listed} records and has room for {room}")]
    Count {
        /// What its header says.
        listed: u32,
        /// What its length allows.
        room: u64,
    },
    /// The file could not be read.
    #[error("the index could not be read")]
    Io(#[from] io::Error),
}

/// Reads `Manifest.mbdb` record by record, in constant memory.
///
/// After an error the reader is at its end: records have no marks to find the next one by.
#[derive(Debug)]
pub struct MbdbReader<R> {
    source: R,
    offset: u64,
    failed: bool,
}

impl<R: BufRead> MbdbReader<R> {
    /// What the file starts with: `mbdb`, version 5.0.
    pub const MAGIC: [u8; 6] = *b"mbdb\x05\x00";

    /// Checks the header.
    ///
    /// # Errors
    /// [`MbdbError::Magic`], [`MbdbError::Io`].
    pub fn new(mut source: R) -> Result<Self, MbdbError> {
        let mut magic = [0; 6];
        match source.read_exact(&mut magic) {
            Ok(()) if magic == Self::MAGIC => Ok(Self {
                source,
                offset: 6,
                failed: false,
            }),
            Err(e) if e.kind() != io::ErrorKind::UnexpectedEof => Err(e.into()),
            _ => Err(MbdbError::Magic { magic: "mbdb" }),
        }
    }

    /// The next record and where it starts, in bytes from the start of the file; `None` after the last.
    ///
    /// # Errors
    /// [`MbdbError::Truncated`], [`MbdbError::Io`].
    pub fn next_record(&mut self) -> Result<Option<(u64, MbdbRecord)>, MbdbError> {
        if self.failed || self.source.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let start = self.offset;
        match self.record() {
            Ok(record) => Ok(Some((start, record))),
            Err(e) => {
                self.failed = true;
                match e.kind() {
                    io::ErrorKind::UnexpectedEof => Err(MbdbError::Truncated { offset: start }),
                    _ => Err(e.into()),
                }
            }
        }
    }

    fn record(&mut self) -> io::Result<MbdbRecord> {
        let mut record = MbdbRecord {
            domain: self.string()?,
            path: self.string()?,
            target: self.string()?,
            digest: self.string()?,
            encryption_key: self.string()?,
            mode: u16::from_be_bytes(self.array()?),
            inode: u64::from_be_bytes(self.array()?),
            user_id: i32::from_be_bytes(self.array()?),
            group_id: i32::from_be_bytes(self.array()?),
            modified: u32::from_be_bytes(self.array()?),
            status_changed: u32::from_be_bytes(self.array()?),
            created: u32::from_be_bytes(self.array()?),
            size: u64::from_be_bytes(self.array()?),
            protection_class: u8::from_be_bytes(self.array()?),
            attributes: Vec::new(),
        };
        let attributes = u8::from_be_bytes(self.array()?);
        for _ in 0..attributes {
            let name = self.string()?;
            record.attributes.push((name, self.string()?));
        }
        Ok(record)
    }

    /// A length and that many bytes; `0xffff` stands for no string. Memory grows with what really arrives.
    fn string(&mut self) -> io::Result<Vec<u8>> {
        let len = u16::from_be_bytes(self.array()?);
        if len == u16::MAX {
            return Ok(Vec::new());
        }
        let mut out = Vec::new();
        self.source.by_ref().take(len.into()).read_to_end(&mut out)?;
        if out.len() != usize::from(len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset = self.offset.saturating_add(len.into());
        Ok(out)
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        self.offset = self.offset.saturating_add(N as u64);
        Ok(bytes)
    }
}

impl<R: BufRead + Seek> MbdbReader<R> {
    /// Goes to a record whose start is known from [`next_record`](MbdbReader::next_record).
    ///
    /// # Errors
    /// As the source's `seek`.
    pub fn seek_to(&mut self, offset: u64) -> io::Result<()> {
        self.source.seek(SeekFrom::Start(offset))?;
        self.offset = offset;
        self.failed = false;
        Ok(())
    }
}

/// One record of `Manifest.mbdx`, which iTunes 9.2 to 10.4 wrote beside `Manifest.mbdb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MbdxRecord {
    /// The file's id.
    pub file_id: FileId,
    /// Where its record starts in `Manifest.mbdb`, counted after that file's six bytes of header.
    pub offset: u32,
    /// Its `st_mode`.
    pub mode: u16,
}

/// Reads `Manifest.mbdx`. It repeats what `Manifest.mbdb` says and serves to report disagreement only.
///
/// # Errors
/// [`MbdbError::Magic`], [`MbdbError::Count`].
pub fn read_mbdx(bytes: &[u8]) -> Result<Vec<MbdxRecord>, MbdbError> {
    const MAGIC: [u8; 6] = *b"mbdx\x02\x00";
    const RECORD: usize = 26;
    let magic = MbdbError::Magic { magic: "mbdx" };
    let rest = bytes.strip_prefix(&MAGIC).ok_or(magic)?;
    let (count, records) = rest
        .split_first_chunk::<4>()
        .ok_or(MbdbError::Truncated { offset: 6 })?;
    let listed = u32::from_be_bytes(*count);
    let (records, rest) = records.as_chunks::<RECORD>();
    if !rest.is_empty() || u64::from(listed) != records.len() as u64 {
        return Err(MbdbError::Count {
            listed,
            room: records.len() as u64,
        });
    }
    Ok(records.iter().filter_map(mbdx_record).collect())
}

fn mbdx_record(record: &[u8; 26]) -> Option<MbdxRecord> {
    let (id, rest) = record.split_first_chunk::<20>()?;
    let (offset, mode) = rest.split_first_chunk::<4>()?;
    Some(MbdxRecord {
        file_id: FileId::from_bytes(*id),
        offset: u32::from_be_bytes(*offset),
        mode: u16::from_be_bytes(mode.try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::archive::golden::{self, bytes, opt_bytes};

    fn read_all(stored: &[u8]) -> Result<Vec<(u64, MbdbRecord)>, MbdbError> {
        let mut reader = MbdbReader::new(stored)?;
        let mut all = Vec::new();
        while let Some(record) = reader.next_record()? {
            all.push(record);
        }
        Ok(all)
    }

    #[test]
    fn every_field_of_the_known_records_comes_out() {
        let vectors = golden::vectors();
        let stored = bytes(&vectors["mbdb"]["mbdb"]);
        let records = read_all(&stored).unwrap();
        let expect = vectors["mbdb"]["records"].as_array().unwrap();
        assert_eq!(records.len(), expect.len());
        for ((offset, record), expect) in records.iter().zip(expect) {
            let text = |key: &str| expect[key].as_str().unwrap_or("").as_bytes().to_vec();
            let number = |key: &str| expect[key].as_i64().unwrap();
            assert_eq!((&record.domain, &record.path), (&text("domain"), &text("path")));
            assert_eq!(record.target, text("target"));
            assert_eq!(record.digest, opt_bytes(&expect["digest"]).unwrap_or_default());
            assert_eq!(record.encryption_key, opt_bytes(&expect["key"]).unwrap_or_default());
            assert_eq!(
                (i64::from(record.mode), record.inode),
                (number("mode"), expect["inode"].as_u64().unwrap())
            );
            assert_eq!(
                (i64::from(record.user_id), i64::from(record.group_id)),
                (number("uid"), number("gid"))
            );
            assert_eq!(i64::from(record.modified), number("mtime"));
            assert_eq!(i64::from(record.status_changed), number("ctime"));
            assert_eq!(i64::from(record.created), number("birth"));
            assert_eq!(record.size, expect["size"].as_u64().unwrap());
            assert_eq!(i64::from(record.protection_class), number("cls"));
            let attributes = expect["props"].as_array().unwrap();
            assert_eq!(record.attributes.len(), attributes.len());
            for ((name, value), pair) in record.attributes.iter().zip(attributes) {
                assert_eq!(name, pair[0].as_str().unwrap().as_bytes());
                assert_eq!(*value, bytes(&pair[1]));
            }
            let id = FileId::of(expect["domain"].as_str().unwrap(), expect["path"].as_str().unwrap());
            assert_eq!(id.to_string(), expect["file_id"].as_str().unwrap());
            assert_eq!(*offset, expect["index_offset"].as_u64().unwrap() + 6);
        }
    }

    #[test]
    fn the_older_index_says_the_same() {
        let vectors = golden::vectors();
        let listed = read_mbdx(&bytes(&vectors["mbdb"]["mbdx"])).unwrap();
        let records = read_all(&bytes(&vectors["mbdb"]["mbdb"])).unwrap();
        assert_eq!(listed.len(), records.len());
        for (offset, record) in &records {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let id = FileId::of(&text(&record.domain), &text(&record.path));
            let entry = listed.iter().find(|entry| entry.file_id == id).unwrap();
            assert_eq!((u64::from(entry.offset) + 6, entry.mode), (*offset, record.mode));
        }
    }

    #[test]
    fn a_record_can_be_found_again_by_its_place() {
        let stored = bytes(&golden::vectors()["mbdb"]["mbdb"]);
        let records = read_all(&stored).unwrap();
        let mut reader = MbdbReader::new(Cursor::new(&stored)).unwrap();
        for (offset, record) in records.iter().rev() {
            reader.seek_to(*offset).unwrap();
            assert_eq!(reader.next_record().unwrap(), Some((*offset, record.clone())));
        }
    }

    #[test]
    fn a_cut_index_names_the_record_that_is_cut() {
        let stored = bytes(&golden::vectors()["mbdb"]["mbdb"]);
        let starts: Vec<u64> = read_all(&stored).unwrap().iter().map(|(offset, _)| *offset).collect();
        for len in 0..stored.len() {
            let at = len as u64;
            match read_all(&stored[..len]) {
                Ok(records) => assert!(at == 6 || starts.contains(&at), "{len}: {}", records.len()),
                Err(MbdbError::Magic { .. }) => assert!(at < 6),
                Err(MbdbError::Truncated { offset }) => {
                    let start = starts.iter().rev().find(|start| **start < at).unwrap();
                    assert_eq!(offset, *start);
                }
                Err(other) => panic!("{other}"),
            }
        }
        let mut reader = MbdbReader::new(&stored[..stored.len() - 1]).unwrap();
        while let Ok(Some(_)) = reader.next_record() {}
        assert!(reader.next_record().unwrap().is_none(), "nothing follows an error");
    }

    #[test]
    fn wrong_headers_and_counts_are_refused() {
        assert!(matches!(
            MbdbReader::new(&b"mbdb\x06\x00"[..]),
            Err(MbdbError::Magic { .. })
        ));
        assert!(matches!(MbdbReader::new(&b""[..]), Err(MbdbError::Magic { .. })));
        assert!(matches!(
            read_mbdx(b"mbdx\x02\x00\xff\xff\xff\xff"),
            Err(MbdbError::Count { room: 0, .. })
        ));
        assert!(matches!(
            read_mbdx(b"mbdx\x02\x00\x00"),
            Err(MbdbError::Truncated { .. })
        ));
    }

    proptest! {
        #[test]
        fn mutated_indexes_never_panic(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
        ) {
            let vectors = golden::vectors();
            let mut stored = bytes(&vectors["mbdb"]["mbdb"]);
            let mut older = bytes(&vectors["mbdb"]["mbdx"]);
            for (at, value) in changes {
                let (a, b) = (at.index(stored.len()), at.index(older.len()));
                stored[a] = value;
                older[b] = value;
            }
            let _ = read_all(&stored);
            let _ = read_mbdx(&older);
        }
    }
}
