//! Tables within notes.
//!
//! A table is a graph of objects that devices merge when they sync: rows and columns are sets with an order, a
//! dictionary leads from column to row to the text of the cell. What is merged is not kept here, only the outcome.

use std::cell::Cell;
use std::collections::HashMap;

use serde::Serialize;

use super::body::{NoteBody, NoteBodyError, gunzip};
use super::wire::{self, Fields, ProtobufError, Value};

/// Most objects that a table may have.
pub const MAX_OBJECTS: usize = 200_000;

/// Most rows times columns that a table may have.
pub const MAX_CELLS: usize = 100_000;

/// Most bytes that are walked to follow references: objects may be referred to any number of times.
const MAX_WALKED: usize = 256 << 20;

/// The rows of a table, each with as many cells as there are columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Table {
    /// Rows of cells of text, in order.
    pub rows: Vec<Vec<String>>,
    /// Cells that belong to no row or no column, or whose text does not read.
    pub lost_cells: usize,
}

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TableError {
    /// Its data does not unpack, or is no protocol buffer.
    #[error(transparent)]
    Data(#[from] NoteBodyError),
    /// It has more objects or cells than any real one.
    #[error("the table has more than {limit} {what}")]
    TooLarge {
        /// What there are too many of: `objects`, `cells` or `bytes to follow`.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Its objects do not make up a table.
    #[error("the data is no table: {reason}")]
    NoTable {
        /// What is missing.
        reason: &'static str,
    },
}

impl From<ProtobufError> for TableError {
    fn from(error: ProtobufError) -> Self {
        Self::Data(error.into())
    }
}

const fn no_table(reason: &'static str) -> TableError {
    TableError::NoTable { reason }
}

impl Table {
    /// Unpacks `ZMERGEABLEDATA` of an attachment of type `com.apple.notes.table`.
    ///
    /// # Errors
    /// Any [`TableError`].
    pub fn unpack(data: &[u8]) -> Result<Self, TableError> {
        Self::of_document(&gunzip(data)?)
    }

    /// Reads the protocol buffer of a table that is unpacked already.
    ///
    /// # Errors
    /// Any [`TableError`].
    pub fn of_document(unpacked: &[u8]) -> Result<Self, TableError> {
        let document = wire::bytes(unpacked, 2)?.ok_or(no_table("no document"))?;
        let data = wire::bytes(document, 3)?.ok_or(no_table("no objects"))?;
        Graph::read(data)?.table()
    }
}

/// The objects of a table and the names they refer to by number.
#[derive(Default)]
struct Graph<'a> {
    objects: Vec<&'a [u8]>,
    keys: Vec<&'a [u8]>,
    types: Vec<&'a [u8]>,
    /// From a uuid to the first place it stands at.
    uuids: HashMap<&'a [u8], u64>,
    walked: Cell<usize>,
}

impl<'a> Graph<'a> {
    fn read(data: &'a [u8]) -> Result<Self, TableError> {
        let mut graph = Self::default();
        let (mut uuids, mut count) = (0_u64, 0_usize);
        for field in Fields::new(data) {
            let (number, Value::Bytes(bytes)) = field? else {
                continue;
            };
            count = count.saturating_add(1);
            if count > MAX_OBJECTS {
                return Err(TableError::TooLarge {
                    what: "objects",
                    limit: MAX_OBJECTS,
                });
            }
            match number {
                3 => graph.objects.push(bytes),
                4 => graph.keys.push(bytes),
                5 => graph.types.push(bytes),
                6 => {
                    graph.uuids.entry(bytes).or_insert(uuids);
                    uuids = uuids.saturating_add(1);
                }
                _ => {}
            }
        }
        Ok(graph)
    }

    fn object(&self, reference: &[u8]) -> Result<Option<&'a [u8]>, TableError> {
        let index = wire::number(reference, 6)?.and_then(|index| usize::try_from(index).ok());
        let object = index.and_then(|index| self.objects.get(index)).copied();
        let walked = self.walked.get().saturating_add(object.map_or(0, <[u8]>::len));
        self.walked.set(walked);
        if walked > MAX_WALKED {
            return Err(TableError::TooLarge {
                what: "bytes to follow",
                limit: MAX_WALKED,
            });
        }
        Ok(object)
    }

    fn table(&self) -> Result<Table, TableError> {
        let mut root = None;
        for object in &self.objects {
            let Some(map) = wire::bytes(object, 13)? else { continue };
            let kind = wire::number(map, 1)?.and_then(|kind| usize::try_from(kind).ok());
            if kind.and_then(|kind| self.types.get(kind)) == Some(&&b"com.apple.notes.ICTable"[..]) {
                root = Some(map);
                break;
            }
        }
        let root = root.ok_or(no_table("no object of that type"))?;
        let (mut rows, mut columns, mut cells) = (None, None, None);
        for entry in wire::each(root, 3) {
            let entry = entry?;
            let key = wire::number(entry, 1)?.and_then(|key| usize::try_from(key).ok());
            let target = match wire::bytes(entry, 2)? {
                Some(reference) => self.object(reference)?,
                None => None,
            };
            match key.and_then(|key| self.keys.get(key)).copied() {
                Some(b"crRows") => rows = target,
                Some(b"crColumns") => columns = target,
                Some(b"cellColumns") => cells = target,
                _ => {}
            }
        }
        let rows = self.order(rows.ok_or(no_table("no rows"))?)?;
        let columns = self.order(columns.ok_or(no_table("no columns"))?)?;
        self.fill(&rows, &columns, cells.ok_or(no_table("no cells"))?)
    }

    /// The place of each member of a set with an order, by the member's number.
    fn order(&self, object: &[u8]) -> Result<Order, TableError> {
        let set = wire::bytes(object, 16)?.ok_or(no_table("no order"))?;
        let ordering = wire::bytes(set, 1)?.ok_or(no_table("no order"))?;
        let mut order = Order::default();
        if let Some(array) = wire::bytes(ordering, 1)? {
            for member in wire::each(array, 2) {
                let uuid = wire::bytes(member?, 2)?.unwrap_or_default();
                if let Some(&number) = self.uuids.get(uuid) {
                    order.places.entry(number).or_insert(order.len);
                    order.len = order.len.saturating_add(1);
                }
            }
        }
        // The same member under another number.
        if let Some(contents) = wire::bytes(ordering, 2)? {
            for element in wire::each(contents, 1) {
                let element = element?;
                let (from, to) = (self.member(element, 1)?, self.member(element, 2)?);
                if let (Some(from), Some(to)) = (from, to)
                    && let Some(&place) = order.places.get(&from)
                {
                    order.places.entry(to).or_insert(place);
                }
            }
        }
        Ok(order)
    }

    /// The number of the uuid that the key (1) or the value (2) of a dictionary's element leads to.
    fn member(&self, element: &[u8], side: u32) -> Result<Option<u64>, TableError> {
        let Some(reference) = wire::bytes(element, side)? else {
            return Ok(None);
        };
        let Some(object) = self.object(reference)? else {
            return Ok(None);
        };
        let Some(map) = wire::bytes(object, 13)? else {
            return Ok(None);
        };
        let Some(entry) = wire::each(map, 3).next().transpose()? else {
            return Ok(None);
        };
        Ok(wire::bytes(entry, 2)?.map_or(Ok(None), |value| wire::number(value, 2))?)
    }

    fn fill(&self, rows: &Order, columns: &Order, cells: &[u8]) -> Result<Table, TableError> {
        if rows.len.checked_mul(columns.len).is_none_or(|cells| cells > MAX_CELLS) {
            return Err(TableError::TooLarge {
                what: "cells",
                limit: MAX_CELLS,
            });
        }
        let mut table = Table {
            rows: vec![vec![String::new(); columns.len]; rows.len],
            lost_cells: 0,
        };
        let mut read = 0_usize;
        let dictionary = wire::bytes(cells, 6)?.ok_or(no_table("no cells"))?;
        for element in wire::each(dictionary, 1) {
            let element = element?;
            let column = self.member(element, 1)?.and_then(|column| columns.places.get(&column));
            let target = wire::bytes(element, 2)?.map_or(Ok(None), |reference| self.object(reference))?;
            let Some(of_column) = target.map_or(Ok(None), |object| wire::bytes(object, 6))? else {
                continue;
            };
            for element in wire::each(of_column, 1) {
                // Elements may all lead to the same large column: what is read is counted, not what is stored.
                read = read.saturating_add(1);
                if read > MAX_CELLS {
                    return Err(TableError::TooLarge {
                        what: "cells",
                        limit: MAX_CELLS,
                    });
                }
                let element = element?;
                let row = self.member(element, 1)?.and_then(|row| rows.places.get(&row));
                let place = match (row, column) {
                    (Some(&row), Some(&column)) => table.rows.get_mut(row).and_then(|row| row.get_mut(column)),
                    _ => None,
                };
                match (place, self.cell(element)?) {
                    (Some(place), Some(text)) if place.is_empty() => *place = text,
                    (_, Some(text)) if text.is_empty() => {}
                    _ => table.lost_cells = table.lost_cells.saturating_add(1),
                }
            }
        }
        Ok(table)
    }

    fn cell(&self, element: &[u8]) -> Result<Option<String>, TableError> {
        let Some(reference) = wire::bytes(element, 2)? else {
            return Ok(None);
        };
        let Some(object) = self.object(reference)? else {
            return Ok(None);
        };
        let Some(note) = wire::bytes(object, 10)? else {
            return Ok(None);
        };
        Ok(NoteBody::of_note(note).ok().map(|body| body.text()))
    }
}

/// Where members of a set stand.
#[derive(Default)]
struct Order {
    places: HashMap<u64, usize>,
    len: usize,
}
