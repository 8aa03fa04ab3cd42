//! `NoteStore.sqlite`, since iOS 9: everything in one table, whose columns get other numbers with each iOS version.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use rusqlite::Connection;

use super::body::{NoteBody, NoteBodyError};
use super::table::Table;
use super::{Account, AttachedFile, Attachment, Contents, Folder, Note, NoteBook};
use crate::archive::records::RecordError;
use crate::archive::records::note::{Problem, RecordNote};
use crate::archive::records::schema::{Fields, Schema};
use crate::archive::records::time::Timestamp;

/// The one table.
const OBJECTS: &str = "ZICCLOUDSYNCINGOBJECT";

/// Most bytes that the compressed text of a note may have.
const MAX_PACKED: usize = 16 << 20;

/// Most characters of text that are kept of all notes together, in bytes.
const MAX_TOTAL: usize = 256 << 20;

// Core Data has one column per entity and attribute, and tells those of the same name apart by a number. In a row only
// those of its own entity are set, so that the first that is set is the right one, whatever its number.
const TITLES: [&str; 4] = ["ZTITLE1", "ZTITLE2", "ZTITLE", "ZTITLE3"];
const CREATED: [&str; 5] = [
    "ZCREATIONDATE3",
    "ZCREATIONDATE2",
    "ZCREATIONDATE1",
    "ZCREATIONDATE",
    "ZCREATIONDATE4",
];
const MODIFIED: [&str; 3] = ["ZMODIFICATIONDATE1", "ZMODIFICATIONDATE", "ZMODIFICATIONDATE2"];
const ACCOUNTS: [&str; 10] = [
    "ZACCOUNT7",
    "ZACCOUNT8",
    "ZACCOUNT6",
    "ZACCOUNT5",
    "ZACCOUNT4",
    "ZACCOUNT3",
    "ZACCOUNT2",
    "ZACCOUNT9",
    "ZACCOUNT1",
    "ZACCOUNT",
];
const FOLDERS: [&str; 3] = ["ZFOLDER", "ZFOLDER1", "ZFOLDER2"];
const NOTES: [&str; 3] = ["ZNOTE", "ZNOTE1", "ZNOTE2"];
const MEDIA: [&str; 2] = ["ZMEDIA", "ZMEDIA1"];
const ATTACHMENTS: [&str; 4] = ["ZATTACHMENT1", "ZATTACHMENT", "ZATTACHMENT2", "ZPARENTATTACHMENT"];
const MERGEABLE: [&str; 3] = ["ZMERGEABLEDATA1", "ZMERGEABLEDATA", "ZMERGEABLEDATA2"];
const URLS: [&str; 2] = ["ZURLSTRING", "ZURL"];
const OTHERS: [&str; 15] = [
    "Z_ENT",
    "ZIDENTIFIER",
    "ZNAME",
    "ZSNIPPET",
    "ZPARENT",
    "ZFOLDERTYPE",
    "ZISPINNED",
    "ZMARKEDFORDELETION",
    "ZISPASSWORDPROTECTED",
    "ZPASSWORDHINT",
    "ZNOTEDATA",
    "ZTYPEUTI",
    "ZTYPEUTI1",
    "ZFILENAME",
    "ZALTTEXT",
];

/// What a row of the one table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Entity {
    Note,
    Folder,
    Account,
    Attachment,
    Media,
    Other,
}

/// Reads a store. `files` are those of its domain, by the identifier in their path.
pub(super) fn read(db: &Connection, files: &Files, book: &mut NoteBook) -> Result<(), RecordError> {
    let schema = Schema::of(db)?;
    if !schema.has_table(OBJECTS) {
        return Err(RecordError::Schema {
            records: "notes",
            table: OBJECTS,
        });
    }
    let entities = entities(db, &schema, book)?;
    let mut rows = Rows::default();
    rows.read(db, &schema, &entities, book)?;
    let mut texts = texts(db, &schema, &rows, book)?;
    let attachments = std::mem::take(&mut rows.attachments);
    let mut by_note = attached(attachments, &rows, files, book);
    let trash: HashSet<i64> = book
        .folders
        .iter()
        .filter(|f| f.trash || f.deleted)
        .map(|f| f.id)
        .collect();
    let folders: HashSet<i64> = book.folders.iter().map(|folder| folder.id).collect();
    for (mut note, locked) in rows.notes {
        if let Some(folder) = note.folder.filter(|folder| !folders.contains(folder)) {
            let problem = Problem::Dangling {
                to: "folder",
                id: folder,
            };
            book.problems
                .push(RecordNote::row(OBJECTS, Some(note.id), Some("ZFOLDER"), problem));
        }
        note.deleted |= note.folder.is_some_and(|folder| trash.contains(&folder));
        note.contents = match (locked, texts.remove(&note.id)) {
            (Some(hint), _) => Contents::Locked { hint },
            (None, Some(contents)) => contents,
            (None, None) => Contents::Absent,
        };
        note.attachments = by_note.remove(&note.id).unwrap_or_default();
        book.notes.push(note);
    }
    for (note, orphans) in by_note {
        let ids = orphans.iter().map(|attachment| attachment.id);
        for id in ids {
            let problem = Problem::Dangling { to: "note", id: note };
            book.problems
                .push(RecordNote::row(OBJECTS, Some(id), Some("ZNOTE"), problem));
        }
    }
    Ok(())
}

/// Which numbers stand for which entity, from the table of Core Data; none if that is missing.
fn entities(db: &Connection, schema: &Schema, book: &mut NoteBook) -> Result<HashMap<i64, Entity>, RecordError> {
    let mut found = HashMap::new();
    let Some(select) = schema.select_noted("Z_PRIMARYKEY", &["Z_ENT", "Z_NAME"], &mut book.problems) else {
        return Ok(found);
    };
    let _ = select.each(db, &mut book.problems, |row| {
        if let (Some(number), Some(name)) = (row.integer("Z_ENT"), row.text("Z_NAME")) {
            let entity = match name.as_str() {
                "ICNote" => Entity::Note,
                "ICFolder" => Entity::Folder,
                "ICAccount" => Entity::Account,
                "ICAttachment" | "ICInlineAttachment" | "ICBaseAttachment" => Entity::Attachment,
                "ICMedia" => Entity::Media,
                _ => Entity::Other,
            };
            found.insert(number, entity);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// An attachment before its files are found.
struct RawAttachment {
    attachment: Attachment,
    note: Option<i64>,
    parent: Option<i64>,
    media: Option<i64>,
}

#[derive(Default)]
struct Rows {
    /// Notes, and for locked ones the hint.
    notes: Vec<(Note, Option<Option<String>>)>,
    attachments: Vec<RawAttachment>,
    /// From a media row to its identifier and file name.
    media: HashMap<i64, (Option<String>, Option<String>)>,
    /// From an attachment to its media rows.
    media_of: HashMap<i64, Vec<i64>>,
    /// From a row of text to its note.
    note_of_data: HashMap<i64, i64>,
}

impl Rows {
    fn read(
        &mut self,
        db: &Connection,
        schema: &Schema,
        entities: &HashMap<i64, Entity>,
        book: &mut NoteBook,
    ) -> Result<(), RecordError> {
        let columns: Vec<&'static str> = [
            &TITLES[..],
            &CREATED,
            &MODIFIED,
            &ACCOUNTS,
            &FOLDERS,
            &NOTES,
            &MEDIA,
            &ATTACHMENTS,
            &MERGEABLE,
            &URLS,
            &OTHERS,
        ]
        .concat();
        let Some(select) = schema.select(OBJECTS, &columns) else {
            return Ok(());
        };
        let select = select.expect(&["Z_ENT", "ZIDENTIFIER", "ZNOTEDATA"], &mut book.problems);
        let mut problems = std::mem::take(&mut book.problems);
        let result = select.each(db, &mut problems, |row| {
            let Some(id) = row.id() else {
                return Ok(ControlFlow::Continue(()));
            };
            let known = row.integer("Z_ENT").and_then(|number| entities.get(&number)).copied();
            match known.unwrap_or_else(|| guessed(row)) {
                Entity::Account => book.accounts.push(Account {
                    id,
                    identifier: row.some_text("ZIDENTIFIER"),
                    name: row.some_text("ZNAME"),
                }),
                Entity::Folder => book.folders.push(folder(row, id)),
                Entity::Note => self.note(row, id),
                Entity::Attachment => self.attachment(row, id),
                Entity::Media => {
                    self.media
                        .insert(id, (row.some_text("ZIDENTIFIER"), row.some_text("ZFILENAME")));
                    if let Some(of) = first(&ATTACHMENTS, |column| row.integer(column)) {
                        self.media_of.entry(of).or_default().push(id);
                    }
                }
                Entity::Other => {}
            }
            Ok(ControlFlow::Continue(()))
        });
        book.problems = problems;
        result.map(drop)
    }

    fn note(&mut self, row: &mut Fields<'_>, id: i64) {
        let locked = row.flag("ZISPASSWORDPROTECTED").then(|| row.some_text("ZPASSWORDHINT"));
        if let Some(data) = row.integer("ZNOTEDATA") {
            self.note_of_data.insert(data, id);
        }
        let note = Note {
            id,
            identifier: row.some_text("ZIDENTIFIER"),
            title: first(&TITLES, |column| row.some_text(column)),
            snippet: row.some_text("ZSNIPPET"),
            folder: first(&FOLDERS, |column| row.integer(column)),
            account: first(&ACCOUNTS, |column| row.integer(column)),
            created: date(row, &CREATED),
            modified: date(row, &MODIFIED),
            pinned: row.flag("ZISPINNED"),
            deleted: row.flag("ZMARKEDFORDELETION"),
            contents: Contents::Absent,
            attachments: Vec::new(),
        };
        self.notes.push((note, locked));
    }

    fn attachment(&mut self, row: &mut Fields<'_>, id: i64) {
        let uti = row.some_text("ZTYPEUTI").or_else(|| row.some_text("ZTYPEUTI1"));
        let table = (uti.as_deref() == Some("com.apple.notes.table"))
            .then(|| table(row))
            .flatten();
        self.attachments.push(RawAttachment {
            note: first(&NOTES, |column| row.integer(column)),
            parent: row.integer("ZPARENTATTACHMENT"),
            media: first(&MEDIA, |column| row.integer(column)),
            attachment: Attachment {
                id,
                identifier: row.some_text("ZIDENTIFIER"),
                uti,
                title: first(&TITLES, |column| row.some_text(column)).or_else(|| row.some_text("ZALTTEXT")),
                filename: row.some_text("ZFILENAME"),
                url: first(&URLS, |column| row.some_text(column)),
                table,
                files: Vec::new(),
                deleted: row.flag("ZMARKEDFORDELETION"),
            },
        });
    }
}

/// What a row is, by the columns it fills: for stores whose entities have no names.
fn guessed(row: &mut Fields<'_>) -> Entity {
    if !row.is_null("ZNOTEDATA") {
        Entity::Note
    } else if !row.is_null("ZTYPEUTI") {
        Entity::Attachment
    } else if !row.is_null("ZFOLDERTYPE") || !row.is_null("ZTITLE2") {
        Entity::Folder
    } else {
        Entity::Other
    }
}

fn folder(row: &mut Fields<'_>, id: i64) -> Folder {
    let identifier = row.some_text("ZIDENTIFIER");
    Folder {
        id,
        name: row
            .some_text("ZTITLE2")
            .or_else(|| first(&TITLES, |column| row.some_text(column))),
        parent: row.integer("ZPARENT"),
        account: first(&ACCOUNTS, |column| row.integer(column)),
        // The identifier is the same on every phone; what the numbers of types stand for differs between sources.
        trash: match identifier.as_deref() {
            Some(identifier) => identifier.starts_with("TrashFolder"),
            None => row.integer("ZFOLDERTYPE") == Some(1),
        },
        deleted: row.flag("ZMARKEDFORDELETION"),
        identifier,
    }
}

fn first<T>(columns: &[&'static str], get: impl FnMut(&'static str) -> Option<T>) -> Option<T> {
    columns.iter().copied().find_map(get)
}

/// Times of 0 are none: an attribute that was never set.
fn date(row: &mut Fields<'_>, columns: &[&'static str]) -> Option<Timestamp> {
    first(columns, |column| row.core_data_time(column))
}

fn table(row: &mut Fields<'_>) -> Option<Table> {
    let (column, data) = first(&MERGEABLE, |column| Some((column, row.data_up_to(column, MAX_PACKED)?)))?;
    match Table::unpack(data) {
        Ok(table) => {
            if table.lost_cells > 0 {
                let reason = format!("{} cells belong to no row or column", table.lost_cells);
                row.note(
                    column,
                    Problem::Undecodable {
                        what: "the table",
                        reason,
                    },
                );
            }
            Some(table)
        }
        Err(error) => {
            let reason = error.to_string();
            row.note(
                column,
                Problem::Undecodable {
                    what: "the table",
                    reason,
                },
            );
            None
        }
    }
}

/// The texts by the row of their note.
fn texts(
    db: &Connection,
    schema: &Schema,
    rows: &Rows,
    book: &mut NoteBook,
) -> Result<HashMap<i64, Contents>, RecordError> {
    let mut texts = HashMap::new();
    let columns = ["ZNOTE", "ZDATA", "ZCRYPTOINITIALIZATIONVECTOR", "ZCRYPTOTAG"];
    let Some(select) = schema.select_noted("ZICNOTEDATA", &columns, &mut book.problems) else {
        return Ok(texts);
    };
    let known: HashSet<i64> = rows.notes.iter().map(|(note, _)| note.id).collect();
    let mut left = MAX_TOTAL;
    let _ = select.each(db, &mut book.problems, |row| {
        let by_id = row.id().and_then(|id| rows.note_of_data.get(&id)).copied();
        let Some(note) = by_id.or_else(|| row.integer("ZNOTE")) else {
            let reason = "it belongs to no note".to_owned();
            row.note(
                "ZNOTE",
                Problem::Undecodable {
                    what: "the text",
                    reason,
                },
            );
            return Ok(ControlFlow::Continue(()));
        };
        if !known.contains(&note) {
            row.note("ZNOTE", Problem::Dangling { to: "note", id: note });
            return Ok(ControlFlow::Continue(()));
        }
        let encrypted = !row.is_null("ZCRYPTOINITIALIZATIONVECTOR") || !row.is_null("ZCRYPTOTAG");
        let contents = match row.data("ZDATA") {
            None => Contents::Absent,
            Some(data) if data.len() > MAX_PACKED => {
                let reason = format!("its {} bytes are too many", data.len());
                Contents::Unreadable { reason }
            }
            Some(data) => unpack(data, encrypted, &mut left),
        };
        if let Contents::Unreadable { reason } = &contents {
            let reason = reason.clone();
            row.note(
                "ZDATA",
                Problem::Undecodable {
                    what: "the text",
                    reason,
                },
            );
        }
        // A note has one text; a second row must not take its place if it says nothing.
        if !matches!(texts.get(&note), Some(Contents::Text { .. })) {
            texts.insert(note, contents);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(texts)
}

fn unpack(data: &[u8], encrypted: bool, left: &mut usize) -> Contents {
    match NoteBody::unpack(data) {
        Ok(body) => {
            let len = body.text().len();
            match left.checked_sub(len) {
                Some(rest) => {
                    *left = rest;
                    Contents::Text { body }
                }
                None => Contents::Unreadable {
                    reason: "the notes of this store are too much text together".to_owned(),
                },
            }
        }
        Err(NoteBodyError::NotGzip) if encrypted => Contents::Locked { hint: None },
        Err(error) => Contents::Unreadable {
            reason: error.to_string(),
        },
    }
}

/// The attachments of each note, with their files.
fn attached(raw: Vec<RawAttachment>, rows: &Rows, files: &Files, book: &mut NoteBook) -> HashMap<i64, Vec<Attachment>> {
    let note_of: HashMap<i64, i64> = raw
        .iter()
        .filter_map(|raw| Some((raw.attachment.id, raw.note?)))
        .collect();
    let mut by_note: HashMap<i64, Vec<Attachment>> = HashMap::new();
    for RawAttachment {
        mut attachment,
        note,
        parent,
        media,
    } in raw
    {
        let mut media_rows: Vec<i64> = media.into_iter().collect();
        media_rows.extend(rows.media_of.get(&attachment.id).into_iter().flatten());
        media_rows.dedup();
        for media in media_rows {
            let Some((identifier, filename)) = rows.media.get(&media) else {
                let problem = Problem::Dangling { to: "media", id: media };
                book.problems
                    .push(RecordNote::row(OBJECTS, Some(attachment.id), Some("ZMEDIA"), problem));
                continue;
            };
            attachment.filename = attachment.filename.or_else(|| filename.clone());
            attachment.files.extend(files.of(identifier.as_deref()));
        }
        attachment.files.extend(files.of(attachment.identifier.as_deref()));
        attachment
            .files
            .sort_by(|a, b| (a.kind, &a.path).cmp(&(b.kind, &b.path)));
        attachment.files.dedup();
        // Parts of a gallery belong to the note of the gallery.
        match note.or_else(|| parent.and_then(|parent| note_of.get(&parent)).copied()) {
            Some(note) => by_note.entry(note).or_default().push(attachment),
            None => {
                let reason = "it belongs to no note".to_owned();
                let problem = Problem::Undecodable {
                    what: "the attachment",
                    reason,
                };
                book.problems
                    .push(RecordNote::row(OBJECTS, Some(attachment.id), Some("ZNOTE"), problem));
            }
        }
    }
    by_note
}

/// The files of attachments by the identifier in their path.
#[derive(Debug, Default)]
pub(super) struct Files {
    by_identifier: HashMap<String, Vec<AttachedFile>>,
}

/// Most files of one domain that are kept in mind.
const MAX_FILES: usize = 1 << 20;

impl Files {
    /// Keeps a file of the store's domain if it belongs to an attachment: `Accounts/<account>/Media/<id>/...`,
    /// `.../FallbackImages/<id>...`, `.../FallbackPDFs/<id>...`, `.../Previews/<id>-...`; in older systems without the
    /// first two components.
    pub(super) fn add(&mut self, path: &str) {
        use super::AttachedKind::{Fallback, Media, Preview};
        let mut parts = path.split('/').peekable();
        if parts.peek() == Some(&"Accounts") {
            parts.nth(1);
        }
        let kind = match parts.next() {
            Some("Media") => Media,
            Some("FallbackImages" | "FallbackPDFs") => Fallback,
            Some("Previews") => Preview,
            _ => return,
        };
        let Some(name) = parts.next() else { return };
        // Identifiers are 36 characters; pictures add a size or an ending.
        let identifier = match name.get(..36) {
            Some(uuid) if kind != Media => uuid,
            _ => name
                .split_once('.')
                .map_or(name, |(stem, _)| if kind == Media { name } else { stem }),
        };
        if self.by_identifier.len() < MAX_FILES {
            let path = path.to_owned();
            let known = self.by_identifier.entry(identifier.to_ascii_uppercase()).or_default();
            if known.len() < 1000 {
                known.push(AttachedFile { kind, path });
            }
        }
    }

    fn of(&self, identifier: Option<&str>) -> Vec<AttachedFile> {
        let found = identifier.and_then(|identifier| self.by_identifier.get(&identifier.to_ascii_uppercase()));
        found.cloned().unwrap_or_default()
    }
}
