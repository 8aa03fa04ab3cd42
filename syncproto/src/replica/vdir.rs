//! Folders of contacts and calendars as vdirsyncer, khal and khard use them: one item a file.
//!
//! # Example
//! A folder with Ann in it, told to whoever asks:
//! ```
//! use cabled_syncproto::engine::SessionId;
//! use cabled_syncproto::record::RecordId;
//! use cabled_syncproto::replica::{OnThread, OpenRequest, Replica, Told, Vdir};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let card = "BEGIN:VCARD\r\nVERSION:4.0\r\nUID:ann\r\nFN:Ann\r\nTEL;TYPE=cell:555 0100\r\nEND:VCARD\r\n";
//! std::fs::write(folder.path().join("ann.vcf"), card)?;
//!
//! let mut people = OnThread::new(Vdir::contacts(folder.path()));
//! people.open(OpenRequest::new(SessionId([7; 16]))).await?;
//! let Told::Batch(changes) = people.read().await? else { panic!("there is a card") };
//! // Ann and her telephone number.
//! assert_eq!(changes.len(), 2);
//! assert!(changes.get(&RecordId::new("ann")?).is_some());
//! people.abort("that was all").await?;
//! # Ok(())
//! # }
//! ```
//! # How it fits together
//! A [`Vdir`] is a [`BlockingReplica`]. [`open`](BlockingReplica::open) reads the whole folder; a record is known by its
//! `UID`, so a file may be renamed. [`write`](BlockingReplica::write) stages every file that changes as a hidden file in the
//! same folder, so that a full disk shows before anything is written to a device. [`commit`](BlockingReplica::commit) puts
//! each in its place only if the file there is as it was read; what another program changed meanwhile is left alone, said
//! in [`Committed::outcomes`], and comes up again in the next session. Files that go, go last.
//!
//! Files whose name begins with a dot or ends in `.tmp` are passed over, as every program does that uses such folders. What a
//! file says and records have no key for stays in it.
//!
//! # Limits
//! A folder has at most 200 000 files, a file 32 MiB, all together 4 GiB. Links are not followed: an item that is one counts
//! as unreadable, like every file that cannot be read; such a file is named in [`End::unreadable`] and stops writing. A folder
//! that is not there is [`ReplicaError::Unavailable`], never an empty one. Spec: mobilesync, sections 8.6 and 15.4 to 15.7.
//!
//! [`Committed::outcomes`]: super::Committed::outcomes
//! [`End::unreadable`]: super::End::unreadable

use std::fs;
use std::path::{Path, PathBuf};

pub use super::file::Groups;
use super::file::{Book, Desk, People, is_temporary, remove_leftover, unavailable};
use super::{BlockingReplica, Committed, OpenRequest, Opened, ReplicaError, Told};
use crate::engine::{Batch, Capabilities, EngineId, Outcome};
use crate::interchange::Limits;
use crate::interchange::vcard::Version;

/// The hidden files that are ours.
const OWN: &[&str] = &[".cabled-groups.vcf"];

/// A folder of items, or of such folders.
#[derive(Debug)]
pub struct Vdir {
    root: PathBuf,
    kind: Kind,
    groups: Groups,
    version: Option<Version>,
    limits: Limits,
    files: usize,
    session: Option<Desk>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Contacts,
}

impl Kind {
    const fn extension(self) -> &'static str {
        match self {
            Self::Contacts => "vcf",
        }
    }
}

impl Vdir {
    fn new(root: impl Into<PathBuf>, kind: Kind) -> Self {
        Self {
            root: root.into(),
            kind,
            groups: Groups::default(),
            version: None,
            limits: Limits::default().with_bytes(32 << 20),
            files: 200_000,
            session: None,
        }
    }

    /// A folder of `.vcf` files.
    #[must_use]
    pub fn contacts(root: impl Into<PathBuf>) -> Self {
        Self::new(root, Kind::Contacts)
    }

    /// How groups of contacts are kept (default [`Groups::AsFound`]).
    #[must_use]
    pub fn groups(self, groups: Groups) -> Self {
        Self { groups, ..self }
    }

    /// The version of vCard of new cards (default 4.0). Cards that are there keep theirs.
    #[must_use]
    pub fn version(self, version: Version) -> Self {
        Self {
            version: Some(version),
            ..self
        }
    }

    /// What one file may cost (default: 32 MiB, otherwise as [`Limits`]).
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// How many files the folder may have (default 200 000).
    #[must_use]
    pub fn files(self, files: usize) -> Self {
        Self { files, ..self }
    }

    fn book(&self, token: Option<&str>) -> Box<dyn Book> {
        match self.kind {
            Kind::Contacts => {
                // What was found at the first sync stays, or a single card would turn words into something else.
                let groups = match (self.groups, token) {
                    (Groups::AsFound, Some("contacts 1 cards")) => Groups::Cards,
                    (Groups::AsFound, Some("contacts 1 categories")) => Groups::Categories,
                    (groups, _) => groups,
                };
                Box::new(People::new(None, groups, self.version, self.limits))
            }
        }
    }

    fn at_work(&mut self, call: &'static str) -> Result<&mut Desk, ReplicaError> {
        self.session.as_mut().ok_or(ReplicaError::OutOfTurn { call })
    }
}

/// The entries of a folder that may be items, by name. Leftovers of earlier sessions are removed.
fn items(
    folder: &Path,
    prefix: &str,
    extension: &str,
    max: usize,
    desk: &mut Desk,
) -> Result<Vec<String>, ReplicaError> {
    let failed = |error: std::io::Error| unavailable(folder, &error);
    let mut names = Vec::new();
    let mut seen = 0_usize;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        seen = seen.saturating_add(1);
        if seen > max {
            return Err(ReplicaError::Unavailable {
                what: folder.display().to_string(),
                reason: format!("it has more than {max} files; raise the limit if that is right"),
            });
        }
        let name = entry.file_name();
        let lossy = name.to_string_lossy();
        if is_temporary(&lossy) {
            remove_leftover(&entry.path());
            continue;
        }
        let own = OWN.contains(&&*lossy);
        if !own && (lossy.starts_with('.') || lossy.ends_with(".tmp")) {
            continue;
        }
        let ours = Path::new(&*lossy)
            .extension()
            .is_some_and(|found| found.eq_ignore_ascii_case(extension));
        if !ours {
            continue;
        }
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            continue;
        }
        let sheet = format!("{prefix}{lossy}");
        if name.to_str().is_none() {
            desk.cannot_read(&sheet, "its name is not in UTF-8");
        } else if kind.is_symlink() {
            desk.cannot_read(&sheet, "it is a link; put the file itself there");
        } else if !kind.is_file() {
            desk.cannot_read(&sheet, "it is no file");
        } else {
            names.push(sheet);
        }
    }
    names.sort();
    Ok(names)
}

impl BlockingReplica for Vdir {
    fn capabilities(&self) -> Capabilities {
        Capabilities::of_files().nameless_children(true)
    }

    fn open(&mut self, request: OpenRequest<'_>) -> Result<Opened, ReplicaError> {
        self.session = None;
        // Links in the way to the folder are the user's own; from there on none is followed.
        let root = fs::canonicalize(&self.root).map_err(|error| unavailable(&self.root, &error))?;
        let book = self.book(request.token.or(request.doubtful));
        let mut desk = Desk::new(root.clone(), request.session, book, self.limits.bytes);
        for sheet in items(&root, "", self.kind.extension(), self.files, &mut desk)? {
            desk.take(&sheet)?;
        }
        desk.book.ready();
        let token = desk.book.token();
        self.session = Some(desk);
        Ok(Opened {
            token: Some(token),
            ..Opened::own()
        })
    }

    fn read(&mut self) -> Result<Told, ReplicaError> {
        Ok(self.at_work("read")?.read())
    }

    fn write(&mut self, batch: Batch) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        self.at_work("write")?.write(batch)
    }

    fn commit(&mut self) -> Result<Committed, ReplicaError> {
        let desk = self.session.take();
        desk.ok_or(ReplicaError::OutOfTurn { call: "commit" })?.commit()
    }

    fn abort(&mut self) {
        self.session = None;
    }
}
