//! What an item says once it is open.

use std::fmt;
use std::time::SystemTime;

use cabled_wire::plist::{self, Limits, Value as PlistValue};
use zeroize::Zeroizing;

use super::der::{self, tag};
use super::time::generalized_time;

/// The value of one attribute. Text and bytes are wiped when dropped; `Debug` says kind and length only.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attribute {
    /// Text: DER `UTF8String`, or a string of a property list.
    Text(Zeroizing<String>),
    /// Bytes: DER `OCTET STRING`, or data of a property list.
    Bytes(Zeroizing<Vec<u8>>),
    /// An integer.
    Integer(i64),
    /// A boolean.
    Boolean(bool),
    /// A time: DER `GeneralizedTime`, or a date of a property list.
    Time(SystemTime),
    /// Anything else, kept whole: an element of DER, or a property list of its own (version 2).
    Other(Zeroizing<Vec<u8>>),
}

impl Attribute {
    /// Text as it is; bytes if they are UTF-8, since devices store the same attribute either way.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bytes(bytes) => str::from_utf8(bytes).ok(),
            _ => None,
        }
    }

    /// Bytes as they are; text as UTF-8.
    #[must_use]
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text.as_bytes()),
            Self::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    pub(super) fn of_plist(value: PlistValue) -> Self {
        match value {
            PlistValue::String(text) => Self::Text(Zeroizing::new(text)),
            PlistValue::Data(bytes) => Self::Bytes(Zeroizing::new(bytes)),
            PlistValue::Boolean(value) => Self::Boolean(value),
            PlistValue::Date(date) => Self::Time(date.into()),
            PlistValue::Integer(number) => match number.as_signed() {
                Some(number) => Self::Integer(number),
                None => Self::Other(Zeroizing::new(plist::to_binary(&PlistValue::Integer(number)))),
            },
            other => Self::Other(Zeroizing::new(plist::to_binary(&other))),
        }
    }

    fn of_der(element: der::Element<'_>) -> Self {
        let content = element.content;
        let known = match (element.tag, content) {
            (tag::UTF8_STRING, text) => str::from_utf8(text)
                .ok()
                .map(|text| Self::Text(Zeroizing::new(text.to_owned()))),
            (tag::OCTET_STRING, bytes) => Some(Self::Bytes(Zeroizing::new(bytes.to_vec()))),
            (tag::INTEGER, number) => der::integer(number).map(Self::Integer),
            (tag::BOOLEAN, [value]) => Some(Self::Boolean(*value != 0)),
            (tag::GENERALIZED_TIME, time) => generalized_time(time).map(Self::Time),
            _ => None,
        };
        known.unwrap_or_else(|| Self::Other(Zeroizing::new(element.whole.to_vec())))
    }
}

impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Integer(_) => f.write_str("Integer(..)"),
            Self::Boolean(_) => f.write_str("Boolean(..)"),
            Self::Time(_) => f.write_str("Time(..)"),
            Self::Other(bytes) => write!(f, "Other({} bytes)", bytes.len()),
        }
    }
}

/// Why decrypted contents are no attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MalformedAttributes {
    /// Not a property list of names and values.
    #[error("its contents are not a property list of attributes")]
    Plist,
    /// Not a DER SET OF SEQUENCE { UTF8String, value }.
    #[error("its contents are not a DER set of attributes")]
    Der,
}

/// The attributes of one item, in the item's order. Names are those of the device's keychain: `acct`, `svce`, `v_Data`
/// and so on.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Attributes(Vec<(String, Attribute)>);

impl Attributes {
    /// Name of the attribute that is the secret itself: the password, key or certificate.
    pub const SECRET: &'static str = "v_Data";

    /// Reads the contents of a version 3 item: DER, SET OF SEQUENCE { UTF8String name, value }. The order of the set
    /// does not matter. Values of a type that [`Attribute`] lacks are kept whole.
    ///
    /// # Errors
    /// [`MalformedAttributes::Der`].
    pub fn from_der(bytes: &[u8]) -> Result<Self, MalformedAttributes> {
        Self::read_der(bytes).ok_or(MalformedAttributes::Der)
    }

    fn read_der(bytes: &[u8]) -> Option<Self> {
        let mut rest = der::only(tag::SET, bytes)?;
        let mut all = Vec::new();
        while !rest.is_empty() {
            let (pair, after) = der::split(rest)?;
            (pair.tag == tag::SEQUENCE).then_some(())?;
            let (name, value) = der::split(pair.content)?;
            (name.tag == tag::UTF8_STRING).then_some(())?;
            let name = str::from_utf8(name.content).ok()?.to_owned();
            let (value, nothing) = der::split(value)?;
            nothing.is_empty().then_some(())?;
            all.push((name, Attribute::of_der(value)));
            rest = after;
        }
        Some(Self(all))
    }

    /// Reads the contents of a version 2 item: a property list whose top level is a dictionary.
    ///
    /// # Errors
    /// [`MalformedAttributes::Plist`].
    pub fn from_plist(bytes: &[u8]) -> Result<Self, MalformedAttributes> {
        // Generous for an item, small for a bomb.
        let limits = Limits::default().with_bytes(16 << 20).with_nodes(100_000);
        let pairs = plist::read_dict(bytes, &limits).map_err(|_| MalformedAttributes::Plist)?;
        let pairs = pairs.into_iter();
        Ok(pairs.map(|(name, value)| (name, Attribute::of_plist(value))).collect())
    }

    /// Every attribute.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Attribute)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The attribute of this name; the first, should it occur twice.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Attribute> {
        self.iter().find(|(own, _)| *own == name).map(|(_, value)| value)
    }

    /// An attribute as text, see [`Attribute::as_text`].
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_text()
    }

    /// An attribute that is an integer.
    #[must_use]
    pub fn integer(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            Attribute::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// An attribute that is a time.
    #[must_use]
    pub fn time(&self, name: &str) -> Option<SystemTime> {
        match self.get(name)? {
            Attribute::Time(time) => Some(*time),
            _ => None,
        }
    }

    /// An attribute that is a boolean; the integers 0 and 1 pass as well.
    #[must_use]
    pub fn boolean(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Attribute::Boolean(value) => Some(*value),
            Attribute::Integer(number @ (0 | 1)) => Some(*number == 1),
            _ => None,
        }
    }

    /// Puts `more` behind what is there.
    pub(super) fn append(&mut self, mut more: Self) {
        self.0.append(&mut more.0);
    }
}

impl FromIterator<(String, Attribute)> for Attributes {
    fn from_iter<I: IntoIterator<Item = (String, Attribute)>>(pairs: I) -> Self {
        Self(pairs.into_iter().collect())
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}
