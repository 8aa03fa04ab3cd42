//! The bodies, read. The seal was found whole, so the bytes are what somebody wrote; who that was, nobody knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use cabled_wire::Reader;
use cabled_wire::plist::{Date, Dictionary, Integer, Uid, Value};

use super::changes::{StateChanges, Token, ascending};
use super::patch::Edit;
use super::{FormatError, MAX_DEPTH, Place, SHARED, Tag, one_more};
use crate::DataClass;
use crate::engine::kept::{
    Datum, Fields, Held, Kept, Kind, Layouts, More, Name, Pending, Pushed, Ref, Row, Tombstone, Why, time,
};
use crate::engine::{Bisect, EngineId, Extent, PairState, PlanHash, SessionId, Side, Sides};
use crate::record::{Change, Changes, Record, RecordId};
use crate::schema::{self, Entity};
use crate::store::Entry;

type Result<T> = std::result::Result<T, FormatError>;

/// Items for which room is made before the first is there; a list that has more grows as they come.
const ROOM: usize = 1024;

/// What is left of a body.
pub(super) struct In<'a> {
    reader: Reader<'a>,
    values: u64,
    names: Vec<(Name, Option<&'static Entity>)>,
    ids: Vec<EngineId>,
    records: Vec<Arc<Fields>>,
    data: Vec<Arc<[u8]>>,
    layouts: Layouts,
}

impl<'a> In<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(body),
            values: 0,
            names: Vec::new(),
            ids: Vec::new(),
            records: Vec::new(),
            data: Vec::new(),
            layouts: Layouts::default(),
        }
    }

    pub(super) fn finish(self) -> Result<()> {
        Ok(self.reader.finish("sync state")?)
    }

    fn count(&mut self) -> Result<()> {
        self.values = one_more(self.values)?;
        Ok(())
    }

    pub(super) fn number(&mut self) -> Result<u64> {
        // Almost all are of one byte.
        let first = self.reader.u8("number")?;
        if first < 0x80 {
            return Ok(first.into());
        }
        let mut number = u64::from(first & 0x7f);
        for shift in (7..70).step_by(7) {
            let byte = self.reader.u8("number")?;
            let low = u64::from(byte & 0x7f);
            let part = low.checked_shl(shift).filter(|part| part >> shift == low);
            number |= part.ok_or_else(|| FormatError::damaged("a number has more than 64 bits"))?;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(FormatError::damaged("a number has more than 64 bits"))
    }

    fn small<T: TryFrom<u64>>(&mut self, what: &str) -> Result<T> {
        let number = self.number()?;
        T::try_from(number).map_err(|_| FormatError::damaged(format!("{what} cannot be {number}")))
    }

    fn signed(&mut self) -> Result<i64> {
        let zigzag = self.number()?;
        Ok((zigzag >> 1).cast_signed() ^ (zigzag & 1).cast_signed().wrapping_neg())
    }

    fn yes(&mut self, what: &str) -> Result<bool> {
        match self.number()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(FormatError::damaged(format!("{what} cannot be {other}"))),
        }
    }

    fn bytes(&mut self, what: &'static str) -> Result<&'a [u8]> {
        let len = self.number()?;
        Ok(self.reader.bounded(what, len, self.reader.remaining())?)
    }

    fn text(&mut self) -> Result<&'a str> {
        let bytes = self.bytes("text")?;
        std::str::from_utf8(bytes).map_err(|_| FormatError::damaged("a text is not UTF-8"))
    }

    fn optional<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<Option<T>> {
        self.yes("presence")?.then(|| read(self)).transpose()
    }

    fn both<T>(&mut self, mut read: impl FnMut(&mut Self) -> Result<T>) -> Result<Sides<T>> {
        Ok(Sides {
            device: read(self)?,
            computer: read(self)?,
        })
    }

    fn list<T>(&mut self, read: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let len = self.number()?;
        self.items(len, read)
    }

    fn items<T>(&mut self, len: u64, mut read: impl FnMut(&mut Self) -> Result<T>) -> Result<Vec<T>> {
        let room = usize::try_from(len).unwrap_or(ROOM).min(ROOM);
        let mut list = Vec::with_capacity(room);
        for _ in 0..len {
            self.count()?;
            list.push(read(self)?);
        }
        Ok(list)
    }

    fn name(&mut self) -> Result<(Name, Option<&'static Entity>)> {
        let number: usize = self.small("a name")?;
        if let Some(at) = number.checked_sub(1) {
            let (name, shape) = self
                .names
                .get(at)
                .ok_or_else(|| FormatError::damaged("a name was not met before"))?;
            return Ok((Arc::clone(name), *shape));
        }
        self.count()?;
        let text = self.text()?;
        let name: Name = Arc::from(text);
        let shape = schema::entity(text);
        self.names.push((Arc::clone(&name), shape));
        Ok((name, shape))
    }

    fn id(&mut self) -> Result<EngineId> {
        Ok(EngineId::from_bytes(self.reader.array("engine id")?))
    }

    fn side(&mut self) -> Result<Side> {
        Ok(if self.yes("a side")? {
            Side::Computer
        } else {
            Side::Device
        })
    }

    pub(super) fn state(&mut self) -> Result<PairState> {
        let mut state = self.head()?;
        state.rows = BTreeMap::from_iter(self.rows()?);
        state.tombstones = self.tombstones()?;
        let conflicts = self.conflicts()?;
        let many = conflicts.len();
        state.conflicts = BTreeMap::from_iter(conflicts);
        if state.conflicts.len() != many {
            return Err(FormatError::damaged("a conflict is there twice"));
        }
        Ok(state)
    }

    fn head(&mut self) -> Result<PairState> {
        let mut state = PairState::new(DataClass::from_id(self.text()?));
        state.sessions = self.small("sessions")?;
        state.since_full = self.small("sessions since everything was read")?;
        state.full_at = self.number()?;
        state.tokens = self.both(|input| input.optional(|input| input.text().map(str::to_owned)))?;
        state.build = self.optional(|input| input.text().map(str::to_owned))?;
        state.build_sessions = self.small("sessions with a build")?;
        state.alternations = self.small("alternations")?;
        state.not_accepted_percent = self.small("a percentage")?;
        state.bisect = self.optional(Self::bisect)?;
        state.quarantined = self.list(Self::id)?;
        state.replacing = self.yes("replacing")?;
        state.seed = self.optional(|input| Ok(SessionId(input.reader.array("seed")?)))?;
        Ok(state)
    }

    /// The rows, ascending.
    fn rows(&mut self) -> Result<Vec<(EngineId, Arc<Row>)>> {
        self.ids = self.list(Self::id)?;
        ascending(&self.ids)?;
        let mut rows = Vec::with_capacity(self.ids.len());
        for at in 0..self.ids.len() {
            let row = Arc::new(self.row()?);
            rows.extend(self.ids.get(at).map(|id| (*id, row)));
        }
        Ok(rows)
    }

    fn tombstones(&mut self) -> Result<Vec<Tombstone>> {
        self.list(|input| {
            Ok(Tombstone {
                id: input.id()?,
                native: input.both(Self::native)?,
                at: input.number()?,
            })
        })
    }

    fn conflicts(&mut self) -> Result<Vec<((EngineId, String), Kept)>> {
        self.list(|input| {
            let key = (input.id()?, input.text()?.to_owned());
            Ok((key, input.conflict()?))
        })
    }

    pub(super) fn place(&mut self) -> Result<Place> {
        Ok(Place {
            number: self.number()?,
            seal: self.reader.array("seal")?,
        })
    }

    pub(super) fn changes(&mut self) -> Result<StateChanges> {
        Ok(StateChanges {
            head: self.head()?,
            tokens: self.both(Self::token)?,
            before: self.small("a number of rows")?,
            gone: self.list(Self::id)?,
            rows: self.rows()?,
            forgotten: self.list(|input| input.small("a place in a list"))?,
            tombstones: self.tombstones()?,
            settled: self.list(|input| Ok((input.id()?, input.text()?.to_owned())))?,
            conflicts: self.conflicts()?,
        })
    }

    fn token(&mut self) -> Result<Token> {
        Ok(match self.number()? {
            0 => Token::Same,
            1 => Token::None,
            2 => Token::Whole(self.text()?.to_owned()),
            3 => Token::Patched(self.list(|input| {
                Ok(Edit {
                    skip: input.small("a length")?,
                    copy: input.small("a length")?,
                    text: input.bytes("text")?.to_vec(),
                })
            })?),
            other => return Err(FormatError::damaged(format!("a token cannot change by {other}"))),
        })
    }

    fn native(&mut self) -> Result<Option<Arc<str>>> {
        self.optional(|input| input.text().map(Arc::from))
    }

    fn bisect(&mut self) -> Result<Bisect> {
        Ok(Bisect {
            batch: self.small("a batch")?,
            times: self.small("times")?,
            size: self.small("a size")?,
            ids: self.list(Self::id)?,
        })
    }

    fn row(&mut self) -> Result<Row> {
        self.records.clear();
        self.data.clear();
        Ok(Row {
            entity: self.name()?.0,
            native: self.both(Self::native)?,
            seen: self.both(Self::record)?,
            agreed: self.both(Self::record)?,
            more: self.optional(|input| input.more().map(Box::new))?,
        })
    }

    fn more(&mut self) -> Result<More> {
        Ok(More {
            pending: self.both(|input| input.optional(|input| input.pending().map(Box::new)))?,
            rejects: self.list(|input| Ok((input.side()?, Box::from(input.text()?), input.small("rejects")?)))?,
            held: self.both(|input| input.optional(|input| input.held().map(Box::new)))?,
        })
    }

    fn pending(&mut self) -> Result<Pending> {
        Ok(Pending {
            kind: match self.number()? {
                0 => Kind::Create,
                1 => Kind::Update,
                2 => Kind::Delete,
                other => return Err(FormatError::damaged(format!("there is no push of kind {other}"))),
            },
            before: self.record()?,
            agreed: self.both(Self::record)?,
            pushes: self.list(|input| {
                Ok(Pushed {
                    wanted: input.record()?,
                    other: input.record()?,
                })
            })?,
            session: self.small("a session")?,
        })
    }

    fn held(&mut self) -> Result<Held> {
        Ok(Held {
            why: match self.number()? {
                0 => Why::Quarantined,
                1 => Why::Deferred,
                2 => Why::OutOfSelection,
                other => return Err(FormatError::damaged(format!("there is no hold of kind {other}"))),
            },
            content: self.reader.array("content hash")?,
        })
    }

    fn conflict(&mut self) -> Result<Kept> {
        self.records.clear();
        self.data.clear();
        Ok(Kept {
            base: self.record()?,
            sides: self.both(Self::record)?,
            session: self.small("a session")?,
        })
    }

    fn record(&mut self) -> Result<Option<Arc<Fields>>> {
        let number: usize = self.small("a record")?;
        if number == 0 {
            return Ok(None);
        }
        if let Some(at) = number.checked_sub(2) {
            let known = self.records.get(at).map(Arc::clone);
            return known
                .map(Some)
                .ok_or_else(|| FormatError::damaged("a record was not met before"));
        }
        self.count()?;
        let (entity, shape) = self.name()?;
        let list = self.list(|input| Ok((input.name()?.0, input.datum(MAX_DEPTH)?)))?;
        let record = Fields::sorted(&entity, shape, list, &mut self.layouts)
            .ok_or_else(|| FormatError::damaged("the keys of a record are not in order"))?;
        let record = Arc::new(record);
        self.records.push(Arc::clone(&record));
        Ok(Some(record))
    }

    fn tag(&mut self) -> Result<Tag> {
        let number: usize = self.small("a kind of value")?;
        let tag = Tag::ALL.get(number).copied();
        tag.ok_or_else(|| FormatError::damaged(format!("there is no value of kind {number}")))
    }

    fn datum(&mut self, depth: usize) -> Result<Datum> {
        let deeper = deeper(depth)?;
        Ok(match self.tag()? {
            Tag::Text => Datum::Text(self.text()?.into()),
            Tag::Integer => Datum::Integer(self.signed()?),
            Tag::Unsigned => Datum::Unsigned(self.number()?),
            Tag::False => Datum::Boolean(false),
            Tag::True => Datum::Boolean(true),
            Tag::Real => Datum::Real(self.reader.u64_le("real")?),
            Tag::Date => {
                let (seconds, nanos) = self.date()?;
                Datum::Date(seconds, nanos)
            }
            Tag::Data => {
                let data: Arc<[u8]> = Arc::from(self.bytes("data")?);
                if data.len() >= SHARED {
                    self.data.push(Arc::clone(&data));
                }
                Datum::Data(data)
            }
            Tag::Again => {
                let at: usize = self.small("data")?;
                let data = self.data.get(at).map(Arc::clone);
                Datum::Data(data.ok_or_else(|| FormatError::damaged("data was not met before"))?)
            }
            Tag::Uid => Datum::Uid(self.number()?),
            Tag::Refs => Datum::Refs(self.list(Self::relation)?.into()),
            Tag::List => Datum::List(self.list(|input| input.datum(deeper))?.into()),
            Tag::Dict => {
                let mut list = self.list(|input| Ok((input.name()?.0, input.datum(deeper)?)))?;
                list.sort();
                Datum::Dict(list.into())
            }
        })
    }

    fn date(&mut self) -> Result<(i64, u32)> {
        let (seconds, nanos) = (self.signed()?, self.number()?);
        match u32::try_from(nanos) {
            Ok(nanos) if nanos < 1_000_000_000 => Ok((seconds, nanos)),
            _ => Err(FormatError::damaged(format!("a second has no {nanos} nanoseconds"))),
        }
    }

    fn relation(&mut self) -> Result<Ref> {
        match self.small::<usize>("a relation")? {
            0 => Ok(Ref::Known(self.id()?)),
            1 => Ok(Ref::Unknown(self.text()?.into())),
            number => {
                let id = self.ids.get(number.saturating_sub(2));
                id.map(|id| Ref::Known(*id))
                    .ok_or_else(|| FormatError::damaged("a relation names a row that is not there"))
            }
        }
    }

    pub(super) fn entry(&mut self) -> Result<Entry> {
        Ok(match self.number()? {
            0 => Entry::Begun {
                session: SessionId(self.reader.array("session")?),
                at: self.number()?,
            },
            1 => Entry::Planned {
                hash: PlanHash(self.reader.array("plan hash")?),
            },
            2 => Entry::Clearing,
            3 => Entry::Pushing {
                batch: self.small("a batch")?,
                ids: self.list(Self::id)?,
            },
            4 => Entry::ToCommit {
                state: Box::new(self.state()?),
            },
            5 => Entry::Committed,
            6 => Entry::NotCommitted,
            other => return Err(FormatError::damaged(format!("there is no entry of kind {other}"))),
        })
    }

    /// Whose batch it is, of what extent, and how many records it has.
    pub(super) fn told_head(&mut self) -> Result<(Side, Extent, u64)> {
        let side = self.side()?;
        let extent = if self.yes("an extent")? {
            Extent::Changes
        } else {
            Extent::Everything
        };
        Ok((side, extent, self.number()?))
    }

    pub(super) fn told(&mut self) -> Result<(Side, Extent, Changes)> {
        let (side, extent, many) = self.told_head()?;
        let list = self.items(many, |input| {
            let id = RecordId::new(input.text()?)?;
            let entity = match input.number()? {
                0 => return Ok((id, Change::Delete)),
                1 => None,
                2 => Some(input.name()?.0.to_string()),
                other => return Err(FormatError::damaged(format!("there is no change of kind {other}"))),
            };
            let attributes = input.dictionary(MAX_DEPTH)?;
            Ok((id, Change::Upsert(Record { entity, attributes })))
        })?;
        let many = list.len();
        let changes = Changes::from_iter(list);
        if changes.len() != many {
            return Err(FormatError::damaged("a record is told twice"));
        }
        Ok((side, extent, changes))
    }

    fn dictionary(&mut self, depth: usize) -> Result<Dictionary> {
        let list = self.list(|input| Ok((input.name()?.0.to_string(), input.value(depth)?)))?;
        Ok(list.into_iter().collect())
    }

    fn value(&mut self, depth: usize) -> Result<Value> {
        let deeper = deeper(depth)?;
        Ok(match self.tag()? {
            Tag::Text => Value::String(self.text()?.to_owned()),
            Tag::Integer => Value::Integer(Integer::from(self.signed()?)),
            Tag::Unsigned => Value::Integer(Integer::from(self.number()?)),
            Tag::False => Value::Boolean(false),
            Tag::True => Value::Boolean(true),
            Tag::Real => Value::Real(f64::from_bits(self.reader.u64_le("real")?)),
            Tag::Date => {
                let (seconds, nanos) = self.date()?;
                Value::Date(Date::from(time(seconds, nanos)))
            }
            Tag::Data => Value::Data(self.bytes("data")?.to_vec()),
            Tag::Uid => Value::Uid(Uid::new(self.number()?)),
            Tag::List => Value::Array(self.list(|input| input.value(deeper))?),
            Tag::Dict => Value::Dictionary(self.dictionary(deeper)?),
            Tag::Again | Tag::Refs => return Err(FormatError::damaged("no record on a side has such a value")),
        })
    }
}

fn deeper(depth: usize) -> Result<usize> {
    let left = depth.checked_sub(1);
    left.ok_or_else(|| FormatError::damaged(format!("a value is nested more than {MAX_DEPTH} deep")))
}
