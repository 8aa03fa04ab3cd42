//! Other people's vCard and iCalendar libraries on the files we write, and ours on those they write.

use std::fs;
use std::path::Path;
use std::time::Duration;

use cabled_syncproto::interchange::vcard::{self, Version, WriteOptions};
use cabled_syncproto::interchange::{Limits, icalendar};
use cabled_syncproto::record::RecordId;
use cabled_syncproto::records::{
    AllDay, Attendee, CivilDate, Contact, DisplayAlarm, Email, Entry, Event, Phone, Recurrence, StreetAddress,
    Timestamp,
};
use cabled_tests::{Outcome, program, text};
use libtest_mimic::Trial;

mod folders;

const PYTHON: &str = "python3";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        trial("sync: vobject reads our vCard 3.0", "vobject", || card(Version::V3)),
        trial("sync: vobject reads our vCard 4.0", "vobject", || card(Version::V4)),
        trial("sync: we read vobject's vCard and lose nothing", "vobject", their_card),
        trial("sync: vobject reads our iCalendar", "vobject", || {
            calendar("read-vevent")
        }),
        trial("sync: icalendar reads our iCalendar", "icalendar", || {
            calendar("read-calendar")
        }),
        trial(
            "sync: we read icalendar's iCalendar and lose nothing",
            "icalendar",
            their_calendar,
        ),
    ];
    trials.extend(folders::trials());
    trials
}

/// A test that needs a module of Python. Where it is missing it fails in CI, and is ignored with the reason elsewhere.
fn trial(name: &str, module: &'static str, body: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    let import = format!("import {module}");
    let limit = Duration::from_secs(60);
    let there = program::find(PYTHON).is_some()
        && program::run(PYTHON, &["-c", &import], &[], &std::env::temp_dir(), limit)
            .is_ok_and(|ran| ran.status.is_some_and(|status| status.success()));
    if there {
        return Trial::test(name, move || body().map_err(Into::into));
    }
    let reason = format!("{module} is not installed; docs/TESTING.md says how");
    if program::missing_is_failure() {
        Trial::test(name, move || Err(reason.into()))
    } else {
        Trial::test(name, || Ok(())).with_kind(reason).with_ignored_flag(true)
    }
}

fn python(mode: &str, file: &Path) -> Result<program::Ran, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/sync/files.py");
    let work = file.parent().ok_or("a file without a folder")?;
    let args = [script.as_os_str(), mode.as_ref(), file.as_os_str()];
    program::run(
        PYTHON,
        &args,
        &[("PYTHONIOENCODING", "utf-8".as_ref())],
        work,
        Duration::from_secs(60),
    )?
    .ok()
}

/// What the other library says about our file is exactly this.
fn says(mode: &str, content: &str, wanted: &[&str]) -> Outcome {
    let folder = tempfile::tempdir().map_err(text)?;
    let file = folder.path().join("file");
    fs::write(&file, content).map_err(text)?;
    let ran = python(mode, &file)?;
    for line in wanted {
        ran.stdout
            .lines()
            .any(|said| said == *line)
            .then_some(())
            .ok_or_else(|| format!("`{line}` is not among\n{}\nof\n{content}", ran.stdout))?;
    }
    if ran.stdout.lines().count() != wanted.len() {
        return Err(format!("it says {}, of\n{content}", ran.stdout));
    }
    Ok(())
}

fn theirs(mode: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().map_err(text)?;
    let file = folder.path().join("file");
    python(mode, &file)?;
    fs::read_to_string(&file).map_err(text)
}

fn entry<T>(id: &str, view: T) -> Result<Entry<T>, String> {
    let id = RecordId::new(id).map_err(text)?;
    Ok(Entry { id, view })
}

fn card(version: Version) -> Outcome {
    let mut contact = Contact::new(RecordId::new("0B7C2E1A-5a00-4d2e-8f00-000000000001").map_err(text)?);
    let person = &mut contact.person;
    person.first_name = Some("Jörg".into());
    person.last_name = Some("Müller; jun.".into());
    person.title = Some("Dr.".into());
    person.company = Some("Acme, Inc.".into());
    person.department = Some("R;D".into());
    person.notes = Some(format!("first\nsecond, third; \\ end {}", "ä".repeat(100)));
    person.birthday = CivilDate::new(1985, 4, 12).map(Timestamp::noon);
    person.image = Some([&[0xff, 0xd8, 0xff, 0xe0][..], &[7; 500]].concat());
    let phone = Phone {
        kind: Some("home fax".into()),
        value: Some("+1 (555) 1".into()),
        ..Phone::default()
    };
    let labelled = Phone {
        kind: Some("other".into()),
        label: Some("iPhone".into()),
        value: Some("2".into()),
        ..Phone::default()
    };
    contact.phones = vec![entry("p1", phone)?, entry("p2", labelled)?];
    let email = Email {
        kind: Some("work".into()),
        value: Some("j@example.org".into()),
        ..Email::default()
    };
    contact.emails = vec![entry("e", email)?];
    let address = StreetAddress {
        kind: Some("home".into()),
        street: Some("Main St 1\nFloor 2".into()),
        city: Some("Town".into()),
        postal_code: Some("12345".into()),
        country: Some("Germany".into()),
        country_code: Some("de".into()),
        ..StreetAddress::default()
    };
    contact.addresses = vec![entry("a", address)?];
    let written = vcard::write(&contact, &WriteOptions::default().version(version));
    let (number, birthday) = match version {
        Version::V3 => ("version=3.0", "bday=1985-04-12"),
        Version::V4 => ("version=4.0", "bday=19850412"),
    };
    let note = format!("note=first|second, third; \\ end {}", "ä".repeat(100));
    let wanted = [
        number,
        birthday,
        &note,
        "fn=Dr. Jörg Müller; jun.",
        "family=Müller; jun.",
        "given=Jörg",
        "additional=",
        "prefix=Dr.",
        "suffix=",
        "tel=fax,home +1 (555) 1",
        "tel= 2",
        "email=j@example.org",
        "adr=Main St 1|Floor 2 Town 12345 Germany",
        "org=Acme, Inc./R;D",
        "photo=504",
    ];
    says("read-card", &written, &wanted)
}

/// The lines of a file once they are unfolded, sorted, without those that say who wrote it and what a zone's rules are.
fn lines(text: &str) -> Vec<String> {
    let text = text.replace("\r\n ", "");
    let (before, after) = text.split_once("BEGIN:VTIMEZONE").unwrap_or((&text, ""));
    let text = format!(
        "{before}{}",
        after.split_once("END:VTIMEZONE\r\n").map_or("", |(_, after)| after)
    );
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with("PRODID"))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, wanted: &T) -> Outcome {
    (found == wanted)
        .then_some(())
        .ok_or_else(|| format!("{what}: {found:?} instead of {wanted:?}"))
}

fn their_card() -> Outcome {
    let written = theirs("write-card")?;
    let contact = vcard::read(&written, &Limits::default())
        .map_err(text)?
        .contacts
        .pop()
        .ok_or("no contact")?;
    let person = &contact.person;
    same("last name", &person.last_name.as_deref(), &Some("Müller, sen."))?;
    same("first name", &person.first_name.as_deref(), &Some("Jörg"))?;
    let note = format!("first\nsecond; with, marks \\ and a long tail {}", "ä".repeat(100));
    same("note", &person.notes, &Some(note))?;
    same("department", &person.department.as_deref(), &Some("Research"))?;
    let phone = contact.phones.first().ok_or("no phone")?;
    same(
        "phone",
        &(phone.view.kind.as_deref(), phone.view.value.as_deref()),
        &(Some("mobile"), Some("+49 151 1")),
    )?;
    let address = contact.addresses.first().ok_or("no address")?;
    same("street", &address.view.street.as_deref(), &Some("Main St 1"))?;
    same("kind", &address.view.kind.as_deref(), &Some("home"))?;
    same(
        "lines",
        &lines(&vcard::write(&contact, &WriteOptions::default())),
        &lines(&written),
    )
}

fn calendar(mode: &str) -> Outcome {
    let mut tea = Event::new(RecordId::new("tea").map_err(text)?);
    tea.details.summary = Some(format!("Tea; with, \\ and\n{}", "é".repeat(80)));
    // 2026-07-06 10:00 in Berlin.
    tea.details.start = Some(Timestamp::new(1_783_324_800));
    tea.details.end = Some(Timestamp::new(1_783_328_400));
    tea.details.zone = Some("Europe/Berlin".into());
    tea.details.exceptions = vec![Timestamp::new(1_783_324_800 + 7 * 86_400)];
    let rule = Recurrence {
        frequency: Some("weekly".into()),
        interval: Some(2),
        days: vec!["monday".into(), "friday".into()],
        day_numbers: vec![0, 0],
        ..Recurrence::default()
    };
    tea.recurrences = vec![entry("r", rule)?];
    tea.display_alarms = vec![entry(
        "d",
        DisplayAlarm {
            trigger: Some(-1800),
            description: Some("x".into()),
            ..DisplayAlarm::default()
        },
    )?];
    let ann = Attendee {
        email: Some("ann@example.org".into()),
        name: Some("Example, Ann".into()),
        status: Some("needsaction".into()),
        ..Attendee::default()
    };
    tea.attendees = vec![entry("a", ann)?];
    let mut whole = Event::new(RecordId::new("whole").map_err(text)?);
    whole.details.summary = Some("Holidays".into());
    let day = |day| CivilDate::new(2026, 12, day).ok_or("no such day");
    whole.details.set_days(AllDay {
        start: day(24)?,
        end: day(26)?,
    });
    let summary = format!("summary=Tea; with, \\ and|{}", "é".repeat(80));
    let (start, end) = ("start=2026-07-06T08:00:00+00:00", "end=2026-07-06T09:00:00+00:00");
    let rule = "rrule=FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,FR";
    let mut wanted = vec![
        &*summary,
        start,
        end,
        rule,
        "alarm=-1800",
        "summary=Holidays",
        "start=2026-12-24",
        "end=2026-12-26",
    ];
    if mode == "read-calendar" {
        wanted.extend([
            "attendee=mailto:ann@example.org Example, Ann NEEDS-ACTION",
            "exdate=2026-07-13T08:00:00+00:00",
        ]);
    }
    says(mode, &icalendar::write(None, [&tea, &whole]), &wanted)
}

fn their_calendar() -> Outcome {
    let written = theirs("write-calendar")?;
    let id = RecordId::new("calendar").map_err(text)?;
    let read = icalendar::read(&written, &id, &Limits::default()).map_err(text)?;
    let [tea, whole] = &*read.events else {
        return Err(format!("{} events", read.events.len()));
    };
    same("start", &tea.details.start, &Some(Timestamp::new(1_782_892_800)))?;
    same("end", &tea.details.end, &Some(Timestamp::new(1_782_898_200)))?;
    same("zone", &tea.details.zone.as_deref(), &Some("Europe/Berlin"))?;
    let summary = format!("Tea; with, marks\nand lines {}", "é".repeat(80));
    same("summary", &tea.details.summary, &Some(summary))?;
    same(
        "exceptions",
        &tea.details.exceptions,
        &vec![Timestamp::new(1_783_324_800)],
    )?;
    let rule = tea.recurrences.first().ok_or("no rule")?;
    same(
        "rule",
        &(rule.view.interval, rule.view.days.join(",")),
        &(Some(2), "monday,wednesday".to_owned()),
    )?;
    let alarm = tea.display_alarms.first().ok_or("no alarm")?;
    same("alarm", &alarm.view.trigger, &Some(-1800))?;
    let days = whole.details.days(|_| 0).ok_or("no days")?;
    same("days", &(days.start.day, days.end.day), &(24, 26))?;
    same("lines", &lines(&icalendar::write(None, &read.events)), &lines(&written))
}
