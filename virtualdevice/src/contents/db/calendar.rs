//! `Calendar.sqlitedb`.

use rusqlite::params;

use super::Result;
use crate::contents::builder::Builder;
use crate::contents::noise::sentence;
use crate::contents::people::person;
use crate::fs::Content;

const SCHEMA: &str = "
CREATE TABLE Store (ROWID INTEGER PRIMARY KEY, name TEXT, type INTEGER, persistent_id TEXT);
CREATE TABLE Calendar (ROWID INTEGER PRIMARY KEY, store_id INTEGER, title TEXT, color TEXT, type TEXT,
    sharing_status INTEGER, external_id TEXT);
CREATE TABLE CalendarItem (ROWID INTEGER PRIMARY KEY, summary TEXT, description TEXT, start_date REAL, start_tz TEXT,
    end_date REAL, end_tz TEXT, all_day INTEGER, calendar_id INTEGER, location_id INTEGER, organizer_id INTEGER,
    status INTEGER, availability INTEGER, privacy_level INTEGER, url TEXT, creation_date REAL, last_modified REAL,
    conference_url TEXT, conference_url_detected TEXT, entity_type INTEGER, calendar_scale TEXT, travel_time INTEGER,
    junk_status INTEGER, has_attendees INTEGER);
CREATE TABLE Location (ROWID INTEGER PRIMARY KEY, title TEXT, address TEXT, latitude INTEGER, longitude INTEGER,
    item_owner_id INTEGER);
CREATE TABLE Identity (display_name TEXT, address TEXT, first_name TEXT, last_name TEXT);
CREATE TABLE Participant (ROWID INTEGER PRIMARY KEY, entity_type INTEGER, type INTEGER, status INTEGER,
    pending_status INTEGER, role INTEGER, identity_id INTEGER, owner_id INTEGER, email TEXT, phone_number TEXT,
    is_self INTEGER);
CREATE TABLE Recurrence (ROWID INTEGER PRIMARY KEY, frequency INTEGER, interval INTEGER, count INTEGER, end_date REAL,
    specifier TEXT, owner_id INTEGER);
CREATE TABLE Alarm (ROWID INTEGER PRIMARY KEY, trigger_date REAL, trigger_interval INTEGER, type INTEGER,
    proximity INTEGER, calendaritem_owner_id INTEGER);
CREATE TABLE Attachment (ROWID INTEGER PRIMARY KEY, owner_id INTEGER, file_id INTEGER);
CREATE TABLE AttachmentFile (ROWID INTEGER PRIMARY KEY, filename TEXT, file_size INTEGER, url TEXT, UUID TEXT,
    local_path TEXT);
INSERT INTO Store VALUES (1, 'Default', 0, 'local-store'), (2, 'Birthdays', 5, 'birthday-store');
INSERT INTO Calendar VALUES (1, 1, 'Home', '#1BADF8', NULL, 0, NULL), (2, 1, 'Work', '#FF9500', NULL, 0, NULL);
";

pub(super) fn calendar(builder: &Builder<'_>, people: u64, events: u64) -> Result<Content> {
    let seed = builder.seed.child("calendar");
    super::build(|db| {
        db.execute_batch(SCHEMA)?;
        let mut add = db.prepare(
            "INSERT INTO CalendarItem (summary, start_date, start_tz, end_date, end_tz, all_day, calendar_id, status,
                 creation_date, last_modified, entity_type, has_attendees)
             VALUES (?1, ?2, ?3, ?4, ?3, ?5, ?6, 0, ?7, ?7, 2, ?8)",
        )?;
        for n in 0..events {
            let seed = seed.nth(n);
            let mut draws = seed.draws();
            let (all_day, guest) = (draws.one_in(6), people > 0 && draws.one_in(3));
            let zone = if all_day { "_float" } else { "Europe/Zurich" };
            // From a year before now to three months after.
            let start = builder.apple_time(draws.below_i64(455) - 90, 0) / 86_400 * 86_400;
            let (start, len) = if all_day {
                (start, 86_400)
            } else {
                (start + 900 * draws.below_i64(96), 3600)
            };
            let created = builder.apple_time(400, draws.below_i64(86_400));
            let calendar = 1 + draws.below(2);
            add.execute(params![
                sentence(seed, 3),
                start,
                zone,
                start + len,
                all_day,
                calendar,
                created,
                guest
            ])?;
            let row = db.last_insert_rowid();
            if draws.one_in(2) {
                db.execute(
                    "INSERT INTO Alarm (trigger_interval, type, calendaritem_owner_id) VALUES (-900, 0, ?1)",
                    [row],
                )?;
            }
            if draws.one_in(5) {
                let weekly = "INSERT INTO Recurrence (frequency, interval, count, owner_id) VALUES (2, 1, 10, ?1)";
                db.execute(weekly, [row])?;
            }
            if guest {
                let person = person(builder.seed, draws.below(people));
                let name = format!("{} {}", person.first, person.last);
                let identity = "INSERT INTO Identity VALUES (?1, 'mailto:' || ?2, ?3, ?4)";
                db.execute(identity, params![name, person.email, person.first, person.last])?;
                db.execute(
                    "INSERT INTO Participant (entity_type, type, status, role, identity_id, owner_id, email)
                     VALUES (7, 1, 1, 1, ?1, ?2, ?3)",
                    params![db.last_insert_rowid(), row, person.email],
                )?;
            }
        }
        Ok(())
    })
}
