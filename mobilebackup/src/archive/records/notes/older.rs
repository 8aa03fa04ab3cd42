//! `notes.sqlite`, until iOS 8 and for mail accounts: notes as HTML.

use std::collections::HashMap;
use std::ops::ControlFlow;

use rusqlite::Connection;

use super::html_text::text_of_html;
use super::{Account, Contents, Folder, Note, NoteBody, NoteBook, Paragraph, Span};
use crate::archive::records::RecordError;
use crate::archive::records::note::Problem;
use crate::archive::records::schema::Schema;

/// Most bytes of HTML that are read of one note.
const MAX_HTML: usize = 16 << 20;

/// Most bytes of HTML that are read of all notes.
const MAX_TOTAL: usize = 256 << 20;

/// Reads a store.
pub(super) fn read(db: &Connection, book: &mut NoteBook) -> Result<(), RecordError> {
    let schema = Schema::of(db)?;
    let columns = [
        "ZTITLE",
        "ZSUMMARY",
        "ZCREATIONDATE",
        "ZMODIFICATIONDATE",
        "ZDELETEDFLAG",
        "ZSTORE",
        "ZGUID",
        "ZBODY",
    ];
    let Some(select) = schema.select("ZNOTE", &columns) else {
        return Err(RecordError::Schema {
            records: "notes",
            table: "ZNOTE",
        });
    };
    read_folders(db, &schema, book)?;
    let mut bodies = bodies(db, &schema, book)?;
    let (notes, problems) = (&mut book.notes, &mut book.problems);
    let _ = select.each(db, problems, |row| {
        let Some(id) = row.id() else {
            return Ok(ControlFlow::Continue(()));
        };
        let body = row.integer("ZBODY").and_then(|body| bodies.by_row.remove(&body));
        notes.push(Note {
            id,
            identifier: row.some_text("ZGUID"),
            title: row.some_text("ZTITLE"),
            snippet: row.some_text("ZSUMMARY"),
            folder: row.integer("ZSTORE"),
            account: None,
            created: row.core_data_time("ZCREATIONDATE"),
            modified: row.core_data_time("ZMODIFICATIONDATE"),
            pinned: false,
            deleted: row.flag("ZDELETEDFLAG"),
            contents: body.or_else(|| bodies.by_note.remove(&id)).unwrap_or(Contents::Absent),
            attachments: Vec::new(),
        });
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(())
}

/// The folders, and the accounts they belong to.
fn read_folders(db: &Connection, schema: &Schema, book: &mut NoteBook) -> Result<(), RecordError> {
    // Stores are the folders of an account.
    if let Some(stores) = schema.select("ZSTORE", &["ZNAME", "ZACCOUNT", "ZEXTERNALIDENTIFIER"]) {
        let (folders, problems) = (&mut book.folders, &mut book.problems);
        let _ = stores.each(db, problems, |row| {
            if let Some(id) = row.id() {
                folders.push(Folder {
                    id,
                    name: row.some_text("ZNAME"),
                    account: row.integer("ZACCOUNT"),
                    identifier: row.some_text("ZEXTERNALIDENTIFIER"),
                    ..Folder::default()
                });
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    if let Some(accounts) = schema.select("ZACCOUNT", &["ZNAME", "ZACCOUNTIDENTIFIER"]) {
        let (known, problems) = (&mut book.accounts, &mut book.problems);
        let _ = accounts.each(db, problems, |row| {
            if let Some(id) = row.id() {
                let (identifier, name) = (row.some_text("ZACCOUNTIDENTIFIER"), row.some_text("ZNAME"));
                known.push(Account { id, identifier, name });
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(())
}

#[derive(Default)]
struct Bodies {
    by_note: HashMap<i64, Contents>,
    by_row: HashMap<i64, Contents>,
}

fn bodies(db: &Connection, schema: &Schema, book: &mut NoteBook) -> Result<Bodies, RecordError> {
    let mut bodies = Bodies::default();
    let Some(select) = schema.select_noted("ZNOTEBODY", &["ZOWNER", "ZCONTENT"], &mut book.problems) else {
        return Ok(bodies);
    };
    let mut left = MAX_TOTAL;
    let _ = select.each(db, &mut book.problems, |row| {
        let html = match row.data("ZCONTENT") {
            None => return Ok(ControlFlow::Continue(())),
            Some(html) => html,
        };
        let contents = match left.checked_sub(html.len()) {
            Some(rest) if html.len() <= MAX_HTML => {
                left = rest;
                let text = String::from_utf8_lossy(html);
                if matches!(text, std::borrow::Cow::Owned(_)) {
                    row.note("ZCONTENT", Problem::NotUtf8);
                }
                Contents::Text {
                    body: plain(&text_of_html(&text)),
                }
            }
            _ => {
                row.note("ZCONTENT", Problem::TooLong { len: html.len() });
                let reason = format!("its {} bytes are too many", html.len());
                Contents::Unreadable { reason }
            }
        };
        match (row.integer("ZOWNER"), row.id()) {
            (Some(owner), _) => drop(bodies.by_note.insert(owner, contents)),
            (None, Some(id)) => drop(bodies.by_row.insert(id, contents)),
            (None, None) => {}
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(bodies)
}

/// Text without any formatting.
fn plain(text: &str) -> NoteBody {
    let paragraph = |line: &str| Paragraph {
        spans: match line {
            "" => Vec::new(),
            line => vec![Span {
                text: line.to_owned(),
                ..Span::default()
            }],
        },
        ..Paragraph::default()
    };
    NoteBody {
        paragraphs: text.split('\n').map(paragraph).collect(),
        ..NoteBody::default()
    }
}
