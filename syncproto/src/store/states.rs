//! The state on the disk: a file with all of it, and one with what each commit since has changed.

use std::io::Read;

use super::StoreError;
use super::disk::{Disk, io_error};
use super::format::{self, FormatError, MAX_BYTES, Place, StateChanges};
use super::frames::{self, Frames, Made, Next};
use crate::engine::PairState;

pub(super) const STATE: &str = "state";
pub(super) const CHANGES: &str = "changes";
/// A state that is being written, before it takes its name.
pub(super) const NEW: &str = "state.new";

/// So many changes may follow a state: each may make another one of a token of some megabytes, and all are read again with
/// the state.
const MOST: u32 = 32;

/// The state that is there.
#[derive(Debug, Default)]
pub(super) struct States {
    /// Which one; its number is 0 when there is none.
    place: Place,
    /// Its rows are shared with those of whoever loaded or committed it.
    last: Option<PairState>,
    /// Bytes of the file with all of a state.
    whole: u64,
    /// Where the file of changes ends; 0 when there is none that counts.
    end: u64,
    /// How many changes are in it.
    many: u32,
}

impl States {
    /// Reads what is there. Takes the state and the bytes of its file in memory.
    pub(super) fn read(disk: &Disk) -> Result<Self, StoreError> {
        let mut states = Self::default();
        states.read_whole(disk)?;
        states.read_changes(disk)?;
        Ok(states)
    }

    pub(super) const fn number(&self) -> u64 {
        self.place.number
    }

    pub(super) const fn last(&self) -> Option<&PairState> {
        self.last.as_ref()
    }

    /// Removes what does not count any more.
    pub(super) fn tidy(&self, disk: &Disk) -> Result<(), StoreError> {
        disk.remove(NEW)?;
        match self.end {
            0 => disk.remove(CHANGES),
            _ => Ok(()),
        }
    }

    fn read_whole(&mut self, disk: &Disk) -> Result<(), StoreError> {
        let path = disk.path(STATE);
        let Some((file, len)) = disk.read(&path)? else {
            return Ok(());
        };
        let max = MAX_BYTES.saturating_add(1);
        let mut bytes = Vec::with_capacity(usize::try_from(len.min(max)).unwrap_or(0));
        file.take(max)
            .read_to_end(&mut bytes)
            .map_err(|error| io_error(&path, "read", error))?;
        let (number, state) = format::read_numbered(&bytes).map_err(|error| frames::at(error, &path))?;
        self.place = Place {
            number,
            seal: format::seal_of(&bytes),
        };
        self.last = Some(state);
        self.whole = bytes.len() as u64;
        Ok(())
    }

    /// Reads the changes, unless they follow an older state.
    fn read_changes(&mut self, disk: &Disk) -> Result<(), StoreError> {
        let path = disk.path(CHANGES);
        let Some((file, len)) = disk.read(&path)? else {
            return Ok(());
        };
        let mut frames = Frames::new(file, len);
        while self
            .read_one(&mut frames)
            .map_err(|error| frames::unread(error, &path))?
        {}
        Ok(())
    }

    /// Reads the next changes. Gives whether there were any.
    fn read_one(&mut self, frames: &mut Frames) -> Result<bool, FormatError> {
        let Next::Piece(piece) = frames.next()? else {
            return Ok(false);
        };
        let (place, changes) = match format::read_following(&piece) {
            Err(FormatError::Damaged { .. }) if frames.never_arrived(&piece) => return Ok(false),
            read => read?,
        };
        if self.end == 0 && place.number < self.place.number {
            return Ok(false);
        }
        let last = self.last.as_mut().filter(|_| place == self.place);
        let last = last.ok_or_else(|| FormatError::damaged("the state that it follows is not there"))?;
        self.many = self.many.saturating_add(1);
        if self.many > MOST {
            return Err(FormatError::TooLarge {
                what: "changes",
                found: self.many.into(),
                max: MOST.into(),
            });
        }
        changes.apply(last)?;
        self.place = self.place.next(format::seal_of(&piece));
        self.end = frames.position();
        Ok(true)
    }

    /// The state that makes of the last one what a piece says.
    pub(super) fn after(&self, piece: &[u8]) -> Result<PairState, FormatError> {
        let (place, changes) = format::read_following(piece)?;
        let last = self.last.as_ref().filter(|_| place == self.place);
        let mut state = last
            .cloned()
            .ok_or_else(|| FormatError::damaged("the state that it follows is not there"))?;
        changes.apply(&mut state)?;
        Ok(state)
    }

    /// What makes a state of the last one, if that is a small part of it.
    pub(super) fn piece(&self, state: &PairState) -> Result<Option<Vec<u8>>, FormatError> {
        Ok(self.changes(state)?.map(|(_, piece)| piece))
    }

    fn changes(&self, state: &PairState) -> Result<Option<(StateChanges, Vec<u8>)>, FormatError> {
        let Some(last) = &self.last else { return Ok(None) };
        let Some(changes) = StateChanges::between(last, state) else {
            return Ok(None);
        };
        let piece = format::within(self.room(), |to| format::write_following(&self.place, &changes, to))?;
        Ok(piece.map(|piece| (changes, piece)))
    }

    /// So many bytes of changes are worth it.
    const fn room(&self) -> u64 {
        self.whole / 4
    }

    /// Makes a state the one that is there: by what it changes, or, when that has become much, as a whole. `anew` when the
    /// file of changes is not to be trusted.
    pub(super) fn commit(&mut self, disk: &Disk, state: &PairState, anew: bool) -> Result<(), StoreError> {
        if !anew && self.many < MOST {
            let changes = self.changes(state);
            let changes = changes.map_err(|error| frames::at(error, &disk.path(CHANGES)))?;
            let fits = |piece: &[u8]| self.end.saturating_add(piece.len() as u64) <= self.room();
            if let Some((changes, piece)) = changes.filter(|(_, piece)| fits(piece)) {
                self.append(disk, changes, &piece)?;
                debug_assert!(self.last.as_ref() == Some(state), "what is kept is what was to be kept");
                return Ok(());
            }
        }
        self.replace(disk, state)
    }

    fn append(&mut self, disk: &Disk, changes: StateChanges, piece: &[u8]) -> Result<(), StoreError> {
        let mut file = match self.end {
            0 => disk.create(CHANGES)?,
            end => disk.grow(CHANGES, end)?,
        };
        let taken = frames::append(&Made(piece), &mut file)?;
        file.flush()?;
        if self.end == 0 {
            disk.flush_folder(disk.folder())?;
        }
        if let Some(last) = &mut self.last {
            changes.apply(last).map_err(|error| frames::at(error, file.path()))?;
        }
        self.place = self.place.next(format::seal_of(piece));
        self.end = self.end.saturating_add(taken);
        self.many = self.many.saturating_add(1);
        Ok(())
    }

    fn replace(&mut self, disk: &Disk, state: &PairState) -> Result<(), StoreError> {
        let number = self.place.number.saturating_add(1);
        let mut file = disk.create(NEW)?;
        let seal = format::write_numbered(number, state, &mut file);
        let seal = seal.map_err(|error| frames::at(error, file.path()))?;
        file.flush()?;
        disk.rename(file.path(), &disk.path(STATE))?;
        disk.flush_folder(disk.folder())?;
        *self = Self {
            place: Place { number, seal },
            last: Some(state.clone()),
            whole: file.written(),
            end: 0,
            many: 0,
        };
        Ok(())
    }
}
