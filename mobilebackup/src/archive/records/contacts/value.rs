//! What a contact may have several of: numbers, addresses, days.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::archive::records::time;

/// Apple's stand-in for a year that is not known.
const NO_YEAR: i32 = 1604;

/// What a value of a contact is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Property {
    /// A phone number.
    Phone,
    /// An email address.
    Email,
    /// A postal address, in fields.
    Address,
    /// A day, such as an anniversary.
    Date,
    /// An account of an instant messenger, in fields.
    InstantMessage,
    /// A web address.
    Url,
    /// The name of somebody related.
    RelatedName,
    /// An account of a social network, in fields.
    SocialProfile,
    /// Something that this version does not know, by Apple's number.
    Other(i64),
}

impl Property {
    pub(super) const fn of(number: i64) -> Self {
        match number {
            3 => Self::Phone,
            4 => Self::Email,
            5 => Self::Address,
            12 => Self::Date,
            13 => Self::InstantMessage,
            22 => Self::Url,
            23 => Self::RelatedName,
            46 => Self::SocialProfile,
            other => Self::Other(other),
        }
    }
}

/// One of a contact's values: a number, an address, ...
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ContactValue {
    /// What it is.
    pub property: Property,
    /// Its label as stored: `_$!<Home>!$_` for those that Apple translates, plain text for the owner's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The value, if it is one text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// The day, if the value is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<Day>,
    /// The fields of a value that has several, by name in lower case: `street`, `city`, `zip`, `service`, `username`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fields: BTreeMap<String, String>,
}

impl ContactValue {
    /// The label as people know it: `Home` for `_$!<Home>!$_`.
    #[must_use]
    pub fn shown_label(&self) -> Option<&str> {
        let label = self.label.as_deref()?;
        let inner = label.strip_prefix("_$!<").and_then(|label| label.strip_suffix(">!$_"));
        Some(inner.unwrap_or(label))
    }

    /// The value as one text; fields in the order of an address, one a line.
    #[must_use]
    pub fn shown(&self) -> String {
        if let Some(day) = self.day {
            return day.to_string();
        }
        if self.fields.is_empty() {
            return self.value.clone().unwrap_or_default();
        }
        let order = [
            "street",
            "sublocality",
            "city",
            "state",
            "zip",
            "country",
            "service",
            "username",
            "url",
        ];
        let known = order.iter().filter_map(|name| self.fields.get(*name));
        let others = self.fields.iter().filter(|(name, _)| !order.contains(&name.as_str()));
        let mut parts: Vec<_> = known
            .map(String::as_str)
            .chain(others.map(|(_, value)| value.as_str()))
            .collect();
        parts.extend(self.value.as_deref());
        parts.join("\n")
    }
}

/// A day of a year, or of every year.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Day {
    /// The year, if it is known.
    pub year: Option<i32>,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.year {
            Some(year) => write!(f, "{year:04}-{:02}-{:02}", self.month, self.day),
            None => write!(f, "--{:02}-{:02}", self.month, self.day),
        }
    }
}

impl Serialize for Day {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Day {
    fn of(year: i32, month: u8, day: u8) -> Self {
        Self {
            year: (year != NO_YEAR).then_some(year),
            month,
            day,
        }
    }

    /// Seconds since 2001 at noon of the day, or a date as text.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(seconds) = text.parse::<f64>() {
            let at = time::apple_seconds(seconds)?.civil();
            return Some(Self::of(at.year, at.month, at.day));
        }
        let mut parts = text.get(..10)?.split('-');
        let (year, month, day) = (
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
            parts.next()?.parse().ok()?,
        );
        let real = (1..=12).contains(&month) && (1..=31).contains(&day) && (1..=9999).contains(&year);
        real.then(|| Self::of(year, month, day))
    }
}
