//! One record as a type: its keys are fields, and what has no field is kept.

use std::fmt;

use cabled_wire::plist::{self, Dictionary, Value};

use super::Timestamp;
use crate::record::{Record, RecordId};

/// Why a record cannot be read as what it claims to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// A key holds a value of another type than devices write.
    #[error("record {id}: its `{key}` is not {expected}; the device or the program that wrote it is at fault")]
    Type {
        /// The record.
        id: RecordId,
        /// The key.
        key: String,
        /// What should be there.
        expected: &'static str,
    },
    /// The record describes something else.
    #[error("record {id} is no `{expected}` but `{found}`")]
    Entity {
        /// The record.
        id: RecordId,
        /// What was asked for.
        expected: &'static str,
        /// What it is; empty when it does not say.
        found: String,
    },
    /// There is no such record in the graph.
    #[error("there is no record {id}; it was deleted or never pulled")]
    Missing {
        /// The record.
        id: RecordId,
    },
}

/// A type of value that a key can hold.
pub trait Attribute: Default + PartialEq + Sized {
    /// What is expected, for error messages.
    const EXPECTED: &'static str;

    /// Reads a value; hands it back beside the result when [`Attribute::value`] would spell it differently. `None` when it
    /// is of another type.
    fn of(value: Value) -> Option<(Self, Option<Value>)>;

    /// The value on the wire; `None` for "no such key".
    fn value(&self) -> Option<Value>;
}

impl Attribute for Option<String> {
    const EXPECTED: &'static str = "text";

    fn of(value: Value) -> Option<(Self, Option<Value>)> {
        value.into_string().map(|text| (Some(text), None))
    }

    fn value(&self) -> Option<Value> {
        self.clone().map(Value::from)
    }
}

fn integer(value: &Value) -> Option<i64> {
    plist::as_integer(value).or_else(|| value.as_boolean().map(i64::from))
}

impl Attribute for Option<i64> {
    const EXPECTED: &'static str = "a whole number";

    fn of(value: Value) -> Option<(Self, Option<Value>)> {
        let number = integer(&value)?;
        let other = (value != Value::from(number)).then_some(value);
        Some((Some(number), other))
    }

    fn value(&self) -> Option<Value> {
        self.map(Value::from)
    }
}

impl Attribute for Option<bool> {
    const EXPECTED: &'static str = "a boolean";

    fn of(value: Value) -> Option<(Self, Option<Value>)> {
        match value {
            Value::Boolean(truth) => Some((Some(truth), None)),
            value => integer(&value).map(|number| (Some(number != 0), Some(value))),
        }
    }

    fn value(&self) -> Option<Value> {
        self.map(Value::from)
    }
}

impl Attribute for Option<Timestamp> {
    const EXPECTED: &'static str = "a date";

    fn of(value: Value) -> Option<(Self, Option<Value>)> {
        let time = Timestamp::of(value.as_date()?)?;
        let other = (time.to_wire() != value.as_date()).then_some(value);
        Some((Some(time), other))
    }

    fn value(&self) -> Option<Value> {
        self.and_then(Timestamp::to_wire).map(Value::from)
    }
}

impl Attribute for Option<Vec<u8>> {
    const EXPECTED: &'static str = "data";

    fn of(value: Value) -> Option<(Self, Option<Value>)> {
        value.into_data().map(|data| (Some(data), None))
    }

    fn value(&self) -> Option<Value> {
        self.clone().map(Value::Data)
    }
}

/// An array, each element read alone; an array whose spelling is not ours comes back whole.
fn array<T>(
    value: Value,
    one: impl Fn(&Value) -> Option<T>,
    back: impl Fn(&[T]) -> Option<Value>,
) -> Option<(Vec<T>, Option<Value>)> {
    let all = value.as_array()?.iter().map(one).collect::<Option<Vec<T>>>()?;
    let other = (back(&all).as_ref() != Some(&value)).then_some(value);
    Some((all, other))
}

fn filled(values: Vec<Value>) -> Option<Value> {
    (!values.is_empty()).then_some(Value::Array(values))
}

macro_rules! array_attribute {
    ($type:ty, $expected:literal, $one:expr, $value:expr) => {
        impl Attribute for Vec<$type> {
            const EXPECTED: &'static str = $expected;

            fn of(value: Value) -> Option<(Self, Option<Value>)> {
                array(value, $one, |all| filled(all.iter().filter_map($value).collect()))
            }

            fn value(&self) -> Option<Value> {
                filled(self.iter().filter_map($value).collect())
            }
        }
    };
}

array_attribute!(
    String,
    "an array of texts",
    |value| value.as_string().map(str::to_owned),
    |text: &String| Some(Value::from(text.as_str()))
);
array_attribute!(i64, "an array of whole numbers", integer, |number: &i64| Some(
    Value::from(*number)
));
array_attribute!(
    Timestamp,
    "an array of dates",
    |value| Timestamp::of(value.as_date()?),
    |time: &Timestamp| time.to_wire().map(Value::from)
);
array_attribute!(
    RecordId,
    "an array of record identifiers",
    |value| RecordId::new(value.as_string()?).ok(),
    |id: &RecordId| Some(Value::from(id.as_str()))
);

/// What a record holds beside the fields of its view; comes back unchanged when the view is written.
#[derive(Clone, Default, PartialEq)]
pub struct Residue(Dictionary);

impl Residue {
    /// The keys, in the order in which they came.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// A text that is kept.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_string()
    }

    /// Keeps one more value, in place of the one of that key.
    pub fn keep(&mut self, key: &str, value: impl Into<Value>) {
        self.0.insert(key.to_owned(), value.into());
    }

    /// Forgets a value.
    pub fn forget(&mut self, key: &str) {
        self.0.remove(key);
    }

    pub(crate) fn new(record: &Record) -> Self {
        Self(record.attributes.clone())
    }

    /// Takes a field's value out, and keeps its spelling where that is not ours.
    pub(crate) fn take<T: Attribute>(&mut self, id: &RecordId, key: &str) -> Result<T, RecordError> {
        let Some(value) = self.0.remove(key) else {
            return Ok(T::default());
        };
        let (field, spelling) = T::of(value).ok_or_else(|| RecordError::Type {
            id: id.clone(),
            key: key.to_owned(),
            expected: T::EXPECTED,
        })?;
        if let Some(value) = spelling {
            self.0.insert(key.to_owned(), value);
        }
        Ok(field)
    }

    /// Writes a field, in the spelling it came in while it is unchanged.
    pub(crate) fn put<T: Attribute>(&self, record: &mut Record, key: &str, field: &T) {
        let kept = self.0.get(key).filter(|kept| {
            let read = T::of((*kept).clone());
            read.is_some_and(|(read, _)| read == *field)
        });
        if let Some(value) = kept.cloned().or_else(|| field.value()) {
            record.attributes.insert(key.to_owned(), value);
        }
    }

    pub(crate) fn rest(&self, record: &mut Record, fields: &[&str]) {
        for (key, value) in self.0.iter().filter(|(key, _)| !fields.contains(&key.as_str())) {
            record.attributes.insert(key.clone(), value.clone());
        }
    }
}

/// Names the keys and no value.
impl fmt::Debug for Residue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// One record with its keys as fields.
pub trait View: Sized {
    /// The entity it is a view of.
    const ENTITY: &'static str;

    /// Reads a record.
    ///
    /// # Errors
    /// [`RecordError::Entity`] for a record of something else, [`RecordError::Type`] for a value of the wrong type.
    fn read(id: &RecordId, record: &Record) -> Result<Self, RecordError>;

    /// The record again, with everything it came with.
    fn write(&self) -> Record;
}

/// A view and the identifier of its record.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry<T> {
    /// The record's identifier.
    pub id: RecordId,
    /// The record.
    pub view: T,
}

/// Makes a type of a list of keys.
macro_rules! view {
    ($(#[$meta:meta])* $name:ident of $entity:expr; $($(#[$doc:meta])* $field:ident: $type:ty = $key:literal;)*) => {
        $(#[$meta])*
        #[derive(Clone, Default, PartialEq)]
        pub struct $name {
            $($(#[$doc])* pub $field: $type,)*
            /// Everything else that the record holds.
            pub residue: $crate::records::Residue,
        }

        impl $crate::records::View for $name {
            const ENTITY: &'static str = $entity;

            fn read(
                id: &$crate::record::RecordId,
                record: &$crate::record::Record,
            ) -> Result<Self, $crate::records::RecordError> {
                if record.entity.as_deref() != Some($entity) {
                    return Err($crate::records::RecordError::Entity {
                        id: id.clone(),
                        expected: $entity,
                        found: record.entity.clone().unwrap_or_default(),
                    });
                }
                let mut residue = $crate::records::Residue::new(record);
                Ok(Self { $($field: residue.take(id, $key)?,)* residue })
            }

            fn write(&self) -> $crate::record::Record {
                let mut record = $crate::record::Record::new($entity);
                $(self.residue.put(&mut record, $key, &self.$field);)*
                self.residue.rest(&mut record, &[$($key),*]);
                record
            }
        }

        /// Names the keys and no value: records are people's data.
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let record = $crate::records::View::write(self);
                f.debug_struct(stringify!($name))
                    .field("keys", &record.attributes.keys().collect::<Vec<_>>())
                    .finish()
            }
        }
    };
}

/// Makes a type of a root's view and the views of what belongs to it.
macro_rules! aggregate {
    ($(#[$meta:meta])* $name:ident by $owner:literal; $(#[$root_doc:meta])* $root:ident: $root_type:ty;
     $($(#[$doc:meta])* $field:ident: $type:ty;)*) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            /// The root record's identifier.
            pub id: $crate::record::RecordId,
            $(#[$root_doc])*
            pub $root: $root_type,
            $($(#[$doc])* pub $field: Vec<$crate::records::Entry<$type>>,)*
            /// What belongs to it and is of no kind known here, with its identifier.
            pub other: Vec<($crate::record::RecordId, $crate::record::Record)>,
        }

        impl $name {
            /// Nothing but an identifier.
            #[must_use]
            pub fn new(id: $crate::record::RecordId) -> Self {
                Self { id, $root: <$root_type>::default(), $($field: Vec::new(),)* other: Vec::new() }
            }

            /// Reads a root and what belongs to it.
            ///
            /// # Errors
            /// [`crate::records::RecordError`] of the root or of any part.
            pub fn read(
                graph: &$crate::records::Graph,
                id: &$crate::record::RecordId,
            ) -> Result<Self, $crate::records::RecordError> {
                use $crate::records::View as _;
                let record = graph.get(id).ok_or_else(|| $crate::records::RecordError::Missing { id: id.clone() })?;
                let mut this = Self::new(id.clone());
                this.$root = <$root_type>::read(id, record)?;
                for (part, record) in graph.parts(id) {
                    let mut record = record.clone();
                    record.attributes.remove($owner);
                    match record.entity.as_deref() {
                        $(Some(<$type>::ENTITY) => {
                            let view = <$type>::read(part, &record)?;
                            this.$field.push($crate::records::Entry { id: part.clone(), view });
                        })*
                        _ => this.other.push((part.clone(), record)),
                    }
                }
                Ok(this)
            }

            /// Reads every root of a graph; those that cannot be read are listed instead.
            #[must_use]
            pub fn read_all(graph: &$crate::records::Graph) -> (Vec<Self>, Vec<$crate::records::RecordError>) {
                let mut problems = Vec::new();
                let ids = graph.of_entity(<$root_type as $crate::records::View>::ENTITY);
                let all = ids.filter_map(|(id, _)| Self::read(graph, id).map_err(|e| problems.push(e)).ok()).collect();
                (all, problems)
            }

            /// Writes the root and its parts, each part pointing to the root.
            ///
            /// # Errors
            /// [`crate::records::RecordError::Type`] when a part's relationship, kept from elsewhere, is none.
            pub fn write(&self, graph: &mut $crate::records::Graph) -> Result<(), $crate::records::RecordError> {
                graph.insert(self.id.clone(), $crate::records::View::write(&self.$root))?;
                for (id, record) in self.parts() {
                    graph.insert(id, record.with($owner, vec![self.id.as_str().into()]))?;
                }
                Ok(())
            }

            /// The records of its parts, without their relationship to the root.
            pub(crate) fn parts(&self) -> Vec<($crate::record::RecordId, $crate::record::Record)> {
                use $crate::records::View as _;
                let mut parts = Vec::new();
                $(parts.extend(self.$field.iter().map(|part| (part.id.clone(), part.view.write())));)*
                parts.extend(self.other.iter().cloned());
                parts
            }
        }
    };
}

pub(crate) use {aggregate, view};
