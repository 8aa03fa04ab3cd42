//! The small stores: reminders, voicemail, privacy grants, data usage, health.

use rusqlite::params;

use super::Result;
use crate::contents::apps::apps;
use crate::contents::builder::Builder;
use crate::contents::noise::sentence;
use crate::contents::people::person;
use crate::fs::Content;

pub(super) fn reminders(builder: &Builder<'_>) -> Result<Content> {
    let seed = builder.seed.child("reminders");
    super::build(|db| {
        db.execute_batch(
            "CREATE TABLE Z_PRIMARYKEY (Z_ENT INTEGER PRIMARY KEY, Z_NAME VARCHAR, Z_SUPER INTEGER, Z_MAX INTEGER);
             CREATE TABLE ZREMCDREMINDER (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZIDENTIFIER BLOB,
                 ZTITLE VARCHAR, ZNOTES VARCHAR, ZCOMPLETED INTEGER, ZCOMPLETIONDATE TIMESTAMP, ZFLAGGED INTEGER,
                 ZPRIORITY INTEGER, ZALLDAY INTEGER, ZCREATIONDATE TIMESTAMP, ZLASTMODIFIEDDATE TIMESTAMP,
                 ZDUEDATE TIMESTAMP, ZSTARTDATE TIMESTAMP, ZMARKEDFORDELETION INTEGER, ZPARENTREMINDER INTEGER,
                 ZLIST INTEGER, ZACCOUNT INTEGER, ZDISPLAYDATEDATE TIMESTAMP, ZSPOTLIGHTINDEXCOUNT INTEGER);
             CREATE TABLE ZREMCDBASELIST (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZIDENTIFIER BLOB,
                 ZNAME VARCHAR, ZISGROUP INTEGER, ZSHARINGSTATUS INTEGER, ZACCOUNT INTEGER, ZBADGEEMBLEM VARCHAR);
             CREATE TABLE ZREMCDOBJECT (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZNAME VARCHAR);
             INSERT INTO Z_PRIMARYKEY VALUES (1, 'REMCDAccountListData', 0, NULL), (2, 'REMCDBaseList', 0, NULL),
                 (81, 'REMCDReminder', 0, NULL), (82, 'REMCDAccount', 0, NULL), (86, 'REMCDList', 2, NULL);
             INSERT INTO ZREMCDOBJECT VALUES (1, 82, 1, 'On My iPhone');
             INSERT INTO ZREMCDBASELIST VALUES (1, 86, 1, x'b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1', 'Personal', 0, 0, 1, NULL);",
        )?;
        for n in 0..8 {
            let seed = seed.nth(n);
            let (done, created) = (n % 3 == 0, builder.apple_time(5 + seed.draws().below_i64(90), 0));
            db.execute(
                "INSERT INTO ZREMCDREMINDER (Z_ENT, Z_OPT, ZIDENTIFIER, ZTITLE, ZCOMPLETED, ZCREATIONDATE, ZLIST, ZACCOUNT)
                 VALUES (81, 1, ?1, ?2, ?3, ?4, 1, 1)",
                params![seed.uuid().as_bytes().as_slice(), sentence(seed, 3), done, created],
            )?;
        }
        Ok(())
    })
}

pub(super) fn voicemail(builder: &Builder<'_>, people: u64) -> Result<Content> {
    let seed = builder.seed.child("voicemail");
    super::build(|db| {
        db.execute_batch(
            "CREATE TABLE voicemail (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, remote_uid INTEGER, date INTEGER, token TEXT,
                 sender TEXT, callback_num TEXT, duration INTEGER, expiration INTEGER, trashed_date INTEGER,
                 flags INTEGER);
             CREATE TABLE deleted (remote_uid INTEGER);",
        )?;
        for n in 0..people.min(3) {
            let (phone, date) = (
                person(builder.seed, n).phone,
                builder.time("voicemail", &n.to_string()) / 1_000_000_000,
            );
            db.execute(
                "INSERT INTO voicemail (remote_uid, date, token, sender, callback_num, duration, trashed_date, flags)
                 VALUES (?1, ?2, 'Complete', ?3, ?3, ?4, 0, 11)",
                params![n + 1, date, phone, 5 + seed.draws().below_i64(60)],
            )?;
        }
        Ok(())
    })
}

pub(super) fn privacy(builder: &Builder<'_>) -> Result<Content> {
    let date = builder.apple_time(200, 0);
    super::build(|db| {
        db.execute_batch(
            "CREATE TABLE admin (key TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL);
             INSERT INTO admin VALUES ('version', 29);
             CREATE TABLE access (service TEXT NOT NULL, client TEXT NOT NULL, client_type INTEGER NOT NULL,
                 auth_value INTEGER NOT NULL, auth_reason INTEGER NOT NULL, auth_version INTEGER NOT NULL, csreq BLOB,
                 policy_id INTEGER, indirect_object_identifier_type INTEGER,
                 indirect_object_identifier TEXT NOT NULL DEFAULT 'UNUSED', indirect_object_code_identity BLOB,
                 flags INTEGER, last_modified INTEGER NOT NULL DEFAULT 0,
                 PRIMARY KEY (service, client, client_type, indirect_object_identifier));",
        )?;
        for app in apps(0) {
            for service in ["kTCCServicePhotos", "kTCCServiceCamera"] {
                db.execute(
                    "INSERT INTO access (service, client, client_type, auth_value, auth_reason, auth_version, last_modified)
                     VALUES (?1, ?2, 0, 2, 2, 1, ?3)",
                    params![service, app.bundle_id, date],
                )?;
            }
        }
        Ok(())
    })
}

pub(super) fn data_usage(builder: &Builder<'_>) -> Result<Content> {
    let seed = builder.seed.child("data usage");
    super::build(|db| {
        db.execute_batch(
            "CREATE TABLE ZPROCESS (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZFIRSTTIMESTAMP TIMESTAMP,
                 ZTIMESTAMP TIMESTAMP, ZBUNDLENAME VARCHAR, ZPROCNAME VARCHAR);
             CREATE TABLE ZLIVEUSAGE (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZKIND INTEGER,
                 ZHASPROCESS INTEGER, ZTIMESTAMP TIMESTAMP, ZWIFIIN FLOAT, ZWIFIOUT FLOAT, ZWWANIN FLOAT, ZWWANOUT FLOAT);
             CREATE TABLE Z_PRIMARYKEY (Z_ENT INTEGER PRIMARY KEY, Z_NAME VARCHAR, Z_SUPER INTEGER, Z_MAX INTEGER);",
        )?;
        for app in apps(0) {
            let mut draws = seed.child(&app.bundle_id).draws();
            let (first, last) = (
                builder.apple_time(600, 0),
                builder.apple_time(1, draws.below_i64(86_400)),
            );
            db.execute(
                "INSERT INTO ZPROCESS VALUES (NULL, 2, 1, ?1, ?2, ?3, ?3)",
                params![first, last, app.bundle_id],
            )?;
            let row = db.last_insert_rowid();
            let (down, up) = (draws.below(9_000_000), draws.below(900_000));
            db.execute(
                "INSERT INTO ZLIVEUSAGE VALUES (NULL, 1, 1, 0, ?1, ?2, 0, 0, ?3, ?4)",
                params![row, last, down, up],
            )?;
        }
        Ok(())
    })
}

/// `healthdb_secure.sqlite`: steps per hour.
pub(super) fn health(builder: &Builder<'_>) -> Result<Content> {
    let seed = builder.seed.child("steps");
    super::build(|db| {
        db.execute_batch(
            "CREATE TABLE objects (data_id INTEGER PRIMARY KEY AUTOINCREMENT, uuid BLOB UNIQUE, provenance INTEGER NOT NULL,
                 type INTEGER, creation_date REAL);
             CREATE TABLE samples (data_id INTEGER PRIMARY KEY, start_date REAL, end_date REAL, data_type INTEGER);
             CREATE TABLE quantity_samples (data_id INTEGER PRIMARY KEY, quantity REAL, original_quantity REAL,
                 original_unit INTEGER);",
        )?;
        for n in 0..48 {
            let seed = seed.nth(n);
            let (start, steps) = (
                builder.apple_time(2, 0) + i64::try_from(n).unwrap_or_default() * 3600,
                seed.word(3) % 1500,
            );
            let uuid = seed.uuid();
            db.execute(
                "INSERT INTO objects VALUES (NULL, ?1, 1, 1, ?2)",
                params![uuid.as_bytes().as_slice(), start],
            )?;
            let row = db.last_insert_rowid();
            // 7: step count.
            db.execute(
                "INSERT INTO samples VALUES (?1, ?2, ?3, 7)",
                params![row, start, start + 3600],
            )?;
            db.execute(
                "INSERT INTO quantity_samples VALUES (?1, ?2, NULL, NULL)",
                params![row, steps],
            )?;
        }
        Ok(())
    })
}
