//! The bodies, written.

mod told;

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use super::changes::{StateChanges, Token};
use super::{FormatError, MAX_BYTES, MAX_DEPTH, Place, SHARED, Tag, one_more};
use crate::engine::kept::{Datum, Fields, Held, Kept, Kind, More, Pending, Ref, Row, Tombstone, Why};
use crate::engine::{Bisect, EngineId, PairState, Side, Sides};
use crate::store::Entry;

/// Bytes that are gathered before they are handed on.
const CHUNK: usize = 64 << 10;

/// Names that are known by their place in memory.
const RECENT: usize = 256;

/// Where a body is written to. `'s` is the content.
pub(super) struct Out<'s, 'w> {
    to: &'w mut dyn Write,
    chunk: Vec<u8>,
    written: u64,
    values: u64,
    names: HashMap<&'s str, u64>,
    /// Names by where they stand in memory: almost all are shared, and hashing each would take longer than writing it.
    recent: Box<[Option<(&'s str, u64)>; RECENT]>,
    /// The ids of the rows, ascending.
    ids: Vec<EngineId>,
    /// What the row or conflict has had so far.
    records: Vec<&'s Arc<Fields>>,
    data: Vec<&'s Arc<[u8]>>,
}

impl<'s, 'w> Out<'s, 'w> {
    pub(super) fn new(to: &'w mut dyn Write) -> Self {
        Self {
            to,
            chunk: Vec::with_capacity(CHUNK),
            written: 0,
            values: 0,
            names: HashMap::new(),
            recent: Box::new([None; RECENT]),
            ids: Vec::new(),
            records: Vec::new(),
            data: Vec::new(),
        }
    }

    pub(super) fn finish(mut self) -> Result<(), FormatError> {
        self.hand_on()
    }

    fn hand_on(&mut self) -> Result<(), FormatError> {
        self.written = self.written.saturating_add(self.chunk.len() as u64);
        // The seal has to fit, too.
        if self.written.saturating_add(64) > MAX_BYTES {
            return Err(FormatError::TooLarge {
                what: "bytes",
                found: self.written,
                max: MAX_BYTES,
            });
        }
        self.to.write_all(&self.chunk)?;
        self.chunk.clear();
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), FormatError> {
        if self.chunk.len().saturating_add(bytes.len()) > CHUNK {
            self.hand_on()?;
        }
        self.chunk.extend_from_slice(bytes);
        Ok(())
    }

    fn count(&mut self) -> Result<(), FormatError> {
        self.values = one_more(self.values)?;
        Ok(())
    }

    pub(super) fn number(&mut self, mut number: u64) -> Result<(), FormatError> {
        if let [small @ 0..0x80, 0, 0, 0, 0, 0, 0, 0] = number.to_le_bytes() {
            return self.bytes(&[small]);
        }
        let mut all = [0_u8; 10];
        let mut len = 0_usize;
        for slot in &mut all {
            let low = number.to_le_bytes()[0] & 0x7f;
            number >>= 7;
            len = len.saturating_add(1);
            *slot = if number == 0 { low } else { low | 0x80 };
            if number == 0 {
                break;
            }
        }
        self.bytes(all.get(..len).unwrap_or(&all))
    }

    fn len(&mut self, len: usize) -> Result<(), FormatError> {
        self.number(len as u64)
    }

    fn signed(&mut self, number: i64) -> Result<(), FormatError> {
        let zigzag = (number << 1) ^ (number >> 63);
        self.number(zigzag.cast_unsigned())
    }

    fn text(&mut self, text: &str) -> Result<(), FormatError> {
        self.len(text.len())?;
        self.bytes(text.as_bytes())
    }

    fn optional<T>(
        &mut self,
        thing: Option<T>,
        write: impl FnOnce(&mut Self, T) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        match thing {
            None => self.number(0),
            Some(thing) => {
                self.number(1)?;
                write(self, thing)
            }
        }
    }

    fn both<T>(
        &mut self,
        sides: &'s Sides<T>,
        mut write: impl FnMut(&mut Self, &'s T) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        write(self, &sides.device)?;
        write(self, &sides.computer)
    }

    fn list<T>(
        &mut self,
        list: &'s [T],
        mut write: impl FnMut(&mut Self, &'s T) -> Result<(), FormatError>,
    ) -> Result<(), FormatError> {
        self.len(list.len())?;
        for one in list {
            self.count()?;
            write(self, one)?;
        }
        Ok(())
    }

    fn name(&mut self, name: &'s str) -> Result<(), FormatError> {
        let slot = (name.as_ptr().addr() >> 4) % RECENT;
        if let Some(Some((known, number))) = self.recent.get(slot)
            && std::ptr::eq(*known, name)
        {
            return self.number(*number);
        }
        let known = self.names.get(name).copied();
        let number = known.unwrap_or_else(|| (self.names.len() as u64).saturating_add(1));
        if let Some(recent) = self.recent.get_mut(slot) {
            *recent = Some((name, number));
        }
        if known.is_some() {
            return self.number(number);
        }
        self.count()?;
        self.names.insert(name, number);
        self.number(0)?;
        self.text(name)
    }

    fn id(&mut self, id: &EngineId) -> Result<(), FormatError> {
        self.bytes(id.as_bytes())
    }

    fn side(&mut self, side: Side) -> Result<(), FormatError> {
        self.number(match side {
            Side::Device => 0,
            Side::Computer => 1,
        })
    }

    pub(super) fn state(&mut self, state: &'s PairState) -> Result<(), FormatError> {
        self.head(state)?;
        self.rows(state.rows.len(), state.rows.iter())?;
        self.tombstones(&state.tombstones)?;
        self.conflicts(state.conflicts.len(), state.conflicts.iter())
    }

    /// All that there is once per state.
    fn head(&mut self, state: &'s PairState) -> Result<(), FormatError> {
        // Every field by its name: one that is added has to be thought of here, and is a new version.
        let PairState {
            class,
            sessions,
            since_full,
            full_at,
            tokens,
            build,
            build_sessions,
            alternations,
            not_accepted_percent,
            bisect,
            quarantined,
            replacing,
            seed,
            rows: _,
            tombstones: _,
            conflicts: _,
        } = state;
        self.text(class.id())?;
        self.number((*sessions).into())?;
        self.number((*since_full).into())?;
        self.number(*full_at)?;
        self.both(tokens, |out, token| out.optional(token.as_deref(), Self::text))?;
        self.optional(build.as_deref(), Self::text)?;
        self.number((*build_sessions).into())?;
        self.number((*alternations).into())?;
        self.number((*not_accepted_percent).into())?;
        self.optional(bisect.as_ref(), Self::bisect)?;
        self.list(quarantined, Self::id)?;
        self.number((*replacing).into())?;
        self.optional(seed.as_ref(), |out, seed| out.bytes(&seed.0))
    }

    /// How many, all ids, all rows.
    fn rows<'i>(
        &mut self,
        len: usize,
        rows: impl Iterator<Item = (&'i EngineId, &'s Arc<Row>)> + Clone,
    ) -> Result<(), FormatError> {
        self.ids = rows.clone().map(|(id, _)| *id).collect();
        self.len(len)?;
        for (id, _) in rows.clone() {
            self.count()?;
            self.id(id)?;
        }
        for (_, row) in rows {
            self.row(row)?;
        }
        Ok(())
    }

    fn tombstones(&mut self, tombstones: &'s [Tombstone]) -> Result<(), FormatError> {
        self.list(tombstones, |out, tombstone| {
            out.id(&tombstone.id)?;
            out.both(&tombstone.native, |out, native| {
                out.optional(native.as_deref(), Self::text)
            })?;
            out.number(tombstone.at)
        })
    }

    fn conflicts(
        &mut self,
        len: usize,
        conflicts: impl Iterator<Item = (&'s (EngineId, String), &'s Kept)>,
    ) -> Result<(), FormatError> {
        self.len(len)?;
        for ((id, group), kept) in conflicts {
            self.count()?;
            self.id(id)?;
            self.text(group)?;
            self.conflict(kept)?;
        }
        Ok(())
    }

    pub(super) fn place(&mut self, place: &Place) -> Result<(), FormatError> {
        self.number(place.number)?;
        self.bytes(&place.seal)
    }

    pub(super) fn changes(&mut self, changes: &'s StateChanges) -> Result<(), FormatError> {
        self.head(&changes.head)?;
        self.both(&changes.tokens, Self::token)?;
        self.len(changes.before)?;
        self.list(&changes.gone, Self::id)?;
        let rows = changes.rows.iter().map(|(id, row)| (id, row));
        self.rows(changes.rows.len(), rows)?;
        self.list(&changes.forgotten, |out, at| out.len(*at))?;
        self.tombstones(&changes.tombstones)?;
        self.list(&changes.settled, |out, (id, group)| {
            out.id(id)?;
            out.text(group)
        })?;
        let conflicts = changes.conflicts.iter().map(|(key, kept)| (key, kept));
        self.conflicts(changes.conflicts.len(), conflicts)
    }

    fn token(&mut self, token: &'s Token) -> Result<(), FormatError> {
        match token {
            Token::Same => self.number(0),
            Token::None => self.number(1),
            Token::Whole(text) => {
                self.number(2)?;
                self.text(text)
            }
            Token::Patched(edits) => {
                self.number(3)?;
                self.list(edits, |out, edit| {
                    out.len(edit.skip)?;
                    out.len(edit.copy)?;
                    out.len(edit.text.len())?;
                    out.bytes(&edit.text)
                })
            }
        }
    }

    fn bisect(&mut self, bisect: &'s Bisect) -> Result<(), FormatError> {
        self.number(bisect.batch.into())?;
        self.number(bisect.times.into())?;
        self.number(bisect.size.into())?;
        self.list(&bisect.ids, Self::id)
    }

    fn row(&mut self, row: &'s Row) -> Result<(), FormatError> {
        self.records.clear();
        self.data.clear();
        self.name(&row.entity)?;
        self.both(&row.native, |out, native| out.optional(native.as_deref(), Self::text))?;
        self.both(&row.seen, Self::record)?;
        self.both(&row.agreed, Self::record)?;
        self.optional(row.more.as_deref(), Self::more)
    }

    fn more(&mut self, more: &'s More) -> Result<(), FormatError> {
        self.both(&more.pending, |out, pending| {
            out.optional(pending.as_deref(), Self::pending)
        })?;
        self.list(&more.rejects, |out, (side, group, count)| {
            out.side(*side)?;
            out.text(group)?;
            out.number((*count).into())
        })?;
        self.both(&more.held, |out, held| out.optional(held.as_deref(), Self::held))
    }

    fn pending(&mut self, pending: &'s Pending) -> Result<(), FormatError> {
        self.number(match pending.kind {
            Kind::Create => 0,
            Kind::Update => 1,
            Kind::Delete => 2,
        })?;
        self.record(&pending.before)?;
        self.both(&pending.agreed, Self::record)?;
        self.list(&pending.pushes, |out, push| {
            out.record(&push.wanted)?;
            out.record(&push.other)
        })?;
        self.number(pending.session.into())
    }

    fn held(&mut self, held: &'s Held) -> Result<(), FormatError> {
        self.number(match held.why {
            Why::Quarantined => 0,
            Why::Deferred => 1,
            Why::OutOfSelection => 2,
        })?;
        self.bytes(&held.content)
    }

    fn conflict(&mut self, kept: &'s Kept) -> Result<(), FormatError> {
        self.records.clear();
        self.data.clear();
        self.record(&kept.base)?;
        self.both(&kept.sides, Self::record)?;
        self.number(kept.session.into())
    }

    fn record(&mut self, record: &'s Option<Arc<Fields>>) -> Result<(), FormatError> {
        let Some(record) = record else {
            return self.number(0);
        };
        let same = |known: &&Arc<Fields>| Arc::ptr_eq(known, record) || *known == record;
        if let Some(at) = self.records.iter().position(same) {
            return self.number((at as u64).saturating_add(2));
        }
        self.records.push(record);
        self.count()?;
        self.number(1)?;
        self.name(&record.entity)?;
        self.len(record.iter().count())?;
        for (key, datum) in record.iter() {
            self.count()?;
            self.name(key)?;
            self.datum(datum)?;
        }
        Ok(())
    }

    fn tag(&mut self, tag: Tag) -> Result<(), FormatError> {
        self.number(tag as u64)
    }

    fn datum(&mut self, datum: &'s Datum) -> Result<(), FormatError> {
        match datum {
            Datum::Text(text) => {
                self.tag(Tag::Text)?;
                self.text(text)
            }
            Datum::Integer(number) => {
                self.tag(Tag::Integer)?;
                self.signed(*number)
            }
            Datum::Unsigned(number) => {
                self.tag(Tag::Unsigned)?;
                self.number(*number)
            }
            Datum::Boolean(yes) => self.tag(if *yes { Tag::True } else { Tag::False }),
            Datum::Real(bits) => {
                self.tag(Tag::Real)?;
                self.bytes(&bits.to_le_bytes())
            }
            Datum::Date(seconds, nanos) => self.date(*seconds, *nanos),
            Datum::Data(data) => self.shared(data),
            Datum::Uid(uid) => {
                self.tag(Tag::Uid)?;
                self.number(*uid)
            }
            Datum::Refs(refs) => {
                self.tag(Tag::Refs)?;
                self.list(refs, Self::relation)
            }
            Datum::List(list) => {
                self.tag(Tag::List)?;
                self.list(list, Self::datum)
            }
            Datum::Dict(list) => {
                self.tag(Tag::Dict)?;
                self.list(list, |out, (key, datum)| {
                    out.name(key)?;
                    out.datum(datum)
                })
            }
        }
    }

    fn date(&mut self, seconds: i64, nanos: u32) -> Result<(), FormatError> {
        self.tag(Tag::Date)?;
        self.signed(seconds)?;
        self.number(nanos.into())
    }

    fn shared(&mut self, data: &'s Arc<[u8]>) -> Result<(), FormatError> {
        if data.len() >= SHARED {
            let same = |known: &&Arc<[u8]>| Arc::ptr_eq(known, data) || *known == data;
            if let Some(at) = self.data.iter().position(same) {
                self.tag(Tag::Again)?;
                return self.len(at);
            }
            self.data.push(data);
        }
        self.data(data)
    }

    fn data(&mut self, data: &[u8]) -> Result<(), FormatError> {
        self.tag(Tag::Data)?;
        self.len(data.len())?;
        self.bytes(data)
    }

    fn relation(&mut self, one: &'s Ref) -> Result<(), FormatError> {
        match one {
            Ref::Known(id) => match self.ids.binary_search(id) {
                Ok(at) => self.number((at as u64).saturating_add(2)),
                Err(_) => {
                    self.number(0)?;
                    self.id(id)
                }
            },
            Ref::Unknown(native) => {
                self.number(1)?;
                self.text(native)
            }
        }
    }

    pub(super) fn entry(&mut self, entry: &'s Entry) -> Result<(), FormatError> {
        match entry {
            Entry::Begun { session, at } => {
                self.number(0)?;
                self.bytes(&session.0)?;
                self.number(*at)
            }
            Entry::Planned { hash } => {
                self.number(1)?;
                self.bytes(&hash.0)
            }
            Entry::Clearing => self.number(2),
            Entry::Pushing { batch, ids } => {
                self.number(3)?;
                self.number((*batch).into())?;
                self.list(ids, Self::id)
            }
            Entry::ToCommit { state } => {
                self.number(4)?;
                self.state(state)
            }
            Entry::Committed => self.number(5),
            Entry::NotCommitted => self.number(6),
        }
    }
}
