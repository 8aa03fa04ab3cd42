//! `NoteStore.sqlite`: notes as compressed protocol buffers.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::Result;
use crate::contents::builder::{APPLE_EPOCH, Builder, SECOND};
use crate::contents::noise::sentence;
use crate::contents::png::gzip;
use crate::contents::seed::Seed;
use crate::fs::Content;

pub(in crate::contents) const NOTES_DOMAIN: &str = "AppDomainGroup-group.com.apple.notes";
pub(in crate::contents) const NOTES: &str = "NoteStore.sqlite";

const SCHEMA: &str = "
CREATE TABLE Z_PRIMARYKEY (Z_ENT INTEGER PRIMARY KEY, Z_NAME VARCHAR, Z_SUPER INTEGER, Z_MAX INTEGER);
CREATE TABLE ZICNOTEDATA (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, ZNOTE INTEGER, ZDATA BLOB,
    ZCRYPTOINITIALIZATIONVECTOR BLOB, ZCRYPTOTAG BLOB);
CREATE TABLE ZICCLOUDSYNCINGOBJECT (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZIDENTIFIER VARCHAR,
    ZTITLE VARCHAR, ZTITLE1 VARCHAR, ZTITLE2 VARCHAR, ZSNIPPET VARCHAR, ZFOLDER INTEGER, ZACCOUNT7 INTEGER,
    ZCREATIONDATE3 TIMESTAMP, ZMODIFICATIONDATE1 TIMESTAMP, ZISPASSWORDPROTECTED INTEGER, ZPASSWORDHINT VARCHAR,
    ZISPINNED INTEGER, ZMARKEDFORDELETION INTEGER, ZNAME VARCHAR, ZACCOUNTTYPE INTEGER, ZFOLDERTYPE INTEGER,
    ZNOTE INTEGER, ZTYPEUTI VARCHAR, ZATTACHMENT1 INTEGER, ZGENERATION1 VARCHAR, ZFILENAME VARCHAR, ZNOTEDATA INTEGER,
    ZHASCHECKLIST INTEGER, ZWIDGETSNIPPET VARCHAR, ZLASTVIEWEDMODIFICATIONDATE TIMESTAMP);
INSERT INTO Z_PRIMARYKEY VALUES (3, 'ICCloudSyncingObject', 0, NULL), (19, 'ICNoteData', 0, NULL),
    (35, 'ICAttachment', 3, NULL), (41, 'ICMedia', 3, NULL), (42, 'ICNote', 3, NULL), (44, 'ICAccount', 3, NULL),
    (45, 'ICFolder', 3, NULL);
INSERT INTO ZICCLOUDSYNCINGOBJECT (Z_PK, Z_ENT, ZIDENTIFIER, ZNAME, ZACCOUNTTYPE)
    VALUES (1, 44, 'LocalAccount', 'On My iPhone', 3);
INSERT INTO ZICCLOUDSYNCINGOBJECT (Z_PK, Z_ENT, ZIDENTIFIER, ZTITLE2, ZACCOUNT7, ZFOLDERTYPE)
    VALUES (2, 45, 'DefaultFolder-LocalAccount', 'Notes', 1, 0), (3, 45, 'TrashFolder-LocalAccount', 'Recently Deleted', 1, 1);
";

/// The row of the first note.
const FIRST: u64 = 10;

pub(super) fn store(builder: &Builder<'_>, notes: u64) -> Result<Content> {
    let seed = builder.seed.child("notes");
    super::build(|db| {
        db.execute_batch(SCHEMA)?;
        let mut add = db.prepare(
            "INSERT INTO ZICCLOUDSYNCINGOBJECT (Z_PK, Z_ENT, Z_OPT, ZIDENTIFIER, ZTITLE1, ZSNIPPET, ZFOLDER, ZACCOUNT7,
                 ZCREATIONDATE3, ZMODIFICATIONDATE1, ZISPASSWORDPROTECTED, ZISPINNED, ZMARKEDFORDELETION, ZNOTEDATA)
             VALUES (?1, 42, 1, ?2, ?3, ?4, ?5, 1, ?6, ?7, 0, ?8, 0, ?1)",
        )?;
        let mut data = db.prepare("INSERT INTO ZICNOTEDATA (Z_PK, Z_ENT, ZNOTE, ZDATA) VALUES (?1, 19, ?1, ?2)")?;
        for n in 0..notes {
            let seed = seed.nth(n);
            let mut draws = seed.draws();
            let title = sentence(seed.child("title"), 3);
            let body: Vec<_> = (0..1 + draws.below(8))
                .map(|line| sentence(seed.nth(line), 9))
                .collect();
            let created = builder.apple_time(30 + draws.below_i64(700), draws.below_i64(86_400));
            let folder = if draws.one_in(8) { 3 } else { 2 };
            let pinned = draws.one_in(6);
            let (row, changed) = (FIRST + n, created + draws.below_i64(86_400 * 20));
            add.execute(params![
                row,
                seed.guid(),
                title,
                body.first(),
                folder,
                created,
                changed,
                pinned
            ])?;
            data.execute(params![row, packed(&format!("{title}\n{}", body.join("\n")))])?;
        }
        Ok(())
    })
}

/// A field of a protocol buffer that holds bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![(number << 3) | 2];
    let mut len = bytes.len();
    while len > 0x7f {
        out.push(u8::try_from(len & 0x7f).unwrap_or_default() | 0x80);
        len >>= 7;
    }
    out.push(u8::try_from(len).unwrap_or_default());
    out.extend(bytes);
    out
}

/// The text of a note as the store keeps it: document, note, text, in gzip.
fn packed(text: &str) -> Vec<u8> {
    let note = field(3, &field(2, text.as_bytes()));
    let document = field(2, &[&[8, 0, 16, 0], note.as_slice()].concat());
    gzip(&[&[8, 0], document.as_slice()].concat())
}

/// Appends a line to the first note at `now` (nanoseconds since 1970) and says its row, if there is a note.
pub(in crate::contents) fn edit_note(db: &Connection, seed: Seed, now: i64) -> rusqlite::Result<Option<i64>> {
    let first = "SELECT Z_PK, ZTITLE1 FROM ZICCLOUDSYNCINGOBJECT WHERE Z_ENT = 42 ORDER BY Z_PK LIMIT 1";
    let note: Option<(i64, String)> = db
        .query_row(first, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((row, title)) = note else { return Ok(None) };
    let body = format!("{title}\n{}", sentence(seed, 12));
    db.execute(
        "UPDATE ZICNOTEDATA SET ZDATA = ?2 WHERE ZNOTE = ?1",
        params![row, packed(&body)],
    )?;
    db.execute(
        "UPDATE ZICCLOUDSYNCINGOBJECT SET ZSNIPPET = ?2, ZMODIFICATIONDATE1 = ?3 WHERE Z_PK = ?1",
        params![row, sentence(seed, 12), now / SECOND - APPLE_EPOCH],
    )?;
    Ok(Some(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_packed_as_the_phone_packs_it() {
        // The unpacked text of the note "Remember to call the bank" in novkostya/ios-backup-parser's test store.
        let phone = b"\x08\x00\x12!\x08\x00\x10\x00\x1a\x1b\x12\x19Remember to call the bank";
        assert_eq!(packed("Remember to call the bank"), gzip(phone));
    }

    #[test]
    fn long_texts_get_long_lengths() {
        assert_eq!(field(2, &[1; 300])[..3], [0x12, 0xac, 0x02]);
    }
}
