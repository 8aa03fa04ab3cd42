//! WhatsApp's `ChatStorage.sqlite` and `ContactsV2.sqlite`.

use rusqlite::params;

use super::Result;
use crate::contents::apps::WHATSAPP_GROUP;
use crate::contents::builder::Builder;
use crate::contents::noise::sentence;
use crate::contents::people::person;
use crate::fs::Content;

const SCHEMA: &str = "
CREATE TABLE ZWACHATSESSION (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZARCHIVED INTEGER,
    ZCONTACTABID INTEGER, ZMESSAGECOUNTER INTEGER, ZREMOVED INTEGER, ZSESSIONTYPE INTEGER, ZUNREADCOUNT INTEGER,
    ZLASTMESSAGE INTEGER, ZLASTMESSAGEDATE TIMESTAMP, ZCONTACTJID VARCHAR, ZPARTNERNAME VARCHAR);
CREATE TABLE ZWAMESSAGE (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZISFROMME INTEGER,
    ZMESSAGESTATUS INTEGER, ZMESSAGETYPE INTEGER, ZSORT INTEGER, ZCHATSESSION INTEGER, ZMEDIAITEM INTEGER,
    ZMESSAGEDATE TIMESTAMP, ZSENTDATE TIMESTAMP, ZFROMJID VARCHAR, ZSTANZAID VARCHAR, ZTEXT VARCHAR, ZTOJID VARCHAR);
CREATE TABLE ZWAMEDIAITEM (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER, ZFILESIZE INTEGER, ZMESSAGE INTEGER,
    ZMEDIALOCALPATH VARCHAR, ZTITLE VARCHAR);
CREATE TABLE Z_PRIMARYKEY (Z_ENT INTEGER PRIMARY KEY, Z_NAME VARCHAR, Z_SUPER INTEGER, Z_MAX INTEGER);
CREATE INDEX ZWAMESSAGE_ZCHATSESSION ON ZWAMESSAGE (ZCHATSESSION);
";

pub(super) fn fill(builder: &mut Builder<'_>, people: u64, messages: u64) -> Result<()> {
    let domain = format!("AppDomainGroup-{WHATSAPP_GROUP}");
    let partners = people.clamp(1, 25);
    let content = storage(builder, partners, messages)?;
    builder.file(&domain, "ChatStorage.sqlite", content)?;
    let content = super::build(|db| {
        db.execute_batch(
            "CREATE TABLE ZWAADDRESSBOOKCONTACT (Z_PK INTEGER PRIMARY KEY, Z_ENT INTEGER, Z_OPT INTEGER,
                 ZFULLNAME VARCHAR, ZGIVENNAME VARCHAR, ZPHONENUMBER VARCHAR, ZWHATSAPPID VARCHAR);",
        )?;
        for n in 0..partners {
            let person = person(builder.seed, n);
            let name = format!("{} {}", person.first, person.last);
            db.execute(
                "INSERT INTO ZWAADDRESSBOOKCONTACT VALUES (NULL, 1, 1, ?1, ?2, ?3, ?4)",
                params![name, person.first, person.phone, jid(&person.phone)],
            )?;
        }
        Ok(())
    })?;
    builder.file(&domain, "ContactsV2.sqlite", content)
}

fn jid(phone: &str) -> String {
    format!("{}@s.whatsapp.net", phone.trim_start_matches('+'))
}

fn storage(builder: &Builder<'_>, partners: u64, messages: u64) -> Result<Content> {
    let seed = builder.seed.child("chats");
    super::build(|db| {
        db.execute_batch(SCHEMA)?;
        let mut add = db.prepare(
            "INSERT INTO ZWAMESSAGE (Z_ENT, Z_OPT, ZISFROMME, ZMESSAGESTATUS, ZMESSAGETYPE, ZSORT, ZCHATSESSION,
                 ZMESSAGEDATE, ZSENTDATE, ZFROMJID, ZSTANZAID, ZTEXT, ZTOJID)
             VALUES (9, 1, ?1, 8, 0, ?2, ?3, ?4, ?4, ?5, ?6, ?7, ?8)",
        )?;
        for n in 0..messages {
            let seed = seed.nth(n);
            let mut draws = seed.draws();
            let partner = draws.below(partners);
            let (mine, other) = (draws.one_in(2), jid(&person(builder.seed, partner).phone));
            let date = builder.apple_time(0, i64::try_from(messages - n).unwrap_or_default().saturating_mul(7200));
            let (from, to) = if mine { (None, Some(other)) } else { (Some(other), None) };
            let stanza = format!("3A{:018X}", seed.word(9));
            add.execute(params![
                mine,
                n + 1,
                partner + 1,
                date,
                from,
                stanza,
                sentence(seed, 1 + draws.below(9)),
                to
            ])?;
        }
        let mut session = db.prepare(
            "INSERT INTO ZWACHATSESSION (Z_ENT, Z_OPT, ZARCHIVED, ZCONTACTABID, ZREMOVED, ZSESSIONTYPE, ZUNREADCOUNT,
                 ZCONTACTJID, ZPARTNERNAME) VALUES (4, 1, 0, ?1, 0, 0, 0, ?2, ?3)",
        )?;
        for n in 0..partners {
            let person = person(builder.seed, n);
            session.execute(params![
                person.row,
                jid(&person.phone),
                format!("{} {}", person.first, person.last)
            ])?;
        }
        db.execute_batch(
            "UPDATE ZWACHATSESSION SET
                 ZMESSAGECOUNTER = (SELECT count(*) FROM ZWAMESSAGE WHERE ZCHATSESSION = ZWACHATSESSION.Z_PK),
                 ZLASTMESSAGE = (SELECT max(Z_PK) FROM ZWAMESSAGE WHERE ZCHATSESSION = ZWACHATSESSION.Z_PK),
                 ZLASTMESSAGEDATE = (SELECT max(ZMESSAGEDATE) FROM ZWAMESSAGE WHERE ZCHATSESSION = ZWACHATSESSION.Z_PK);
             INSERT INTO Z_PRIMARYKEY SELECT 9, 'WAMessage', 0, count(*) FROM ZWAMESSAGE;",
        )
    })
}
