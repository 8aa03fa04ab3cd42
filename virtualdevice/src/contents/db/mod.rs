//! Real SQLite databases, made in memory.
//!
//! Tables are those of the phone as far as readers of backups use them (spec backup-format 14); the same people are in
//! contacts, messages, calls and chats. Files come checkpointed, in rollback mode, as most stores of a backup do.

mod calendar;
mod calls;
mod chats;
mod contacts;
mod messages;
mod notes;
mod photos;
mod safari;
mod small;

use std::io;

use rusqlite::Connection;

use super::builder::Builder;
use super::error::ContentsError;
use super::recipe::Recipe;
use crate::fs::{Content, map};

pub(super) use self::messages::{SMS, add_message};
pub(super) use self::notes::{NOTES, NOTES_DOMAIN, edit_note};
pub(super) use self::photos::{PHOTOS, add_shot, delete_shot, photos};

/// The largest database that is changed in memory.
const MAX_EDITED: u64 = 512 << 20;

type Result<T, E = ContentsError> = std::result::Result<T, E>;

/// A database of its own, filled in one transaction.
fn build(fill: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<Content> {
    let mut db = Connection::open_in_memory()?;
    db.execute_batch("PRAGMA page_size = 4096; PRAGMA journal_mode = MEMORY; BEGIN;")?;
    fill(&db)?;
    db.execute_batch("COMMIT;")?;
    Ok(Content::bytes(db.serialize(c"main")?.to_vec()))
}

/// A changed copy of a database.
pub(super) fn edit<T>(
    content: &Content,
    change: impl FnOnce(&Connection) -> rusqlite::Result<T>,
) -> Result<(Content, T)> {
    let bytes = content.to_bytes(MAX_EDITED)?;
    let mut db = Connection::open_in_memory()?;
    db.deserialize_read_exact(c"main", io::Cursor::new(&bytes), bytes.len(), false)?;
    let result = change(&db)?;
    Ok((Content::bytes(db.serialize(c"main")?.to_vec()), result))
}

/// All databases but the index of the photos, and the files they refer to.
pub(super) fn fill(builder: &mut Builder<'_>, recipe: &Recipe) -> Result<()> {
    let people = recipe.contacts;
    let home: [(&str, Content); 9] = [
        (
            "Library/AddressBook/AddressBook.sqlitedb",
            contacts::book(builder, people)?,
        ),
        (
            "Library/AddressBook/AddressBookImages.sqlitedb",
            contacts::images(builder, people)?,
        ),
        (
            "Library/CallHistoryDB/CallHistory.storedata",
            calls::history(builder, people, recipe.calls)?,
        ),
        (
            "Library/Calendar/Calendar.sqlitedb",
            calendar::calendar(builder, people, recipe.events)?,
        ),
        ("Library/Safari/History.db", safari::history(builder, recipe.visits)?),
        ("Library/Safari/Bookmarks.db", safari::bookmarks(builder)?),
        ("Library/Voicemail/voicemail.db", small::voicemail(builder, people)?),
        ("Library/TCC/TCC.db", small::privacy(builder)?),
        (
            "Library/Reminders/Container_v1/Stores/Data-local.sqlite",
            small::reminders(builder)?,
        ),
    ];
    for (path, content) in home {
        builder.file(map::HOME, path, content)?;
    }
    messages::fill(builder, recipe)?;
    builder.file(NOTES_DOMAIN, NOTES, notes::store(builder, recipe.notes)?)?;
    chats::fill(builder, people, recipe.messages / 2)?;
    builder.file("HealthDomain", "Health/healthdb_secure.sqlite", small::health(builder)?)?;
    builder.file(
        "WirelessDomain",
        "Library/Databases/DataUsage.sqlite",
        small::data_usage(builder)?,
    )
}
