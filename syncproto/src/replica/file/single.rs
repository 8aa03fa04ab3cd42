//! One file as a replica.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Book, Desk, Events, Groups, Layout, People, hidden_file, is_temporary, remove_leftover, unavailable};
use crate::engine::{Batch, Capabilities, EngineId, Outcome};
use crate::interchange::Limits;
use crate::interchange::vcard::Version;
use crate::replica::{BlockingReplica, Committed, OpenRequest, Opened, ReplicaError, Told};

/// Entries of the file's folder that are looked at for leftovers.
const NEIGHBOURS: usize = 10_000;

/// Where a file is: its folder, its name, whether it is there.
pub(crate) struct Spot {
    pub(crate) folder: PathBuf,
    pub(crate) name: String,
    there: bool,
}

/// A session over one file, for every format.
#[derive(Debug)]
pub(crate) struct One {
    pub(crate) path: PathBuf,
    session: Option<Desk>,
}

impl One {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            session: None,
        }
    }

    /// Finds the file. It may be missing before the first commit only.
    pub(crate) fn spot(&self, request: &OpenRequest<'_>) -> Result<Spot, ReplicaError> {
        let failed = |error: io::Error| unavailable(&self.path, &error);
        let first = request.token.is_none() && request.doubtful.is_none();
        let (path, there) = match fs::canonicalize(&self.path) {
            Ok(path) => (path, true),
            Err(error) if error.kind() == io::ErrorKind::NotFound && first && !super::disk::exists(&self.path) => {
                let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
                let folder = fs::canonicalize(folder.unwrap_or(Path::new("."))).map_err(failed)?;
                (folder.join(self.path.file_name().unwrap_or_default()), false)
            }
            Err(error) => return Err(failed(error)),
        };
        let name = path.file_name().and_then(OsStr::to_str).map(str::to_owned);
        match (path.parent(), name) {
            (Some(folder), Some(name)) if !there || path.is_file() => Ok(Spot {
                folder: folder.to_path_buf(),
                name,
                there,
            }),
            _ => Err(ReplicaError::Unavailable {
                what: self.path.display().to_string(),
                reason: "it is no file with a name in UTF-8".to_owned(),
            }),
        }
    }

    pub(crate) fn open(
        &mut self,
        request: &OpenRequest<'_>,
        spot: &Spot,
        book: Box<dyn Book>,
        beside: Option<String>,
        max: usize,
    ) -> Result<Opened, ReplicaError> {
        self.session = None;
        let neighbours = fs::read_dir(&spot.folder).map_err(|error| unavailable(&spot.folder, &error))?;
        for neighbour in neighbours.flatten().take(NEIGHBOURS) {
            if is_temporary(&neighbour.file_name().to_string_lossy()) {
                remove_leftover(&neighbour.path());
            }
        }
        let mut desk = Desk::new(spot.folder.clone(), request.session, book, max);
        if spot.there {
            desk.take(&spot.name)?;
        }
        if let Some(beside) = beside {
            desk.take(&beside)?;
        }
        desk.book.ready();
        let token = desk.book.token(None);
        self.session = Some(desk);
        Ok(Opened {
            token: Some(token),
            ..Opened::own()
        })
    }

    fn at_work(&mut self, call: &'static str) -> Result<&mut Desk, ReplicaError> {
        self.session.as_mut().ok_or(ReplicaError::OutOfTurn { call })
    }

    pub(crate) fn read(&mut self) -> Result<Told, ReplicaError> {
        self.at_work("read")?.read()
    }

    pub(crate) fn write(&mut self, batch: Batch) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        self.at_work("write")?.write(batch)
    }

    pub(crate) fn commit(&mut self) -> Result<Committed, ReplicaError> {
        let desk = self.session.take();
        desk.ok_or(ReplicaError::OutOfTurn { call: "commit" })?.commit()
    }

    pub(crate) fn abort(&mut self) {
        self.session = None;
    }
}

/// One `.vcf` or `.ics` file with everything in it.
#[derive(Debug)]
pub struct SingleFile {
    one: One,
    contacts: bool,
    groups: Groups,
    version: Option<Version>,
    limits: Limits,
}

impl SingleFile {
    fn new(path: impl Into<PathBuf>, contacts: bool) -> Self {
        Self {
            one: One::new(path),
            contacts,
            groups: Groups::default(),
            version: None,
            limits: Limits::default(),
        }
    }

    /// A file of cards.
    #[must_use]
    pub fn contacts(path: impl Into<PathBuf>) -> Self {
        Self::new(path, true)
    }

    /// A file of calendars.
    #[must_use]
    pub fn calendars(path: impl Into<PathBuf>) -> Self {
        Self::new(path, false)
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

    /// What the file may cost (default [`Limits::default`]).
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}

impl BlockingReplica for SingleFile {
    fn capabilities(&self) -> Capabilities {
        Capabilities::of_files().nameless_children(true)
    }

    fn open(&mut self, request: OpenRequest<'_>) -> Result<Opened, ReplicaError> {
        let spot = self.one.spot(&request)?;
        let name = Some(spot.name.clone());
        let limits = self.limits;
        if !self.contacts {
            let events = Events::new(Layout::File(spot.name.clone()), &[], limits);
            return self.one.open(&request, &spot, Box::new(events), None, limits.bytes);
        }
        let groups = self.groups.as_remembered(request.token.or(request.doubtful));
        let beside = hidden_file(name.as_deref());
        let people = People::new(name, groups, self.version, limits);
        self.one
            .open(&request, &spot, Box::new(people), Some(beside), limits.bytes)
    }

    fn read(&mut self) -> Result<Told, ReplicaError> {
        self.one.read()
    }

    fn write(&mut self, batch: Batch) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        self.one.write(batch)
    }

    fn commit(&mut self) -> Result<Committed, ReplicaError> {
        self.one.commit()
    }

    fn abort(&mut self) {
        self.one.abort();
    }
}
