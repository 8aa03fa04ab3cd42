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
use super::file::{Book, Desk, Events, Layout, People, is_temporary, remove_leftover, unavailable};
use super::{BlockingReplica, Committed, OpenRequest, Opened, ReplicaError, Told};
use crate::engine::{Batch, Capabilities, EngineId, Outcome};
use crate::interchange::Limits;
use crate::interchange::vcard::Version;

/// The hidden files that are ours.
const OWN: &[&str] = &[".cabled-groups", ".cabled-calendar", "displayname", "color"];

/// A folder of items, or of such folders.
#[derive(Debug)]
pub struct Vdir {
    root: PathBuf,
    kind: Kind,
    groups: Groups,
    gone_folder: GoneFolder,
    version: Option<Version>,
    limits: Limits,
    files: usize,
    session: Option<Desk>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Contacts,
    /// The folder is one calendar.
    Calendar,
    /// Each folder in it is one.
    Calendars,
}

/// What a calendar's folder that is gone means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GoneFolder {
    /// The place cannot be used until it is back: a disk may not be mounted.
    #[default]
    Unavailable,
    /// The calendar was deleted, with all its events.
    Deleted,
}

impl Kind {
    const fn extension(self) -> &'static str {
        match self {
            Self::Contacts => "vcf",
            Self::Calendar | Self::Calendars => "ics",
        }
    }
}

impl Vdir {
    fn new(root: impl Into<PathBuf>, kind: Kind) -> Self {
        Self {
            root: root.into(),
            kind,
            groups: Groups::default(),
            gone_folder: GoneFolder::default(),
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

    /// A folder of `.ics` files that is one calendar. While it is empty it takes the first calendar of the device; of
    /// further ones every write fails.
    #[must_use]
    pub fn calendar(root: impl Into<PathBuf>) -> Self {
        Self::new(root, Kind::Calendar)
    }

    /// A folder with a folder of `.ics` files for each calendar. A new calendar gets a new folder.
    #[must_use]
    pub fn calendars(root: impl Into<PathBuf>) -> Self {
        Self::new(root, Kind::Calendars)
    }

    /// What it means that a calendar's folder is gone since the last session (default [`GoneFolder::Unavailable`]).
    #[must_use]
    pub fn gone_folder(self, gone_folder: GoneFolder) -> Self {
        Self { gone_folder, ..self }
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

    fn people(&self, token: Option<&str>) -> People {
        People::new(None, self.groups.as_remembered(token), self.version, self.limits)
    }

    fn missing(&self, root: &Path, folders: &[String], token: Option<&str>) -> Result<(), ReplicaError> {
        let known: Option<serde_json::Value> = token.and_then(|token| serde_json::from_str(token).ok());
        let known = known.as_ref().and_then(|known| known.get("folders")?.as_array());
        let mut known = known.into_iter().flatten().filter_map(serde_json::Value::as_str);
        match known.find(|name| !folders.iter().any(|folder| folder == name)) {
            Some(gone) if self.gone_folder == GoneFolder::Unavailable => Err(ReplicaError::Unavailable {
                what: root.join(gone).display().to_string(),
                reason: "the calendar's folder is gone; bring it back, or say that folders that are gone are deleted \
                         calendars"
                    .to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Reads everything there is.
    fn scan(&self, root: &Path, request: &OpenRequest<'_>) -> Result<Desk, ReplicaError> {
        let token = request.token.or(request.doubtful);
        let mut problems = Vec::new();
        let (book, places): (Box<dyn Book>, Vec<String>) = match self.kind {
            Kind::Contacts => (Box::new(self.people(token)), vec![String::new()]),
            Kind::Calendar => {
                let name = root.file_name().and_then(|name| name.to_str()).unwrap_or("Calendar");
                let events = Events::new(Layout::Folder, &[name.to_owned()], self.limits);
                (Box::new(events), vec![String::new()])
            }
            Kind::Calendars => {
                let folders = folders(root, self.files, &mut problems)?;
                self.missing(root, &folders, token)?;
                let events = Events::new(Layout::Folders, &folders, self.limits);
                (Box::new(events), folders)
            }
        };
        let mut desk = Desk::new(root.to_path_buf(), request.session, book, self.limits.bytes);
        for (name, reason) in problems {
            desk.cannot_read(&name, reason);
        }
        let mut left = self.files;
        let mut sheets = Vec::new();
        for place in places {
            let (folder, prefix) = match &*place {
                "" => (root.to_path_buf(), String::new()),
                name => (root.join(name), format!("{name}/")),
            };
            let found = items(&folder, &prefix, self.kind, left, &mut desk)?;
            left = left.saturating_sub(found.len());
            sheets.extend(found);
        }
        for sheet in sheets {
            desk.take(&sheet)?;
        }
        desk.book.ready();
        Ok(desk)
    }

    fn at_work(&mut self, call: &'static str) -> Result<&mut Desk, ReplicaError> {
        self.session.as_mut().ok_or(ReplicaError::OutOfTurn { call })
    }
}

/// The folders in a folder that are calendars, by name, and what cannot be one.
fn folders(root: &Path, max: usize, problems: &mut Vec<(String, &'static str)>) -> Result<Vec<String>, ReplicaError> {
    let failed = |error: std::io::Error| unavailable(root, &error);
    let mut names = Vec::new();
    for entry in fs::read_dir(root).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let lossy = name.to_string_lossy().into_owned();
        let kind = entry.file_type().map_err(failed)?;
        if is_temporary(&lossy) && kind.is_file() {
            remove_leftover(&entry.path());
        } else if lossy.starts_with('.') || lossy.ends_with(".tmp") {
        } else if kind.is_symlink() && entry.path().is_dir() {
            problems.push((lossy, "it is a link; put the folder itself there"));
        } else if kind.is_dir() && name.to_str().is_none() {
            problems.push((lossy, "its name is not in UTF-8"));
        } else if kind.is_dir() {
            names.push(lossy);
        }
        if names.len() > max {
            return Err(too_many(root, max));
        }
    }
    names.sort();
    Ok(names)
}

fn too_many(folder: &Path, max: usize) -> ReplicaError {
    ReplicaError::Unavailable {
        what: folder.display().to_string(),
        reason: format!("it has more than {max} files; raise the limit if that is right"),
    }
}

fn items(folder: &Path, prefix: &str, what: Kind, max: usize, desk: &mut Desk) -> Result<Vec<String>, ReplicaError> {
    let failed = |error: std::io::Error| unavailable(folder, &error);
    let mut names = Vec::new();
    let mut seen = 0_usize;
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        seen = seen.saturating_add(1);
        if seen > max {
            return Err(too_many(folder, max));
        }
        let name = entry.file_name();
        let lossy = name.to_string_lossy();
        if is_temporary(&lossy) {
            remove_leftover(&entry.path());
            continue;
        }
        let own = match what {
            Kind::Contacts => OWN.first() == Some(&&*lossy),
            Kind::Calendar | Kind::Calendars => OWN.contains(&&*lossy),
        };
        if !own && (lossy.starts_with('.') || lossy.ends_with(".tmp")) {
            continue;
        }
        let found = Path::new(&*lossy).extension();
        if !own && !found.is_some_and(|found| found.eq_ignore_ascii_case(what.extension())) {
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
        let desk = self.scan(&root, &request)?;
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
