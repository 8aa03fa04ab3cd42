//! Queries over one table, and going through its rows whatever is damaged.

use std::ops::ControlFlow;

use rusqlite::{Connection, ErrorCode};

use super::Table;
use super::fields::Fields;
use crate::archive::records::RecordError;
use crate::archive::records::note::{Notes, Problem, RecordNote};

/// Rows that are skipped for damage before the rest of the table is given up.
const MAX_DAMAGED_ROWS: u32 = 10_000;

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
    pub(super) fn of(table: Table, columns: &[&'static str], max_rows: u64) -> Self {
        let mut select = Self {
            table,
            columns: Vec::with_capacity(columns.len()),
            expressions: Vec::with_capacity(columns.len()),
            max_rows,
        };
        for column in columns {
            select = select.or(column, &[column]);
        }
        select
    }

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
