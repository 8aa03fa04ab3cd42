//! What could not be read, told instead of hidden.

use std::fmt;

use crate::archive::sqlite::DatabaseNote;

/// Most notes kept one by one; the others are counted.
const MAX_NOTES: usize = 1000;

/// One thing in a store that could not be read as it should be.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct RecordNote {
    /// The table, as the store spells it.
    pub table: String,
    /// The row id, if one row is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<i64>,
    /// The column, if one is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<&'static str>,
    /// What is wrong.
    #[serde(flatten)]
    pub problem: Problem,
}

impl RecordNote {
    /// A note about a whole table.
    #[must_use]
    pub fn table(table: &str, problem: Problem) -> Self {
        Self {
            table: table.to_owned(),
            row: None,
            column: None,
            problem,
        }
    }

    /// A note about one value of a row, or about the row.
    #[must_use]
    pub fn row(table: &str, row: Option<i64>, column: Option<&'static str>, problem: Problem) -> Self {
        Self {
            table: table.to_owned(),
            row,
            column,
            problem,
        }
    }
}

impl fmt::Display for RecordNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.table)?;
        if let Some(row) = self.row {
            write!(f, " row {row}")?;
        }
        if let Some(column) = self.column {
            write!(f, ", {column}")?;
        }
        write!(f, ": {}", self.problem)
    }
}

/// What is wrong with a value, a row or a table.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "problem")]
#[non_exhaustive]
pub enum Problem {
    /// The value has a type that makes no sense there; it is left out.
    #[error("{found} where {expected} belongs")]
    WrongType {
        /// What the column holds.
        expected: &'static str,
        /// What is there.
        found: &'static str,
    },
    /// The text is not UTF-8; what is wrong in it was replaced by U+FFFD.
    #[error("the text is not UTF-8")]
    NotUtf8,
    /// The text is too long and was cut.
    #[error("the text has {len} bytes and was cut to {kept}")]
    Cut {
        /// Its length in bytes.
        len: usize,
        /// How many bytes were kept.
        kept: usize,
    },
    /// The blob is too long and was left out.
    #[error("the data has {len} bytes, too many to decode")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The time is outside the years 1 to 9999.
    #[error("{value} is no time")]
    Time {
        /// The number as stored.
        value: String,
    },
    /// A table that such stores have is not there.
    #[error("the table is missing")]
    NoTable,
    /// A column that such tables have is not there, under none of its known names.
    #[error("the column is missing")]
    NoColumn,
    /// The row points to one that is not there.
    #[error("it points to {to} {id}, which does not exist")]
    Dangling {
        /// What it should point to.
        to: &'static str,
        /// The row id that is missing.
        id: i64,
    },
    /// A value of a known format does not decode.
    #[error("{what} does not decode: {reason}")]
    Undecodable {
        /// The format.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The database's log or journal is lost or was left out: rows may be missing or old.
    #[error("its log or journal: {note:?}")]
    Companion {
        /// What became of it.
        note: DatabaseNote,
    },
    /// The rest of the table cannot be read.
    #[error("the rest of the table cannot be read: {reason}")]
    Damaged {
        /// What SQLite says.
        reason: String,
    },
}

/// The notes of one store. The first 1000 are kept, the others counted: a hostile store has millions.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Notes {
    kept: Vec<RecordNote>,
    more: u64,
}

impl Notes {
    /// Adds one.
    pub fn push(&mut self, note: RecordNote) {
        if self.kept.len() < MAX_NOTES {
            tracing::debug!(%note, "record");
            self.kept.push(note);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    /// Adds all of `others`.
    pub fn append(&mut self, others: Self) {
        self.more = self.more.saturating_add(others.more);
        for note in others.kept {
            self.push(note);
        }
    }

    /// The notes that were kept.
    #[must_use]
    pub fn kept(&self) -> &[RecordNote] {
        &self.kept
    }

    /// How many there are, those that were only counted included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.more.saturating_add(self.kept.len() as u64)
    }

    /// Whether all was as it should be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_beyond_the_limit_are_counted() {
        let mut notes = Notes::default();
        for row in 0..1500 {
            notes.push(RecordNote::row("message", Some(row), Some("date"), Problem::NotUtf8));
        }
        assert_eq!((notes.kept().len(), notes.count()), (1000, 1500));
        let mut others = Notes::default();
        others.append(notes);
        assert_eq!((others.kept().len(), others.count()), (1000, 1500));
        assert_eq!(
            others.kept()[1].to_string(),
            "message row 1, date: the text is not UTF-8"
        );
    }
}
