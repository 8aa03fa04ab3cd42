//! `CallHistory.storedata`.

use rusqlite::params;

use super::Result;
use crate::contents::builder::Builder;
use crate::contents::people::person;
use crate::fs::Content;

const SCHEMA: &str = "
CREATE TABLE ZCALLRECORD (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZANSWERED INTEGER,
    ZCALL_CATEGORY INTEGER, ZCALLTYPE INTEGER, ZDISCONNECTED_CAUSE INTEGER, ZFACE_TIME_DATA INTEGER,
    ZFILTERED_OUT_REASON INTEGER, ZHANDLE_TYPE INTEGER, ZHASMESSAGE INTEGER, ZJUNKCONFIDENCE INTEGER,
    ZORIGINATED INTEGER, ZREAD INTEGER, ZWASEMERGENCYCALL INTEGER, ZCOMMUNICATIONTRUSTSCORE INTEGER, ZDATE TIMESTAMP,
    ZDURATION FLOAT, ZADDRESS VARCHAR, ZISO_COUNTRY_CODE VARCHAR, ZJUNKIDENTIFICATIONCATEGORY VARCHAR,
    ZLOCATION VARCHAR, ZNAME VARCHAR, ZSERVICE_PROVIDER VARCHAR, ZUNIQUE_ID VARCHAR);
CREATE TABLE ZHANDLE (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZTYPE INTEGER, ZNORMALIZEDVALUE VARCHAR,
    ZVALUE VARCHAR);
CREATE TABLE Z_2REMOTEPARTICIPANTHANDLES (Z_2REMOTEPARTICIPANTCALLS INTEGER, Z_4REMOTEPARTICIPANTHANDLES INTEGER);
CREATE TABLE Z_PRIMARYKEY (Z_ENT INTEGER PRIMARY KEY, Z_NAME VARCHAR, Z_SUPER INTEGER, Z_MAX INTEGER);
CREATE INDEX ZCALLRECORD_ZDATE ON ZCALLRECORD (ZDATE);
";

/// `ZCALLTYPE`: telephone, FaceTime video, FaceTime audio.
const TYPES: [i64; 3] = [1, 8, 16];

pub(super) fn history(builder: &Builder<'_>, people: u64, calls: u64) -> Result<Content> {
    let seed = builder.seed.child("calls");
    super::build(|db| {
        db.execute_batch(SCHEMA)?;
        let mut handle = db.prepare("INSERT INTO ZHANDLE VALUES (?1, 4, 1, 2, ?2, ?2)")?;
        let people = people.max(1);
        for n in 0..people {
            let person = person(builder.seed, n);
            handle.execute(params![person.row, person.phone])?;
        }
        let mut add = db.prepare(
            "INSERT INTO ZCALLRECORD (Z_ENT, Z_OPT, ZANSWERED, ZCALLTYPE, ZORIGINATED, ZREAD, ZDATE, ZDURATION, ZADDRESS,
                 ZISO_COUNTRY_CODE, ZSERVICE_PROVIDER, ZUNIQUE_ID)
             VALUES (2, 1, ?1, ?2, ?3, 1, ?4, ?5, ?6, 'us', ?7, ?8)",
        )?;
        let mut join = db.prepare("INSERT INTO Z_2REMOTEPARTICIPANTHANDLES VALUES (?1, ?2)")?;
        for n in 0..calls {
            let seed = seed.nth(n);
            let mut draws = seed.draws();
            let person = person(builder.seed, draws.below(people));
            let kind = TYPES
                .iter()
                .cycle()
                .nth(usize::try_from(draws.below(5) % 3).unwrap_or_default());
            let (answered, out) = (!draws.one_in(4), draws.one_in(2));
            let seconds = if answered { draws.below_i64(1800) } else { 0 };
            let days = i64::try_from((calls - n) / 3).unwrap_or(i64::MAX).min(3000);
            let date = builder.apple_time(days, draws.below_i64(86_400));
            let provider = if kind == Some(&1) {
                "com.apple.Telephony"
            } else {
                "com.apple.FaceTime"
            };
            add.execute(params![
                answered,
                kind,
                out,
                date,
                seconds,
                person.phone,
                provider,
                seed.guid()
            ])?;
            join.execute(params![db.last_insert_rowid(), person.row])?;
        }
        db.execute(
            "INSERT INTO Z_PRIMARYKEY VALUES (2, 'CallRecord', 0, ?1), (4, 'Handle', 0, ?2)",
            params![calls, people],
        )?;
        Ok(())
    })
}
