//! Batches that were told, written.

use cabled_wire::plist::{Date, Value};

use super::{FormatError, MAX_DEPTH, Out, Tag};
use crate::engine::kept::since_1970;
use crate::engine::{Extent, Side};
use crate::record::{Change, Changes};

impl<'s> Out<'s, '_> {
    pub(in crate::store::format) fn told(
        &mut self,
        side: Side,
        extent: Extent,
        changes: &'s Changes,
    ) -> Result<(), FormatError> {
        self.side(side)?;
        self.number(match extent {
            Extent::Everything => 0,
            Extent::Changes => 1,
        })?;
        self.len(changes.len())?;
        for (id, change) in changes.iter() {
            self.count()?;
            self.text(id.as_str())?;
            let record = match change {
                Change::Delete => {
                    self.number(0)?;
                    continue;
                }
                Change::Upsert(record) => record,
            };
            match &record.entity {
                None => self.number(1)?,
                Some(entity) => {
                    self.number(2)?;
                    self.name(entity)?;
                }
            }
            self.len(record.attributes.len())?;
            for (key, value) in &record.attributes {
                self.count()?;
                self.name(key)?;
                self.value(value, MAX_DEPTH)?;
            }
        }
        Ok(())
    }

    fn plist_date(&mut self, date: Date) -> Result<(), FormatError> {
        let (seconds, nanos) = since_1970(date.into()).ok_or(FormatError::TooLarge {
            what: "a date",
            found: u64::MAX,
            max: i64::MAX.cast_unsigned(),
        })?;
        self.date(seconds, nanos)
    }

    fn value(&mut self, value: &'s Value, depth: usize) -> Result<(), FormatError> {
        let deeper = depth.checked_sub(1).ok_or(FormatError::TooLarge {
            what: "levels",
            found: (MAX_DEPTH as u64).saturating_add(1),
            max: MAX_DEPTH as u64,
        })?;
        match value {
            Value::String(text) => {
                self.tag(Tag::Text)?;
                self.text(text)
            }
            Value::Integer(number) => match (number.as_signed(), number.as_unsigned()) {
                (None, Some(number)) => {
                    self.tag(Tag::Unsigned)?;
                    self.number(number)
                }
                (number, _) => {
                    self.tag(Tag::Integer)?;
                    self.signed(number.unwrap_or_default())
                }
            },
            Value::Boolean(yes) => self.tag(if *yes { Tag::True } else { Tag::False }),
            Value::Real(number) => {
                self.tag(Tag::Real)?;
                self.bytes(&number.to_bits().to_le_bytes())
            }
            Value::Date(date) => self.plist_date(*date),
            Value::Data(data) => self.data(data),
            Value::Uid(uid) => {
                self.tag(Tag::Uid)?;
                self.number(uid.get())
            }
            Value::Array(list) => {
                self.tag(Tag::List)?;
                self.list(list, |out, value| out.value(value, deeper))
            }
            Value::Dictionary(dict) => {
                self.tag(Tag::Dict)?;
                self.len(dict.len())?;
                for (key, value) in dict {
                    self.count()?;
                    self.name(key)?;
                    self.value(value, deeper)?;
                }
                Ok(())
            }
            // A kind of value that no property list has today.
            _ => Err(FormatError::TooLarge {
                what: "kinds of values",
                found: (Tag::ALL.len() as u64).saturating_add(1),
                max: Tag::ALL.len() as u64,
            }),
        }
    }
}
