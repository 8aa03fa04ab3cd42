//! `Photos.sqlite`: a modest part of it, one row per picture.

use rusqlite::{Connection, params};

use super::Result;
use crate::contents::builder::{APPLE_EPOCH, Builder, SECOND};
use crate::contents::bulk::Shot;
use crate::contents::seed::Seed;
use crate::fs::Content;

pub(in crate::contents) const PHOTOS: &str = "Media/PhotoData/Photos.sqlite";

/// More pictures than this are on the phone but not in its index, which would cost more than they do.
const MAX_ROWS: usize = 20_000;

const SCHEMA: &str = "
CREATE TABLE ZASSET (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZKIND INTEGER, ZFAVORITE INTEGER,
    ZHIDDEN INTEGER, ZTRASHEDSTATE INTEGER, ZWIDTH INTEGER, ZHEIGHT INTEGER, ZADDEDDATE TIMESTAMP,
    ZDATECREATED TIMESTAMP, ZTRASHEDDATE TIMESTAMP, ZDURATION FLOAT, ZLATITUDE FLOAT, ZLONGITUDE FLOAT,
    ZDIRECTORY VARCHAR, ZFILENAME VARCHAR, ZUNIFORMTYPEIDENTIFIER VARCHAR, ZUUID VARCHAR);
CREATE TABLE ZADDITIONALASSETATTRIBUTES (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZASSET INTEGER,
    ZORIGINALFILENAME VARCHAR, ZTIMEZONENAME VARCHAR);
CREATE TABLE Z_PRIMARYKEY (Z_ENT INTEGER PRIMARY KEY, Z_NAME VARCHAR, Z_SUPER INTEGER, Z_MAX INTEGER);
CREATE INDEX Z_Asset_byFilename ON ZASSET (ZFILENAME);
INSERT INTO Z_PRIMARYKEY VALUES (2, 'AdditionalAssetAttributes', 0, 0), (3, 'Asset', 0, 0);
";

pub(in crate::contents) fn photos(builder: &Builder<'_>, shots: impl Iterator<Item = Shot>) -> Result<Content> {
    let seed = builder.seed.child("photos");
    super::build(|db| {
        db.execute_batch(SCHEMA)?;
        let mut add = db.prepare(ADD)?;
        for shot in shots.take(MAX_ROWS) {
            let seed = seed.nth(shot.number);
            let taken = builder.apple_time(seed.draws().below_i64(900), 0);
            add_row(&mut add, shot, seed, taken)?;
        }
        db.execute(
            "INSERT INTO ZADDITIONALASSETATTRIBUTES (Z_ENT, Z_OPT, ZASSET, ZORIGINALFILENAME, ZTIMEZONENAME)
             SELECT 2, 1, Z_PK, ZFILENAME, 'Europe/Zurich' FROM ZASSET",
            [],
        )?;
        Ok(())
    })
}

const ADD: &str = "INSERT INTO ZASSET (Z_ENT, Z_OPT, ZKIND, ZFAVORITE, ZHIDDEN, ZTRASHEDSTATE, ZWIDTH, ZHEIGHT,
        ZADDEDDATE, ZDATECREATED, ZDURATION, ZDIRECTORY, ZFILENAME, ZUNIFORMTYPEIDENTIFIER, ZUUID)
    VALUES (3, 1, ?1, ?2, 0, 0, 48, 32, ?3, ?3, ?4, ?5, ?6, ?7, ?8)";

fn add_row(add: &mut rusqlite::Statement<'_>, shot: Shot, seed: Seed, taken: i64) -> rusqlite::Result<usize> {
    let kind = if shot.video {
        "com.apple.quicktime-movie"
    } else {
        "public.jpeg"
    };
    let (favorite, seconds) = (shot.number % 16 == 3, if shot.video { 12 } else { 0 });
    add.execute(params![
        shot.video,
        favorite,
        taken,
        seconds,
        shot.folder(),
        shot.name(),
        kind,
        seed.guid()
    ])
}

/// Takes a picture at `now`, nanoseconds since 1970.
pub(in crate::contents) fn add_shot(db: &Connection, shot: Shot, seed: Seed, now: i64) -> rusqlite::Result<()> {
    add_row(&mut db.prepare(ADD)?, shot, seed, now / SECOND - APPLE_EPOCH)?;
    Ok(())
}

/// Forgets a picture.
pub(in crate::contents) fn delete_shot(db: &Connection, folder: &str, name: &str) -> rusqlite::Result<()> {
    db.execute(
        "DELETE FROM ZASSET WHERE ZDIRECTORY = ?1 AND ZFILENAME = ?2",
        [folder, name],
    )?;
    Ok(())
}
