//! Calendars and reminders of several iOS versions, sound and hostile.

use rusqlite::Connection;

use super::*;
use crate::archive::FileId;
use crate::archive::records::Problem;
use crate::archive::records::RecordError;
use crate::archive::records::icalendar::{self, reading};

pub(super) fn book() -> CalendarBook {
    CalendarBook::empty(Source {
        domain: CALENDAR.0.into(),
        path: CALENDAR.1.into(),
        file_id: FileId::of(CALENDAR.0, CALENDAR.1),
    })
}

fn golden(name: &str) -> Connection {
    let path = crate::archive::golden::folder().join("novkostya").join(name);
    let bytes = std::fs::read(path).unwrap();
    let mut db = Connection::open_in_memory().unwrap();
    db.deserialize_read_exact("main", &*bytes, bytes.len(), true).unwrap();
    db
}

pub(super) fn events(sql: &str) -> CalendarBook {
    let db = Connection::open_in_memory().unwrap();
    db.execute_batch(sql).unwrap();
    let mut book = book();
    rows::read(&db, &mut book).unwrap();
    book
}

fn ics(book: &CalendarBook) -> reading::Component {
    reading::read(&icalendar::write(Vec::new(), book, None).unwrap())
}

const IOS_14: &str = "
    CREATE TABLE Store (ROWID INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE Calendar (ROWID INTEGER PRIMARY KEY, store_id INTEGER, title TEXT, color TEXT);
    CREATE TABLE CalendarItem (ROWID INTEGER PRIMARY KEY AUTOINCREMENT, summary TEXT, location_id INTEGER, description TEXT,
        start_date REAL, start_tz TEXT, end_date REAL, end_tz TEXT, all_day INTEGER, calendar_id INTEGER,
        orig_item_id INTEGER, orig_date REAL, organizer_id INTEGER, status INTEGER, availability INTEGER, url TEXT,
        last_modified REAL, unique_identifier TEXT, UUID TEXT, entity_type INTEGER, due_date REAL, due_tz TEXT,
        due_all_day INTEGER, completion_date REAL, priority INTEGER, creation_date REAL);
    CREATE TABLE Recurrence (ROWID INTEGER PRIMARY KEY, frequency INTEGER, interval INTEGER, week_start INTEGER,
        count INTEGER, end_date REAL, specifier TEXT, by_month_months INTEGER, owner_id INTEGER);
    CREATE TABLE ExceptionDate (ROWID INTEGER PRIMARY KEY, owner_id INTEGER, date REAL);
    CREATE TABLE Alarm (ROWID INTEGER PRIMARY KEY, trigger_date REAL, trigger_interval INTEGER, proximity INTEGER,
        calendaritem_owner_id INTEGER);
    INSERT INTO Store VALUES (1, 'iCloud'); INSERT INTO Calendar VALUES (1, 1, 'Home; and away', '#1BADF8');";

#[test]
fn a_published_store_is_read_as_it_is() {
    let mut book = book();
    rows::read(&golden("calendar.1.Calendar.sqlitedb"), &mut book).unwrap();
    assert_eq!(book.calendars[0].title.as_deref(), Some("Work"));
    assert_eq!(book.calendars[0].account.as_deref(), Some("iCloud"));
    assert_eq!(book.events.len(), 5);
    let sync = &book.events[0];
    assert_eq!(sync.summary.as_deref(), Some("Team Sync"));
    assert_eq!(sync.start.as_ref().unwrap().at.to_string(), "2023-03-08T20:26:40.5Z");
    assert_eq!(
        sync.start.as_ref().unwrap().zone,
        TimeZoneName::Named("America/Los_Angeles".into())
    );
    assert_eq!(sync.location.as_ref().unwrap().line(), "HQ, 1 Example Way");
    assert_eq!(
        sync.organizer.as_ref().unwrap().email.as_deref(),
        Some("alex@example.invalid")
    );
    let guests: Vec<_> = sync
        .attendees
        .iter()
        .map(|guest| guest.name.as_deref().unwrap())
        .collect();
    assert_eq!(guests, ["Blair Invitee", "Casey Invitee"]);
    assert_eq!(sync.recurrences[0].rule(None), "FREQ=WEEKLY;COUNT=10");
    assert!(matches!(sync.alarms[..], [Alarm::Relative(-900), Alarm::At(_)]));
    assert_eq!(sync.attachments, ["agenda.pdf"]);
    assert_eq!(sync.conference.as_deref(), Some("https://old.example.invalid/x"));
    // The event whose start is text is there, without one, and it is said.
    assert_eq!(book.events[3].summary.as_deref(), Some("Corrupt"));
    assert_eq!(book.events[3].start, None);
    let noted: Vec<_> = book
        .problems
        .kept()
        .iter()
        .map(|note| (note.row, note.column))
        .collect();
    assert_eq!(noted, [(Some(4), Some("start_date")), (Some(5), Some("calendar_id"))]);
}

#[test]
fn a_published_store_becomes_icalendar_that_another_reader_understands() {
    let mut book = book();
    rows::read(&golden("calendar.1.Calendar.sqlitedb"), &mut book).unwrap();
    let calendar = ics(&book);
    assert_eq!(calendar.value("VERSION"), Some("2.0"));
    let zone = calendar.all("VTIMEZONE").next().unwrap();
    assert_eq!(zone.value("TZID"), Some("America/Los_Angeles"));
    let events: Vec<_> = calendar.all("VEVENT").collect();
    assert_eq!(events.len(), 4);
    let start = events[0].property("DTSTART").unwrap();
    assert_eq!(
        (start.parameter("TZID"), start.value.as_str()),
        (Some("America/Los_Angeles"), "20230308T122640")
    );
    assert_eq!(events[0].value("RRULE"), Some("FREQ=WEEKLY;COUNT=10"));
    assert_eq!(events[0].value("LOCATION"), Some("HQ\\, 1 Example Way"));
    let triggers: Vec<_> = events[0]
        .all("VALARM")
        .map(|alarm| alarm.value("TRIGGER").unwrap())
        .collect();
    assert_eq!(triggers, ["-PT15M", "20230308T201140Z"]);
    let organizer = events[0].property("ORGANIZER").unwrap();
    assert_eq!(
        (organizer.parameter("CN"), organizer.value.as_str()),
        (Some("Alex Organizer"), "mailto:alex@example.invalid")
    );
    // A floating whole day, as a date without a zone, its end the day after.
    assert_eq!(events[1].value("DTSTART"), Some("20230310"));
    assert_eq!(events[1].property("DTSTART").unwrap().parameter("VALUE"), Some("DATE"));
    assert_eq!(events[1].value("DTEND"), Some("20230311"));
    // An event without a zone is a point in time.
    assert_eq!(events[3].value("DTSTART"), Some("20230311T040000Z"));
    // What has no start is no event.
    assert_eq!(
        calendar.all("VJOURNAL").next().unwrap().text("SUMMARY").unwrap(),
        "Corrupt"
    );
}

#[test]
fn a_series_keeps_its_exceptions_and_replaced_occurrences() {
    let book = events(&format!(
        "{IOS_14}
        INSERT INTO CalendarItem (ROWID, summary, start_date, start_tz, end_date, end_tz, all_day, calendar_id, orig_item_id,
            orig_date, unique_identifier, entity_type) VALUES
            (1, 'Stand-up', 726000000, 'Europe/Zurich', 726001800, 'Europe/Zurich', 0, 1, 0, NULL, 'series-1', 2),
            (2, 'Stand-up, later', 726608400, 'Europe/Zurich', 726610200, 'Europe/Zurich', 0, 1, 1, 726604800, 'series-1', 2);
        INSERT INTO Recurrence VALUES (1, 2, 2, 1, 0, 757555200, 'D=0WE,0FR', NULL, 1);
        INSERT INTO ExceptionDate VALUES (1, 1, 727209600), (2, 1, 727209600), (3, 1, 'junk');"
    ));
    assert_eq!(book.events[1].replaces.as_ref().unwrap().event, 1);
    assert_eq!(book.problems.count(), 1);
    let calendar = ics(&book);
    let all: Vec<_> = calendar.all("VEVENT").collect();
    assert_eq!(all[0].value("UID"), all[1].value("UID"));
    // UNTIL of an event with a zone is in UTC; EXDATE and RECURRENCE-ID have the form of the start.
    assert_eq!(
        all[0].value("RRULE"),
        Some("FREQ=WEEKLY;INTERVAL=2;UNTIL=20250103T000000Z;BYDAY=WE,FR")
    );
    assert_eq!(all[0].value("DTSTART"), Some("20240103T194000"));
    let exception = all[0].property("EXDATE").unwrap();
    assert_eq!(
        (exception.parameter("TZID"), exception.value.as_str()),
        (Some("Europe/Zurich"), "20240117T194000")
    );
    let replaced = all[1].property("RECURRENCE-ID").unwrap();
    assert_eq!(
        (replaced.parameter("TZID"), replaced.value.as_str()),
        (Some("Europe/Zurich"), "20240110T194000")
    );
    assert_eq!(all[1].value("RRULE"), None);
}

#[test]
fn whole_days_end_the_day_after_whatever_the_store_says() {
    let day = |start: &str, end: &str, zone: &str| {
        let book = events(&format!(
            "{IOS_14} INSERT INTO CalendarItem (summary, start_date, start_tz, end_date, end_tz, all_day, calendar_id)
             VALUES ('x', {start}, '{zone}', {end}, '{zone}', 1, 1)"
        ));
        let event = ics(&book).all("VEVENT").next().unwrap().clone();
        (
            event.value("DTSTART").unwrap().to_owned(),
            event.value("DTEND").unwrap().to_owned(),
        )
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    // 726105600 is 2024-01-05 00:00 UTC.
    assert_eq!(day("726105600", "726191999", "_float"), pair("20240105", "20240106"));
    assert_eq!(day("726105600", "726192000", "_float"), pair("20240105", "20240106"));
    assert_eq!(day("726105600", "726278399", "_float"), pair("20240105", "20240107"));
    assert_eq!(day("726105600", "NULL", "_float"), pair("20240105", "20240106"));
    assert_eq!(day("726105600", "700000000", "_float"), pair("20240105", "20240106"));
    // Midnight in Zurich is 23:00 UTC of the day before.
    assert_eq!(
        day("726102000", "726188399", "Europe/Zurich"),
        pair("20240105", "20240106")
    );
}

#[test]
fn zones_that_do_not_exist_lose_nothing() {
    let book = events(&format!(
        "{IOS_14} INSERT INTO CalendarItem (summary, start_date, start_tz, end_date, end_tz, all_day, calendar_id)
         VALUES ('x', 726105600, 'Customized;Zone: 1', 726109200, 'Customized;Zone: 1', 0, 1),
                ('y', 726105600, 'GMT', 726109200, 'GMT', 0, 1)"
    ));
    let calendar = ics(&book);
    let event = calendar.all("VEVENT").next().unwrap();
    let start = event.property("DTSTART").unwrap();
    assert_eq!(
        (start.value.as_str(), start.parameter("X-TZ-NAME")),
        ("20240105T000000Z", Some("Customized;Zone: 1"))
    );
    assert_eq!(calendar.all("VTIMEZONE").count(), 0);
}

#[test]
fn an_old_store_with_events_of_its_own_is_read() {
    let book = events(
        "CREATE TABLE Calendar (ROWID INTEGER PRIMARY KEY, title TEXT);
         CREATE TABLE Event (ROWID INTEGER PRIMARY KEY, summary TEXT, location TEXT, start_date INTEGER, start_tz TEXT,
             end_date INTEGER, all_day INTEGER, calendar_id INTEGER);
         CREATE TABLE Recurrence (ROWID INTEGER PRIMARY KEY, frequency INTEGER, interval INTEGER, event_id INTEGER);
         CREATE TABLE Alarm (ROWID INTEGER PRIMARY KEY, event_id INTEGER, trigger_interval INTEGER);
         INSERT INTO Calendar VALUES (1, 'Calendar');
         INSERT INTO Event VALUES (1, 'Dentist', 'Main Street', 300000000, 'Europe/Zurich', 300003600, 0, 1);
         INSERT INTO Recurrence VALUES (1, 4, 1, 1); INSERT INTO Alarm VALUES (1, 1, -3600);",
    );
    let event = &book.events[0];
    assert_eq!(event.location.as_ref().unwrap().line(), "Main Street");
    assert_eq!(
        event.end.as_ref().unwrap().zone,
        TimeZoneName::Named("Europe/Zurich".into())
    );
    assert_eq!(
        (event.recurrences[0].frequency, &event.alarms[..]),
        (Frequency::Yearly, &[Alarm::Relative(-3600)][..])
    );
    assert!(book.problems.is_empty(), "{:?}", book.problems);
}

#[test]
fn values_that_cannot_be_are_noted_and_the_rest_is_read() {
    let book = events(&format!(
        "{IOS_14}
        INSERT INTO CalendarItem (ROWID, summary, start_date, start_tz, end_date, all_day, calendar_id, orig_item_id, url)
            VALUES (1, x'ff00', 1e300, 'Europe/Zurich', 1, 0, 1, 1, 'http://a/' || char(13, 10) || 'BEGIN:VEVENT'),
                   (2, 'END:VEVENT' || char(13, 10) || 'BEGIN:VEVENT', 9e11, 'Europe/Zurich', -6e10, 1, 1, NULL, NULL),
                   (3, 'z', 252423993599 - 978307200, 'Asia/Kolkata', 252423993599, 1, 1, NULL, NULL);
        INSERT INTO Recurrence VALUES (1, 9, 1, 1, 0, NULL, NULL, NULL, 1), (2, 1, -4, 1, -1, 1e300, 'D=9;;=', 5, 2),
            (3, 1, 1, 1, 1, NULL, NULL, NULL, 77);
        INSERT INTO Alarm VALUES (1, NULL, 2147483647, 0, 2), (2, 'x', 'y', NULL, 2), (3, NULL, -60, 2, 2);"
    ));
    assert_eq!(book.events.len(), 3);
    assert_eq!(book.events[1].alarms, [Alarm::Place(2)]);
    assert!(book.problems.count() >= 8, "{:?}", book.problems);
    assert!(
        book.problems
            .kept()
            .iter()
            .any(|note| matches!(note.problem, Problem::Dangling { id: 77, .. }))
    );
    // Whatever it is, it is well-formed.
    let calendar = ics(&book);
    assert_eq!(calendar.parts.iter().filter(|part| part.name != "VTIMEZONE").count(), 3);
}

#[test]
fn tasks_of_old_calendars_and_both_stores_of_reminders_become_todos() {
    let old = events(&format!(
        "{IOS_14} INSERT INTO CalendarItem (ROWID, summary, calendar_id, entity_type, due_date, due_tz, completion_date, priority)
         VALUES (1, 'Milk', 1, 3, 726105600, 'Europe/Zurich', 726105700, 1)"
    ));
    let calendar = ics(&old);
    let todo = calendar.all("VTODO").next().unwrap();
    assert_eq!(
        (todo.value("DUE"), todo.value("STATUS")),
        (Some("20240105T010000"), Some("COMPLETED"))
    );
    assert_eq!(todo.value("COMPLETED"), Some("20240105T000140Z"));

    let mut cloud = book();
    reminders::read(&golden("reminders.1.cloud.sqlite"), &mut cloud).unwrap();
    let names: Vec<_> = cloud
        .tasks
        .iter()
        .map(|task| task.summary.as_deref().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "Buy milk",
            "Submit report",
            "Call plumber",
            "Buy oat milk",
            "Corrupt date"
        ]
    );
    assert_eq!(cloud.calendars[0].title.as_deref(), Some("Groceries"));
    assert_eq!(cloud.calendars[0].account.as_deref(), Some("iCloud"));
    assert_eq!(
        cloud.tasks[0].uid.as_deref(),
        Some("10101010-1010-1010-1010-101010101010")
    );
    assert!(cloud.tasks[0].flagged && cloud.tasks[1].completed && cloud.tasks[2].deleted);
    assert_eq!(cloud.tasks[3].parent, Some(10));
    assert_eq!(cloud.tasks[0].recurrences.len(), 1);
    assert_eq!(
        cloud.tasks[1].assignees[0].email.as_deref(),
        Some("sam@example.invalid")
    );
    assert_eq!(cloud.problems.count(), 1);
    let calendar = ics(&cloud);
    assert_eq!(calendar.all("VTODO").count(), 4);
    let milk = calendar.all("VTODO").next().unwrap();
    // A rule needs a start.
    assert_eq!(milk.value("DTSTART"), Some("20230311T040000Z"));

    let mut local = book();
    reminders::read(&golden("reminders.1.local.sqlite"), &mut local).unwrap();
    assert_eq!((local.tasks.len(), local.problems.count()), (1, 0));
}

#[test]
fn another_database_is_no_calendar() {
    let db = Connection::open_in_memory().unwrap();
    assert!(matches!(rows::read(&db, &mut book()), Err(RecordError::Schema { .. })));
    assert!(matches!(
        reminders::read(&db, &mut book()),
        Err(RecordError::Schema { .. })
    ));
}
