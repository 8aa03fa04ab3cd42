//! `sms.db` and the attachments it refers to.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::Result;
use crate::contents::builder::{APPLE_EPOCH, Builder, SECOND};
use crate::contents::noise::sentence;
use crate::contents::people::person;
use crate::contents::picture::MIN_JPEG_LEN;
use crate::contents::recipe::Recipe;
use crate::contents::seed::Seed;
use crate::fs::{Content, map};

pub(in crate::contents) const SMS: &str = "Library/SMS/sms.db";

const SCHEMA: &str = "
CREATE TABLE message (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, guid TEXT UNIQUE NOT NULL, text TEXT,
    attributedBody BLOB, handle_id INTEGER DEFAULT 0, service TEXT, date INTEGER, date_read INTEGER,
    date_delivered INTEGER, is_from_me INTEGER DEFAULT 0, is_read INTEGER DEFAULT 0,
    associated_message_type INTEGER DEFAULT 0, associated_message_guid TEXT, associated_message_emoji TEXT,
    date_edited INTEGER, date_retracted INTEGER, thread_originator_guid TEXT, reply_to_guid TEXT,
    balloon_bundle_id TEXT, payload_data BLOB, item_type INTEGER DEFAULT 0, group_title TEXT,
    group_action_type INTEGER DEFAULT 0, cache_has_attachments INTEGER DEFAULT 0,
    is_pending_satellite_send INTEGER DEFAULT 0, is_kt_verified INTEGER DEFAULT 0);
CREATE TABLE handle (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, service TEXT, country TEXT,
    uncanonicalized_id TEXT, person_centric_id TEXT);
CREATE TABLE chat (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, guid TEXT UNIQUE NOT NULL, style INTEGER,
    chat_identifier TEXT, service_name TEXT, display_name TEXT, room_name TEXT, group_id TEXT, account_id TEXT);
CREATE TABLE attachment (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, guid TEXT UNIQUE NOT NULL, filename TEXT, uti TEXT,
    mime_type TEXT, transfer_name TEXT, total_bytes INTEGER DEFAULT 0, is_sticker INTEGER DEFAULT 0,
    hide_attachment INTEGER DEFAULT 0);
CREATE TABLE chat_message_join (chat_id INTEGER, message_id INTEGER, message_date INTEGER DEFAULT 0);
CREATE TABLE chat_handle_join (chat_id INTEGER, handle_id INTEGER);
CREATE TABLE message_attachment_join (message_id INTEGER, attachment_id INTEGER);
";

/// The largest number of people one writes to.
const PARTNERS: u64 = 40;

struct Attachment {
    guid: String,
    /// Inside `MediaDomain`.
    path: String,
    len: u64,
}

fn attachment(seed: Seed, n: u64, room: u64) -> Attachment {
    let seed = seed.child("attachment").nth(n);
    let (guid, mut draws) = (seed.guid(), seed.draws());
    let (first, second) = (draws.below(256), draws.below(16));
    let path = format!(
        "Library/SMS/Attachments/{first:02x}/{second:02}/{guid}/IMG_{:04}.jpeg",
        n % 10_000
    );
    Attachment {
        guid,
        path,
        len: MIN_JPEG_LEN + draws.below(room),
    }
}

pub(super) fn fill(builder: &mut Builder<'_>, recipe: &Recipe) -> Result<()> {
    let seed = builder.seed.child("messages");
    // Attachments are of the size that the phone's other files have, within reason.
    let room = (recipe.bytes / recipe.files.max(100)).clamp(4096, 512 << 10);
    let attachments: Vec<_> = (0..recipe.attachments).map(|n| attachment(seed, n, room)).collect();
    let content = super::build(|db| {
        db.execute_batch(SCHEMA)?;
        let partners = recipe.contacts.clamp(1, PARTNERS);
        partners_and_chats(db, builder.seed, partners)?;
        messages(db, builder, partners, recipe.messages.max(recipe.attachments))?;
        let mut add = db.prepare(
            "INSERT INTO attachment (guid, filename, uti, mime_type, transfer_name, total_bytes)
             VALUES (?1, '~/' || ?2, 'public.jpeg', 'image/jpeg', ?3, ?4)",
        )?;
        for (row, attachment) in (1_i64..).zip(&attachments) {
            let name = attachment.path.rsplit('/').next();
            add.execute(params![attachment.guid, attachment.path, name, attachment.len])?;
            db.execute("INSERT INTO message_attachment_join VALUES (?1, ?1)", [row])?;
            db.execute("UPDATE message SET cache_has_attachments = 1 WHERE ROWID = ?1", [row])?;
        }
        Ok(())
    })?;
    builder.file(map::HOME, SMS, content)?;
    for (n, attachment) in (0..).zip(attachments) {
        let picture = Content::jpeg(seed.nth(n).value(), attachment.len);
        builder.file(map::MEDIA, &attachment.path, picture)?;
    }
    Ok(())
}

/// One chat with each partner and one with the first three together.
fn partners_and_chats(db: &Connection, people: Seed, partners: u64) -> rusqlite::Result<()> {
    for n in 0..partners {
        let person = person(people, n);
        let service = if n % 4 == 3 { "SMS" } else { "iMessage" };
        db.execute(
            "INSERT INTO handle (id, service, country) VALUES (?1, ?2, 'us')",
            params![person.phone, service],
        )?;
        db.execute(
            "INSERT INTO chat (guid, style, chat_identifier, service_name) VALUES (?2 || ';-;' || ?1, 45, ?1, ?2)",
            params![person.phone, service],
        )?;
        db.execute("INSERT INTO chat_handle_join VALUES (?1, ?1)", [person.row])?;
    }
    db.execute(
        "INSERT INTO chat (guid, style, chat_identifier, service_name, display_name, room_name, group_id)
         VALUES ('iMessage;+;chat100200300', 43, 'chat100200300', 'iMessage', 'Hiking 🏔', 'chat100200300', ?1)",
        [people.child("group").guid()],
    )?;
    let group = db.last_insert_rowid();
    for handle in 1..=partners.min(3) {
        db.execute("INSERT INTO chat_handle_join VALUES (?1, ?2)", params![group, handle])?;
    }
    Ok(())
}

fn messages(db: &Connection, builder: &Builder<'_>, partners: u64, count: u64) -> rusqlite::Result<()> {
    let seed = builder.seed.child("messages");
    let mut add = db.prepare(
        "INSERT INTO message (guid, text, attributedBody, handle_id, service, date, date_read, is_from_me, is_read)
         VALUES (?1, ?2, ?3, ?4, 'iMessage', ?5, ?6, ?7, 1)",
    )?;
    let mut join = db.prepare("INSERT INTO chat_message_join VALUES (?1, ?2, ?3)")?;
    // Spread over two years, the last one an hour before now.
    let gap = 2 * 365 * 86_400 / i64::try_from(count.max(1)).unwrap_or(i64::MAX);
    for n in 0..count {
        let (seed, from_end) = (seed.nth(n), i64::try_from(count - n).unwrap_or_default());
        let mut draws = seed.draws();
        let (chat, mine) = (1 + draws.below(partners + 1), draws.one_in(2));
        let sender = if chat > partners {
            1 + draws.below(partners.min(3))
        } else {
            chat
        };
        let text = sentence(seed, 2 + draws.below(14));
        let date = builder.apple_time(0, 3600 + from_end.saturating_mul(gap)) * SECOND + draws.below_i64(SECOND);
        // Newer phones leave the text to the attributed body.
        let (text, body) = if n % 7 == 5 {
            (None, Some(attributed(&text)))
        } else {
            (Some(text), None)
        };
        let handle = if mine { 0 } else { sender };
        let read = (!mine).then_some(date + 60 * SECOND);
        add.execute(params![seed.guid(), text, body, handle, date, read, mine])?;
        join.execute(params![chat, db.last_insert_rowid(), date])?;
    }
    Ok(())
}

/// An `NSAttributedString` in a typed stream, without attributes.
fn attributed(text: &str) -> Vec<u8> {
    let mut out = b"\x04\x0bstreamtyped\x81\xe8\x03\x84\x01@\x84\x84\x84\x12NSAttributedString\0".to_vec();
    out.extend(b"\x84\x84\x08NSObject\0\x85\x92\x84\x84\x84\x08NSString\0\x96+");
    match u8::try_from(text.len()) {
        Ok(len @ ..=0x7f) => out.push(len),
        _ => {
            out.push(0x81);
            out.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
        }
    }
    out.extend(text.as_bytes());
    out.extend(b"\x86\x86");
    out
}

/// Receives a message at `now` (nanoseconds since 1970) and says its row.
pub(in crate::contents) fn add_message(db: &Connection, seed: Seed, now: i64) -> rusqlite::Result<i64> {
    let date = now - APPLE_EPOCH * SECOND;
    let chat: Option<i64> = db
        .query_row("SELECT ROWID FROM chat ORDER BY ROWID LIMIT 1", [], |row| row.get(0))
        .optional()?;
    db.execute(
        "INSERT INTO message (guid, text, handle_id, service, date, is_from_me, is_read)
         VALUES (?1, ?2, 1, 'iMessage', ?3, 0, 0)",
        params![seed.guid(), sentence(seed, 8), date],
    )?;
    let row = db.last_insert_rowid();
    db.execute(
        "INSERT INTO chat_message_join VALUES (?1, ?2, ?3)",
        params![chat, row, date],
    )?;
    Ok(row)
}
