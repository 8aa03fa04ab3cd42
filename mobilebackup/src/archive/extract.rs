//! Writing what a backup holds into a folder, a tar or a zip, whatever its names are.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::extract::ExtractOptions;
//! use cabled_mobilebackup::archive::select::Selection;
//! use cabled_mobilebackup::archive::{Archive, Silent};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/enc-v10");
//! let mut backup = Archive::open(folder)?;
//! backup.unlock("vector-pass-1")?;
//!
//! let place = tempfile::tempdir()?;
//! let target = place.path().join("photos");
//! let options = ExtractOptions::default().selection(Selection::default().domain("CameraRollDomain")?);
//! let report = backup.extract(&target, &options, &mut Silent)?;
//! assert!(report.is_complete());
//! assert!(target.join("CameraRollDomain/Media/DCIM/100APPLE/IMG_0001.JPG").exists());
//!
//! let manifest = std::fs::read_to_string(target.join("manifest.jsonl"))?;
//! assert!(manifest.lines().any(|line| line.contains("\"sha256\"")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits together
//! [`Archive::extract`] reads the index twice: once for the names of everything ([`names`](super::names)) and the size
//! of what [`ExtractOptions`] select, once for the files. Threads share the rows, each reads, decrypts, hashes and
//! writes; the calling thread books what they did in the manifest and tells the
//! [`Observer`]. Folders get their permissions and times when everything in them is there.
//!
//! `manifest.jsonl` in the target has a first line that says which backup it is, and then one JSON object a row:
//! [`ManifestLine`]. It maps names back, has what a file system cannot keep (owners, attributes, link targets), the
//! SHA-256 of what was written, and why anything was not. It only grows; a torn last line means nothing.
//!
//! [`Archive::extract_tar`] and [`Archive::extract_zip`] write the same files into a stream, the manifest last.
//!
//! # What is promised
//! Nothing is written outside the target, through no link of anybody, and nothing into the backup. A file has its name
//! only when it is whole: until then it lies in `%unfinished`, whose being there says that a run did not come to its
//! end. A file of somebody else is never replaced. A bad file is reported with its reason and ends nothing. A run that
//! was stopped or killed is completed by the next one with [`ExtractOptions::resume`], which leaves alone what the
//! manifest proves done; a file that was finished but not yet booked is compared with what would be written.
//! Permissions keep their `rwx`, with the owner always allowed to read and write; set-user-id and the like are dropped.
//!
//! # Limits
//! Memory: 1.2 MB per thread, 16 bytes per row for names and 16 per file that an earlier run has written, some 150
//! bytes per folder and per link. Times of change have whole seconds. Times of creation are restored on macOS and
//! Windows only, permissions on Unix only; the manifest has them. Extended attributes are in the manifest only.
//! Symbolic links are never followed, and made only on request ([`Links`]); hard links are not known to the format.

mod content;
mod error;
mod files;
mod links;
mod manifest;
mod options;
mod report;
mod run;
mod stream;
mod tar;
mod target;
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests;
mod zip;

use std::io::Write;
use std::path::Path;

use super::Archive;
use super::observe::Observer;
pub use error::{ExtractError, Failure};
pub use manifest::{ExtractNote, LineNote, ManifestLine, Sha256Hash, Status};
pub use options::{Compression, Existing, ExtractOptions, Links, Resume};
pub use report::{ExtractReport, FailedFile};

impl Archive {
    /// Extracts the selected files into the folder `to`, which is made if it is missing, and writes a manifest beside
    /// them. Each domain is a folder of its own.
    ///
    /// Bad files end nothing: they are in the report and in the manifest. The files of a stopped run stay; a run with
    /// [`ExtractOptions::resume`] completes them. About as fast as copying the decrypted files would be.
    ///
    /// # Errors
    /// Any [`ExtractError`] but those of streams.
    pub fn extract(
        &self,
        to: impl AsRef<Path>,
        options: &ExtractOptions,
        observer: &mut dyn Observer,
    ) -> Result<ExtractReport, ExtractError> {
        run::extract(self, to.as_ref(), options, observer)
    }

    /// Writes the selected files as one tar (POSIX `pax` form: names of any length, files of any size), with
    /// `manifest.jsonl` as its last member. Names are harmless wherever it is unpacked.
    ///
    /// One thread; no seeking. A payload that fails in the middle is filled up with zeros, since its length has been
    /// said, and counted as failed. The stream is not flushed.
    ///
    /// # Errors
    /// [`ExtractError::Archive`], [`ExtractError::DiskFull`], [`ExtractError::Target`] if `out` fails,
    /// [`ExtractError::Cancelled`].
    pub fn extract_tar(
        &self,
        out: impl Write,
        options: &ExtractOptions,
        observer: &mut dyn Observer,
    ) -> Result<ExtractReport, ExtractError> {
        stream::extract(self, &mut tar::TarWriter::new(out), options, observer)
    }

    /// Writes the selected files as one zip (UTF-8 names, zip64 where it is needed), with `manifest.jsonl` as its last
    /// member. Names are harmless wherever it is unpacked.
    ///
    /// One thread; no seeking, so that members above a mebibyte have their lengths behind them. A payload that fails in
    /// the middle ends there and is counted as failed. The stream is not flushed. The directory at the end is kept in a
    /// temporary file until then.
    ///
    /// # Errors
    /// As [`extract_tar`](Archive::extract_tar).
    pub fn extract_zip(
        &self,
        out: impl Write,
        options: &ExtractOptions,
        observer: &mut dyn Observer,
    ) -> Result<ExtractReport, ExtractError> {
        let writer = zip::ZipWriter::new(out, options.compression).map_err(ExtractError::Target)?;
        stream::extract(self, &mut { writer }, options, observer)
    }
}
