//! Watching and stopping long jobs.

use std::ops::ControlFlow;

use super::extract::ManifestLine;
use super::verify::FileCheck;

/// What a long job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Turning the password into a key; counted in PBKDF2 rounds. Seconds of one core by design.
    DerivingKey,
    /// Decrypting or copying `Manifest.db` into a private file; counted in bytes.
    CopyingIndex,
    /// SQLite checks the structure of the index; not counted.
    CheckingIndex,
    /// Reading the rows of the index; counted in rows.
    ReadingIndex,
    /// Reading payloads; counted in rows of the index.
    ReadingPayloads,
    /// Looking for payloads that no row names; counted in folders.
    SearchingOrphans,
    /// Writing the payloads of a new backup; counted in rows of its index.
    WritingPayloads,
    /// Summing up the files of a backup's folder; counted in files.
    MeasuringFolder,
    /// Comparing two backups; counted in rows of both indexes.
    ComparingIndexes,
    /// Comparing contents of two backups; counted in files.
    ComparingContents,
    /// Writing files of a backup into a folder or a stream; counted in rows of the index.
    WritingFiles,
    /// Writing messages, contacts and the like for people and programs; counted in records of one category.
    ExportingRecords,
}

/// How far a long job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is being done.
    pub phase: Phase,
    /// How much of it is done, in the phase's own unit.
    pub done: u64,
    /// How much there is, if that is known.
    pub total: Option<u64>,
    /// Payload bytes read so far, as stored.
    pub bytes: u64,
    /// How many there are, if that is known.
    pub total_bytes: Option<u64>,
}

impl Progress {
    pub(crate) const fn new(phase: Phase, done: u64, total: Option<u64>) -> Self {
        Self {
            phase,
            done,
            total,
            bytes: 0,
            total_bytes: None,
        }
    }

    pub(crate) const fn with_total_bytes(mut self, bytes: u64) -> Self {
        self.total_bytes = Some(bytes);
        self
    }

    pub(crate) const fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }
}

/// Watches a long job. `Break` stops it at the next step; what was done until then leaves no trace in the backup.
///
/// Every call comes from the thread that started the job.
pub trait Observer {
    /// Called every few milliseconds of work, between steps.
    fn on_progress(&mut self, progress: &Progress) -> ControlFlow<()>;

    /// Called once per row that [`Archive::verify`](super::Archive::verify) has checked, in no particular order.
    fn on_file(&mut self, check: &FileCheck) {
        let _ = check;
    }

    /// Called once per row that is extracted, left out or failed, with what the manifest says of it, in no particular
    /// order.
    fn on_extracted(&mut self, line: &ManifestLine) {
        let _ = line;
    }
}

/// Watches nothing and never stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn on_progress(&mut self, _progress: &Progress) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(&Progress) -> ControlFlow<()>> Observer for F {
    fn on_progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        self(progress)
    }
}
