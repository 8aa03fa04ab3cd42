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
//! A [`Vdir`] is a [`BlockingReplica`]. A record is known by its `UID`, so a file may be renamed.
//!
//! Of a folder of contacts, [`open`](BlockingReplica::open) lists the files. One whose size, times and number on the disk are
//! those of the session before is not read; the others are, and told with all that belongs to them
//! ([`Extent::Changes`]). What was known is in the token of the last [`commit`](BlockingReplica::commit). Everything is
//! read and told when that is asked for, and whenever it is not simple: a token of another version of this software, two
//! cards of one `UID`, a file that cannot be read, most files changed. Cards are told while they are read. Calendars are
//! always read as a whole.
//!
//! [`write`](BlockingReplica::write) stages every file that changes as a hidden file in the same folder, so that a full disk
//! shows before anything is written to a device. [`commit`](BlockingReplica::commit) puts each in its place only if the file
//! there is as it was read; what another program changed meanwhile is left alone, said in [`Committed::outcomes`], and comes
//! up again in the next session. Files that go, go last.
//!
//! Files whose name begins with a dot or ends in `.tmp` are passed over, as every program does that uses such folders. What a
//! file says and records have no key for stays in it.
//!
//! # Limits
//! A folder has at most 200 000 files, a file 32 MiB, all together 4 GiB. Links are not followed: an item that is one counts
//! as unreadable, like every file that cannot be read; such a file is named in [`End::unreadable`] and stops writing. A folder
//! that is not there is [`ReplicaError::Unavailable`], never an empty one.
//!
//! A program that changes a file and puts back its size, its times and its number on the disk is noticed when everything is
//! read: [`Pair`](crate::pair::Pair) asks for that in every tenth session. On Unix no program can put back the time of the
//! last change of any kind; elsewhere, and on file systems that do not keep it, one can.
//!
//! # Cost
//! Some 300 bytes of memory for each card, 4 MiB of cards on their way between file and record, and a token of about 60
//! bytes a card. 50 000 cards: about 0.3 seconds of processor time when few have changed, 3 seconds when all are read.
//! Spec: mobilesync, sections 8.6 and 15.4 to 15.7.
//!
//! [`Committed::outcomes`]: super::Committed::outcomes
//! [`End::unreadable`]: super::End::unreadable

mod listing;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use listing::{Found, folders, items};

pub use super::file::Groups;
use super::file::{Desk, Events, Layout, People, Remembered, hidden_file, unavailable};
use super::{BlockingReplica, Committed, OpenRequest, Opened, ReplicaError, Told};
use crate::engine::{Batch, Capabilities, EngineId, Extent, Outcome};
use crate::interchange::Limits;
use crate::interchange::vcard::Version;

/// Files that are read to tell changes only, and bytes of them: beyond that everything is told.
const CHANGED: usize = 2_000;
const CHANGED_BYTES: u64 = 16 << 20;

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
    grain: Duration,
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
            grain: Duration::from_secs(2),
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

    /// How far apart two writes must be for their times to differ (default 2 seconds, the coarsest that is in use). A file
    /// that was written to so shortly before it was read is read again the next time.
    #[must_use]
    pub fn grain(self, grain: Duration) -> Self {
        Self { grain, ..self }
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

    /// The cards that changed, if that can be told without reading the others.
    fn changes(
        &self,
        root: &Path,
        request: &OpenRequest<'_>,
        found: &Found,
        settled: SystemTime,
    ) -> Result<Option<Desk>, ReplicaError> {
        let token = request.token.filter(|_| !request.full && found.problems.is_empty());
        let groups = self.groups.as_remembered(token);
        let remembered = token.and_then(|token| Remembered::read(token, groups, self.files));
        let Some(remembered) = remembered else {
            return Ok(None);
        };
        let (mut unchanged, mut read) = (Vec::new(), Vec::new());
        for (sheet, print) in &found.sheets {
            match remembered.prints.get_key_value(&**sheet) {
                Some((name, known)) if Some(*known) == *print => unchanged.push((Arc::clone(name), *known)),
                _ => read.push(&**sheet),
            }
        }
        let same: HashSet<&str> = unchanged.iter().map(|(name, _)| &**name).collect();
        let stale: Vec<Arc<str>> = remembered
            .index
            .files()
            .filter(|(name, _)| !same.contains(&***name))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        let most = read.len().max(stale.len());
        if most > CHANGED || most > found.sheets.len().div_ceil(2) {
            return Ok(None);
        }
        // Groups without a card are made of it and of what is known of the cards.
        let hidden = hidden_file(None);
        read.extend(same.get(&*hidden));
        read.sort_unstable_by_key(|sheet| *sheet != hidden);
        let people = People::new(None, groups, self.version, self.limits).recall(remembered, &stale);
        let mut desk =
            Desk::new(root.to_path_buf(), request.session, Box::new(people), self.limits.bytes).settled(settled);
        for sheet in read {
            desk.take(sheet)?;
            if desk.bytes() > CHANGED_BYTES || !desk.is_simple() {
                return Ok(None);
            }
        }
        desk.book.ready();
        Ok(desk.is_simple().then(|| desk.unchanged(unchanged)))
    }

    /// Begins to read cards: those that changed, or, when that is not simple, all.
    fn open_cards(&self, root: &Path, request: &OpenRequest<'_>) -> Result<(Desk, Opened), ReplicaError> {
        let now = SystemTime::now();
        let settled = now.checked_sub(self.grain).unwrap_or(SystemTime::UNIX_EPOCH);
        let wanted = (!request.full && request.token.is_some()).then_some(settled);
        let found = items(root, "", self.kind, self.files, wanted)?;
        if let Some(desk) = self.changes(root, request, &found, settled)? {
            return Ok((desk, Opened::own().extent(Extent::Changes)));
        }
        let groups = self.groups.as_remembered(request.token.or(request.doubtful));
        let people = People::new(None, groups, self.version, self.limits);
        let mut desk = Desk::new(root.to_path_buf(), request.session, Box::new(people), self.limits.bytes)
            .settled(settled)
            .unread(found.sheets.into_iter().map(|(sheet, _)| sheet).collect());
        for (name, reason) in found.problems {
            desk.cannot_read(&name, reason);
        }
        Ok((desk, Opened::own()))
    }

    /// Reads all calendars.
    fn open_calendars(&self, root: &Path, request: &OpenRequest<'_>) -> Result<(Desk, Opened), ReplicaError> {
        let token = request.token.or(request.doubtful);
        let mut problems = Vec::new();
        let (events, places) = match self.kind {
            Kind::Calendars => {
                let folders = folders(root, self.files, &mut problems)?;
                self.missing(root, &folders, token)?;
                (Events::new(Layout::Folders, &folders, self.limits), folders)
            }
            Kind::Calendar | Kind::Contacts => {
                let name = root.file_name().and_then(|name| name.to_str()).unwrap_or("Calendar");
                let events = Events::new(Layout::Folder, &[name.to_owned()], self.limits);
                (events, vec![String::new()])
            }
        };
        let mut desk = Desk::new(root.to_path_buf(), request.session, Box::new(events), self.limits.bytes);
        let mut left = self.files;
        let mut sheets = Vec::new();
        for place in places {
            let (folder, prefix) = match &*place {
                "" => (root.to_path_buf(), String::new()),
                name => (root.join(name), format!("{name}/")),
            };
            let found = items(&folder, &prefix, self.kind, left, None)?;
            left = left.saturating_sub(found.sheets.len());
            sheets.extend(found.sheets);
            problems.extend(found.problems);
        }
        for (name, reason) in problems {
            desk.cannot_read(&name, reason);
        }
        for (sheet, _) in sheets {
            desk.take(&sheet)?;
        }
        desk.book.ready();
        let token = desk.book.token(None);
        Ok((desk, Opened::own().token(Some(token))))
    }

    fn at_work(&mut self, call: &'static str) -> Result<&mut Desk, ReplicaError> {
        self.session.as_mut().ok_or(ReplicaError::OutOfTurn { call })
    }
}

impl BlockingReplica for Vdir {
    fn capabilities(&self) -> Capabilities {
        Capabilities::of_files().nameless_children(true)
    }

    fn open(&mut self, request: OpenRequest<'_>) -> Result<Opened, ReplicaError> {
        self.session = None;
        // Links in the way to the folder are the user's own; from there on none is followed.
        let root = fs::canonicalize(&self.root).map_err(|error| unavailable(&self.root, &error))?;
        let (desk, opened) = match self.kind {
            Kind::Contacts => self.open_cards(&root, &request)?,
            Kind::Calendar | Kind::Calendars => self.open_calendars(&root, &request)?,
        };
        self.session = Some(desk);
        Ok(opened)
    }

    fn read(&mut self) -> Result<Told, ReplicaError> {
        self.at_work("read")?.read()
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
