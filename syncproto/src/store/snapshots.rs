//! What devices told before they were written to, kept for undo.
//!
//! A snapshot is the file to which the batches were appended as they came, under a number; `-broken-off` behind it says that
//! its session was not committed.

use std::path::{Path, PathBuf};

use super::disk::{Disk, io_error};
use super::format::{self, FormatError, PEEK};
use super::frames::{self, Frames, Next};
use super::{BROKEN_OFF, Entry, SnapshotInfo, StoreError};
use crate::record::{Change, Changes};
use crate::replica::Memory;

const FOLDER: &str = "snapshots";
const SUFFIX: &str = "-broken-off";

/// The numbers that are there, ascending, with whether their session broke off.
fn numbers(disk: &Disk) -> Result<Vec<(u64, bool)>, StoreError> {
    let names = disk.names(&disk.path(FOLDER))?;
    let parse = |name: &String| {
        let (number, broken_off) = match name.strip_suffix(SUFFIX) {
            Some(number) => (number, true),
            None => (name.as_str(), false),
        };
        Some((number.parse::<u64>().ok()?, broken_off))
    };
    let mut numbers: Vec<(u64, bool)> = names.iter().filter_map(parse).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn name((number, broken_off): (u64, bool)) -> String {
    format!("{FOLDER}/{number}{}", if broken_off { SUFFIX } else { "" })
}

/// Makes a file a snapshot.
pub(super) fn take(disk: &Disk, told: &Path, broken_off: bool) -> Result<(), StoreError> {
    let folder = disk.make_subfolder(FOLDER)?;
    let last = numbers(disk)?.last().map_or(0, |(number, _)| *number);
    let to = disk.path(&name((last.saturating_add(1), broken_off)));
    disk.rename(told, &to)?;
    disk.flush_folder(&folder)?;
    disk.flush_folder(disk.folder())
}

/// Removes the oldest beyond `most`.
pub(super) fn trim(disk: &Disk, most: usize) -> Result<(), StoreError> {
    let numbers = numbers(disk)?;
    remove_oldest(disk, &numbers, most)
}

/// Removes the oldest beyond the limit of those whose session broke off.
pub(super) fn trim_broken_off(disk: &Disk) -> Result<(), StoreError> {
    let mut numbers = numbers(disk)?;
    numbers.retain(|(_, broken_off)| *broken_off);
    remove_oldest(disk, &numbers, BROKEN_OFF)
}

fn remove_oldest(disk: &Disk, numbers: &[(u64, bool)], most: usize) -> Result<(), StoreError> {
    let over = numbers.len().saturating_sub(most);
    numbers.iter().take(over).try_for_each(|one| disk.remove(&name(*one)))
}

pub(super) fn list(disk: &Disk) -> Result<Vec<SnapshotInfo>, StoreError> {
    let mut list = Vec::new();
    for one in numbers(disk)? {
        let path = disk.path(&name(one));
        let Some((file, bytes)) = disk.read(&path)? else {
            continue;
        };
        let mut info = SnapshotInfo {
            number: one.0,
            at: 0,
            bytes,
            records: 0,
            broken_off: one.1,
        };
        match look(&mut Frames::new(file, bytes), &mut info) {
            Err(FormatError::Io(source)) => return Err(io_error(&path, "read", source)),
            Err(error) => tracing::debug!(%error, number = info.number, "a snapshot is damaged"),
            Ok(()) => {}
        }
        list.push(info);
    }
    Ok(list)
}

fn look(frames: &mut Frames, info: &mut SnapshotInfo) -> Result<(), FormatError> {
    info.at = head(frames)?;
    while let Some(start) = frames.peek(PEEK)? {
        info.records = info.records.saturating_add(format::peek_told(&start)?);
    }
    Ok(())
}

/// Reads the head: when the session began.
fn head(frames: &mut Frames) -> Result<u64, FormatError> {
    if let Next::Piece(head) = frames.next()?
        && let Entry::Begun { at, .. } = format::read_entry(&head)?
    {
        return Ok(at);
    }
    Err(FormatError::damaged("it is cut off"))
}

pub(super) fn open(disk: &Disk, number: u64) -> Result<SnapshotReader, StoreError> {
    let one = numbers(disk)?.into_iter().find(|(there, _)| *there == number);
    let path = disk.path(&name(one.unwrap_or((number, false))));
    let Some((file, len)) = disk.read(&path)? else {
        return Err(io_error(&path, "read", std::io::ErrorKind::NotFound.into()));
    };
    Ok(SnapshotReader {
        path,
        frames: Some(Frames::new(file, len)),
        at: None,
    })
}

/// What a device told once, batch by batch. What a later batch says about a record counts. Nothing follows an error.
#[derive(Debug)]
pub struct SnapshotReader {
    path: PathBuf,
    /// `None` after the end, and after an error.
    frames: Option<Frames>,
    at: Option<u64>,
}

impl SnapshotReader {
    /// All of it as a side of a sync, from which a device can be filled again. Everything is in memory.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Newer`], [`StoreError::Io`]: half a snapshot brings nobody's records back.
    pub fn into_memory(self) -> Result<Memory, StoreError> {
        let memory = Memory::default();
        for batch in self {
            for (id, change) in batch? {
                match change {
                    Change::Upsert(record) => memory.put(id, record),
                    Change::Delete => drop(memory.remove(&id)),
                }
            }
        }
        Ok(memory)
    }

    fn read(&mut self) -> Result<Option<Changes>, FormatError> {
        let Some(frames) = &mut self.frames else {
            return Ok(None);
        };
        if self.at.is_none() {
            self.at = Some(head(frames)?);
        }
        match frames.next()? {
            Next::Piece(piece) => format::read_told(&piece).map(|(.., changes)| Some(changes)),
            Next::End => Ok(None),
            Next::Torn => Err(FormatError::damaged("it is cut off")),
        }
    }
}

impl Iterator for SnapshotReader {
    type Item = Result<Changes, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = match self.read() {
            Ok(Some(changes)) => return Some(Ok(changes)),
            Ok(None) => None,
            Err(error) => Some(Err(frames::unread(error, &self.path))),
        };
        self.frames = None;
        read
    }
}
