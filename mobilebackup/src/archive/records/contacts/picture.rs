//! Pictures of contacts, which have a database of their own.

use std::collections::HashMap;
use std::ops::ControlFlow;

use crate::archive::records::schema::{Schema, Select};
use crate::archive::records::{Notes, Problem, RecordError, Store};

/// Longest picture, in bytes.
const MAX_PICTURE: usize = 16 << 20;

/// A picture of a contact.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Picture {
    /// Its media type, told by its first bytes: `image/jpeg`, `image/png`, ...
    pub media_type: &'static str,
    /// The file.
    pub bytes: Vec<u8>,
}

/// The database of pictures, and where each contact's best one is.
#[derive(Debug)]
pub(super) struct Pictures {
    store: Store,
    tables: Vec<Select>,
    /// Table and row id by contact.
    best: HashMap<i64, (usize, i64)>,
}

impl Pictures {
    pub(super) fn of(store: Store, notes: &mut Notes) -> Result<Self, RecordError> {
        notes.append(store.notes());
        let schema = Schema::of(store.connection())?;
        let names = ["ABFullSizeImage", "ABThumbnailImage"];
        let tables: Vec<_> = names
            .iter()
            .filter_map(|table| schema.select(table, &["record_id", "data"]))
            .collect();
        let mut best: HashMap<i64, (usize, i64, usize)> = HashMap::new();
        for (number, table) in tables.iter().enumerate() {
            let _ = table.each(store.connection(), notes, |row| {
                let data = row.data_up_to("data", MAX_PICTURE).filter(|data| !data.is_empty());
                let (Some(data), Some(person), Some(id)) = (data, row.integer("record_id"), row.id()) else {
                    return Ok(ControlFlow::Continue(()));
                };
                if media_type(data).is_none() {
                    // Old systems keep small ones as bare pixels.
                    row.note(
                        "data",
                        Problem::Undecodable {
                            what: "the picture",
                            reason: "its type is not known".into(),
                        },
                    );
                    return Ok(ControlFlow::Continue(()));
                }
                let known = best.entry(person).or_insert((number, id, 0));
                if data.len() > known.2 {
                    *known = (number, id, data.len());
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        let best = best
            .into_iter()
            .map(|(person, (table, id, _))| (person, (table, id)))
            .collect();
        Ok(Self { store, tables, best })
    }

    pub(super) fn of_person(&self, person: i64) -> Result<Option<Picture>, RecordError> {
        let Some((table, id)) = self.best.get(&person) else {
            return Ok(None);
        };
        let Some(table) = self.tables.get(*table) else {
            return Ok(None);
        };
        let found = table.get(self.store.connection(), *id, &mut Notes::default(), |row| {
            let data = row.data_up_to("data", MAX_PICTURE).unwrap_or_default();
            Ok(media_type(data).map(|media_type| Picture {
                media_type,
                bytes: data.to_vec(),
            }))
        })?;
        Ok(found.flatten())
    }
}

/// The type of a picture by its first bytes.
fn media_type(bytes: &[u8]) -> Option<&'static str> {
    let brand = bytes.get(4..12);
    match bytes {
        [0xff, 0xd8, 0xff, ..] => Some("image/jpeg"),
        [0x89, b'P', b'N', b'G', ..] => Some("image/png"),
        [b'G', b'I', b'F', b'8', ..] => Some("image/gif"),
        [b'I', b'I', 0x2a, 0, ..] | [b'M', b'M', 0, 0x2a, ..] => Some("image/tiff"),
        _ if matches!(brand, Some(b"ftypheic" | b"ftypheix" | b"ftypmif1" | b"ftyphevc")) => Some("image/heic"),
        _ => None,
    }
}
