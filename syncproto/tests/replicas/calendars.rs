//! Folders of events.

use super::*;
use cabled_syncproto::entity;
use cabled_syncproto::replica::vdir::GoneFolder;
use cabled_wire::plist::{Date, Value};

fn seconds(seconds: u64) -> Value {
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    Value::Date(Date::from(time))
}

/// 2026-07-01 14:00 UTC, 16:00 in Berlin.
const TEA: u64 = 1_782_914_400;
const DAY: u64 = 86_400;

fn event(calendar: &str, summary: &str, start: u64) -> Record {
    Record::new(entity::EVENT)
        .with("calendar", vec![calendar.into()])
        .with("summary", summary)
        .with("start date", seconds(start))
        .with("end date", seconds(start + 3600))
        .with("start date.timezone", "Europe/Berlin")
}

fn color(parts: [i64; 4]) -> Value {
    Value::Array(parts.into_iter().map(Value::from).collect())
}

/// A phone with everything that a calendar can have.
pub(super) fn full_phone() -> Phone {
    let mut phone = Phone::default();
    let part = |entity: &str, owner: &str| owned(entity, "owner", owner);
    phone
        .put(
            "c1",
            Record::new(entity::CALENDAR)
                .with("title", "Home")
                .with("colorComponents", color([255, 0, 16, 255])),
        )
        .put(
            "c2",
            Record::new(entity::CALENDAR)
                .with("title", "../Work: 仕事")
                .with("read only", 1)
                .with("colorComponents", color([-1, -1, -1, -1])),
        )
        .put(
            "e1",
            event("c1", "Tea", TEA)
                .with("location", "Kitchen; left")
                .with("description", "a\nb")
                .with("url", "https://example.org"),
        )
        .put(
            "a1",
            part(entity::DISPLAY_ALARM, "e1")
                .with("triggerduration", -900)
                .with("description", "Event reminder"),
        )
        .put("a2", part(entity::AUDIO_ALARM, "e1").with("triggerduration", -300))
        .put(
            "p1",
            part(entity::ATTENDEE, "e1")
                .with("email", "bo@example.org")
                .with("common name", "Bo")
                .with("status", "accepted"),
        )
        .put(
            "p2",
            part(entity::ORGANIZER, "e1")
                .with("email", "ann@example.org")
                .with("common name", "Ann"),
        )
        .put(
            "e2",
            event("c1", "Weekly", TEA).with("exception dates", vec![seconds(TEA + 14 * DAY)]),
        )
        .put(
            "r2",
            part(entity::RECURRENCE, "e2")
                .with("frequency", "weekly")
                .with("interval", 1)
                .with("bydaydays", vec!["wednesday".into()])
                .with("bydayfreq", vec![0.into()])
                .with("count", 10),
        )
        .put(
            "e3",
            event("c1", "Weekly, moved", TEA + 7 * DAY + 7200)
                .with("original date", seconds(TEA + 7 * DAY))
                .with("main event", vec!["e2".into()]),
        )
        .put("a3", part(entity::DISPLAY_ALARM, "e3").with("triggerduration", -60))
        .put(
            "e4",
            Record::new(entity::EVENT)
                .with("calendar", vec!["c2".into()])
                .with("summary", "Holiday")
                .with("all day", 1)
                .with("start date", seconds(1_783_036_800))
                .with("end date", seconds(1_783_036_800 + 3 * DAY)),
        )
        .put("e5", {
            let mut floating = event("c2", "Floating", TEA);
            floating.attributes.remove("start date.timezone");
            floating
        })
        .put(
            "e6",
            event("c2", "Tokyo", TEA).with("start date.timezone", "Asia/Tokyo"),
        )
        .put("e7", {
            let mut without = event("c1", "In no calendar", TEA);
            without.attributes.remove("calendar");
            without
        });
    phone
}

#[test]
fn what_a_device_has_is_written_and_reads_back_as_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let place = || Vdir::calendars(folder.path());
    let mut both = Both::new(DataClass::Calendars);
    both.phone = full_phone();
    let before = both.phone.records.clone();
    both.sync(&mut place()).is_clean();
    let written = files(folder.path());
    assert_eq!(written["home/displayname"], "Home");
    assert_eq!(written["home/color"], "#FF0010");
    assert_eq!(written["work/displayname"], "../Work: 仕事");
    assert!(!written.contains_key("work/color"));
    let (_, series) = one_with(folder.path(), "SUMMARY:Weekly\r\n");
    assert!(
        series.contains("SUMMARY:Weekly\\, moved")
            && series.contains("RECURRENCE-ID;TZID=Europe/Berlin:20260708T160000"),
        "{series}"
    );
    let done = both.sync(&mut place());
    done.is_idle();
    assert_eq!(both.phone.records, before);
    assert_eq!(files(folder.path()), written, "nothing was written again");

    let mut again = Both::new(DataClass::Calendars);
    again.sync(&mut place()).is_clean();
    again.sync(&mut place()).is_idle();
    assert_eq!(again.phone.records.len(), before.len());
    let (_, work) = again.phone.find("title", "../Work: 仕事");
    assert_eq!(work.attributes.get("colorComponents"), Some(&color([-1, -1, -1, -1])));
    assert_eq!(work.attributes.get("read only"), Some(&1.into()));
    for summary in [
        "Tea",
        "Weekly",
        "Weekly, moved",
        "Holiday",
        "Floating",
        "Tokyo",
        "In no calendar",
    ] {
        let (_, old) = before
            .iter()
            .find(|(_, record)| record.attributes.get("summary").and_then(Value::as_string) == Some(summary))
            .unwrap();
        let (_, new) = again.phone.find("summary", summary);
        for (key, value) in &old.attributes {
            if !["calendar", "main event"].contains(&key.as_str()) {
                assert_eq!(new.attributes.get(key), Some(value), "{summary}: {key}");
            }
        }
        assert_eq!(
            new.attributes.contains_key("calendar"),
            old.attributes.contains_key("calendar"),
            "{summary}"
        );
    }
}

#[test]
fn one_folder_takes_the_first_calendar_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = Both::new(DataClass::Calendars);
    both.phone
        .put("c1", Record::new(entity::CALENDAR).with("title", "Home"))
        .put("e1", event("c1", "Tea", TEA));
    both.sync(&mut Vdir::calendar(folder.path())).is_clean();
    both.sync(&mut Vdir::calendar(folder.path())).is_idle();
    assert!(files(folder.path()).values().any(|text| text.contains("SUMMARY:Tea")));
    both.phone
        .put("c2", Record::new(entity::CALENDAR).with("title", "Work"));
    let done = both.sync(&mut Vdir::calendar(folder.path()));
    assert_eq!(done.failed.len(), 1, "{:?}", done.failed);
}

const FOREIGN: &str = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//Other//EN\nMETHOD:PUBLISH\nBEGIN:VEVENT\nUID:Foreign-1\nDTSTAMP:20200101T000000Z\n\
    SEQUENCE:3\nLAST-MODIFIED:20200101T000000Z\nDTSTART;TZID=Europe/Berlin:20260701T160000\nDURATION:PT1H\nSUMMARY;LANGUAGE=en:Meeting\n\
    TRANSP:OPAQUE\nX-MOOD:fine\nORGANIZER;CN=Ann:mailto:ann@example.org\nATTENDEE;CN=Bo;RSVP=TRUE:mailto:bo@example.org\n\
    BEGIN:VALARM\nACTION:EMAIL\nTRIGGER:-PT10M\nSUMMARY:x\nDESCRIPTION:x\nATTENDEE:mailto:a@example.org\nEND:VALARM\nEND:VEVENT\nEND:VCALENDAR\n";

#[test]
fn an_edit_on_the_device_changes_one_line_and_the_marks_of_a_change() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("home")).unwrap();
    let file = folder.path().join("home/meeting.ics");
    fs::write(&file, FOREIGN).unwrap();
    let place = || Vdir::calendars(folder.path());
    let mut both = Both::new(DataClass::Calendars);
    both.sync(&mut place()).is_clean();
    both.sync(&mut place()).is_idle();
    assert_eq!(fs::read_to_string(&file).unwrap(), FOREIGN);
    let (meeting, _) = both.phone.find("summary", "Meeting");
    both.phone.edit(meeting.as_str(), "location", "Room 1");
    both.sync(&mut place()).is_clean();
    both.sync(&mut place()).is_idle();
    let after = fs::read_to_string(&file).unwrap().replace("\r\n ", "");
    for line in FOREIGN.lines() {
        let marks = ["PRODID", "SEQUENCE", "LAST-MOD"]
            .iter()
            .any(|mark| line.starts_with(mark));
        assert!(
            marks || after.lines().any(|other| other == line),
            "{line} is lost: {after}"
        );
    }
    assert!(
        after.contains("LOCATION:Room 1\r\n") && after.contains("SEQUENCE:4\r\n"),
        "{after}"
    );
    assert!(!after.contains("LAST-MODIFIED:2020"), "{after}");
    assert!(after.contains("BEGIN:VTIMEZONE"));
}

#[test]
fn occurrences_alarms_and_moves_follow_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let place = || Vdir::calendars(folder.path());
    let mut both = Both::new(DataClass::Calendars);
    both.phone = full_phone();
    both.sync(&mut place()).is_clean();

    // On the phone: another occurrence is detached, an alarm goes, an event and a series move to the other calendar.
    let another = event("c1", "Weekly, late", TEA + 21 * DAY + 60)
        .with("original date", seconds(TEA + 21 * DAY))
        .with("main event", vec!["e2".into()]);
    both.phone.put("e8", another);
    both.phone.delete(&id("a2"));
    for moved in ["e1", "e2", "e3", "e8"] {
        let record = both.phone.records.get_mut(&id(moved)).unwrap();
        record
            .attributes
            .insert("calendar".to_owned(), vec!["c2".into()].into());
    }
    both.sync(&mut place()).is_clean();
    let done = both.sync(&mut place());
    done.is_idle();
    let (name, series) = one_with(folder.path(), "SUMMARY:Weekly\r\n");
    assert!(
        name.starts_with("work/") && series.matches("BEGIN:VEVENT").count() == 3,
        "{name}: {series}"
    );
    let (name, tea) = one_with(folder.path(), "SUMMARY:Tea\r\n");
    assert!(
        name.starts_with("work/") && tea.matches("BEGIN:VALARM").count() == 1,
        "{name}: {tea}"
    );
    assert_eq!(
        files(folder.path())
            .values()
            .filter(|text| text.contains("SUMMARY:Tea"))
            .count(),
        1
    );

    // On the computer: the file is moved back, an occurrence is taken out.
    fs::rename(folder.path().join(&name), folder.path().join("home/tea.ics")).unwrap();
    let (name, series) = one_with(folder.path(), "SUMMARY:Weekly\r\n");
    let late = series.split("BEGIN:VEVENT").find(|part| part.contains("late")).unwrap();
    let late = format!("BEGIN:VEVENT{}", late.split("END:VCALENDAR").next().unwrap());
    fs::write(folder.path().join(&name), series.replace(&late, "")).unwrap();
    both.sync(&mut place()).is_clean();
    both.sync(&mut place()).is_idle();
    let (_, tea) = both.phone.find("summary", "Tea");
    assert_eq!(tea.related("calendar").unwrap(), [id("c1")]);
    assert!(!both.phone.has("summary", "Weekly, late") && both.phone.has("summary", "Weekly, moved"));

    // The series goes, and with it what was detached.
    both.phone.delete(&id("e2"));
    both.sync(&mut place()).is_clean();
    both.sync(&mut place()).is_idle();
    assert!(
        !files(folder.path())
            .values()
            .any(|text| text.contains("SUMMARY:Weekly"))
    );
}

#[test]
fn what_no_device_could_follow_stays_here_and_is_neither_sent_nor_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("e.ics");
    let plain = FOREIGN.replace("SUMMARY;LANGUAGE=en:Meeting", "SUMMARY:Meeting");
    fs::write(&file, &plain).unwrap();
    let odd = "BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\nUID:odd\nDTSTART:20260701T160000Z\nRDATE:20260702T160000Z\nSUMMARY:Odd\nEND:VEVENT\nEND:VCALENDAR\n";
    fs::write(folder.path().join("odd.ics"), odd).unwrap();
    let place = || Vdir::calendar(folder.path());
    let mut both = Both::new(DataClass::Calendars);
    let done = both.sync(&mut place());
    done.is_clean();
    assert_eq!(done.notes.len(), 1, "{:?}", done.notes);
    both.sync(&mut place()).is_idle();
    assert!(both.phone.has("summary", "Meeting") && !both.phone.has("summary", "Odd"));

    // An event that the device has becomes one that it could not follow: it stays there as it was.
    let odder = plain.replace("X-MOOD:fine\n", "X-MOOD:fine\nRDATE:20260702T160000Z\n");
    fs::write(&file, &odder).unwrap();
    let before = both.phone.records.clone();
    both.sync(&mut place()).is_idle();
    both.sync(&mut place()).is_idle();
    assert_eq!(both.phone.records, before);
    // The device deletes it: the file stays, and that is said.
    let (meeting, record) = both.phone.find("summary", "Meeting");
    let calendar = record.related("calendar").unwrap().remove(0);
    both.phone.put("other", event(calendar.as_str(), "Other", TEA));
    both.sync(&mut place()).is_clean();
    both.phone.delete(&meeting);
    let done = both.sync(&mut place());
    assert_eq!(done.failed.len(), 1, "{:?}", done.failed);
    assert_eq!(fs::read_to_string(&file).unwrap(), odder);
    assert_eq!(files(folder.path())["odd.ics"], odd);
}

#[test]
fn a_calendars_folder_that_is_gone_is_no_deletion_unless_that_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let mut both = Both::new(DataClass::Calendars);
    for calendar in ["c1", "c2", "c3"] {
        both.phone
            .put(calendar, Record::new(entity::CALENDAR).with("title", calendar));
    }
    for number in 0..20 {
        both.phone.put(
            &format!("e{number}"),
            event(if number < 2 { "c1" } else { "c2" }, &format!("E{number}"), TEA),
        );
    }
    both.sync(&mut Vdir::calendars(folder.path())).is_clean();
    fs::remove_dir_all(folder.path().join("c1")).unwrap();
    let gone = both.try_sync(&mut Vdir::calendars(folder.path()), |_| ());
    assert!(matches!(gone, Err(ReplicaError::Unavailable { .. })));
    both.sync(&mut Vdir::calendars(folder.path()).gone_folder(GoneFolder::Deleted))
        .is_clean();
    assert_eq!(
        both.phone
            .records
            .keys()
            .filter(|id| id.as_str().starts_with('c'))
            .count(),
        2,
        "{:?}",
        both.phone.records.keys()
    );
    assert_eq!(both.phone.records.len(), 20, "{:?}", both.phone.records.keys());

    // The device deletes one: its folder goes with it, but not what somebody else put there.
    fs::write(folder.path().join("c3/tasks.txt"), "mine").unwrap();
    both.phone.delete(&id("c3"));
    let done = both.sync(&mut Vdir::calendars(folder.path()));
    assert_eq!(done.failed.len(), 1, "{:?}", done.failed);
    assert_eq!(files(folder.path())["c3/tasks.txt"], "mine");
}

#[test]
fn names_and_colours_that_other_programs_change_go_to_the_device() {
    let folder = tempfile::tempdir().unwrap();
    let place = || Vdir::calendars(folder.path());
    let mut both = Both::new(DataClass::Calendars);
    both.phone = full_phone();
    both.sync(&mut place()).is_clean();
    fs::write(folder.path().join("work/displayname"), "Office\n").unwrap();
    fs::write(folder.path().join("work/color"), "#00ff00").unwrap();
    both.sync(&mut place()).is_clean();
    both.sync(&mut place()).is_idle();
    let (_, work) = both.phone.find("title", "Office");
    assert_eq!(work.attributes.get("colorComponents"), Some(&color([0, 255, 0, 255])));
    assert_eq!(work.attributes.get("read only"), Some(&1.into()));
    both.phone.edit("c1", "title", "Flat");
    both.sync(&mut place()).is_clean();
    both.sync(&mut place()).is_idle();
    assert_eq!(files(folder.path())["home/displayname"], "Flat");
}

#[test]
fn what_is_detached_from_a_series_that_stays_here_stays_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let odd = "BEGIN:VCALENDAR\nVERSION:2.0\nBEGIN:VEVENT\nUID:odd\nDTSTART:20260701T160000Z\nRRULE:FREQ=DAILY\n\
        RDATE:20260702T170000Z\nSUMMARY:Odd\nEND:VEVENT\nBEGIN:VEVENT\nUID:odd\nRECURRENCE-ID:20260703T160000Z\n\
        DTSTART:20260703T170000Z\nSUMMARY:Odder\nBEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT5M\nDESCRIPTION:x\nEND:VALARM\n\
        END:VEVENT\nEND:VCALENDAR\n";
    fs::write(folder.path().join("odd.ics"), odd).unwrap();
    let mut both = Both::new(DataClass::Calendars);
    both.sync(&mut Vdir::calendar(folder.path())).is_clean();
    let done = both.sync(&mut Vdir::calendar(folder.path()));
    done.is_idle();
    assert_eq!((both.phone.records.len(), done.notes.len()), (1, 2), "{:?}", done.notes);
}

#[test]
fn what_was_written_and_then_deleted_on_the_device_stays_deleted() {
    let whole = full_phone();
    let is_event = |record: &Record| record.entity.as_deref() == Some(entity::EVENT);
    let has_no_series = |record: &Record| record.related("main event").unwrap().is_empty();
    let events: Vec<RecordId> = whole
        .records
        .iter()
        .filter(|(_, record)| is_event(record) && has_no_series(record))
        .map(|(id, _)| id.clone())
        .collect();
    for event in events {
        let folder = tempfile::tempdir().unwrap();
        let place = || Vdir::calendars(folder.path());
        let mut both = Both::new(DataClass::Calendars);
        both.phone = full_phone();
        both.sync(&mut place()).is_clean();
        both.phone.delete(&event);
        let done = both.sync(&mut place());
        assert_eq!(done.plan.conflicts().count(), 0, "{event}: {}", done.plan);
        both.sync(&mut place()).is_idle();
    }
}
