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

use rusqlite::Connection;

mod fields;
mod select;

pub use fields::Fields;
pub use select::{Select, Visit};

use super::RecordError;
use super::note::{Notes, Problem, RecordNote};

/// Most tables, and most columns of one, that are looked at.
const MAX_TABLES: usize = 4096;

/// A row takes at least this many bytes of its page.
const MIN_ROW: u64 = 4;

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
        Some(Select::of(table, columns, self.max_rows))
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

#[cfg(test)]
mod tests;
