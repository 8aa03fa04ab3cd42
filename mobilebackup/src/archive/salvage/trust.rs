//! How far a file that was found can be trusted: its row, its key and its payload against each other.

use std::io::Read;
use std::ops::ControlFlow;

use sha1::{Digest, Sha1};

use super::Salvage;
use super::entry::{FoundBy, SalvagedEntry};
use super::rows::FoundRow;
use super::search::Search;
use crate::archive::padding::{Completeness, padded_len};
use crate::archive::{ArchiveError, FileEntry, Kind, Observer, Phase, Progress};

/// How far the contents of a salvaged file can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Trust {
    /// The digest of its record is that of the payload: every byte is right.
    Proven,
    /// The id fits domain and path, and the payload fits the record. The format has no checksum to tell more.
    Fitting,
    /// Something does not fit, or nothing is there to compare with.
    Doubtful,
}

/// What is doubtful about a salvaged file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Doubt {
    /// The stored id is not that of domain and path: one of them is damaged.
    Id,
    /// The record does not decode: times, owner and size are lost.
    Record,
    /// The digest of the record is not that of the payload.
    Digest,
    /// The payload's length is not the recorded one.
    Length,
    /// The payload does not end as one does under this key: the file has changed since, or is damaged.
    Ending,
    /// The row may be out of date.
    OutOfDate,
    /// There is no row: nothing says what the contents should be.
    NoRow,
    /// The payload is not there.
    NoPayload,
    /// The key does not unwrap, or there is none to open it with.
    Key,
}

impl Salvage {
    /// Compares every file with its payload.
    pub(super) fn judge(&mut self, search: Search, observer: &mut dyn Observer) -> Result<(), ArchiveError> {
        let total = Some(search.entries.len() as u64);
        let mut done = 0_u64;
        for (row, keyring) in search.entries {
            if observer.on_progress(&Progress::new(Phase::ReadingPayloads, done, total)) == ControlFlow::Break(()) {
                return Err(ArchiveError::Cancelled);
            }
            done = done.saturating_add(1);
            let stored = search.payloads.get(&row.entry.file_id).copied();
            let (trust, doubts) = self.trust_in(&row, stored, keyring);
            let count = self.report.found.entry(row.found.name()).or_default();
            *count = count.saturating_add(1);
            let count = self.report.trust.entry(trust).or_default();
            *count = count.saturating_add(1);
            self.entries.push(SalvagedEntry {
                entry: row.entry,
                found: row.found,
                trust,
                doubts,
                keyring,
            });
        }
        Ok(())
    }

    fn trust_in(&self, row: &FoundRow, stored: Option<u64>, keyring: usize) -> (Trust, Vec<Doubt>) {
        let (entry, mut doubts) = (&row.entry, Vec::new());
        let has_row = !matches!(row.found, FoundBy::KnownId { .. } | FoundBy::Content { .. });
        if !has_row {
            return (Trust::Doubtful, vec![Doubt::NoRow]);
        }
        if entry.computed_id() != entry.file_id {
            doubts.push(Doubt::Id);
        }
        if !row.record {
            doubts.push(Doubt::Record);
        }
        if matches!(row.found, FoundBy::UnusedPage { .. } | FoundBy::OlderIndex { .. }) {
            doubts.push(Doubt::OutOfDate);
        }
        let mut proven = false;
        if entry.kind == Kind::File {
            match (self.open_payload(entry, keyring), stored) {
                (Ok(reader), Some(stored)) => {
                    if reader.completeness() == Completeness::Incomplete {
                        doubts.push(Doubt::Ending);
                    }
                    let encrypted = self
                        .keyrings
                        .get(keyring)
                        .is_some_and(|keys| matches!(keys.file_key(entry), Ok(Some(_))));
                    let expected = if encrypted { padded_len(entry.size) } else { entry.size };
                    let fits = stored == expected;
                    match entry.digest.map(|digest| self.has_digest(entry, digest)) {
                        Some(true) => proven = true,
                        Some(false) => doubts.push(Doubt::Digest),
                        None if !fits && row.record => doubts.push(Doubt::Length),
                        None => {}
                    }
                }
                (Err(ArchiveError::MissingPayload { .. }), _) | (_, None) if entry.size == 0 => {}
                (Err(ArchiveError::MissingPayload { .. }), _) | (_, None) => doubts.push(Doubt::NoPayload),
                (Err(_), _) => doubts.push(Doubt::Key),
            }
        }
        let trust = match (proven, doubts.is_empty()) {
            (true, true) => Trust::Proven,
            // The digest outweighs that the row is old.
            (true, false) if doubts == [Doubt::OutOfDate] => Trust::Proven,
            (false, true) => Trust::Fitting,
            _ => Trust::Doubtful,
        };
        (trust, doubts)
    }

    fn has_digest(&self, entry: &FileEntry, digest: [u8; 20]) -> bool {
        let Some(Ok(mut file)) = self.keyrings.first().map(|own| own.open_payload(&entry.file_id)) else {
            return false;
        };
        let (mut hash, mut buffer) = (Sha1::new(), vec![0; 256 << 10]);
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return hash.finalize().as_slice() == digest,
                Ok(got) => hash.update(buffer.get(..got).unwrap_or_default()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }
}
