//! What is extracted, and how.

use std::fmt;
use std::sync::Arc;

use crate::archive::FileEntry;
use crate::archive::names::Convention;
use crate::archive::read::ReadOptions;
use crate::archive::select::Selection;

/// What happens to a file of an earlier run, or of somebody else, that has a name we need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Existing {
    /// It stays; ours is reported as failed.
    #[default]
    Refuse,
    /// It stays; ours is left out, which is no failure.
    Skip,
    /// It is replaced if the manifest proves that an extraction wrote it and nobody changed it since; otherwise as
    /// [`Refuse`](Existing::Refuse). Brings an extraction up to date with a newer backup of the same device.
    ReplaceOurs,
}

/// Whether a run goes on with what an earlier one has left in its target, and what is proof that a file is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resume {
    /// A target that holds an extraction is refused.
    #[default]
    Never,
    /// A file that the manifest has, of the recorded length and time, is done.
    BySizeAndTime,
    /// It must also have the SHA-256 of the manifest: every file is read.
    ByHash,
}

/// What becomes of symbolic links. Their targets are absolute paths on the device, and nothing follows them here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Links {
    /// They are in the manifest only.
    #[default]
    Record,
    /// Those that lead to something in their own domain are made, relative, when everything else is written. The others
    /// are in the manifest only.
    Contained,
}

/// How zip members are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Compression {
    /// Deflate, but for what is compressed already: pictures, films, sound and archives.
    #[default]
    Deflate,
    /// None.
    Stored,
}

/// What decides about one entry.
pub(super) type Filter = Arc<dyn Fn(&FileEntry) -> bool + Send + Sync>;

/// What is extracted, and how.
#[derive(Clone)]
pub struct ExtractOptions {
    pub(super) selection: Selection,
    pub(super) filter: Option<Filter>,
    pub(super) names: Option<Convention>,
    pub(super) threads: Option<usize>,
    pub(super) sha256: bool,
    pub(super) read: ReadOptions,
    pub(super) resume: Resume,
    pub(super) existing: Existing,
    pub(super) links: Links,
    pub(super) flush: bool,
    pub(super) check_space: bool,
    pub(super) listed: usize,
    pub(super) compression: Compression,
}

impl Default for ExtractOptions {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            filter: None,
            names: None,
            threads: None,
            sha256: true,
            read: ReadOptions::default(),
            resume: Resume::default(),
            existing: Existing::default(),
            links: Links::default(),
            flush: true,
            check_space: true,
            listed: 10_000,
            compression: Compression::default(),
        }
    }
}

impl fmt::Debug for ExtractOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExtractOptions")
            .field("selection", &self.selection)
            .field("names", &self.names)
            .field("sha256", &self.sha256)
            .field("resume", &self.resume)
            .field("existing", &self.existing)
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

impl ExtractOptions {
    /// Which entries are extracted. Default: all.
    #[must_use]
    pub fn selection(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// Also asks a function about every entry that the selection admits, on several threads. Default: none.
    #[must_use]
    pub fn filter(mut self, filter: impl Fn(&FileEntry) -> bool + Send + Sync + 'static) -> Self {
        self.filter = Some(Arc::new(filter));
        self
    }

    /// The names a tree gets. Default: those of the running system for folders, [`Convention::Windows`] for tar and zip,
    /// which may be unpacked anywhere.
    #[must_use]
    pub const fn names(mut self, convention: Convention) -> Self {
        self.names = Some(convention);
        self
    }

    /// Threads that read, decrypt and write. Default: one per core that this process may use. Streams use one.
    #[must_use]
    pub const fn threads(mut self, count: usize) -> Self {
        self.threads = Some(count);
        self
    }

    /// Whether the manifest has the SHA-256 of every file. Costs about as much as the decryption. Default: on.
    #[must_use]
    pub const fn sha256(mut self, on: bool) -> Self {
        self.sha256 = on;
        self
    }

    /// Writes what is left of payloads that were cut off, and says so in the manifest, instead of failing them.
    /// Default: off.
    #[must_use]
    pub const fn salvage(mut self, on: bool) -> Self {
        self.read = self.read.salvage(on);
        self
    }

    /// Whether to go on with an earlier run. Default: [`Resume::Never`].
    #[must_use]
    pub const fn resume(mut self, resume: Resume) -> Self {
        self.resume = resume;
        self
    }

    /// What happens to files in the way. Default: [`Existing::Refuse`].
    #[must_use]
    pub const fn existing(mut self, existing: Existing) -> Self {
        self.existing = existing;
        self
    }

    /// What becomes of symbolic links. Default: [`Links::Record`].
    #[must_use]
    pub const fn links(mut self, links: Links) -> Self {
        self.links = links;
        self
    }

    /// Whether everything is on the disk, safe from a power cut, when the run ends. Takes as long as the disk needs to
    /// write it all. Default: on.
    #[must_use]
    pub const fn flush(mut self, on: bool) -> Self {
        self.flush = on;
        self
    }

    /// Whether a disk with less room than the selected files need is refused before the first is written. Default: on.
    #[must_use]
    pub const fn check_space(mut self, on: bool) -> Self {
        self.check_space = on;
        self
    }

    /// How many failures the report lists; all are counted, and all are in the manifest. Default: 10,000.
    #[must_use]
    pub const fn listed(mut self, failures: usize) -> Self {
        self.listed = failures;
        self
    }

    /// How zip members are compressed. Default: [`Compression::Deflate`].
    #[must_use]
    pub const fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Whether an entry is wanted.
    pub(super) fn admits(&self, entry: &FileEntry) -> bool {
        self.selection.matches(entry) && self.filter.as_ref().is_none_or(|filter| filter(entry))
    }
}
