//! Records as the engine keeps them: small, shared, with relations by engine id.

use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cabled_wire::plist::{Date, Dictionary, Integer, Uid, Value};

use super::id::EngineId;
use super::layout::{Layout, Layouts};
use super::text::Text;
use crate::record::Record;
use crate::schema::{self, Entity, EntityKind, ValueKind};

/// A name of an entity or a key, one allocation for all records that use it.
pub(crate) type Name = Arc<str>;

/// Levels of nesting that an attribute may have. Devices send one.
const MAX_DEPTH: usize = 12;

/// Names that were met, and the layouts of records.
#[derive(Debug, Default)]
pub(crate) struct Names {
    names: HashSet<Name>,
    layouts: Layouts,
}

impl Names {
    pub(crate) fn name(&mut self, text: &str) -> Name {
        if let Some(known) = self.names.get(text) {
            return Arc::clone(known);
        }
        let new: Name = Arc::from(text);
        self.names.insert(Arc::clone(&new));
        new
    }
}

/// What a relation points at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Ref {
    /// A record of the engine.
    Known(EngineId),
    /// A record that a side spoke of and that is not there: the side's own identifier.
    Unknown(Box<str>),
}

/// The value of an attribute, spelled as it came. 24 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Datum {
    Text(Text),
    Integer(i64),
    Unsigned(u64),
    Boolean(bool),
    /// The bits of an IEEE double.
    Real(u64),
    /// Seconds since 1970 and nanoseconds.
    Date(i64, u32),
    Data(Arc<[u8]>),
    Uid(u64),
    Refs(Box<[Ref]>),
    List(Box<[Datum]>),
    Dict(Box<[(Name, Datum)]>),
}

/// Names the kind and no content: records are people's data.
impl fmt::Debug for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "text of {} bytes", text.len()),
            Self::Data(data) => write!(f, "{} bytes", data.len()),
            Self::Refs(refs) => write!(f, "{} relations", refs.len()),
            Self::List(list) => write!(f, "list of {}", list.len()),
            Self::Dict(list) => write!(f, "dictionary of {}", list.len()),
            Self::Integer(_) | Self::Unsigned(_) | Self::Uid(_) => f.write_str("integer"),
            Self::Boolean(_) => f.write_str("boolean"),
            Self::Real(_) => f.write_str("real"),
            Self::Date(..) => f.write_str("date"),
        }
    }
}

impl Datum {
    /// `None` for what is nested deeper than any record is.
    fn read(value: &Value, names: &mut Names, depth: usize) -> Option<Self> {
        let depth = depth.checked_sub(1)?;
        Some(match value {
            Value::String(text) => Self::Text(text.as_str().into()),
            Value::Integer(number) => match (number.as_signed(), number.as_unsigned()) {
                (Some(number), _) => Self::Integer(number),
                (None, Some(number)) => Self::Unsigned(number),
                (None, None) => return None,
            },
            Value::Boolean(yes) => Self::Boolean(*yes),
            Value::Real(number) => Self::Real(number.to_bits()),
            Value::Date(date) => {
                let (seconds, nanos) = since_1970((*date).into())?;
                Self::Date(seconds, nanos)
            }
            Value::Data(data) => Self::Data(data.as_slice().into()),
            Value::Uid(uid) => Self::Uid(uid.get()),
            Value::Array(list) => {
                let list: Option<Vec<_>> = list.iter().map(|value| Self::read(value, names, depth)).collect();
                Self::List(list?.into())
            }
            Value::Dictionary(dict) => {
                let mut list = Vec::with_capacity(dict.len());
                for (key, value) in dict {
                    list.push((names.name(key), Self::read(value, names, depth)?));
                }
                list.sort();
                Self::Dict(list.into())
            }
            _ => return None,
        })
    }

    fn write(&self, native: &mut dyn FnMut(&Ref) -> Option<String>) -> Value {
        match self {
            Self::Text(text) => Value::String(text.as_str().to_owned()),
            Self::Integer(number) => Value::Integer(Integer::from(*number)),
            Self::Unsigned(number) => Value::Integer(Integer::from(*number)),
            Self::Boolean(yes) => Value::Boolean(*yes),
            Self::Real(bits) => Value::Real(f64::from_bits(*bits)),
            Self::Date(seconds, nanos) => Value::Date(Date::from(time(*seconds, *nanos))),
            Self::Data(data) => Value::Data(data.to_vec()),
            Self::Uid(uid) => Value::Uid(Uid::new(*uid)),
            Self::Refs(refs) => Value::Array(refs.iter().filter_map(native).map(Value::String).collect()),
            Self::List(list) => Value::Array(list.iter().map(|datum| datum.write(native)).collect()),
            Self::Dict(list) => {
                let pairs = list.iter().map(|(key, datum)| (key.to_string(), datum.write(native)));
                Value::Dictionary(pairs.collect::<Dictionary>())
            }
        }
    }

    /// The relations, none when it is something else.
    pub(crate) fn refs(&self) -> &[Ref] {
        match self {
            Self::Refs(refs) => refs,
            _ => &[],
        }
    }

    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.as_str()),
            _ => None,
        }
    }
}

pub(crate) fn since_1970(time: SystemTime) -> Option<(i64, u32)> {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => Some((i64::try_from(after.as_secs()).ok()?, after.subsec_nanos())),
        Err(before) => {
            let before = before.duration();
            let seconds = i64::try_from(before.as_secs()).ok()?.checked_neg()?;
            match before.subsec_nanos() {
                0 => Some((seconds, 0)),
                nanos => Some((seconds.checked_sub(1)?, 1_000_000_000_u32.checked_sub(nanos)?)),
            }
        }
    }
}

pub(crate) fn time(seconds: i64, nanos: u32) -> SystemTime {
    let epoch = SystemTime::UNIX_EPOCH;
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let whole = if seconds < 0 {
        epoch.checked_sub(whole)
    } else {
        epoch.checked_add(whole)
    };
    let whole = whole.unwrap_or(epoch);
    whole.checked_add(Duration::from_nanos(nanos.into())).unwrap_or(whole)
}

/// One record: its entity and its attributes, sorted by key. 24 bytes, and 24 for each attribute: what the record is and
/// which keys it has lies in its layout.
#[derive(Clone)]
pub(crate) struct Fields {
    layout: Arc<Layout>,
    /// As many as there are keys.
    values: Box<[Datum]>,
}

/// The entity and the shape are the layout's.
impl Deref for Fields {
    type Target = Layout;

    fn deref(&self) -> &Layout {
        &self.layout
    }
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.layout == other.layout && self.values == other.values
    }
}

impl Eq for Fields {}

impl fmt::Debug for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.iter().map(|(key, _)| &**key).collect();
        f.debug_struct("Fields")
            .field("entity", &self.entity)
            .field("keys", &keys)
            .finish()
    }
}

fn in_order(mut list: Vec<(Name, Datum)>) -> Vec<(Name, Datum)> {
    list.sort_by(|a, b| a.0.cmp(&b.0));
    list.dedup_by(|a, b| a.0 == b.0);
    list
}

impl Fields {
    /// A record without attributes.
    pub(crate) fn empty(entity: &Name) -> Self {
        Self {
            layout: Arc::new(Layout::new(entity, schema::entity(entity), &[], 0)),
            values: Box::default(),
        }
    }

    fn laid_out(layout: Arc<Layout>, list: Vec<(Name, Datum)>) -> Self {
        let values = list.into_iter().map(|(_, datum)| datum).collect();
        Self { layout, values }
    }

    /// The same record with these attributes.
    pub(crate) fn like(&self, list: Vec<(Name, Datum)>) -> Self {
        let list = in_order(list);
        let layout = self.layout.with(&list);
        Self::laid_out(layout, list)
    }

    /// A record that was written down, of an entity that was looked up; `None` when its keys are not in order.
    #[cfg(feature = "pair")]
    pub(crate) fn sorted(
        entity: &Name,
        shape: Option<&'static Entity>,
        list: Vec<(Name, Datum)>,
        layouts: &mut Layouts,
    ) -> Option<Self> {
        let sorted = list.is_sorted_by(|a, b| a.0 < b.0);
        sorted.then(|| Self::laid_out(layouts.layout(entity, shape, &list), list))
    }

    /// Takes a record in. Relations still carry the side's own identifiers. `None` for a record without an entity or with
    /// values that no record has.
    pub(crate) fn read(record: &Record, names: &mut Names) -> Option<Self> {
        let entity = names.name(record.entity.as_deref()?);
        let shape = schema::entity(&entity);
        let mut list = Vec::with_capacity(record.attributes.len());
        for (key, value) in &record.attributes {
            let relation = shape
                .and_then(|shape| shape.key(key))
                .is_some_and(|key| matches!(key.value, ValueKind::Ids));
            let datum = match value {
                Value::Array(ids) if relation => {
                    let refs: Option<Vec<Ref>> = ids
                        .iter()
                        .map(|id| Some(Ref::Unknown(id.as_string()?.into())))
                        .collect();
                    Datum::Refs(refs?.into())
                }
                Value::String(id) if relation => Datum::Refs(Box::from([Ref::Unknown(id.as_str().into())])),
                value => Datum::read(value, names, MAX_DEPTH)?,
            };
            list.push((names.name(key), datum));
        }
        let list = in_order(list);
        let layout = names.layouts.layout(&entity, shape, &list);
        Some(Self::laid_out(layout, list))
    }

    /// The record with a side's identifiers; relations that have none are left out.
    pub(crate) fn write(&self, mut native: impl FnMut(&Ref) -> Option<String>) -> Record {
        let mut record = Record::new(&self.entity);
        for (key, datum) in self.iter() {
            record.attributes.insert(key.to_string(), datum.write(&mut native));
        }
        record
    }

    /// Replaces a side's identifiers in relations by the engine's where they are known.
    pub(crate) fn resolve(&mut self, mut id: impl FnMut(&str) -> Option<EngineId>) {
        for datum in &mut self.values {
            if let Datum::Refs(refs) = datum {
                for one in refs {
                    if let Ref::Unknown(native) = one
                        && let Some(id) = id(native)
                    {
                        *one = Ref::Known(id);
                    }
                }
            }
        }
    }

    pub(crate) fn kind(&self) -> EntityKind {
        self.shape.map_or(EntityKind::Root, |shape| shape.kind)
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Datum> {
        self.values.get(self.layout.place(key)?)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Name, &Datum)> {
        self.layout.keys().iter().zip(&self.values)
    }

    pub(crate) fn group_of<'a>(&self, key: &'a str) -> &'a str {
        self.shape.map_or(key, |shape| shape.group(key))
    }

    /// The keys of a group with their values.
    pub(crate) fn group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = (&'a Name, &'a Datum)> {
        self.iter().filter(move |(key, _)| self.group_of(key) == group)
    }

    /// Without some of its relations.
    pub(crate) fn without(&self, lost: impl Fn(&Ref) -> bool) -> Self {
        let list = self.iter().filter_map(|(key, datum)| {
            let datum = match datum {
                Datum::Refs(refs) => {
                    let refs: Vec<Ref> = refs.iter().filter(|one| !lost(one)).cloned().collect();
                    if refs.is_empty() {
                        return None;
                    }
                    Datum::Refs(refs.into())
                }
                other => other.clone(),
            };
            Some((Arc::clone(key), datum))
        });
        self.like(list.collect())
    }

    /// With one value replaced or removed.
    pub(crate) fn with(&self, key: &Name, datum: Option<Datum>) -> Self {
        let rest = self.iter().filter(|(name, _)| *name != key);
        let mut list: Vec<_> = rest.map(|(name, datum)| (Arc::clone(name), datum.clone())).collect();
        list.extend(datum.map(|datum| (Arc::clone(key), datum)));
        self.like(list)
    }

    /// With those keys of a group that `takes` wants as they are in `from`, absent ones included.
    pub(crate) fn with_group(&self, group: &str, from: Option<&Self>, takes: impl Fn(&str) -> bool) -> Self {
        let mine = self
            .iter()
            .filter(|(key, _)| self.group_of(key) != group || !takes(key));
        let theirs = from.into_iter().flat_map(Self::iter);
        let theirs = theirs.filter(|(key, _)| self.group_of(key) == group && takes(key));
        let list = mine.chain(theirs).map(|(key, datum)| (Arc::clone(key), datum.clone()));
        self.like(list.collect())
    }

    /// What a person knows the record by.
    pub(crate) fn title(&self) -> String {
        let keys = self.shape.map_or(&[][..], |shape| shape.title);
        let texts = keys.iter().filter_map(|key| self.get(key).and_then(Datum::text));
        let title: Vec<&str> = texts.filter(|text| !text.is_empty()).take(2).collect();
        title.join(" ")
    }

    /// What the record belongs to: the first relation under the entity's owner key.
    pub(crate) fn owner(&self) -> Option<&Ref> {
        let key = self.shape?.owner?;
        self.get(key)?.refs().first()
    }
}

/// The groups that occur in any of some records, in a fixed order.
pub(crate) fn groups<'a>(records: impl IntoIterator<Item = Option<&'a Fields>>) -> Vec<&'a str> {
    let mut groups: Vec<&str> = Vec::new();
    for record in records.into_iter().flatten() {
        for (key, _) in record.iter() {
            let group = record.group_of(key);
            if !groups.contains(&group) {
                groups.push(group);
            }
        }
    }
    groups.sort_unstable();
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_there_are_hundreds_of_thousands_of_stays_small() {
        assert_eq!(size_of::<Datum>(), 24);
        assert_eq!(size_of::<Fields>(), 24);
    }
}
