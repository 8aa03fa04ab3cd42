//! `AddressBook.sqlitedb` and the pictures of people.

use rusqlite::params;

use super::Result;
use crate::contents::builder::Builder;
use crate::contents::people::person;
use crate::fs::Content;

const SCHEMA: &str = "
CREATE TABLE ABPerson (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, First TEXT, Last TEXT, Middle TEXT, FirstPhonetic TEXT,
    MiddlePhonetic TEXT, LastPhonetic TEXT, Organization TEXT, Department TEXT, Note TEXT, Kind INTEGER, Birthday TEXT,
    JobTitle TEXT, Nickname TEXT, Prefix TEXT, Suffix TEXT, FirstSort TEXT, LastSort TEXT, CreationDate INTEGER,
    ModificationDate INTEGER, CompositeNameFallback TEXT, ExternalIdentifier TEXT, ExternalModificationTag TEXT,
    ExternalUUID TEXT, StoreID INTEGER, DisplayName TEXT, ExternalRepresentation BLOB, FirstSortSection TEXT,
    LastSortSection TEXT, FirstSortLanguageIndex INTEGER DEFAULT 2147483647,
    LastSortLanguageIndex INTEGER DEFAULT 2147483647, PersonLink INTEGER DEFAULT -1, ImageURI TEXT,
    IsPreferredName INTEGER DEFAULT 1, guid TEXT NOT NULL);
CREATE TABLE ABMultiValue (UID INTEGER PRIMARY KEY, record_id INTEGER, property INTEGER, identifier INTEGER,
    label INTEGER, value TEXT, guid TEXT NOT NULL);
CREATE TABLE ABMultiValueLabel (value TEXT);
CREATE TABLE ABMultiValueEntry (parent_id INTEGER, key INTEGER, value TEXT);
CREATE TABLE ABMultiValueEntryKey (value TEXT);
CREATE TABLE ABGroup (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, Name TEXT, ExternalIdentifier TEXT, StoreID INTEGER,
    ExternalModificationTag TEXT, ExternalRepresentation BLOB, ExternalUUID TEXT, guid TEXT NOT NULL);
CREATE TABLE ABGroupMembers (UID INTEGER PRIMARY KEY, group_id INTEGER, member_type INTEGER, member_id INTEGER);
CREATE TABLE ABStore (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, Name TEXT, ExternalIdentifier TEXT, Type INTEGER,
    ConstraintsPath TEXT, ExternalModificationTag TEXT, ExternalSyncTag TEXT, StoreInternalIdentifier TEXT,
    AccountID INTEGER DEFAULT -1, Enabled INTEGER DEFAULT 1, SyncData BLOB, MeIdentifier INTEGER DEFAULT -1,
    Capabilities INTEGER DEFAULT 0, guid TEXT NOT NULL);
CREATE TABLE ABAccount (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, AccountIdentifier TEXT, Flags INTEGER,
    DefaultSourceID INTEGER, guid TEXT NOT NULL);
INSERT INTO ABMultiValueLabel VALUES ('_$!<Mobile>!$_'), ('_$!<Home>!$_'), ('_$!<Work>!$_');
INSERT INTO ABMultiValueEntryKey VALUES ('Street'), ('City'), ('ZIP'), ('Country');
INSERT INTO ABStore (Name, Type, MeIdentifier, guid) VALUES ('Local', 0, 1, 'local-store');
INSERT INTO ABAccount (AccountIdentifier, guid) VALUES ('local', 'local-account');
INSERT INTO ABGroup (Name, StoreID, guid) VALUES ('Friends', 1, 'friends-group');
";

/// `ABMultiValue.property`: telephone.
const PHONE: i64 = 3;
const EMAIL: i64 = 4;
const ADDRESS: i64 = 5;

pub(super) fn book(builder: &Builder<'_>, people: u64) -> Result<Content> {
    let seed = builder.seed.child("contacts");
    super::build(|db| {
        db.execute_batch(SCHEMA)?;
        let mut add = db.prepare(
            "INSERT INTO ABPerson (First, Last, Organization, Note, Kind, Birthday, CreationDate, ModificationDate,
                 StoreID, FirstSort, LastSort, guid) VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?6, 1, ?1, ?2, ?7)",
        )?;
        let mut value = db.prepare(
            "INSERT INTO ABMultiValue (record_id, property, identifier, label, value, guid) VALUES (?1, ?2, 0, ?3, ?4, ?5)",
        )?;
        let mut part = db.prepare("INSERT INTO ABMultiValueEntry VALUES (?1, ?2, ?3)")?;
        for n in 0..people {
            let (person, seed) = (person(builder.seed, n), seed.nth(n));
            let mut draws = seed.draws();
            let company = draws.one_in(5).then_some("Example Works");
            let note = draws.one_in(9).then(|| crate::contents::noise::sentence(seed, 9));
            let created = builder.apple_time(800, draws.below_i64(86_400 * 200));
            add.execute(params![
                person.first,
                person.last,
                company,
                note,
                person.birthday,
                created,
                seed.guid()
            ])?;
            let row = person.row;
            value.execute(params![row, PHONE, 1, person.phone, seed.child("phone").guid()])?;
            value.execute(params![row, EMAIL, 2, person.email, seed.child("email").guid()])?;
            if n % 3 == 0 {
                value.execute(params![row, ADDRESS, 2, None::<String>, seed.child("address").guid()])?;
                let address = db.last_insert_rowid();
                let street = format!("{} Example Street", 1 + draws.below(200));
                let lines = [
                    street,
                    "Faketown".to_owned(),
                    format!("{:05}", draws.below(100_000)),
                    "Nowhere".to_owned(),
                ];
                for (key, line) in (1_i64..).zip(lines) {
                    part.execute(params![address, key, line])?;
                }
            }
            if n % 4 == 0 {
                db.execute(
                    "INSERT INTO ABGroupMembers (group_id, member_type, member_id) VALUES (1, 0, ?1)",
                    [row],
                )?;
            }
        }
        Ok(())
    })
}

/// `AddressBookImages.sqlitedb`: a small picture of every sixth person.
pub(super) fn images(builder: &Builder<'_>, people: u64) -> Result<Content> {
    super::build(|db| {
        db.execute_batch(
            "CREATE TABLE ABFullSizeImage (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, record_id INTEGER, guid TEXT,
                 crop_x INTEGER, crop_y INTEGER, crop_width INTEGER, data BLOB, UNIQUE(record_id));
             CREATE TABLE ABThumbnailImage (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, record_id INTEGER, guid TEXT,
                 format INTEGER, derived_from_format INTEGER, data BLOB, UNIQUE(record_id, format));",
        )?;
        let mut add =
            db.prepare("INSERT INTO ABThumbnailImage (record_id, guid, format, data) VALUES (?1, ?2, 0, ?3)")?;
        for n in (0..people).step_by(6) {
            let seed = builder.seed.child("faces").nth(n);
            let face = Content::jpeg(seed.value(), 0).to_bytes(1 << 20).unwrap_or_default();
            add.execute(params![person(builder.seed, n).row, seed.guid(), &*face])?;
        }
        Ok(())
    })
}
