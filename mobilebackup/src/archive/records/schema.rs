//! Reading tables whose columns differ from one iOS version to the next.
//!
//! # Example
//! ```
//! use std::ops::ControlFlow;
//!
//! use cabled_mobilebackup::archive::records::schema::Schema;
//! use cabled_mobilebackup::archive::records::Notes;
//!
//! let db = rusqlite::Connection::open_in_memory()?;
//! db.execute_batch("CREATE TABLE handle (ROWID INTEGER PRIMARY KEY, id TEXT); INSERT INTO handle VALUES (7, 'a@b.c')")?;
//!
//! let schema = Schema::of(&db)?;
//! // `country` came later: it reads as missing here, and the query does not fail.
//! let handles = schema.select("handle", &["id", "country"]).expect("the table is there");
//! let (mut notes, mut seen) = (Notes::default(), Vec::new());
//! let _ = handles.each(&db, &mut notes, |row| {
//!     seen.push((row.id(), row.text("id"), row.text("country")));
//!     Ok(ControlFlow::Continue(()))
//! })?;
//! assert_eq!(seen, [(Some(7), Some("a@b.c".to_owned()), None)]);
//! assert!(notes.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! [`Schema::of`] looks at what there is; [`Schema::select`] puts a query together from columns that exist and takes
//! NULL for the others; [`Select::each`] hands every row to a visitor as [`Fields`], which turn each value into the
//! type that is wanted and note what cannot be. Readers scan one table after the other in the order of its row ids and
//! join in memory: no query depends on an index that a stranger's database may lack, and none sorts.
//!
//! # Limits
//! Only ordinary tables and stored columns count: views, virtual tables and computed columns could run for ever. Text
//! over 16 MiB is cut, with a note. Row ids must rise and no table has more rows than the file has room for: a damaged
//! tree that leads back to where it came from ends with a note. A row whose overflow pages are damaged is skipped, with
//! a note.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode};

use super::RecordError;
use super::note::{Notes, Problem, RecordNote};
use super::time::{self, Timestamp};

/// Most tables, and most columns of one, that are looked at.
const MAX_TABLES: usize = 4096;

/// Longest text that is kept whole, in bytes.
const MAX_TEXT: usize = 16 << 20;

/// A row takes at least this many bytes of its page.
const MIN_ROW: u64 = 4;

/// Rows that are skipped for damage before the rest of the table is given up.
const MAX_DAMAGED_ROWS: u32 = 10_000;

/// What tables and columns a database has. Names are compared without regard to ASCII case, as SQLite does.
#[derive(Clone, Debug)]
pub struct Schema {
    tables: BTreeMap<String, Table>,
    max_rows: u64,
}

/// One ordinary table.
#[derive(Clone, Debug)]
pub struct Table {
    name: String,
    columns: Vec<String>,
    has_row_ids: bool,
}

impl Table {
    /// The table's name as the database spells it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The stored columns as the database spells them, in its order.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Whether there is such a column.
    #[must_use]
    pub fn has(&self, column: &str) -> bool {
        self.first_of(&[column]).is_some()
    }

    /// The first of these columns that exists, as the database spells it.
    #[must_use]
    pub fn first_of(&self, columns: &[&str]) -> Option<&str> {
        columns.iter().find_map(|wanted| {
            let mut known = self.columns.iter();
            known
                .find(|known| known.eq_ignore_ascii_case(wanted))
                .map(String::as_str)
        })
    }
}

impl Schema {
    /// Looks at the schema of a database.
    ///
    /// # Errors
    /// [`RecordError::Sqlite`] if the database has no readable schema.
    pub fn of(connection: &Connection) -> Result<Self, RecordError> {
        let mut tables = BTreeMap::new();
        let mut list = connection.prepare(
            "SELECT name, wr FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite_%'",
        )?;
        let names = list.query_map([], |row| {
            Ok((row.get_ref(0)?.as_str().map(str::to_owned), row.get::<_, bool>(1)?))
        })?;
        let mut columns = connection.prepare("SELECT name FROM pragma_table_xinfo(?1) WHERE hidden = 0")?;
        for found in names.take(MAX_TABLES) {
            let (Ok(name), without_row_ids) = found? else { continue };
            let columns = columns.query_map([&name], |row| Ok(row.get_ref(0)?.as_str().map(str::to_owned)))?;
            let columns = columns.take(MAX_TABLES).filter_map(|name| name.ok()?.ok()).collect();
            let table = Table {
                name: name.clone(),
                columns,
                has_row_ids: !without_row_ids,
            };
            tables.insert(name.to_ascii_lowercase(), table);
        }
        let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, u32>(0));
        let bytes = u64::from(number("PRAGMA page_count")?).saturating_mul(number("PRAGMA page_size")?.into());
        Ok(Self {
            tables,
            max_rows: bytes.div_euclid(MIN_ROW),
        })
    }

    /// All tables, by name.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        self.tables.values()
    }

    /// The table of this name.
    #[must_use]
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.get(&name.to_ascii_lowercase())
    }

    /// Whether there is such a table.
    #[must_use]
    pub fn has_table(&self, name: &str) -> bool {
        self.table(name).is_some()
    }

    /// Whether there is such a table with such a column.
    #[must_use]
    pub fn has_column(&self, table: &str, column: &str) -> bool {
        self.table(table).is_some_and(|table| table.has(column))
    }

    /// The first of these tables that exists.
    #[must_use]
    pub fn first_of(&self, tables: &[&str]) -> Option<&Table> {
        tables.iter().find_map(|name| self.table(name))
    }

    /// A query for these columns of a table; `None` if there is no such table. Columns that do not exist read as NULL.
    #[must_use]
    pub fn select(&self, table: &str, columns: &[&'static str]) -> Option<Select> {
        let table = self.table(table)?.clone();
        let mut select = Select {
            table,
            columns: Vec::with_capacity(columns.len()),
            expressions: Vec::with_capacity(columns.len()),
            max_rows: self.max_rows,
        };
        for column in columns {
            select = select.or(column, &[column]);
        }
        Some(select)
    }

    /// As [`Schema::select`], and notes the table's absence.
    pub fn select_noted(&self, table: &str, columns: &[&'static str], notes: &mut Notes) -> Option<Select> {
        let select = self.select(table, columns);
        if select.is_none() {
            notes.push(RecordNote::table(table, Problem::NoTable));
        }
        select
    }
}

/// A query over one table.
#[derive(Clone, Debug)]
pub struct Select {
    table: Table,
    columns: Vec<&'static str>,
    expressions: Vec<String>,
    max_rows: u64,
}

/// What a visitor gives: an error ends the whole job, `Break` this scan.
pub type Visit = Result<ControlFlow<()>, RecordError>;

impl Select {
    /// One more column: `name` is what the visitor asks for, the value comes from the first of `alternatives` that
    /// exists, else it is NULL.
    #[must_use]
    pub fn or(mut self, name: &'static str, alternatives: &[&str]) -> Self {
        self.expressions.push(match self.table.first_of(alternatives) {
            Some(column) => quoted(column),
            None => "NULL".to_owned(),
        });
        self.columns.push(name);
        self
    }

    /// Notes which of these columns the table lacks: those without which the records are poorer than they seem.
    #[must_use]
    pub fn expect(self, columns: &[&'static str], notes: &mut Notes) -> Self {
        for column in columns {
            let at = self.columns.iter().position(|known| known == column);
            if at
                .and_then(|at| self.expressions.get(at))
                .is_none_or(|expression| expression == "NULL")
            {
                notes.push(RecordNote::row(&self.table.name, None, Some(column), Problem::NoColumn));
            }
        }
        self
    }

    /// The table.
    #[must_use]
    pub const fn table(&self) -> &Table {
        &self.table
    }

    /// Most rows that the table can have, by the size of the file.
    #[must_use]
    pub const fn max_rows(&self) -> u64 {
        self.max_rows
    }

    fn sql(&self, condition: &str) -> String {
        let id = if self.table.has_row_ids { "_rowid_" } else { "NULL" };
        let mut sql = format!("SELECT {id}");
        for expression in &self.expressions {
            sql.push_str(", ");
            sql.push_str(expression);
        }
        sql.push_str(" FROM ");
        sql.push_str(&quoted(&self.table.name));
        sql.push_str(condition);
        sql
    }

    /// Hands every row to `visit`, in the order of row ids (tables without row ids: of their primary key). Constant
    /// memory. Damaged rows are skipped with a note; `Break` comes from the visitor only.
    ///
    /// # Errors
    /// What the visitor gives; [`RecordError::Sqlite`] if the disk fails, never for damage.
    pub fn each(
        &self,
        connection: &Connection,
        notes: &mut Notes,
        mut visit: impl FnMut(&mut Fields<'_>) -> Visit,
    ) -> Visit {
        let (mut next, mut rows_left, mut damaged) = (i64::MIN, self.max_rows, 0_u32);
        loop {
            match self.run(connection, &mut next, &mut rows_left, notes, &mut visit) {
                Ok(flow) => return Ok(flow),
                Err(RecordError::Sqlite(error)) if is_damage(&error) => {
                    damaged = damaged.saturating_add(1);
                    let reason = error.to_string();
                    let skipped = if damaged < MAX_DAMAGED_ROWS {
                        self.id_from(connection, next)
                    } else {
                        None
                    };
                    notes.push(RecordNote::row(
                        &self.table.name,
                        skipped,
                        None,
                        Problem::Damaged { reason },
                    ));
                    match skipped.and_then(|id| id.checked_add(1)) {
                        Some(after) => next = after,
                        None => return Ok(ControlFlow::Continue(())),
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One pass from row id `next` on, which is kept one ahead of the last row seen.
    fn run(
        &self,
        connection: &Connection,
        next: &mut i64,
        rows_left: &mut u64,
        notes: &mut Notes,
        visit: &mut dyn FnMut(&mut Fields<'_>) -> Visit,
    ) -> Visit {
        let ordered = self.table.has_row_ids;
        let condition = if ordered {
            " WHERE _rowid_ >= ?1 ORDER BY _rowid_"
        } else {
            ""
        };
        let mut query = connection.prepare_cached(&self.sql(condition))?;
        let mut rows = if ordered {
            query.query([*next])?
        } else {
            query.query([])?
        };
        while let Some(row) = rows.next()? {
            let id = row.get::<_, Option<i64>>(0)?;
            if id.is_some_and(|id| id < *next) || *rows_left == 0 {
                let reason = "its rows are not in order".to_owned();
                notes.push(RecordNote::table(&self.table.name, Problem::Damaged { reason }));
                break;
            }
            *rows_left = rows_left.saturating_sub(1);
            let mut fields = self.fields(row, id, notes);
            if visit(&mut fields)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            match id.map(|id| id.checked_add(1)) {
                Some(Some(after)) => *next = after,
                Some(None) => break, // the largest row id there can be
                None => {}
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Hands the row with this id to `visit`; `None` if there is none, or if it is damaged, which is noted.
    ///
    /// # Errors
    /// What the visitor gives; [`RecordError::Sqlite`] if the disk fails.
    pub fn get<T>(
        &self,
        connection: &Connection,
        id: i64,
        notes: &mut Notes,
        visit: impl FnOnce(&mut Fields<'_>) -> Result<T, RecordError>,
    ) -> Result<Option<T>, RecordError> {
        if !self.table.has_row_ids {
            return Ok(None);
        }
        let mut query = match connection.prepare_cached(&self.sql(" WHERE _rowid_ = ?1")) {
            Ok(query) => query,
            Err(error) => return self.damaged_row(error, id, notes),
        };
        let mut rows = query.query([id])?;
        match rows.next() {
            Ok(Some(row)) => visit(&mut self.fields(row, Some(id), notes)).map(Some),
            Ok(None) => Ok(None),
            Err(error) => self.damaged_row(error, id, notes),
        }
    }

    fn damaged_row<T>(&self, error: rusqlite::Error, id: i64, notes: &mut Notes) -> Result<Option<T>, RecordError> {
        if !is_damage(&error) {
            return Err(error.into());
        }
        let reason = error.to_string();
        notes.push(RecordNote::row(
            &self.table.name,
            Some(id),
            None,
            Problem::Damaged { reason },
        ));
        Ok(None)
    }

    fn fields<'a>(&'a self, row: &'a rusqlite::Row<'a>, id: Option<i64>, notes: &'a mut Notes) -> Fields<'a> {
        Fields {
            row,
            id,
            table: &self.table.name,
            columns: &self.columns,
            notes,
        }
    }

    /// The next row id that can still be read, from `from` on.
    fn id_from(&self, connection: &Connection, from: i64) -> Option<i64> {
        if !self.table.has_row_ids {
            return None;
        }
        let table = quoted(&self.table.name);
        let sql = format!("SELECT _rowid_ FROM {table} WHERE _rowid_ >= ?1 ORDER BY _rowid_ LIMIT 1");
        let found = connection.query_row(&sql, [from], |row| row.get::<_, i64>(0)).ok();
        found.filter(|id| *id >= from)
    }
}

/// Whether SQLite complains about the database, not about the machine.
fn is_damage(error: &rusqlite::Error) -> bool {
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => matches!(
            failure.code,
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TooBig | ErrorCode::Unknown
        ),
        rusqlite::Error::SqlInputError { .. } => true,
        _ => false,
    }
}

/// A name as SQL takes it, whatever it contains.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The values of one row. Each getter gives `None` for NULL and for what makes no sense; the latter is noted.
///
/// Columns are named as in the [`Select`]; a name that is not in it reads as NULL.
#[derive(Debug)]
pub struct Fields<'a> {
    row: &'a rusqlite::Row<'a>,
    id: Option<i64>,
    table: &'a str,
    columns: &'a [&'static str],
    notes: &'a mut Notes,
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

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
