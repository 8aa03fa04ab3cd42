//! Calendars through iCalendar and back, in both directions. Spec: mobilesync, sections 8.2 and 8.6.
#![cfg(feature = "vobject")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use cabled_syncproto::entity;
use cabled_syncproto::interchange::icalendar::{self, NOT_SYNCABLE, Read};
use cabled_syncproto::interchange::{InterchangeError, Limits};
use cabled_syncproto::record::{Record, RecordId};
use cabled_syncproto::records::{Event, Graph, Timestamp};
use cabled_wire::plist::{Date, Value};
use proptest::prelude::*;

fn id(text: &str) -> RecordId {
    RecordId::new(text).unwrap()
}

fn read(text: &str) -> Read {
    icalendar::read(text, &id("cal"), &Limits::default()).unwrap()
}

/// One event of these lines, after what every event needs.
fn event(lines: &[&str]) -> String {
    let start = if lines.iter().any(|line| line.starts_with("DTSTART")) {
        ""
    } else {
        "DTSTART:20260701T100000Z\r\n"
    };
    let body = lines.join("\r\n");
    format!(
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:u\r\nDTSTAMP:20260101T000000Z\r\n{start}{body}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
}

fn keeps(lines: &[&str]) -> Event {
    let found = read(&event(lines));
    let text = icalendar::write(Some(&found.calendar.view), &found.events).replace("\r\n ", "");
    for line in lines {
        assert!(text.contains(&format!("{line}\r\n")), "{line} is not in\n{text}");
    }
    assert_eq!(read(&text).events, found.events, "{text}");
    found.events.into_iter().next().unwrap()
}

fn refused(lines: &[&str]) {
    let found = read(&event(lines));
    assert_eq!(found.not_syncable.len(), 1, "{lines:?}");
    assert!(found.events[0].details.residue.text(NOT_SYNCABLE).is_some());
    keeps(lines);
}

#[test]
fn a_length_instead_of_an_end_is_computed_and_comes_back() {
    let length = |event: Event| event.details.end.unwrap().seconds() - event.details.start.unwrap().seconds();
    assert_eq!(length(keeps(&["DURATION:PT1H30M"])), 5400);
    assert_eq!(length(keeps(&["SUMMARY:no end"])), 0);
    assert_eq!(length(keeps(&["DTSTART;VALUE=DATE:20260701"])), 86_400);
    assert_eq!(
        keeps(&["DTSTART;VALUE=DATE:20260701", "DTEND;VALUE=DATE:20260703"])
            .details
            .all_day,
        Some(1)
    );
}

#[test]
fn an_end_in_another_zone_is_converted_and_keeps_its_zone() {
    let event = keeps(&[
        "DTSTART;TZID=Europe/Berlin:20260701T100000",
        "DTEND;TZID=America/New_York:20260701T100000",
    ]);
    let hours = (event.details.end.unwrap().seconds() - event.details.start.unwrap().seconds()) / 3600;
    assert_eq!((hours, event.details.zone.as_deref()), (6, Some("Europe/Berlin")));
}

#[test]
fn times_in_utc_are_in_zone_gmt_and_floating_ones_in_none() {
    assert_eq!(keeps(&["SUMMARY:a"]).details.zone.as_deref(), Some("GMT"));
    assert_eq!(keeps(&["DTSTART:20260701T100000"]).details.zone, None);
}

#[test]
fn zones_of_other_programs_are_known_and_unknown_ones_do_not_repeat() {
    let event = keeps(&["DTSTART;TZID=W. Europe Standard Time:20260701T100000"]);
    assert_eq!(event.details.zone.as_deref(), Some("Europe/Berlin"));
    assert_eq!(
        keeps(&["DTSTART;TZID=Nowhere:20260701T100000"]).details.zone.as_deref(),
        Some("GMT")
    );
    refused(&["DTSTART;TZID=Nowhere:20260701T100000", "RRULE:FREQ=DAILY"]);
    let custom = "BEGIN:VCALENDAR\r\nBEGIN:VTIMEZONE\r\nTZID:Mine\r\nX-LIC-LOCATION:Asia/Tokyo\r\nEND:VTIMEZONE\r\nBEGIN:VEVENT\r\n\
                  UID:u\r\nDTSTART;TZID=Mine:20260701T100000\r\nRRULE:FREQ=DAILY\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    let found = read(custom);
    assert_eq!(found.events[0].details.zone.as_deref(), Some("Asia/Tokyo"));
    let text = icalendar::write(None, &found.events);
    assert!(text.contains("X-LIC-LOCATION:Asia/Tokyo") && text.contains("DTSTART;TZID=Mine:20260701T100000"));
}

#[test]
fn what_no_device_could_follow_is_marked_listed_and_kept_whole() {
    refused(&["RDATE:20260801T100000Z"]);
    refused(&["EXRULE:FREQ=DAILY"]);
    refused(&["RRULE:FREQ=DAILY", "RRULE:FREQ=WEEKLY"]);
    for part in ["BYHOUR=9", "BYMINUTE=5", "BYSECOND=1"] {
        refused(&[&format!("RRULE:FREQ=DAILY;{part}")]);
    }
    refused(&["RRULE:FREQ=HOURLY"]);
    refused(&["RECURRENCE-ID;RANGE=THISANDFUTURE:20260701T100000Z"]);
    refused(&["RECURRENCE-ID:20260701T100000Z"]);
}

#[test]
fn until_is_a_date_for_whole_days_and_a_moment_otherwise() {
    let event = keeps(&["DTSTART;VALUE=DATE:20260701", "RRULE:FREQ=WEEKLY;UNTIL=20260801"]);
    assert_eq!(event.recurrences[0].view.until, Some(Timestamp::new(1_785_542_400)));
    let event = keeps(&["RRULE:FREQ=MONTHLY;INTERVAL=2;UNTIL=20260801T100000Z;BYDAY=-1SU,MO;WKST=SU"]);
    assert_eq!(event.recurrences[0].view.days, ["sunday", "monday"]);
    assert_eq!(event.recurrences[0].view.day_numbers, [-1, 0]);
    let event = keeps(&["RRULE:FREQ=YEARLY;COUNT=5;BYMONTH=2;BYMONTHDAY=-1"]);
    assert_eq!(event.recurrences[0].view.count, Some(5));
}

#[test]
fn exceptions_and_detached_occurrences_are_moments() {
    let event = keeps(&[
        "RRULE:FREQ=DAILY",
        "EXDATE:20260702T100000Z,20260703T100000Z",
        "EXDATE:20260704T100000Z",
    ]);
    assert_eq!(event.details.exceptions.len(), 3);
    let text = event_pair();
    let found = read(&text);
    assert_eq!(found.events[1].details.main_event, [id("u")]);
    assert_eq!(found.events[1].details.original, Some(Timestamp::new(1_782_979_200)));
    let graph = found.clone().into_graph().unwrap();
    assert_eq!(graph.occurrences(&id("u")).count(), 1);
    assert_eq!(read(&icalendar::write(None, &found.events)).events, found.events);
}

fn event_pair() -> String {
    "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:u\r\nDTSTART;TZID=Europe/Berlin:20260701T100000\r\nRRULE:FREQ=DAILY\r\nEND:VEVENT\r\n\
     BEGIN:VEVENT\r\nUID:u\r\nRECURRENCE-ID;TZID=Europe/Berlin:20260702T100000\r\nDTSTART;TZID=Europe/Berlin:20260702T110000\r\n\
     SUMMARY:later\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
        .to_owned()
}

#[test]
fn what_no_device_has_a_place_for_survives() {
    keeps(&[
        "STATUS:CONFIRMED",
        "TRANSP:OPAQUE",
        "CLASS:PRIVATE",
        "PRIORITY:5",
        "CATEGORIES:a,b",
        "GEO:48.2;16.3",
        "SEQUENCE:3",
        "ATTACH:https://example.org/a.pdf",
        "CONFERENCE;VALUE=URI:https://meet.example",
        "CREATED:20250101T000000Z",
        "X-APPLE-STRUCTURED-LOCATION;VALUE=URI;X-TITLE=\"A, B\":geo:1,2",
        "X-APPLE-TRAVEL-DURATION;VALUE=DURATION:PT30M",
        "LAST-MODIFIED:20250101T000000Z",
        "X-ANY;P=\"a;b\":c\\,d",
    ]);
}

#[test]
fn alarms_are_relative_to_the_start_or_absolute_and_others_are_kept() {
    let end = [
        "BEGIN:VALARM",
        "ACTION:DISPLAY",
        "TRIGGER;RELATED=END:-PT15M",
        "DESCRIPTION:x",
        "END:VALARM",
    ];
    let event = keeps(&[&["DURATION:PT1H"][..], &end].concat());
    assert_eq!(event.display_alarms[0].view.trigger, Some(2700));
    let event = keeps(&[
        "BEGIN:VALARM",
        "ACTION:AUDIO",
        "TRIGGER;VALUE=DATE-TIME:20260701T090000Z",
        "X-WR-ALARMUID:1",
        "END:VALARM",
    ]);
    assert_eq!(
        event.audio_alarms[0].view.trigger_date,
        Some(Timestamp::new(1_782_896_400))
    );
    for odd in [
        "ACTION:EMAIL",
        "ACTION:PROCEDURE",
        "ACTION:DISPLAY\r\nREPEAT:2\r\nDURATION:PT5M",
        "ACTION:DISPLAY\r\nX-APPLE-PROXIMITY:ARRIVE",
    ] {
        let event = keeps(&["BEGIN:VALARM", odd, "TRIGGER:-PT5M", "END:VALARM"]);
        assert!(event.display_alarms.is_empty() && event.audio_alarms.is_empty());
    }
}

#[test]
fn people_have_the_devices_words_and_the_rest_comes_back() {
    let event = keeps(&[
        "ORGANIZER;CN=\"Boss, The\";SENT-BY=\"mailto:x@y.z\":mailto:Boss@example.org",
        "ATTENDEE;CN=Ann;RSVP=TRUE;PARTSTAT=NEEDS-ACTION;ROLE=REQ-PARTICIPANT;CUTYPE=INDIVIDUAL:mailto:ann@example.org",
        "ATTENDEE;PARTSTAT=IN-PROCESS;ROLE=NON-PARTICIPANT:MAILTO:bo@example.org",
        "ATTENDEE:urn:uuid:1234",
    ]);
    assert_eq!(event.organizers[0].view.email.as_deref(), Some("Boss@example.org"));
    let view = &event.attendees[1].view;
    assert_eq!(
        (view.status.as_deref(), view.role.as_deref()),
        (Some("inprocess"), Some("nonparticipant"))
    );
    assert_eq!(event.attendees.len(), 2);
}

#[test]
fn tasks_and_journals_stay_with_the_calendar() {
    let text = "BEGIN:VCALENDAR\r\nX-WR-CALNAME:Home\r\nX-APPLE-CALENDAR-COLOR:#FF2968\r\nMETHOD:PUBLISH\r\nBEGIN:VTODO\r\nUID:t\r\n\
                SUMMARY:do\r\nEND:VTODO\r\nBEGIN:VJOURNAL\r\nUID:j\r\nEND:VJOURNAL\r\nEND:VCALENDAR\r\n";
    let found = read(text);
    assert_eq!(found.calendar.view.title.as_deref(), Some("Home"));
    assert_eq!(found.calendar.view.color, [255, 41, 104, 255]);
    let text = icalendar::write(Some(&found.calendar.view), &found.events);
    assert!(
        text.contains("BEGIN:VTODO\r\nUID:t\r\n") && text.contains("BEGIN:VJOURNAL") && text.contains("METHOD:PUBLISH")
    );
    assert_eq!(read(&text), found);
}

#[test]
fn deep_and_long_input_is_refused_in_bounded_time() {
    let deep = "BEGIN:VCALENDAR\r\n".repeat(100_000);
    let refused = |text: &str| icalendar::read(text, &id("c"), &Limits::default());
    assert!(matches!(refused(&deep), Err(InterchangeError::TooLarge { .. })));
    let wide = format!(
        "BEGIN:VCALENDAR\r\n{}END:VCALENDAR\r\n",
        "BEGIN:X\r\nEND:X\r\n".repeat(100_000)
    );
    assert!(refused(&wide).is_ok());
    let long = format!("BEGIN:VCALENDAR\r\nX-A:{}\r\nEND:VCALENDAR\r\n", "a".repeat(20 << 20));
    assert!(matches!(refused(&long), Err(InterchangeError::TooLarge { .. })));
    assert!(icalendar::read(&long, &id("c"), &Limits::default().with_line(32 << 20)).is_ok());
    assert!(matches!(
        refused("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nEND:VCALENDAR\r\n"),
        Err(InterchangeError::Unbalanced { .. })
    ));
}

fn date(seconds: i64) -> Value {
    Value::Date(Date::from(
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.unsigned_abs()),
    ))
}

fn part() -> impl Strategy<Value = Record> {
    let seconds = 0_i64..4_000_000_000;
    prop_oneof![
        (-1_000_000_i64..1_000_000, "[a-z,;\\\\\n ]{0,9}").prop_map(|(n, text)| {
            Record::new(entity::DISPLAY_ALARM)
                .with("triggerduration", n)
                .with("description", text)
        }),
        seconds
            .clone()
            .prop_map(|n| Record::new(entity::AUDIO_ALARM).with("triggerdate", date(n))),
        (
            prop::sample::select(vec!["daily", "weekly", "monthly", "yearly", "hourly"]),
            0_i64..5,
            -2_i64..3,
            any::<bool>(),
            seconds
        )
            .prop_map(|(frequency, number, place, until, seconds)| {
                let record = Record::new(entity::RECURRENCE).with("frequency", frequency);
                let record = record.with("bydaydays", vec!["monday".into(), "friday".into()]);
                let record = record.with("bydayfreq", vec![place.into(), 0.into()]);
                if until {
                    record.with("until", date(seconds))
                } else {
                    record.with("count", number)
                }
            }),
        (
            "[a-z]{1,5}",
            "[a-zé,\";: ]{0,9}",
            prop::sample::select(vec!["chair", "requiredparticipant", "clown"])
        )
            .prop_map(|(email, name, role)| {
                Record::new(entity::ATTENDEE)
                    .with("email", email)
                    .with("common name", name)
                    .with("role", role)
            }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_devices_events_come_back(
        texts in prop::collection::btree_map(
            prop::sample::select(vec!["summary", "location", "description", "url", "com.example.odd"]), "[a-z,;:\\\\\né]{0,12}", 0..5),
        start in 0_i64..4_000_000_000, length in 0_i64..1_000_000,
        zone in prop::option::of(prop::sample::select(vec!["Europe/Berlin", "America/New_York", "GMT", "LOCAL", "CEST", "Asia/Kolkata"])),
        kind in 0..4,
        exceptions in prop::collection::vec(0_i64..4_000_000_000, 0..3),
        parts in prop::collection::vec(part(), 0..4),
    ) {
        let mut record = Record::new(entity::EVENT).with("calendar", vec!["cal".into()]);
        for (key, value) in texts {
            record = record.with(key, value);
        }
        record = record.with("start date", date(start)).with("end date", date(start + length));
        if let Some(zone) = zone {
            record = record.with("start date.timezone", zone);
        }
        record = match kind {
            0 => record.with("all day", 1),
            1 => record.with("floatingOffset", 3600),
            _ => record,
        };
        if !exceptions.is_empty() {
            record = record.with("exception dates", exceptions.into_iter().map(date).collect::<Vec<_>>());
        }
        let mut graph = Graph::default();
        graph.insert(id("u"), record).unwrap();
        for (n, part) in parts.into_iter().enumerate() {
            graph.insert(id(&format!("p{n}")), part.with("owner", vec!["u".into()])).unwrap();
        }
        let event = Event::read(&graph, &id("u")).unwrap();
        let text = icalendar::write(None, [&event]);
        let found = read(&text);
        let shape = |event: &Event| {
            let mut graph = Graph::default();
            event.write(&mut graph).unwrap();
            let mut all: Vec<String> = graph.iter().map(|(_, record)| {
                let mut record = record.clone();
                let defaults = |key: &str, value: &Value| match key {
                    "role" => value.as_string() == Some("requiredparticipant"),
                    "count" => *value == Value::from(0),
                    _ => false,
                };
                record.attributes.retain(|key, value| !key.starts_with("ical:") && !defaults(key, value));
                record.attributes.sort_keys();
                format!("{:?} {:?}", record.entity, record.attributes)
            }).collect();
            all.sort();
            all
        };
        prop_assert_eq!(found.events.len(), 1);
        prop_assert_eq!(shape(&found.events[0]), shape(&event), "{}", text);
        let second = icalendar::write(None, &found.events);
        prop_assert_eq!(icalendar::write(None, &read(&second).events), second);
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>(), lines in prop::collection::vec(
        "(DTSTART|DTEND|DURATION|RRULE|EXDATE|RECURRENCE-ID|ATTENDEE|BEGIN|END|TZID)(;TZID=[A-Z/]{0,5})?:(VEVENT|VALARM|FREQ=DAILY|2026[0-9]{4}(T[0-9]{6}Z?)?|P[0-9]{0,20}[DTHMS]|.{0,5})", 0..20)) {
        let limits = Limits::default();
        let _ = icalendar::read(&text, &id("c"), &limits);
        let text = format!("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n{}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n", lines.join("\r\n"));
        if let Ok(found) = icalendar::read(&text, &id("c"), &limits) {
            let written = icalendar::write(Some(&found.calendar.view), &found.events);
            prop_assert!(icalendar::read(&written, &id("c"), &limits).is_ok());
        }
    }
}
