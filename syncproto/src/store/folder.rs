//! A store in a folder.

#[cfg(test)]
pub(super) mod tests;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::disk::{Disk, Growing};
use super::format::{self, FormatError};
use super::frames::{self, Frames, Made, Next, Piece};
use super::snapshots::{self, SnapshotReader};
use super::states::{self, States};
use super::{Entry, Loaded, Snapshot, SnapshotInfo, StateStore, StoreError, Unfinished};
use crate::engine::{Extent, PairState, SessionId, Side, Sides};
use crate::record::Changes;

const JOURNAL: &str = "journal";
/// A journal that is being written, before it takes its name.
const NEW_JOURNAL: &str = "journal.new";

/// What is kept between sessions, in a folder of its own.
///
/// The folder is for its owner only (on Unix: mode 0700, files 0600) and holds `state`, `changes`, `journal` and `told-…`
/// while a session is under way or after one broke off, `snapshots/`, and `lock`: one program has it open at a time, for as
/// long as the store lives. `docs/FORMAT.md` says what is in them.
///
/// A commit appends what it changes to `changes`, and counts once all of that is on the disk. When a quarter of the state, or
/// what 32 commits changed, has gathered there, the state is written beside the old one, flushed, and takes its name; what
/// changed the old one counts for nothing then. The journal says which state it follows, and one that follows an older state
/// counts for nothing. So whatever is cut off, and wherever, the state before is found with its journal, or the new one. A
/// snapshot has its name before the commit counts, and the oldest is removed after that.
///
/// # Cost
/// The state that was loaded or committed last is kept, its rows shared with the caller's: some 30 bytes for each. With
/// 171,000 rows (50,000 contacts with their parts) a session that changes ten of them takes some 15 ms of processor time for
/// the journal and the commit together. [`load`](StateStore::load) takes some 0.2 s, and in memory the state and its file; a
/// commit that writes the whole state takes some 0.15 s, and hardly any memory.
///
/// # Example
/// ```
/// use cabled_syncproto::DataClass;
/// use cabled_syncproto::engine::{Extent, PairState, SessionId, Side};
/// use cabled_syncproto::record::{Change, Changes, Record, RecordId};
/// use cabled_syncproto::store::{Entry, FileStore, Snapshot, StateStore};
///
/// # let folder = tempfile::tempdir()?;
/// let mut store = FileStore::open(folder.path().join("contacts"))?;
/// assert!(store.load()?.state.is_none());
///
/// store.append(Entry::Begun { session: SessionId([7; 16]), at: 1_700_000_000 })?;
/// let ann = Record::new("com.apple.contacts.Contact").with("first name", "Ann");
/// let told = Changes::from_iter([(RecordId::new("41")?, Change::Upsert(ann))]);
/// store.keep_told(Side::Device, Extent::Everything, &told)?;
/// store.commit(&PairState::new(DataClass::Contacts), Snapshot::Keep(10))?;
///
/// assert!(store.load()?.state.is_some());
/// let kept = &store.snapshots()?[0];
/// let people = store.read_snapshot(kept.number)?.into_memory()?; // a side of a sync that brings them back
/// assert_eq!(people.all().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileStore {
    disk: Disk,
    /// Locked as long as it is open.
    _lock: File,
    /// What is there; `None` before it was read and after something failed half way.
    known: Option<Known>,
    /// A commit failed, and nobody knows what a disk that failed has of the changes: the next one writes everything.
    anew: bool,
}

#[derive(Debug, Default)]
struct Known {
    /// The state that is there.
    states: States,
    /// Where the journal ends; 0 when there is none.
    journal: u64,
    /// What the journal says, states left out.
    unfinished: Unfinished,
    /// Where the files end to which this session has written what was told.
    told: Sides<[Option<u64>; 2]>,
}

/// The file of what a side told in reports of an extent.
const fn told_name(side: Side, extent: Extent) -> &'static str {
    match (side, extent) {
        (Side::Device, Extent::Everything) => "told-device",
        (Side::Device, Extent::Changes) => "told-device-changes",
        (Side::Computer, Extent::Everything) => "told-computer",
        (Side::Computer, Extent::Changes) => "told-computer-changes",
    }
}

const TOLD: [&str; 4] = [
    told_name(Side::Device, Extent::Everything),
    told_name(Side::Device, Extent::Changes),
    told_name(Side::Computer, Extent::Everything),
    told_name(Side::Computer, Extent::Changes),
];

struct Head(u64);

impl Piece for Head {
    fn write(&self, to: &mut impl Write) -> Result<(), FormatError> {
        format::write_head(self.0, to)
    }
}

impl Piece for Entry {
    fn write(&self, to: &mut impl Write) -> Result<(), FormatError> {
        format::write_entry(self, to)
    }
}

struct Told<'a>(Side, Extent, &'a Changes);

impl Piece for Told<'_> {
    fn write(&self, to: &mut impl Write) -> Result<(), FormatError> {
        format::write_told(self.0, self.1, self.2, to)
    }
}

/// Reads an entry. That of a state that will be true may say what it changes.
fn read_entry(states: &States, piece: &[u8]) -> Result<Entry, FormatError> {
    if format::is_changes(piece) {
        let state = Box::new(states.after(piece)?);
        return Ok(Entry::ToCommit { state });
    }
    format::read_entry(piece)
}

/// Appends an entry, a state that will be true by what it changes where that is less, and gives how many bytes that took.
fn append_entry(states: &States, entry: &Entry, file: &mut Growing<'_>) -> Result<u64, StoreError> {
    if let Entry::ToCommit { state } = entry {
        let changes = states.piece(state);
        if let Some(piece) = changes.map_err(|error| frames::at(error, file.path()))? {
            return frames::append(&Made(&piece), file);
        }
    }
    frames::append(entry, file)
}

impl FileStore {
    /// Opens a folder, which is made if need be, and locks it. Waits up to a second for one that was just let go of. One
    /// folder is for one class between one device and one place on the computer.
    ///
    /// # Errors
    /// [`StoreError::Busy`] when another program, or another store in this one, has it; [`StoreError::Io`].
    pub fn open(folder: impl AsRef<Path>) -> Result<Self, StoreError> {
        let disk = Disk::new(folder.as_ref())?;
        let lock = disk.lock()?;
        Ok(Self {
            disk,
            _lock: lock,
            known: None,
            anew: false,
        })
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.disk.folder()
    }

    /// The snapshots, oldest first. Reads a few bytes per batch. One that is damaged is listed as far as it can be read;
    /// [`read_snapshot`](Self::read_snapshot) says what is wrong with it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>, StoreError> {
        snapshots::list(&self.disk)
    }

    /// Reads a snapshot, one batch at a time.
    ///
    /// # Errors
    /// [`StoreError::Io`], also when there is none of that number.
    pub fn read_snapshot(&self, number: u64) -> Result<SnapshotReader, StoreError> {
        snapshots::open(&self.disk, number)
    }

    /// Puts everything but the snapshots into a new folder `set-aside-1`, `-2`… in this one, and gives its path: for a state
    /// that is damaged. Nothing is deleted. Afterwards nothing is known: the next session is the first.
    ///
    /// # Errors
    /// [`StoreError::Io`]; what was not moved yet is where it was, and this can be done again.
    pub fn set_aside(&mut self) -> Result<PathBuf, StoreError> {
        self.known = None;
        let number = self
            .disk
            .names(self.disk.folder())?
            .iter()
            .filter_map(|name| name.strip_prefix("set-aside-")?.parse::<u64>().ok())
            .max();
        let aside = format!("set-aside-{}", number.unwrap_or(0).saturating_add(1));
        let aside = self.disk.make_subfolder(&aside)?;
        // The state first, the journal last: without their state they are damage, while a state without what changed it or
        // its journal would be believed.
        let first = [states::STATE, states::CHANGES, states::NEW];
        for name in first.into_iter().chain(TOLD).chain([NEW_JOURNAL, JOURNAL]) {
            let from = self.disk.path(name);
            if from.is_file() {
                self.disk.rename(&from, &aside.join(name))?;
            }
        }
        self.disk.flush_folder(&aside)?;
        self.disk.flush_folder(self.disk.folder())?;
        Ok(aside)
    }

    fn read_all(&mut self) -> Result<(Known, Option<Unfinished>), StoreError> {
        let mut known = Known {
            states: States::read(&self.disk)?,
            ..Known::default()
        };
        let unfinished = self.read_journal(&mut known)?;
        if unfinished.is_none() {
            // What a commit or a close did not come to remove.
            self.disk.remove(JOURNAL)?;
            self.forget_told()?;
        }
        known.states.tidy(&self.disk)?;
        self.disk.remove(NEW_JOURNAL)?;
        Ok((known, unfinished))
    }

    /// Reads the journal, unless it follows an older state.
    fn read_journal(&self, known: &mut Known) -> Result<Option<Unfinished>, StoreError> {
        let path = self.disk.path(JOURNAL);
        let Some((file, len)) = self.disk.read(&path)? else {
            return Ok(None);
        };
        let mut frames = Frames::new(file, len);
        let mut read = || -> Result<Option<Unfinished>, FormatError> {
            let Next::Piece(head) = frames.next()? else {
                return Err(FormatError::damaged("it is cut off"));
            };
            let follows = format::read_head(&head)?;
            if follows < known.states.number() {
                return Ok(None);
            }
            if follows > known.states.number() {
                return Err(FormatError::damaged("the state that it follows is not there"));
            }
            known.journal = frames.position();
            let mut all = None;
            while let Next::Piece(piece) = frames.next()? {
                let entry = match read_entry(&known.states, &piece) {
                    Err(FormatError::Damaged { .. }) if frames.never_arrived(&piece) => break,
                    entry => entry?,
                };
                known.journal = frames.position();
                if !matches!(entry, Entry::ToCommit { .. }) {
                    known.unfinished.take(entry.clone());
                }
                all.get_or_insert_with(Unfinished::default).take(entry);
            }
            Ok(all)
        };
        read().map_err(|error| frames::unread(error, &path))
    }

    /// What is there, read if it was not. Taken out while something is done: if that fails it is read again.
    fn take(&mut self) -> Result<Known, StoreError> {
        match self.known.take() {
            Some(known) => Ok(known),
            None => self.read_all().map(|(known, _)| known),
        }
    }

    /// Starts a journal with what has to outlive the session before, and removes what that one was told; where it had begun
    /// to write, that becomes a snapshot first.
    fn begin(&self, known: &mut Known, entry: Option<Entry>) -> Result<(), StoreError> {
        if known.unfinished.may_have_lost() {
            self.keep_snapshot(true)?;
            snapshots::trim_broken_off(&self.disk)?;
        }
        self.forget_told()?;
        known.told = Sides::default();
        let carried = known.unfinished.outlives().then_some(Entry::Clearing);
        let entries: Vec<Entry> = carried.into_iter().chain(entry).collect();
        known.unfinished = Unfinished::default();
        known.journal = 0;
        if entries.is_empty() {
            self.disk.remove(JOURNAL)?;
        } else {
            let mut file = self.disk.create(NEW_JOURNAL)?;
            known.journal = frames::append(&Head(known.states.number()), &mut file)?;
            for entry in entries {
                let taken = append_entry(&known.states, &entry, &mut file)?;
                known.journal = known.journal.saturating_add(taken);
                known.unfinished.take(entry);
            }
            file.flush()?;
            self.disk.rename(file.path(), &self.disk.path(JOURNAL))?;
        }
        self.disk.flush_folder(self.disk.folder())
    }

    fn forget_told(&self) -> Result<(), StoreError> {
        TOLD.iter().try_for_each(|name| self.disk.remove(name))
    }

    /// What the device told becomes a snapshot, if it was everything.
    fn keep_snapshot(&self, broken_off: bool) -> Result<(), StoreError> {
        let told = self.disk.path(told_name(Side::Device, Extent::Everything));
        let partly = self.disk.path(told_name(Side::Device, Extent::Changes));
        if !told.exists() || partly.exists() {
            return Ok(());
        }
        snapshots::take(&self.disk, &told, broken_off)
    }

    fn append_to(&self, known: &mut Known, entry: Entry) -> Result<(), StoreError> {
        let mut file = self.disk.grow(JOURNAL, known.journal)?;
        let taken = append_entry(&known.states, &entry, &mut file)?;
        file.flush()?;
        known.journal = known.journal.saturating_add(taken);
        if !matches!(entry, Entry::ToCommit { .. }) {
            known.unfinished.take(entry);
        }
        Ok(())
    }

    fn keep(&self, known: &mut Known, side: Side, extent: Extent, changes: &Changes) -> Result<(), StoreError> {
        let name = told_name(side, extent);
        let end = match known.told.get(side) {
            [everything, _] if extent == Extent::Everything => *everything,
            [_, partly] => *partly,
        };
        let end = match end {
            Some(end) => Some(end),
            None => self.end_of(name)?,
        };
        let end = match end {
            Some(end) => end,
            None => self.start_told(name, &known.unfinished)?,
        };
        let slot = match known.told.get_mut(side) {
            [everything, _] if extent == Extent::Everything => everything,
            [_, partly] => partly,
        };
        // From here on the file is known: what a batch that fails leaves behind is cut off before the next.
        *slot = Some(end);
        let mut file = self.disk.grow(name, end)?;
        let taken = frames::append(&Told(side, extent, changes), &mut file)?;
        file.flush()?;
        *slot = Some(end.saturating_add(taken));
        Ok(())
    }

    /// Makes a file for what a side tells, and gives where it ends.
    fn start_told(&self, name: &str, unfinished: &Unfinished) -> Result<u64, StoreError> {
        let mut file = self.disk.create(name)?;
        let begun = Entry::Begun {
            session: unfinished.session.unwrap_or(SessionId([0; 16])),
            at: unfinished.at,
        };
        let taken = frames::append(&begun, &mut file)?;
        file.flush()?;
        self.disk.flush_folder(self.disk.folder())?;
        Ok(taken)
    }

    /// Where a file ends that this store has not written to yet: a session goes on after a cut.
    fn end_of(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let path = self.disk.path(name);
        let Some((file, len)) = self.disk.read(&path)? else {
            return Ok(None);
        };
        let mut frames = Frames::new(file, len);
        let mut end = 0;
        let mut scan = || -> Result<(), FormatError> {
            while let Next::Piece(piece) = frames.next()? {
                let head = end == 0 && format::read_entry(&piece).is_ok();
                if !head && format::read_told(&piece).is_err() && frames.never_arrived(&piece) {
                    break;
                }
                end = frames.position();
            }
            Ok(())
        };
        scan().map_err(|error| frames::at(error, &path))?;
        Ok((end > 0).then_some(end))
    }

    /// After a commit: what is left of the session. It counts for nothing any more, so that a failure here is none of the
    /// commit; the next load removes it.
    fn tidy(&self, states: &States, snapshot: Snapshot) {
        let tidied = self
            .disk
            .remove(JOURNAL)
            .and_then(|()| states.tidy(&self.disk))
            .and_then(|()| self.forget_told())
            .and_then(|()| match snapshot {
                Snapshot::Keep(most) => snapshots::trim(&self.disk, most),
                Snapshot::Drop => Ok(()),
            });
        if let Err(error) = tidied {
            tracing::warn!(%error, "something of a committed session could not be removed");
        }
    }
}

impl StateStore for FileStore {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.known = None;
        let (known, unfinished) = self.read_all()?;
        let state = known.states.last().cloned();
        self.known = Some(known);
        Ok(Loaded::new(state, unfinished))
    }

    fn append(&mut self, entry: Entry) -> Result<(), StoreError> {
        let mut known = self.take()?;
        if matches!(entry, Entry::Begun { .. }) || known.journal == 0 {
            self.begin(&mut known, Some(entry))?;
            self.known = Some(known);
            return Ok(());
        }
        let appended = self.append_to(&mut known, entry);
        // Half an entry counts for nothing, and the next one takes its place.
        self.known = Some(known);
        appended
    }

    fn keep_told(&mut self, side: Side, extent: Extent, changes: &Changes) -> Result<(), StoreError> {
        let mut known = self.take()?;
        let kept = self.keep(&mut known, side, extent, changes);
        self.known = Some(known);
        kept
    }

    fn commit(&mut self, state: &PairState, snapshot: Snapshot) -> Result<(), StoreError> {
        let Known { mut states, .. } = self.take()?;
        if let Snapshot::Keep(1..) = snapshot {
            self.keep_snapshot(false)?;
        }
        let anew = std::mem::replace(&mut self.anew, true);
        states.commit(&self.disk, state, anew)?;
        self.anew = false;
        self.tidy(&states, snapshot);
        self.known = Some(Known {
            states,
            ..Known::default()
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), StoreError> {
        let mut known = self.take()?;
        self.begin(&mut known, None)?;
        self.known = Some(known);
        Ok(())
    }
}
