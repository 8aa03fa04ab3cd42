//! The same file in two backups, read side by side.

use std::io::{self, Read};

use super::change::ContentsVerdict;
use crate::archive::{Archive, ArchiveError, FileEntry, PayloadReader};

/// Bytes of each that are compared at once.
const CHUNK: usize = 64 << 10;

/// What a comparison has shown, and how much was read for it.
pub(super) struct Compared {
    pub(super) verdict: ContentsVerdict,
    pub(super) bytes: u64,
}

/// Compares the file of `entry`, which is the newer backup's, with the one of the same name in the older backup.
pub(super) fn compare(older: &Archive, newer: &Archive, entry: &FileEntry) -> Compared {
    let of_older = match older.entry_at(&entry.domain, &entry.path) {
        Ok(Some(found)) => older.read(&found),
        // It was there a moment ago; its row leads nowhere.
        Ok(None) => Err(ArchiveError::MissingPayload { file_id: entry.file_id }),
        Err(e) => Err(e),
    };
    let (mut bytes, verdict) = match (of_older, newer.read(entry)) {
        (Ok(mut a), Ok(mut b)) => {
            let mut bytes = 0;
            let verdict = side_by_side(&mut a, &mut b, &mut bytes);
            (bytes, verdict)
        }
        (a, b) => {
            let text = |outcome: Result<PayloadReader, ArchiveError>| outcome.err().map(|e| e.to_string());
            let (older, newer) = (text(a), text(b));
            (0, ContentsVerdict::Unreadable { older, newer })
        }
    };
    bytes = u64::saturating_mul(bytes, 2);
    Compared { verdict, bytes }
}

fn side_by_side(a: &mut PayloadReader, b: &mut PayloadReader, bytes: &mut u64) -> ContentsVerdict {
    // Real lengths, not the recorded ones.
    if a.len() != b.len() {
        return ContentsVerdict::Different;
    }
    let (mut chunk_a, mut chunk_b) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
    let fill = |reader: &mut PayloadReader, chunk: &mut Vec<u8>| -> io::Result<()> {
        chunk.clear();
        reader.take(CHUNK as u64).read_to_end(chunk).map(drop)
    };
    loop {
        let (read_a, read_b) = (fill(a, &mut chunk_a), fill(b, &mut chunk_b));
        if read_a.is_err() || read_b.is_err() {
            let text = |outcome: io::Result<()>| outcome.err().map(|e| e.to_string());
            return ContentsVerdict::Unreadable {
                older: text(read_a),
                newer: text(read_b),
            };
        }
        *bytes = bytes.saturating_add(chunk_a.len() as u64);
        if chunk_a != chunk_b {
            return ContentsVerdict::Different;
        }
        if chunk_a.is_empty() {
            return ContentsVerdict::Same;
        }
    }
}
