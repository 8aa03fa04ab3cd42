//! Text out of `attributedBody`: an `NSAttributedString` in the stream that `NSArchiver` writes ("streamtyped").
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::records::messages::typedstream::AttributedText;
//!
//! let body = b"\x04\x0bstreamtyped\x81\xe8\x03\x84\x01@\x84\x84\x84\x12NSAttributedString\0\x84\x84\x08NSObject\0\x85\
//!     \x92\x84\x84\x84\x08NSString\x01\x94\x84\x01+\x05Hello\x86\x84\x02iI\x01\x05\x92\x84\x84\x84\x0cNSDictionary\0\
//!     \x94\x84\x01i\x00\x86\x86";
//! let text = AttributedText::decode(body)?;
//! assert_eq!(text.text, "Hello");
//! assert_eq!((text.runs.len(), text.runs[0].length), (1, 5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! Since iOS 16 most messages have no `text`: it is the string of their `attributedBody`, whose attributes also say
//! which attachment stands at which place and who is mentioned.
//!
//! The stream is a header and groups of values. Each group names the types of its values (`@` object, `+` bytes, `i`
//! integer, ...); names of types and classes are written once and then referred to by number, and so are objects.
//! A stream that breaks these rules after the string still gives its string.
//!
//! # Limits
//! Bodies up to 16 MiB, 64 levels, as many values as the body has bytes, 65,536 runs, 4 MiB of attributes; time and
//! memory grow with the body alone.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Longest body, in bytes.
const MAX_LEN: usize = 16 << 20;

const MAX_DEPTH: u32 = 64;

/// Most runs that are kept.
const MAX_RUNS: usize = 65_536;

/// Most bytes of attributes that are kept: shared objects unfold to more than the body has.
const MAX_ATTRIBUTES: usize = 4 << 20;

const MAGIC: &[u8] = b"\x04\x0bstreamtyped";

/// Tags in the place of a number.
const INTEGER_2: u8 = 0x81;
const INTEGER_4: u8 = 0x82;
const FLOAT: u8 = 0x83;
const NEW: u8 = 0x84;
const NIL: u8 = 0x85;
const END: u8 = 0x86;

/// What is added to a reference's number: the tags take the place of the lowest ones.
const FIRST_REFERENCE: i64 = -110;

/// Why a body gives no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TypedStreamError {
    /// The body is longer than 16 MiB.
    #[error("it is {len} bytes long")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// It does not start as a typed stream does.
    #[error("it is no typed stream")]
    NotTyped,
    /// There is no string in it, or it was cut off before.
    #[error("there is no string in it")]
    NoString,
}

/// A text with its attributes.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct AttributedText {
    /// The text. An attachment stands in it as U+FFFC.
    pub text: String,
    /// Stretches of the text with the same attributes, in order; empty if they could not be read.
    pub runs: Vec<Run>,
    /// Whether all of the stream could be read. If not, attributes may be missing.
    pub complete: bool,
}

/// A stretch of text.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Run {
    /// Its length in UTF-16 units.
    pub length: u64,
    /// Its attributes by name, such as `__kIMFileTransferGUIDAttributeName`.
    pub attributes: Arc<BTreeMap<String, Attribute>>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Attribute {
    /// Text, or the text of a link.
    Text(String),
    /// A number.
    Number(f64),
    /// An object of another class, by its name.
    Other(String),
}

impl AttributedText {
    /// Decodes a body.
    ///
    /// # Errors
    /// Any [`TypedStreamError`].
    pub fn decode(body: &[u8]) -> Result<Self, TypedStreamError> {
        if body.len() > MAX_LEN {
            return Err(TypedStreamError::TooLong { len: body.len() });
        }
        if !body.starts_with(MAGIC) {
            return Err(TypedStreamError::NotTyped);
        }
        let mut stream = Stream::new(body);
        let complete = stream.all().is_some();
        if let Some(text) = stream.attributed() {
            return Ok(Self { complete, ..text });
        }
        let text = salvaged(body).ok_or(TypedStreamError::NoString)?;
        Ok(Self {
            text,
            runs: Vec::new(),
            complete: false,
        })
    }
}

/// The first string of a stream that does not follow the rules: some writers leave out what readers do not look at.
fn salvaged(body: &[u8]) -> Option<String> {
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    let mut rest = body;
    loop {
        // Also the end of `NSMutableString` and the like.
        let class = find(rest, b"String")?;
        rest = rest.get(class.checked_add(6)?..)?;
        // A version, a superclass and the type `+` lie between the class and its bytes.
        let head = rest.get(..rest.len().min(8))?;
        let Some(plus) = head.iter().position(|byte| *byte == b'+') else {
            continue;
        };
        let mut stream = Stream::new(rest.get(plus.checked_add(1)?..)?);
        if let Some(text) = stream.bytes().and_then(|bytes| str::from_utf8(bytes).ok()) {
            return Some(text.to_owned());
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Value<'a> {
    Integer(i64),
    Real(f64),
    Bytes(&'a [u8]),
    Object(usize),
    Other,
}

/// Something with a number: objects, classes and C strings share one count.
#[derive(Debug)]
enum Thing<'a> {
    Object {
        class: Option<usize>,
        values: Vec<Value<'a>>,
    },
    Class {
        name: &'a [u8],
    },
    Text,
}

/// What stands where an object or a class is expected.
enum Head {
    New,
    Nil,
    Known(usize),
}

struct Stream<'a> {
    rest: &'a [u8],
    /// Names of types and classes, as they were first written.
    names: Vec<&'a [u8]>,
    things: Vec<Thing<'a>>,
    values_left: usize,
}

impl<'a> Stream<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self {
            rest: bytes,
            names: Vec::new(),
            things: Vec::new(),
            values_left: bytes.len(),
        }
    }

    /// Reads to the end; `None` where the rules are broken, with what came before kept.
    fn all(&mut self) -> Option<()> {
        self.rest = self.rest.strip_prefix(MAGIC)?;
        self.integer()?; // the system's version
        while !self.rest.is_empty() {
            self.group(None, 0)?;
        }
        Some(())
    }

    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*byte)
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    fn integer(&mut self) -> Option<i64> {
        let head = self.byte()?;
        self.integer_after(head)
    }

    fn integer_after(&mut self, head: u8) -> Option<i64> {
        match head {
            INTEGER_2 => self
                .take(2)?
                .first_chunk()
                .map(|bytes| i16::from_le_bytes(*bytes).into()),
            INTEGER_4 => self
                .take(4)?
                .first_chunk()
                .map(|bytes| i32::from_le_bytes(*bytes).into()),
            FLOAT..=0x91 => None,
            small => Some(small.cast_signed().into()),
        }
    }

    /// Bytes with their length in front. Lengths have no sign, however they are written.
    fn bytes(&mut self) -> Option<&'a [u8]> {
        let head = self.byte()?;
        let len = match (head, self.integer_after(head)?) {
            (INTEGER_2, len) => u64::from(u16::from_le_bytes(i16::try_from(len).ok()?.to_le_bytes())),
            (INTEGER_4, len) => u64::from(u32::from_le_bytes(i32::try_from(len).ok()?.to_le_bytes())),
            (_, len) => u64::try_from(len).ok()?,
        };
        self.take(usize::try_from(len).ok()?)
    }

    fn head(&mut self) -> Option<Head> {
        match self.byte()? {
            NEW => Some(Head::New),
            NIL => Some(Head::Nil),
            head => {
                let number = self.integer_after(head)?.checked_sub(FIRST_REFERENCE)?;
                usize::try_from(number).ok().map(Head::Known)
            }
        }
    }

    /// The name of a type or class.
    fn name(&mut self) -> Option<&'a [u8]> {
        match self.head()? {
            Head::New => {
                let name = self.bytes()?;
                self.names.push(name);
                Some(name)
            }
            Head::Nil => Some(&[]),
            Head::Known(number) => self.names.get(number).copied(),
        }
    }

    /// One group: its types, then a value of each. Values of an object are kept in `owner`.
    fn group(&mut self, owner: Option<usize>, depth: u32) -> Option<()> {
        let types = self.name()?;
        // A group costs at least a byte, so an endless list of empty ones ends with the input.
        let mut types = Types(types);
        while let Some(kind) = types.next() {
            let value = self.value(kind, depth)?;
            if let Some(Thing::Object { values, .. }) = owner.and_then(|owner| self.things.get_mut(owner)) {
                values.push(value);
            }
        }
        types.0.is_empty().then_some(())
    }

    fn value(&mut self, kind: Kind, depth: u32) -> Option<Value<'a>> {
        self.values_left = self.values_left.checked_sub(1)?;
        Some(match kind {
            Kind::Object => self.object(depth)?,
            Kind::Class => self.class(depth).map(|_| Value::Other)?,
            Kind::Bytes => Value::Bytes(self.bytes()?),
            Kind::Name => Value::Bytes(self.name()?),
            Kind::Text => match self.head()? {
                Head::New => {
                    self.things.push(Thing::Text);
                    Value::Bytes(self.name()?)
                }
                _ => Value::Other,
            },
            Kind::Char => Value::Integer(self.byte()?.cast_signed().into()),
            Kind::Integer => Value::Integer(self.integer()?),
            Kind::Float(len) => self.float(len)?,
            Kind::Raw(len) => Value::Bytes(self.take(len)?),
        })
    }

    fn float(&mut self, len: usize) -> Option<Value<'a>> {
        let head = self.byte()?;
        if head != FLOAT {
            return self.integer_after(head).map(Value::Integer);
        }
        let bytes = self.take(len)?;
        Some(Value::Real(match len {
            4 => f32::from_le_bytes(*bytes.first_chunk()?).into(),
            _ => f64::from_le_bytes(*bytes.first_chunk()?),
        }))
    }

    fn object(&mut self, depth: u32) -> Option<Value<'a>> {
        let depth = depth.checked_add(1).filter(|depth| *depth < MAX_DEPTH)?;
        match self.head()? {
            Head::Nil => Some(Value::Other),
            Head::Known(number) => Some(Value::Object(number)),
            Head::New => {
                let number = self.things.len();
                let values = Vec::new();
                self.things.push(Thing::Object { class: None, values });
                let found = self.class(depth)?;
                if let Some(Thing::Object { class, .. }) = self.things.get_mut(number) {
                    *class = found;
                }
                while *self.rest.first()? != END {
                    self.group(Some(number), depth)?;
                }
                self.byte()?;
                Some(Value::Object(number))
            }
        }
    }

    /// A class with its superclasses; gives its number.
    fn class(&mut self, depth: u32) -> Option<Option<usize>> {
        let depth = depth.checked_add(1).filter(|depth| *depth < MAX_DEPTH)?;
        match self.head()? {
            Head::Nil => Some(None),
            Head::Known(number) => Some(Some(number)),
            Head::New => {
                let number = self.things.len();
                let name = self.name()?;
                self.things.push(Thing::Class { name });
                self.integer()?; // the class's version
                self.class(depth)?;
                Some(Some(number))
            }
        }
    }

    fn class_name(&self, object: usize) -> &'a [u8] {
        let Some(Thing::Object { class: Some(class), .. }) = self.things.get(object) else {
            return &[];
        };
        match self.things.get(*class) {
            Some(Thing::Class { name }) => name,
            _ => &[],
        }
    }

    fn values(&self, object: usize) -> &[Value<'a>] {
        match self.things.get(object) {
            Some(Thing::Object { values, .. }) => values,
            _ => &[],
        }
    }

    /// The text of a string, or of a link, which holds one.
    fn text_of(&self, object: usize) -> Option<String> {
        let name = self.class_name(object);
        if name == b"NSURL" {
            let mut parts = self.values(object).iter();
            return parts.find_map(|value| match value {
                Value::Object(inner) if self.class_name(*inner).ends_with(b"String") => self.text_of(*inner),
                _ => None,
            });
        }
        if !name.ends_with(b"String") || name.ends_with(b"AttributedString") {
            return None;
        }
        self.values(object).iter().find_map(|value| match value {
            Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        })
    }

    /// The first attributed string, or, failing that, the first string.
    fn attributed(&self) -> Option<AttributedText> {
        let objects = 0..self.things.len();
        let whole = objects
            .clone()
            .find(|object| self.class_name(*object).ends_with(b"AttributedString"));
        let inner = |object: usize| {
            self.values(object).iter().find_map(|value| match value {
                Value::Object(string) => self.text_of(*string),
                _ => None,
            })
        };
        if let Some((object, text)) = whole.and_then(|object| Some((object, inner(object)?))) {
            let runs = self.runs(self.values(object));
            return Some(AttributedText {
                text,
                runs,
                complete: true,
            });
        }
        let text = objects.into_iter().find_map(|object| self.text_of(object))?;
        Some(AttributedText {
            text,
            ..AttributedText::default()
        })
    }

    /// After the string come pairs of numbers: which attributes, for how long; a set of attributes follows the first
    /// pair that uses it.
    fn runs(&self, values: &[Value<'a>]) -> Vec<Run> {
        let (mut runs, mut sets) = (Vec::new(), Vec::new());
        let mut room = MAX_ATTRIBUTES;
        let mut values = values.iter().skip(1).peekable();
        while let Some(Value::Integer(set)) = values.next() {
            let Some(Value::Integer(length)) = values.next() else {
                break;
            };
            if let Some(Value::Object(dictionary)) = values.peek() {
                sets.push(Arc::new(self.dictionary(*dictionary, &mut room)));
                values.next();
            }
            let set = set.checked_sub(1).and_then(|set| sets.get(usize::try_from(set).ok()?));
            runs.push(Run {
                length: u64::try_from(*length).unwrap_or_default(),
                attributes: set.map(Arc::clone).unwrap_or_default(),
            });
            if runs.len() >= MAX_RUNS {
                break;
            }
        }
        runs
    }

    fn dictionary(&self, object: usize, room: &mut usize) -> BTreeMap<String, Attribute> {
        let mut attributes = BTreeMap::new();
        // The first value is the count.
        let mut values = self.values(object).iter().skip(1);
        while let Some(Value::Object(key)) = values.next() {
            let (Some(key), Some(value)) = (self.text_of(*key), values.next()) else {
                break;
            };
            let value = self.attribute(value);
            let size = match &value {
                Attribute::Text(text) | Attribute::Other(text) => text.len(),
                Attribute::Number(_) => 0,
            };
            let Some(left) = room.checked_sub(size.saturating_add(key.len()).saturating_add(64)) else {
                *room = 0;
                break;
            };
            *room = left;
            attributes.insert(key, value);
        }
        attributes
    }

    fn attribute(&self, value: &Value<'_>) -> Attribute {
        let Value::Object(object) = value else {
            return Attribute::Other(String::new());
        };
        if let Some(text) = self.text_of(*object) {
            return Attribute::Text(text);
        }
        let number = self.values(*object).iter().find_map(|value| match value {
            #[expect(
                clippy::cast_precision_loss,
                reason = "numbers of attributes are small; others round"
            )]
            Value::Integer(number) => Some(*number as f64),
            Value::Real(number) => Some(*number),
            _ => None,
        });
        match number {
            Some(number) if self.class_name(*object) == b"NSNumber" => Attribute::Number(number),
            _ => Attribute::Other(String::from_utf8_lossy(self.class_name(*object)).into_owned()),
        }
    }
}

/// How a value is written.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Object,
    Class,
    Bytes,
    Name,
    Text,
    Char,
    Integer,
    Float(usize),
    Raw(usize),
}

/// The types of a group, one after the other. What is left of the text at the end was not understood.
struct Types<'a>(&'a [u8]);

impl Types<'_> {
    fn next(&mut self) -> Option<Kind> {
        loop {
            let (letter, rest) = self.0.split_first()?;
            let kind = match letter {
                b'@' => Kind::Object,
                b'#' => Kind::Class,
                b'+' => Kind::Bytes,
                b'%' | b':' => Kind::Name,
                b'*' => Kind::Text,
                b'c' | b'C' | b'B' => Kind::Char,
                b's' | b'S' | b'i' | b'I' | b'l' | b'L' | b'q' | b'Q' => Kind::Integer,
                b'f' => Kind::Float(4),
                b'd' => Kind::Float(8),
                b'[' => return self.array(),
                b'{' | b'(' => {
                    // `{name=types}`: the values follow as if there were no braces.
                    let equals = rest.iter().position(|byte| matches!(byte, b'=' | b'}'))?;
                    self.0 = rest.get(equals..)?.strip_prefix(b"=").unwrap_or(rest.get(equals..)?);
                    continue;
                }
                b'}' | b')' => {
                    self.0 = rest;
                    continue;
                }
                _ => return None,
            };
            self.0 = rest;
            return Some(kind);
        }
    }

    /// Arrays of bytes, as data objects have them: `[12c]`.
    fn array(&mut self) -> Option<Kind> {
        let inner = self.0.strip_prefix(b"[")?;
        let digits = inner.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (len, kind) = inner.split_at_checked(digits)?;
        let rest = kind.strip_prefix(b"c]").or_else(|| kind.strip_prefix(b"C]"))?;
        self.0 = rest;
        str::from_utf8(len).ok()?.parse().ok().map(Kind::Raw)
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests;
