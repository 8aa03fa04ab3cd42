//! `Calendar.sqlitedb`: iOS 6 and later with the table `CalendarItem`, older ones with `Event`.

use std::collections::HashMap;
use std::ops::ControlFlow;

use rusqlite::Connection;

use super::children::Children;
use super::{Calendar, CalendarBook, Event, EventStatus, Location, Replaces, Task, TimeZoneName, When};
use crate::archive::records::RecordError;
use crate::archive::records::note::Problem;
use crate::archive::records::schema::{Fields, Schema};

/// What a row of `CalendarItem` is, by `entity_type`.
const TASK: i64 = 3;

/// Reads a store.
pub(super) fn read(db: &Connection, book: &mut CalendarBook) -> Result<(), RecordError> {
    let schema = Schema::of(db)?;
    let Some(items) = schema
        .first_of(&["CalendarItem", "Event"])
        .map(|table| table.name().to_owned())
    else {
        return Err(RecordError::Schema {
            records: "events",
            table: "CalendarItem",
        });
    };
    calendars(db, &schema, book)?;
    let mut children = Children::read(db, &schema, book)?;
    read_items(db, &schema, &items, &mut children, book)?;
    children.tell_orphans(book);
    Ok(())
}

fn calendars(db: &Connection, schema: &Schema, book: &mut CalendarBook) -> Result<(), RecordError> {
    let mut stores = HashMap::new();
    if let Some(select) = schema.select("Store", &["name"]) {
        let _ = select.each(db, &mut book.problems, |row| {
            if let (Some(id), Some(name)) = (row.id(), row.some_text("name")) {
                stores.insert(id, name);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    let columns = ["title", "color", "store_id"];
    let Some(select) = schema.select_noted("Calendar", &columns, &mut book.problems) else {
        return Ok(());
    };
    let found = &mut book.calendars;
    let _ = select.each(db, &mut book.problems, |row| {
        if let Some(id) = row.id() {
            found.push(Calendar {
                id,
                title: row.some_text("title"),
                color: row.some_text("color").filter(|color| is_color(color)),
                account: row.integer("store_id").and_then(|store| stores.get(&store)).cloned(),
            });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(())
}

pub(super) fn is_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or("");
    matches!(digits.len(), 6 | 8) && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
}
fn when(row: &mut Fields<'_>, date: &'static str, zones: &[&'static str]) -> Option<When> {
    let at = row.core_data_time(date)?;
    let zone = match zones.iter().find_map(|zone| row.some_text(zone)) {
        None => TimeZoneName::Unstated,
        Some(zone) if zone == "_float" => TimeZoneName::Floating,
        Some(zone) => TimeZoneName::Named(zone),
    };
    Some(When { at, zone })
}

/// Of events and tasks, those that have had one name all along.
const ITEM_COLUMNS: [&str; 23] = [
    "summary",
    "description",
    "start_date",
    "start_tz",
    "end_date",
    "end_tz",
    "all_day",
    "calendar_id",
    "location_id",
    "location",
    "status",
    "availability",
    "privacy_level",
    "url",
    "creation_date",
    "last_modified",
    "travel_time",
    "entity_type",
    "priority",
    "due_date",
    "due_tz",
    "due_all_day",
    "completion_date",
];

fn read_items(
    db: &Connection,
    schema: &Schema,
    table: &str,
    children: &mut Children,
    book: &mut CalendarBook,
) -> Result<(), RecordError> {
    let Some(select) = schema.select(table, &ITEM_COLUMNS) else {
        return Ok(());
    };
    let select = select
        .or("original", &["orig_item_id", "orig_event_id"])
        .or("original_date", &["orig_date", "orig_start_date", "orig_start_day"])
        .or("uid", &["unique_identifier", "UUID", "external_id"])
        .or("conference", &["conference_url", "conference_url_detected"])
        .or("conference_detected", &["conference_url_detected"])
        .expect(
            &["summary", "start_date", "end_date", "calendar_id"],
            &mut book.problems,
        );
    let (events, tasks) = (&mut book.events, &mut book.tasks);
    let known: std::collections::HashSet<i64> = book.calendars.iter().map(|calendar| calendar.id).collect();
    let _ = select.each(db, &mut book.problems, |row| {
        let Some(id) = row.id() else {
            return Ok(ControlFlow::Continue(()));
        };
        if let Some(calendar) = row.integer("calendar_id").filter(|calendar| !known.contains(calendar)) {
            row.note(
                "calendar_id",
                Problem::Dangling {
                    to: "calendar",
                    id: calendar,
                },
            );
        }
        if row.integer("entity_type") == Some(TASK) {
            tasks.push(task(row, id, children));
        } else {
            events.push(event(row, id, children));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(())
}

fn event(row: &mut Fields<'_>, id: i64, children: &mut Children) -> Event {
    let location = row
        .integer("location_id")
        .and_then(|location| children.locations.get(&location))
        .cloned();
    let old_location = row.some_text("location").map(|title| Location {
        title: Some(title),
        ..Location::default()
    });
    let start = when(row, "start_date", &["start_tz"]);
    if start.is_none() && row.is_null("start_date") {
        let reason = "it has no start".to_owned();
        row.note(
            "start_date",
            Problem::Undecodable {
                what: "the event",
                reason,
            },
        );
    }
    Event {
        id,
        uid: row.some_text("uid"),
        calendar: row.integer("calendar_id"),
        summary: row.some_text("summary"),
        description: row.some_text("description"),
        location: location.or(old_location),
        // Old stores have one zone for both.
        end: when(row, "end_date", &["end_tz", "start_tz"]),
        start,
        all_day: row.flag("all_day"),
        recurrences: children.recurrences.remove(&id).unwrap_or_default(),
        exceptions: children.exceptions.remove(&id).unwrap_or_default(),
        replaces: row
            .integer("original")
            .filter(|event| *event > 0)
            .map(|event| Replaces {
                event,
                at: row.core_data_time("original_date"),
            }),
        alarms: children.alarms.remove(&id).unwrap_or_default(),
        organizer: children.organizers.remove(&id),
        attendees: children.attendees.remove(&id).unwrap_or_default(),
        url: row.some_text("url"),
        conference: row
            .some_text("conference")
            .or_else(|| row.some_text("conference_detected")),
        attachments: children.attachments.remove(&id).unwrap_or_default(),
        status: match row.integer("status") {
            Some(1) => Some(EventStatus::Confirmed),
            Some(2) => Some(EventStatus::Tentative),
            Some(3) => Some(EventStatus::Cancelled),
            _ => None,
        },
        availability: row.integer("availability"),
        privacy: row.integer("privacy_level"),
        travel_time: row.integer("travel_time").filter(|seconds| *seconds != 0),
        created: row.core_data_time("creation_date"),
        modified: row.core_data_time("last_modified"),
    }
}

fn task(row: &mut Fields<'_>, id: i64, children: &mut Children) -> Task {
    let completed_at = row.core_data_time("completion_date");
    let mut assignees = children.attendees.remove(&id).unwrap_or_default();
    assignees.extend(children.organizers.remove(&id));
    Task {
        id,
        uid: row.some_text("uid"),
        list: row.integer("calendar_id"),
        parent: None,
        summary: row.some_text("summary"),
        description: row.some_text("description"),
        completed: completed_at.is_some(),
        completed_at,
        start: when(row, "start_date", &["start_tz"]),
        due: when(row, "due_date", &["due_tz", "start_tz"]),
        all_day: row.flag("due_all_day"),
        priority: row.integer("priority"),
        flagged: false,
        recurrences: children.recurrences.remove(&id).unwrap_or_default(),
        alarms: children.alarms.remove(&id).unwrap_or_default(),
        assignees,
        created: row.core_data_time("creation_date"),
        modified: row.core_data_time("last_modified"),
        deleted: false,
    }
}
