//! What hangs on the events and tasks of `Calendar.sqlitedb`: rules, exceptions, alarms, guests, attachments and places.

use std::collections::HashMap;
use std::ops::ControlFlow;

use rusqlite::Connection;

use super::{Alarm, CalendarBook, Frequency, Location, Participant, Recurrence};
use crate::archive::records::RecordError;
use crate::archive::records::note::{Problem, RecordNote};
use crate::archive::records::schema::{Fields, Schema};
use crate::archive::records::time::Timestamp;

/// What a row of `Participant` is, by `entity_type`.
const ORGANIZER: i64 = 8;

/// Longest relative alarm that is one, in seconds: stores fill the column with the largest number of 32 bits where an
/// alarm has a date.
const MAX_TRIGGER: i64 = 10 * 366 * 86_400;

/// What hangs on events, by the row of the event.
#[derive(Default)]
pub(super) struct Children {
    pub(super) recurrences: HashMap<i64, Vec<Recurrence>>,
    pub(super) exceptions: HashMap<i64, Vec<Timestamp>>,
    pub(super) alarms: HashMap<i64, Vec<Alarm>>,
    pub(super) organizers: HashMap<i64, Participant>,
    pub(super) attendees: HashMap<i64, Vec<Participant>>,
    pub(super) attachments: HashMap<i64, Vec<String>>,
    pub(super) locations: HashMap<i64, Location>,
}

impl Children {
    pub(super) fn read(db: &Connection, schema: &Schema, book: &mut CalendarBook) -> Result<Self, RecordError> {
        let mut children = Self::default();
        children.read_recurrences(db, schema, book)?;
        children.read_exceptions(db, schema, book)?;
        children.read_alarms(db, schema, book)?;
        children.read_participants(db, schema, book)?;
        children.read_attachments(db, schema, book)?;
        children.read_locations(db, schema, book)?;
        Ok(children)
    }

    fn read_recurrences(
        &mut self,
        db: &Connection,
        schema: &Schema,
        book: &mut CalendarBook,
    ) -> Result<(), RecordError> {
        let columns = [
            "frequency",
            "interval",
            "count",
            "end_date",
            "specifier",
            "week_start",
            "by_month_months",
        ];
        let Some(select) = schema.select_noted("Recurrence", &columns, &mut book.problems) else {
            return Ok(());
        };
        let select = select.or("owner", &["owner_id", "event_id", "calendaritem_owner_id"]);
        let _ = select.each(db, &mut book.problems, |row| {
            if let (Some(owner), Some(rule)) = (row.integer("owner"), recurrence(row)) {
                self.recurrences.entry(owner).or_default().push(rule);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(())
    }

    fn read_exceptions(
        &mut self,
        db: &Connection,
        schema: &Schema,
        book: &mut CalendarBook,
    ) -> Result<(), RecordError> {
        let Some(table) = schema.first_of(&["ExceptionDate", "EventExceptionDate"]) else {
            return Ok(());
        };
        let Some(select) = schema.select(table.name(), &["date"]) else {
            return Ok(());
        };
        let select = select.or("owner", &["owner_id", "event_id"]);
        let _ = select.each(db, &mut book.problems, |row| {
            if let (Some(owner), Some(date)) = (row.integer("owner"), row.core_data_time("date")) {
                self.exceptions.entry(owner).or_default().push(date);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(())
    }

    fn read_alarms(&mut self, db: &Connection, schema: &Schema, book: &mut CalendarBook) -> Result<(), RecordError> {
        let columns = ["trigger_date", "trigger_interval", "proximity"];
        let Some(select) = schema.select_noted("Alarm", &columns, &mut book.problems) else {
            return Ok(());
        };
        // Alarms of a calendar, with no event, are the defaults for new events.
        let select = select.or("owner", &["calendaritem_owner_id", "event_id", "owner_id"]);
        let _ = select.each(db, &mut book.problems, |row| {
            let Some(owner) = row.integer("owner") else {
                return Ok(ControlFlow::Continue(()));
            };
            let interval = row.integer("trigger_interval");
            let near = interval.filter(|seconds| (-MAX_TRIGGER..=MAX_TRIGGER).contains(seconds));
            let alarm = match (row.integer("proximity"), row.core_data_time("trigger_date"), near) {
                (Some(proximity), _, _) if proximity != 0 => Some(Alarm::Place(proximity)),
                (_, Some(at), _) => Some(Alarm::At(at)),
                (_, None, Some(seconds)) => Some(Alarm::Relative(seconds)),
                _ => None,
            };
            match alarm {
                Some(alarm) => self.alarms.entry(owner).or_default().push(alarm),
                None => {
                    let reason = "it has no time that can be".to_owned();
                    row.note(
                        "trigger_interval",
                        Problem::Undecodable {
                            what: "the alarm",
                            reason,
                        },
                    );
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(())
    }

    fn read_participants(
        &mut self,
        db: &Connection,
        schema: &Schema,
        book: &mut CalendarBook,
    ) -> Result<(), RecordError> {
        let identities = identities(db, schema, book)?;
        let Some(table) = schema.first_of(&["Participant", "Attendee"]) else {
            return Ok(());
        };
        let columns = [
            "entity_type",
            "status",
            "role",
            "identity_id",
            "email",
            "phone_number",
            "is_self",
            "display_name",
        ];
        let Some(select) = schema.select(table.name(), &columns) else {
            return Ok(());
        };
        let select = select.or("owner", &["owner_id", "event_id"]);
        let _ = select.each(db, &mut book.problems, |row| {
            let Some(owner) = row.integer("owner") else {
                return Ok(ControlFlow::Continue(()));
            };
            let identity = row.integer("identity_id").and_then(|id| identities.get(&id));
            let participant = participant(row, identity.cloned().unwrap_or_default());
            if row.integer("entity_type") == Some(ORGANIZER) {
                // The first is the one; another stays visible as a guest.
                if let Some(second) = self.organizers.insert(owner, participant) {
                    self.attendees.entry(owner).or_default().push(second);
                }
            } else {
                self.attendees.entry(owner).or_default().push(participant);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(())
    }

    fn read_attachments(
        &mut self,
        db: &Connection,
        schema: &Schema,
        book: &mut CalendarBook,
    ) -> Result<(), RecordError> {
        let mut files = HashMap::new();
        if let Some(select) = schema.select("AttachmentFile", &["filename", "url"]) {
            let _ = select.each(db, &mut book.problems, |row| {
                if let (Some(id), Some(name)) = (row.id(), row.some_text("filename").or_else(|| row.some_text("url"))) {
                    files.insert(id, name);
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
        let Some(select) = schema.select("Attachment", &["file_id", "url", "filename"]) else {
            return Ok(());
        };
        let select = select.or("owner", &["owner_id", "event_id"]);
        let _ = select.each(db, &mut book.problems, |row| {
            let by_file = row.integer("file_id").and_then(|file| files.get(&file)).cloned();
            let name = by_file
                .or_else(|| row.some_text("filename"))
                .or_else(|| row.some_text("url"));
            if let (Some(owner), Some(name)) = (row.integer("owner"), name) {
                self.attachments.entry(owner).or_default().push(name);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(())
    }

    fn read_locations(&mut self, db: &Connection, schema: &Schema, book: &mut CalendarBook) -> Result<(), RecordError> {
        let Some(select) = schema.select("Location", &["title", "address", "latitude", "longitude"]) else {
            return Ok(());
        };
        let _ = select.each(db, &mut book.problems, |row| {
            if let Some(id) = row.id() {
                let degrees = row.real("latitude").zip(row.real("longitude"));
                let sound = |(north, east): &(f64, f64)| north.abs() <= 90.0 && east.abs() <= 180.0;
                let location = Location {
                    title: row.some_text("title"),
                    address: row.some_text("address"),
                    // Both 0 stands for none.
                    coordinates: degrees.filter(sound).filter(|degrees| *degrees != (0.0, 0.0)),
                };
                self.locations.insert(id, location);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(())
    }

    /// Children of rows that do not exist.
    pub(super) fn tell_orphans(self, book: &mut CalendarBook) {
        let mut tell = |table: &'static str, owners: Vec<i64>| {
            for id in owners {
                book.problems
                    .push(RecordNote::table(table, Problem::Dangling { to: "event", id }));
            }
        };
        tell("Recurrence", self.recurrences.into_keys().collect());
        tell("ExceptionDate", self.exceptions.into_keys().collect());
        tell("Alarm", self.alarms.into_keys().collect());
        tell(
            "Participant",
            self.attendees.into_keys().chain(self.organizers.into_keys()).collect(),
        );
        tell("Attachment", self.attachments.into_keys().collect());
    }
}

/// A row of `Identity`, to which participants point.
#[derive(Clone, Default)]
struct Identity {
    name: Option<String>,
    address: Option<String>,
}

fn identities(
    db: &Connection,
    schema: &Schema,
    book: &mut CalendarBook,
) -> Result<HashMap<i64, Identity>, RecordError> {
    let mut identities = HashMap::new();
    if let Some(select) = schema.select("Identity", &["display_name", "address", "first_name", "last_name"]) {
        let _ = select.each(db, &mut book.problems, |row| {
            if let Some(id) = row.id() {
                let names: Vec<_> = [row.some_text("first_name"), row.some_text("last_name")]
                    .into_iter()
                    .flatten()
                    .collect();
                let full = Some(names.join(" ")).filter(|name| !name.is_empty());
                let identity = Identity {
                    name: row.some_text("display_name").or(full),
                    address: row.some_text("address"),
                };
                identities.insert(id, identity);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(identities)
}

fn participant(row: &mut Fields<'_>, Identity { name, address }: Identity) -> Participant {
    let mail = address
        .as_deref()
        .and_then(|address| address.strip_prefix("mailto:"))
        .map(str::to_owned);
    Participant {
        name: row.some_text("display_name").or(name),
        email: row.some_text("email").or(mail),
        address: row
            .some_text("phone_number")
            .map(|number| format!("tel:{number}"))
            .or(address),
        status: row.integer("status"),
        role: row.integer("role"),
        is_self: row.flag("is_self"),
    }
}

fn recurrence(row: &mut Fields<'_>) -> Option<Recurrence> {
    let number = row.integer("frequency")?;
    let Some(frequency) = Frequency::of_number(number) else {
        let reason = format!("the frequency {number} is not known");
        row.note(
            "frequency",
            Problem::Undecodable {
                what: "the recurrence",
                reason,
            },
        );
        return None;
    };
    let interval = row.integer("interval").unwrap_or(1).max(1);
    let mut rule = Recurrence::every(u32::try_from(interval).unwrap_or(1), frequency);
    if u32::try_from(interval).is_err() {
        let reason = format!("the interval {interval} is too large");
        row.note(
            "interval",
            Problem::Undecodable {
                what: "the recurrence",
                reason,
            },
        );
    }
    rule.count = row
        .integer("count")
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| *count > 0);
    rule.until = row.core_data_time("end_date").filter(|_| !row.is_null("end_date"));
    rule.week_start = row.integer("week_start");
    if let Some(specifier) = row.some_text("specifier") {
        rule.read_specifier(&specifier);
    }
    if rule.by_month.is_empty()
        && let Some(months) = row
            .integer("by_month_months")
            .filter(|months| (1..1 << 12).contains(months))
    {
        rule.by_month = (1..=12)
            .zip(0..12)
            .filter(|(_, bit)| months >> bit & 1 == 1)
            .map(|(month, _)| month)
            .collect();
    }
    if !rule.not_understood.is_empty() {
        let reason = rule.not_understood.join(";");
        row.note(
            "specifier",
            Problem::Undecodable {
                what: "the recurrence",
                reason,
            },
        );
    }
    Some(rule)
}
