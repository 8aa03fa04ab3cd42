//! Records for sync: the same people as in the databases, in the shapes of the sync protocol.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cabled_syncproto::record::{Record, RecordId};
use cabled_syncproto::{DataClass, entity};
use cabled_wire::plist::{Date, Value};

use super::people::person;
use super::recipe::Recipe;
use super::seed::Seed;
use crate::sync::SyncState;

/// A UUID in upper case from a number and a name, for records whose identifier a computer would have made.
pub(crate) fn made_up_uuid(number: u64, name: &str) -> String {
    Seed::new(number).child(name).guid()
}

/// Puts contacts, groups, calendars, events and bookmarks on the phone, as many as the recipe says.
///
/// The same recipe gives the same records. They are there as if entered by hand: no computer knows them yet.
pub fn fill_sync(sync: &SyncState, recipe: &Recipe) {
    let seed = Seed::new(recipe.seed);
    let people = contacts(sync, seed, recipe.contacts);
    if !people.is_empty() {
        let members = people.iter().step_by(3).map(|id| id.as_str().into()).collect();
        let friends = Record::new(entity::GROUP)
            .with("name", "Friends")
            .with("members", Value::Array(members));
        sync.add(&DataClass::Contacts, friends);
    }
    calendars(sync, seed, recipe);
    bookmarks(sync, seed, recipe.visits.min(40));
}

fn contacts(sync: &SyncState, seed: Seed, count: u64) -> Vec<RecordId> {
    let add = |record: Record| sync.add(&DataClass::Contacts, record);
    let mut people = Vec::new();
    for n in 0..count {
        let (person, mut draws) = (person(seed, n), seed.child("sync contact").nth(n).draws());
        let mut contact = Record::new(entity::CONTACT)
            .with("first name", person.first)
            .with("last name", person.last)
            .with("display as company", "person")
            .with("birthday", noon(&person.birthday));
        if draws.one_in(5) {
            contact = contact
                .with("company name", "Example Works")
                .with("job title", "Engineer");
        }
        if draws.one_in(7) {
            contact = contact.with("notes", "Met at the conference.\nBrings cake.");
        }
        let Some(id) = add(contact) else { continue };
        let of = |entity: &str, kind: &str, value: &str| {
            let owner = Value::Array(vec![id.as_str().into()]);
            Record::new(entity)
                .with("contact", owner)
                .with("type", kind)
                .with("value", value)
        };
        add(of(entity::PHONE_NUMBER, "mobile", &person.phone));
        add(of(entity::EMAIL_ADDRESS, "home", &person.email));
        if draws.one_in(4) {
            let address = Record::new(entity::STREET_ADDRESS)
                .with("contact", Value::Array(vec![id.as_str().into()]))
                .with("type", "home")
                .with("street", format!("{} Sample Street", draws.below(200) + 1))
                .with("city", "Springfield")
                .with("postal code", format!("{:05}", draws.below(100_000)))
                .with("country", "Germany")
                .with("country code", "de");
            add(address);
        }
        if draws.one_in(6) {
            let label = of(entity::PHONE_NUMBER, "other", "+15550199").with("label", "boat");
            add(label);
        }
        people.push(id);
    }
    people
}

fn calendars(sync: &SyncState, seed: Seed, recipe: &Recipe) {
    let add = |record: Record| sync.add(&DataClass::Calendars, record);
    let color = |numbers: [i64; 4]| Value::Array(numbers.into_iter().map(Value::from).collect());
    let calendar = |title: &str, rgba| {
        Record::new(entity::CALENDAR)
            .with("title", title)
            .with("read only", 0)
            .with("colorComponents", color(rgba))
    };
    let home = add(calendar("Home", [27, 173, 248, 255]));
    let work = add(calendar("Work", [255, 45, 85, 255]));
    let calendars = [home, work];
    for n in 0..recipe.events {
        let mut draws = seed.child("sync event").nth(n).draws();
        let start = recipe.now + draws.below_i64(90 * 86_400) - 45 * 86_400;
        let start = start - start % 900;
        let mut event = Record::new(entity::EVENT)
            .with("summary", format!("Appointment {n}"))
            .with(
                "location",
                draws.pick(&["Office", "Café", "At home"]).unwrap_or_default(),
            )
            .with("start date", date(start))
            .with("end date", date(start + 3600))
            .with("start date.timezone", "Europe/Berlin");
        if draws.one_in(6) {
            let day = start - start.rem_euclid(86_400);
            event = event
                .with("all day", 1)
                .with("start date", date(day))
                .with("end date", date(day + 86_400));
        }
        // Events of the default calendar name none; the calendar itself is never told.
        if !draws.one_in(8)
            && let Some(Some(calendar)) = calendars.get(usize::from(draws.one_in(2)))
        {
            event = event.with("calendar", Value::Array(vec![calendar.as_str().into()]));
        }
        let Some(id) = add(event) else { continue };
        let owner = || Value::Array(vec![id.as_str().into()]);
        if draws.one_in(3) {
            let alarm = Record::new(entity::DISPLAY_ALARM)
                .with("owner", owner())
                .with("triggerduration", -1800);
            add(alarm.with("description", "Event reminder"));
        }
        if draws.one_in(5) {
            let weekly = Record::new(entity::RECURRENCE)
                .with("owner", owner())
                .with("frequency", "weekly");
            add(weekly.with("interval", 1).with("count", 10));
        }
        if draws.one_in(4) {
            let other = person(seed, draws.below(recipe.contacts.max(1)));
            let attendee = Record::new(entity::ATTENDEE)
                .with("owner", owner())
                .with("email", other.email);
            add(attendee
                .with("common name", format!("{} {}", other.first, other.last))
                .with("status", "needsaction"));
        }
    }
}

fn bookmarks(sync: &SyncState, seed: Seed, count: u64) {
    let add = |record: Record| sync.add(&DataClass::Bookmarks, record);
    let folder = |name: &str| Record::new(entity::FOLDER).with("name", name).with("position", -2);
    let folders = [add(folder("BookmarksBar")), add(folder("BookmarksMenu"))];
    for n in 0..count {
        let mut draws = seed.child("sync bookmark").nth(n).draws();
        let mut bookmark = Record::new(entity::BOOKMARK)
            .with("name", format!("Page {n}"))
            .with("url", format!("https://example.com/{n}"))
            .with("position", n);
        if let Some(Some(parent)) = folders.get(usize::try_from(draws.below(3)).unwrap_or_default()) {
            bookmark = bookmark.with("parent", Value::Array(vec![parent.as_str().into()]));
        }
        add(bookmark);
    }
}

/// A point in time, in seconds since 1970.
fn date(seconds: i64) -> Date {
    let distance = Duration::from_secs(seconds.unsigned_abs());
    let time: Option<SystemTime> = if seconds < 0 {
        UNIX_EPOCH.checked_sub(distance)
    } else {
        UNIX_EPOCH.checked_add(distance)
    };
    Date::from(time.unwrap_or(UNIX_EPOCH))
}

/// Noon in UTC of a day written `YYYY-MM-DD`: dates without a time travel like that.
fn noon(day: &str) -> Date {
    let mut parts = day.split('-').map(|part| part.parse::<i64>().unwrap_or(1));
    let [year, month, day] = [parts.next(), parts.next(), parts.next()].map(|part| part.unwrap_or(1));
    // Days from 1970 in the proleptic Gregorian calendar, years counted from March.
    let (years, months) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let era_days = years * 365 + years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
    let days = era_days + (153 * months + 2) / 5 + day - 1 - 719_468;
    date(days * 86_400 + 12 * 3600)
}
