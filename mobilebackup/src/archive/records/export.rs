//! Writing records of all categories into a folder, for people and for programs.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::records::export::{self, ExportOptions, Format};
//! use cabled_mobilebackup::archive::{Archive, Silent};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/plain-v10");
//! # let temp = tempfile::tempdir()?;
//! # let target = temp.path().join("export");
//! let backup = Archive::open(folder)?;
//! let options = ExportOptions::default().format(Format::JsonLines);
//! let report = export::export(&backup, &target, &options, &mut Silent)?;
//! for category in &report.categories {
//!     println!("{}: {:?}", category.name, category.outcome);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! [`EXPORTERS`] lists what can be exported: a name, the formats it comes in, and a function that reads its store and
//! writes the files through a [`Job`]. Every category gets a folder of its own; `report.json` in the target says what
//! was found where, how many records came out and what could not be read.
//!
//! # Limits
//! Files appear under their names when they are complete. A category whose store is damaged is reported and does not
//! stop the others; a full disk and a cancelled job stop everything.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;
use std::str::FromStr;

use super::jsonl::JsonLines;
use super::output::{Output, OutputFile};
use super::vcard::VcardVersion;
use super::{Notes, RecordError, Source};
use crate::archive::Archive;
use crate::archive::observe::{Observer, Phase, Progress};

/// What can be exported, in the order in which it is. Names are those of the user's categories.
pub const EXPORTERS: &[Exporter] = &[
    super::messages::EXPORTER,
    super::contacts::EXPORTER,
    super::calls::EXPORTER,
    super::notes::show::EXPORTER,
    super::calendar::EXPORTER,
    super::safari::EXPORTER,
    super::photos::EXPORTER,
];

/// How records are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Format {
    /// One JSON value a line: `jsonl`.
    #[serde(rename = "jsonl")]
    JsonLines,
    /// Pages for people: `html`.
    Html,
    /// Contacts as vCard: `vcard`.
    Vcard,
    /// Calendars as iCalendar: `ics`.
    Ics,
    /// Notes as plain text: `text`.
    Text,
}

impl Format {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::JsonLines, Self::Html, Self::Vcard, Self::Ics, Self::Text];

    /// Its name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::JsonLines => "jsonl",
            Self::Html => "html",
            Self::Vcard => "vcard",
            Self::Ics => "ics",
            Self::Text => "text",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no [`Format`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no format; there are jsonl, html, vcard, ics and text")]
pub struct UnknownFormat {
    /// The name.
    pub name: String,
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut all = Self::ALL.iter().copied();
        let found = all.find(|format| format.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| UnknownFormat { name: name.to_owned() })
    }
}

/// How to export.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    categories: Vec<String>,
    formats: Vec<Format>,
    attachments: bool,
    page_records: usize,
    vcard_version: VcardVersion,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            categories: Vec::new(),
            formats: Vec::new(),
            attachments: true,
            page_records: 2000,
            vcard_version: VcardVersion::default(),
        }
    }
}

impl ExportOptions {
    /// One category more, by the name in [`EXPORTERS`]. Default: all of them.
    #[must_use]
    pub fn category(mut self, name: impl Into<String>) -> Self {
        self.categories.push(name.into());
        self
    }

    /// One format more. Default: all that a category comes in. Categories that come in none of them are left out.
    #[must_use]
    pub fn format(mut self, format: Format) -> Self {
        self.formats.push(format);
        self
    }

    /// Whether attachments and pictures are copied beside the pages. Default: on.
    #[must_use]
    pub const fn attachments(mut self, on: bool) -> Self {
        self.attachments = on;
        self
    }

    /// Most records on one page; longer lists are split. Default: 2000; at least 1.
    #[must_use]
    pub const fn page_records(mut self, records: usize) -> Self {
        self.page_records = if records == 0 { 1 } else { records };
        self
    }

    /// The version of vCard. Default: 4.0.
    #[must_use]
    pub const fn vcard_version(mut self, version: VcardVersion) -> Self {
        self.vcard_version = version;
        self
    }

    fn wants(&self, exporter: &Exporter) -> bool {
        self.categories.is_empty() || self.categories.iter().any(|name| name == exporter.name)
    }
}

/// One category: where it comes from and how it is written.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Exporter {
    /// Its name, and that of its folder, such as `messages`.
    pub name: &'static str,
    /// The formats it comes in.
    pub formats: &'static [Format],
    run: fn(&mut Job<'_>) -> Result<bool, RecordError>,
}

impl Exporter {
    /// `run` finds the store, says so with [`Job::source`], writes all records in every format that [`Job::wants`], and
    /// gives `false` if the backup has no such store.
    pub(crate) const fn new(
        name: &'static str,
        formats: &'static [Format],
        run: fn(&mut Job<'_>) -> Result<bool, RecordError>,
    ) -> Self {
        Self { name, formats, run }
    }
}

/// The export of one category, while it runs.
#[derive(Debug)]
pub struct Job<'a> {
    archive: &'a Archive,
    options: &'a ExportOptions,
    observer: Watch<'a>,
    output: Output,
    report: CategoryReport,
}

/// Observers need not be `Debug`.
struct Watch<'a>(&'a mut dyn Observer);

impl fmt::Debug for Watch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer")
    }
}

impl<'a> Job<'a> {
    /// The backup.
    #[must_use]
    pub const fn archive(&self) -> &'a Archive {
        self.archive
    }

    /// Whether this format is asked for.
    #[must_use]
    pub fn wants(&self, format: Format) -> bool {
        self.options.formats.is_empty() || self.options.formats.contains(&format)
    }

    /// Whether attachments are to be copied.
    #[must_use]
    pub const fn copies_attachments(&self) -> bool {
        self.options.attachments
    }

    /// Most records on one page.
    #[must_use]
    pub const fn page_records(&self) -> usize {
        self.options.page_records
    }

    /// The version of vCard to write.
    #[must_use]
    pub const fn vcard_version(&self) -> VcardVersion {
        self.options.vcard_version
    }

    /// The category's folder.
    pub const fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// A file of JSON lines in the folder, if they are asked for.
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub fn json_lines(&mut self, stem: &str) -> Result<Option<JsonLines<OutputFile>>, RecordError> {
        match self.wants(Format::JsonLines) {
            true => Ok(Some(JsonLines::new(self.output.file(stem, "jsonl")?))),
            false => Ok(None),
        }
    }

    /// Says which file the records come from.
    pub fn source(&mut self, source: Source) {
        self.report.sources.push(source);
    }

    /// Says which stores the records of a category come from that may have several: their files, what is wrong in them,
    /// and why one could not be read. Fails if none could be.
    pub(super) fn stores<'s>(
        &mut self,
        stores: impl Iterator<Item = (&'s Source, &'s Notes, &'s mut Option<RecordError>)>,
    ) -> Result<(), RecordError> {
        let stores: Vec<_> = stores.collect();
        let all_failed = stores.iter().all(|(.., failure)| failure.is_some());
        for (source, notes, failure) in stores {
            self.source(source.clone());
            self.notes(notes.clone());
            if let (true, Some(failure)) = (all_failed, failure.take()) {
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Counts a finished file, by its path below the category's folder.
    pub fn wrote(&mut self, name: impl Into<String>) {
        let _ = name.into();
        self.report.files = self.report.files.saturating_add(1);
    }

    /// Counts `records` more, and asks the observer whether to go on.
    ///
    /// # Errors
    /// [`RecordError::Cancelled`].
    pub fn count(&mut self, records: u64) -> Result<(), RecordError> {
        self.report.records = self.report.records.saturating_add(records);
        let progress = Progress::new(Phase::ExportingRecords, self.report.records, None);
        match self.observer.0.on_progress(&progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(RecordError::Cancelled),
        }
    }

    /// Adds to the notes of the report.
    pub fn notes(&mut self, notes: Notes) {
        self.report.notes.append(notes);
    }
}

/// What an export did. Written as `report.json`, too.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct ExportReport {
    /// One for each category that was asked for, in the order of [`EXPORTERS`].
    pub categories: Vec<CategoryReport>,
}

/// What became of one category.
#[derive(Clone, Debug, serde::Serialize)]
#[non_exhaustive]
pub struct CategoryReport {
    /// The category.
    pub name: &'static str,
    /// Whether it was there, and could be read.
    pub outcome: Outcome,
    /// The files of the backup that the records came from.
    pub sources: Vec<Source>,
    /// How many records came out.
    pub records: u64,
    /// How many files were written.
    pub files: u64,
    /// What could not be read.
    pub notes: Notes,
}

/// How the export of a category ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Outcome {
    /// Its records are in its folder.
    Exported,
    /// The backup has no such store.
    Absent,
    /// It does not come in any of the formats that were asked for.
    NoSuchFormat,
    /// The store cannot be read; what was written until then is in its folder.
    Failed(String),
}

/// Exports the categories that `options` ask for into `target`, a folder that is new or empty.
///
/// # Errors
/// [`RecordError::NotEmpty`]; [`RecordError::Unknown`] for a category that is not in [`EXPORTERS`], before anything is
/// written; [`RecordError::Archive`] if the backup is locked; [`RecordError::Io`] and [`RecordError::Cancelled`].
pub fn export(
    archive: &Archive,
    target: impl AsRef<Path>,
    options: &ExportOptions,
    observer: &mut dyn Observer,
) -> Result<ExportReport, RecordError> {
    if let Some(unknown) = options
        .categories
        .iter()
        .find(|name| EXPORTERS.iter().all(|known| known.name != **name))
    {
        return Err(RecordError::Unknown { name: unknown.clone() });
    }
    if archive.is_locked() {
        return Err(crate::archive::ArchiveError::Locked.into());
    }
    let mut target = Output::create(target)?;
    let mut report = ExportReport { categories: Vec::new() };
    for exporter in EXPORTERS.iter().filter(|exporter| options.wants(exporter)) {
        report
            .categories
            .push(run(exporter, archive, &mut target, options, observer)?);
    }
    let mut file = target.file("report", "json")?;
    serde_json::to_writer_pretty(&mut file, &report)?;
    file.finish()?;
    Ok(report)
}

fn run(
    exporter: &Exporter,
    archive: &Archive,
    target: &mut Output,
    options: &ExportOptions,
    observer: &mut dyn Observer,
) -> Result<CategoryReport, RecordError> {
    let report = CategoryReport {
        name: exporter.name,
        outcome: Outcome::NoSuchFormat,
        sources: Vec::new(),
        records: 0,
        files: 0,
        notes: Notes::default(),
    };
    if !options.formats.is_empty() && !exporter.formats.iter().any(|format| options.formats.contains(format)) {
        return Ok(report);
    }
    let (_, output) = target.subfolder(exporter.name)?;
    let folder = output.path().to_owned();
    let mut job = Job {
        archive,
        options,
        observer: Watch(observer),
        output,
        report,
    };
    job.report.outcome = match (exporter.run)(&mut job) {
        Ok(true) => Outcome::Exported,
        Ok(false) => Outcome::Absent,
        Err(error @ (RecordError::Io(_) | RecordError::Cancelled)) => return Err(error),
        Err(error) => Outcome::Failed(with_causes(&error)),
    };
    let report = job.report;
    if report.files == 0 {
        // Only ever an empty folder goes.
        let _ = std::fs::remove_dir(folder);
    }
    Ok(report)
}

/// An error with its causes, for a report.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
