//! The values of a row as the types that are wanted.

use rusqlite::types::ValueRef;

use crate::archive::records::note::{Notes, Problem, RecordNote};
use crate::archive::records::time::{self, Timestamp};

/// Longest text that is kept whole, in bytes.
const MAX_TEXT: usize = 16 << 20;

/// The values of one row. Each getter gives `None` for NULL and for what makes no sense; the latter is noted.
///
/// Columns are named as in the [`Select`](super::Select); a name that is not in it reads as NULL.
#[derive(Debug)]
pub struct Fields<'a> {
    pub(super) row: &'a rusqlite::Row<'a>,
    pub(super) id: Option<i64>,
    pub(super) table: &'a str,
    pub(super) columns: &'a [&'static str],
    pub(super) notes: &'a mut Notes,
}

impl<'a> Fields<'a> {
    /// The row id; `None` in tables that have none.
    #[must_use]
    pub const fn id(&self) -> Option<i64> {
        self.id
    }

    /// Notes a problem with this row's `column`.
    pub fn note(&mut self, column: &'static str, problem: Problem) {
        self.notes
            .push(RecordNote::row(self.table, self.id, Some(column), problem));
    }

    /// All notes, to hand on.
    pub fn notes(&mut self) -> &mut Notes {
        self.notes
    }

    fn value(&self, column: &str) -> ValueRef<'a> {
        let at = self.columns.iter().position(|known| *known == column);
        debug_assert!(at.is_some(), "`{column}` is not in the query for {}", self.table);
        let at = at.and_then(|at| at.checked_add(1)); // column 0 is the row id
        at.and_then(|at| self.row.get_ref(at).ok()).unwrap_or(ValueRef::Null)
    }

    fn wrong(&mut self, column: &'static str, expected: &'static str, found: ValueRef<'_>) {
        let found = match found {
            ValueRef::Null => "NULL",
            ValueRef::Integer(_) => "an integer",
            ValueRef::Real(_) => "a floating-point number",
            ValueRef::Text(_) => "text",
            ValueRef::Blob(_) => "data",
        };
        self.note(column, Problem::WrongType { expected, found });
    }

    /// Whether the column is NULL, or not there at all.
    #[must_use]
    pub fn is_null(&self, column: &str) -> bool {
        matches!(self.value(column), ValueRef::Null)
    }

    /// Text. Numbers are spelled out (columns without affinity keep a phone number as one), data is taken as UTF-8;
    /// what is not UTF-8 is replaced, with a note.
    pub fn text(&mut self, column: &'static str) -> Option<String> {
        let bytes = match self.value(column) {
            ValueRef::Null => return None,
            ValueRef::Integer(number) => return Some(number.to_string()),
            ValueRef::Real(number) => return Some(number.to_string()),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
        };
        let (bytes, cut) = match bytes.get(..MAX_TEXT) {
            Some(start) if bytes.len() > MAX_TEXT => (start, true),
            _ => (bytes, false),
        };
        if cut {
            let (len, kept) = (self.len(column), bytes.len());
            self.note(column, Problem::Cut { len, kept });
        }
        match str::from_utf8(bytes) {
            Ok(text) => Some(text.to_owned()),
            Err(error) => {
                // A character cut in two at the limit is no fault of the store.
                if !cut || error.error_len().is_some() {
                    self.note(column, Problem::NotUtf8);
                }
                Some(String::from_utf8_lossy(bytes).into_owned())
            }
        }
    }

    /// Text that says something: empty text counts as none.
    pub fn some_text(&mut self, column: &'static str) -> Option<String> {
        self.text(column).filter(|text| !text.is_empty())
    }

    fn len(&self, column: &str) -> usize {
        match self.value(column) {
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
            _ => 0,
        }
    }

    /// A whole number. Floating-point numbers without a fraction and digits as text count too.
    pub fn integer(&mut self, column: &'static str) -> Option<i64> {
        let value = self.value(column);
        let number = match value {
            ValueRef::Null => return None,
            ValueRef::Integer(number) => Some(number),
            ValueRef::Real(real) => whole(real),
            ValueRef::Text(digits) => str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.trim().parse().ok()),
            ValueRef::Blob(_) => None,
        };
        if number.is_none() {
            self.wrong(column, "an integer", value);
        }
        number
    }

    /// A number. Digits as text count too.
    pub fn real(&mut self, column: &'static str) -> Option<f64> {
        let value = self.value(column);
        let number = match value {
            ValueRef::Null => return None,
            #[expect(
                clippy::cast_precision_loss,
                reason = "counts and seconds stay below 2^53; others round"
            )]
            ValueRef::Integer(number) => Some(number as f64),
            ValueRef::Real(real) => Some(real),
            ValueRef::Text(digits) => str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.trim().parse().ok()),
            ValueRef::Blob(_) => None,
        };
        let number = number.filter(|number| number.is_finite());
        if number.is_none() {
            self.wrong(column, "a number", value);
        }
        number
    }

    /// Yes or no: any number but 0 is yes. NULL is no.
    pub fn flag(&mut self, column: &'static str) -> bool {
        self.integer(column).is_some_and(|number| number != 0)
    }

    /// Data, or the bytes of a text, borrowed from SQLite until the next row.
    pub fn data(&mut self, column: &'static str) -> Option<&'a [u8]> {
        let value = self.value(column);
        match value {
            ValueRef::Null => None,
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Some(bytes),
            ValueRef::Integer(_) | ValueRef::Real(_) => {
                self.wrong(column, "data", value);
                None
            }
        }
    }

    /// As [`Fields::data`], if it has at most `max` bytes; more are left out with a note.
    pub fn data_up_to(&mut self, column: &'static str, max: usize) -> Option<&'a [u8]> {
        let data = self.data(column)?;
        if data.len() > max {
            self.note(column, Problem::TooLong { len: data.len() });
            return None;
        }
        Some(data)
    }

    /// A time of `sms.db`: seconds or nanoseconds since 2001, told apart by size. 0 is none.
    pub fn apple_time(&mut self, column: &'static str) -> Option<Timestamp> {
        let value = self.value(column);
        if let ValueRef::Real(_) = value {
            return self
                .core_data_time(column)
                .filter(|_| !matches!(value, ValueRef::Real(0.0)));
        }
        let count = self.integer(column)?;
        if count == 0 {
            return None;
        }
        let time = time::apple(count);
        self.noted(column, time, count)
    }

    /// A time of Core Data: seconds since 2001 with a fraction. 0 is the first second of 2001.
    pub fn core_data_time(&mut self, column: &'static str) -> Option<Timestamp> {
        let seconds = self.real(column)?;
        self.noted(column, time::apple_seconds(seconds), seconds)
    }

    /// A time in seconds since 1970. 0 is none.
    pub fn unix_time(&mut self, column: &'static str) -> Option<Timestamp> {
        let seconds = self.real(column).filter(|seconds| *seconds != 0.0)?;
        self.noted(column, time::unix(seconds), seconds)
    }

    fn noted(&mut self, column: &'static str, time: Option<Timestamp>, stored: impl ToString) -> Option<Timestamp> {
        if time.is_none() {
            let value = stored.to_string();
            self.note(column, Problem::Time { value });
        }
        time
    }
}

/// The integer that a floating-point number is, if it is one and near enough to zero to be sure.
fn whole(real: f64) -> Option<i64> {
    #[expect(clippy::cast_possible_truncation, reason = "checked: no fraction, and below 2^53")]
    (real.fract() == 0.0 && real.abs() < 9e15).then_some(real as i64)
}
