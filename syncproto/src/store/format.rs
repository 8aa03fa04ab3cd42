//! How states, journal entries and reports are written: small, the same bytes for the same content, and sealed.
//!
//! # Example
//! ```
//! use cabled_syncproto::DataClass;
//! use cabled_syncproto::engine::PairState;
//! use cabled_syncproto::store::format::{FormatError, read_state, write_state};
//!
//! let mut state = PairState::new(DataClass::Contacts);
//! state.tokens.device = Some("2026-11-22 07:21:05 +0000".to_owned());
//! let mut bytes = Vec::new();
//! write_state(&state, &mut bytes)?;
//! assert_eq!(read_state(&bytes)?, state);
//!
//! bytes[20] ^= 1;
//! assert!(matches!(read_state(&bytes), Err(FormatError::Damaged { .. })));
//! # Ok::<(), FormatError>(())
//! ```
//! # How it fits together
//! [`FileStore`](super::FileStore) keeps these pieces in a folder. A program with a place of its own for them, a database,
//! implements [`StateStore`](super::StateStore) with the functions here. Most sessions change few records: such a program
//! keeps the state that it last gave out or was given, a clone that shares its rows, appends [`write_changes`] of it, and
//! from time to time writes a whole state again, in one transaction with the removal of what changed the old one.
//!
//! # Layout
//! Every piece is sealed alike, in all versions:
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `cabled-s` a state, `cabled-c` the changes of a state, `cabled-e` an entry of a journal, `cabled-j` the head of a journal, `cabled-t` a batch that was told |
//! | 4 | version of the format, little-endian: 1 |
//! | … | the body |
//! | 32 | SHA-256 of everything before |
//!
//! In a body, a number is LEB128 (zigzag where it has a sign), a text is its length and UTF-8, an optional thing is 0 or 1
//! and the thing, a list is its length and its items, an engine id is 16 bytes. A *name* (entity, key) is 0 and a text where
//! it is met first, afterwards 1 and up for the first met, the second…
//!
//! A state: its number in the store; class; sessions; since full; full at; both tokens; build; build sessions; alternations;
//! percent not accepted; the bisect (batch, times, size, ids); quarantined ids; replacing; the seed; how many rows, all their
//! ids in ascending order, the rows in that order; tombstones (id, both native ids, when); conflicts (id, group, *record* of
//! the base and of both sides, session).
//!
//! Changes make the next state of one: its number; 32 bytes that are the seal of the piece that it came from, zeros where
//! nobody said; of the later state what a state has from its class to its seed, without tokens; what becomes of each token;
//! how many rows there were; the list of the ids of those that are gone; how many are new or other ones, their ids, the rows,
//! as in a state; the list of the tombstones that are forgotten, by their place from 0, ascending; tombstones behind those
//! that stay; the list of conflicts that are settled (id, group); conflicts that are new or other ones. A token stays the
//! same (0), goes (1), is another text (2), or (3) a list of steps through the earlier one, in bytes: how many are left out,
//! how many are taken, and text that comes then; what is behind the last step is left out.
//!
//! A row: its entity; both native ids; the four *records* seen and agreed; then 0, or 1 and both pendings (kind, before,
//! both agreed, pushes, session), rejects and both holds. Of the two sides, the device's comes first.
//!
//! A *record* is 0 for none, 1 where it is met first in its row or conflict (entity, list of names and values), 2 and up for
//! the first of that row or conflict, the second…: what both sides have seen and agreed is mostly the same and is there
//! once, and shared again in memory after reading. So are pictures.
//!
//! A value is its kind (the list is in the source, `Tag`) and its content. A relation is 0 and an engine id, 1 and a text
//! that means something to one side only, or 2 and up for the first row of the piece, the second….
//!
//! An entry is its kind, in the order of [`Entry`], and its fields; in place of [`Entry::ToCommit`] a journal may have the
//! changes of the state that it follows. A told batch is the side, the extent, and the list of records with id, 0 for a
//! deletion, 1 for a record without entity, 2 for one with, and its keys and values in order.
//!
//! # Limits
//! A piece has at most 512 MiB and sixteen million values; a value is nested at most 32 deep. Nothing is allocated by a
//! number that the bytes do not bear out: a changed token has at most the bytes of the earlier one and of its change.

mod changes;
mod patch;
mod read;
mod write;

use std::io::{self, Write};

use sha2::{Digest, Sha256};

use super::Entry;
use crate::engine::{Extent, PairState, Side};
use crate::record::Changes;
pub(super) use changes::StateChanges;
use read::In;
use write::Out;

/// The version that is written.
pub const VERSION: u32 = 1;

/// The most bytes of one piece.
pub const MAX_BYTES: u64 = 512 << 20;

/// The most values of one piece: rows, records, attributes, items of lists.
pub const MAX_VALUES: u64 = 16_000_000;

/// Levels of nesting of a value.
const MAX_DEPTH: usize = 32;

/// Counts a value, and says no beyond [`MAX_VALUES`]: to the writer as to the reader, as what is written has to be read again.
fn one_more(values: u64) -> Result<u64, FormatError> {
    let found = values.saturating_add(1);
    if found > MAX_VALUES {
        return Err(FormatError::TooLarge {
            what: "values",
            found,
            max: MAX_VALUES,
        });
    }
    Ok(found)
}

/// What stands around a body.
const HEAD: usize = 12;
const SEAL: usize = 32;

/// What a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    State,
    Changes,
    Entry,
    Journal,
    Told,
}

impl Piece {
    const fn magic(self) -> &'static [u8; 8] {
        match self {
            Self::State => b"cabled-s",
            Self::Changes => b"cabled-c",
            Self::Entry => b"cabled-e",
            Self::Journal => b"cabled-j",
            Self::Told => b"cabled-t",
        }
    }
}

/// The kinds of values.
#[derive(Clone, Copy)]
enum Tag {
    Text = 0,
    Integer = 1,
    /// One that no signed number holds.
    Unsigned = 2,
    False = 3,
    True = 4,
    /// The bits of an IEEE double, little-endian.
    Real = 5,
    /// Seconds since 1970, and nanoseconds.
    Date = 6,
    Data = 7,
    /// The same as earlier data of at least [`SHARED`] bytes in the row or conflict, by its place among them.
    Again = 8,
    Uid = 9,
    Refs = 10,
    List = 11,
    /// Names and values.
    Dict = 12,
}

impl Tag {
    const ALL: [Self; 13] = [
        Self::Text,
        Self::Integer,
        Self::Unsigned,
        Self::False,
        Self::True,
        Self::Real,
        Self::Date,
        Self::Data,
        Self::Again,
        Self::Uid,
        Self::Refs,
        Self::List,
        Self::Dict,
    ];
}

/// Data below this is written again rather than looked for.
const SHARED: usize = 64;

/// Why something could not be written or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// What it was to be written to failed.
    #[error("the sync state could not be written")]
    Io(#[from] io::Error),
    /// The bytes are not what was written.
    #[error("the sync state is damaged: {reason}")]
    Damaged {
        /// What is wrong.
        reason: String,
    },
    /// A newer version of this library wrote it.
    #[error("the sync state was written by a newer version ({version}) of this library; use that one")]
    Newer {
        /// The version of the format.
        version: u32,
    },
    /// A state of another class was to follow: changes lead from one state of a class to another of the same.
    #[error("the states are of different classes; write the later one as a whole")]
    Class,
    /// There is too much of something.
    #[error("the sync state has {what} of {found}, more than {max}")]
    TooLarge {
        /// What there is too much of.
        what: &'static str,
        /// How much, as far as it was counted.
        found: u64,
        /// How much may be.
        max: u64,
    },
}

impl FormatError {
    pub(super) fn damaged(reason: impl Into<String>) -> Self {
        Self::Damaged { reason: reason.into() }
    }
}

impl From<cabled_wire::WireError> for FormatError {
    fn from(error: cabled_wire::WireError) -> Self {
        Self::damaged(error.to_string())
    }
}

/// Writes a state. Takes some 0.1 s for 171,000 rows; nothing of it is copied in memory but the ids of its rows.
///
/// # Errors
/// [`FormatError::Io`], [`FormatError::TooLarge`].
pub fn write_state(state: &PairState, to: &mut impl Write) -> Result<(), FormatError> {
    write_numbered(0, state, to).map(drop)
}

/// Reads what [`write_state`] wrote. Takes some 0.2 s for 171,000 rows.
///
/// # Errors
/// [`FormatError::Damaged`], [`FormatError::Newer`], [`FormatError::TooLarge`].
pub fn read_state(bytes: &[u8]) -> Result<PairState, FormatError> {
    read_numbered(bytes).map(|(_, state)| state)
}

/// Writes what makes `after` of `before`. `number` is the caller's number of `before`. Rows that both states share are not
/// looked into: one that was made of the other in a session that changed little takes some milliseconds, however large.
///
/// # Errors
/// As [`write_state`]; [`FormatError::Class`].
pub fn write_changes(
    number: u64,
    before: &PairState,
    after: &PairState,
    to: &mut impl Write,
) -> Result<(), FormatError> {
    let changes = StateChanges::between(before, after).ok_or(FormatError::Class)?;
    write_following(&Place::numbered(number), &changes, to).map(drop)
}

/// Reads what [`write_changes`] wrote and makes the later state of the one before. The rows that did not change are shared
/// with every clone of that.
///
/// # Errors
/// As [`read_state`]; [`FormatError::Damaged`] also when `number` is not what was written, or `before` not the state.
pub fn read_changes(bytes: &[u8], number: u64, before: PairState) -> Result<PairState, FormatError> {
    let (place, changes) = read_following(bytes)?;
    if place != Place::numbered(number) {
        return Err(FormatError::damaged("it follows another state"));
    }
    let mut state = before;
    changes.apply(&mut state)?;
    Ok(state)
}

/// Writes an entry of a journal.
///
/// # Errors
/// As [`write_state`].
pub fn write_entry(entry: &Entry, to: &mut impl Write) -> Result<(), FormatError> {
    seal(Piece::Entry, to, |out| out.entry(entry)).map(drop)
}

/// Reads what [`write_entry`] wrote.
///
/// # Errors
/// As [`read_state`].
pub fn read_entry(bytes: &[u8]) -> Result<Entry, FormatError> {
    open(Piece::Entry, bytes, In::entry)
}

/// Writes a batch that a side told.
///
/// # Errors
/// As [`write_state`].
pub fn write_told(side: Side, extent: Extent, changes: &Changes, to: &mut impl Write) -> Result<(), FormatError> {
    seal(Piece::Told, to, |out| out.told(side, extent, changes)).map(drop)
}

/// Reads what [`write_told`] wrote.
///
/// # Errors
/// As [`read_state`].
pub fn read_told(bytes: &[u8]) -> Result<(Side, Extent, Changes), FormatError> {
    open(Piece::Told, bytes, In::told)
}

/// How many records a batch that was told has, by its first bytes, of which nothing was checked.
pub(super) fn peek_told(start: &[u8]) -> Result<u64, FormatError> {
    In::new(start.get(HEAD..).unwrap_or_default())
        .told_head()
        .map(|(.., many)| many)
}

/// How many bytes [`peek_told`] wants at most.
pub(super) const PEEK: u64 = 64;

/// Where changes come in: the number of the state before, and the seal of the piece that made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) number: u64,
    pub(super) seal: [u8; SEAL],
}

impl Place {
    /// Where nobody said what made the state.
    const fn numbered(number: u64) -> Self {
        Self {
            number,
            seal: [0; SEAL],
        }
    }

    /// Behind one more piece.
    pub(super) const fn next(self, seal: [u8; SEAL]) -> Self {
        Self {
            number: self.number.saturating_add(1),
            seal,
        }
    }
}

/// The seal of a piece; zeros when it is too short to have one.
pub(super) fn seal_of(piece: &[u8]) -> [u8; SEAL] {
    piece.last_chunk().copied().unwrap_or([0; SEAL])
}

/// Whether a piece says that it is the changes of a state.
pub(super) fn is_changes(piece: &[u8]) -> bool {
    piece.starts_with(Piece::Changes.magic())
}

pub(super) fn write_following(
    place: &Place,
    changes: &StateChanges,
    to: &mut impl Write,
) -> Result<[u8; SEAL], FormatError> {
    seal(Piece::Changes, to, |out| {
        out.place(place)?;
        out.changes(changes)
    })
}

pub(super) fn read_following(bytes: &[u8]) -> Result<(Place, StateChanges), FormatError> {
    open(Piece::Changes, bytes, |input| Ok((input.place()?, input.changes()?)))
}

pub(super) fn write_numbered(number: u64, state: &PairState, to: &mut impl Write) -> Result<[u8; SEAL], FormatError> {
    seal(Piece::State, to, |out| {
        out.number(number)?;
        out.state(state)
    })
}

pub(super) fn read_numbered(bytes: &[u8]) -> Result<(u64, PairState), FormatError> {
    open(Piece::State, bytes, |input| Ok((input.number()?, input.state()?)))
}

/// The head of a journal: the number of the state it follows.
pub(super) fn write_head(number: u64, to: &mut impl Write) -> Result<(), FormatError> {
    seal(Piece::Journal, to, |out| out.number(number)).map(drop)
}

pub(super) fn read_head(bytes: &[u8]) -> Result<u64, FormatError> {
    open(Piece::Journal, bytes, In::number)
}

/// How many bytes `write` writes.
pub(super) fn length(write: impl FnOnce(&mut Counted) -> Result<(), FormatError>) -> Result<u64, FormatError> {
    let mut counted = Counted(0);
    write(&mut counted)?;
    Ok(counted.0)
}

/// What `write` writes; `None` when it is more than so many bytes.
pub(super) fn within<T>(
    most: u64,
    write: impl FnOnce(&mut Bounded) -> Result<T, FormatError>,
) -> Result<Option<Vec<u8>>, FormatError> {
    let mut bounded = Bounded {
        most,
        bytes: Vec::new(),
        full: false,
    };
    match write(&mut bounded) {
        Err(FormatError::Io(_)) if bounded.full => Ok(None),
        Err(error) => Err(error),
        Ok(_) => Ok(Some(bounded.bytes)),
    }
}

/// Keeps what is written, up to a limit.
#[derive(Debug)]
pub(super) struct Bounded {
    most: u64,
    bytes: Vec<u8>,
    full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.bytes.len() as u64).saturating_add(bytes.len() as u64) > self.most {
            self.full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Counts what is written, and keeps nothing.
#[derive(Debug)]
pub(super) struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn seal<'s>(
    piece: Piece,
    to: &mut impl Write,
    body: impl FnOnce(&mut Out<'s, '_>) -> Result<(), FormatError>,
) -> Result<[u8; SEAL], FormatError> {
    let mut sealing = Sealing {
        to: &mut *to,
        hash: Sha256::new(),
    };
    sealing.write_all(piece.magic())?;
    sealing.write_all(&VERSION.to_le_bytes())?;
    let mut out = Out::new(&mut sealing);
    body(&mut out)?;
    out.finish()?;
    let seal: [u8; SEAL] = sealing.hash.finalize().into();
    to.write_all(&seal)?;
    Ok(seal)
}

/// Reads a sealed piece. Whatever is wrong with it, nothing of it was believed before the seal was found whole.
fn open<'a, T>(
    piece: Piece,
    bytes: &'a [u8],
    body: impl FnOnce(&mut In<'a>) -> Result<T, FormatError>,
) -> Result<T, FormatError> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(FormatError::TooLarge {
            what: "bytes",
            found: bytes.len() as u64,
            max: MAX_BYTES,
        });
    }
    let (sealed, seal) = bytes
        .split_last_chunk::<SEAL>()
        .ok_or_else(|| FormatError::damaged("it is cut off"))?;
    let (head, rest) = sealed
        .split_first_chunk::<HEAD>()
        .ok_or_else(|| FormatError::damaged("it is cut off"))?;
    let [m0, m1, m2, m3, m4, m5, m6, m7, version @ ..] = *head;
    if [m0, m1, m2, m3, m4, m5, m6, m7] != *piece.magic() {
        return Err(FormatError::damaged("it is something else"));
    }
    let found: [u8; SEAL] = Sha256::digest(sealed).into();
    if found != *seal {
        return Err(FormatError::damaged(
            "it is cut off, or something else has written to it",
        ));
    }
    match u32::from_le_bytes(version) {
        VERSION => {}
        0 => return Err(FormatError::damaged("there is no version 0")),
        version => return Err(FormatError::Newer { version }),
    }
    let mut input = In::new(rest);
    let read = body(&mut input)?;
    input.finish()?;
    Ok(read)
}

struct Sealing<W> {
    to: W,
    hash: Sha256,
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.to.write(bytes)?;
        self.hash.update(bytes.get(..taken).unwrap_or(bytes));
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}
