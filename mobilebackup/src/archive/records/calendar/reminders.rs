//! The stores of Reminders since iOS 13: one database per account, in the manner of Core Data.

use std::collections::HashMap;
use std::ops::ControlFlow;

use rusqlite::Connection;

use super::{Alarm, Calendar, CalendarBook, Frequency, Participant, Recurrence, Task, TimeZoneName, When};
use crate::archive::records::RecordError;
use crate::archive::records::note::{Problem, RecordNote};
use crate::archive::records::schema::{Fields, Schema};

/// Reads a store. Whatever hangs on reminders is in one table of objects, whose columns for the owner have numbers.
pub(super) fn read(db: &Connection, book: &mut CalendarBook) -> Result<(), RecordError> {
    let schema = Schema::of(db)?;
    if !schema.has_table("ZREMCDREMINDER") {
        return Err(RecordError::Schema {
            records: "reminders",
            table: "ZREMCDREMINDER",
        });
    }
    lists(db, &schema, book)?;
    let mut children = Children::read(db, &schema, book)?;
    reminders(db, &schema, &mut children, book)?;
    let orphans: Vec<i64> = children
        .recurrences
        .into_keys()
        .chain(children.assignees.into_keys())
        .chain(children.alarms.into_keys())
        .collect();
    for id in orphans {
        let problem = Problem::Dangling { to: "reminder", id };
        book.problems.push(RecordNote::table("ZREMCDOBJECT", problem));
    }
    Ok(())
}

fn lists(db: &Connection, schema: &Schema, book: &mut CalendarBook) -> Result<(), RecordError> {
    let mut accounts = HashMap::new();
    for table in ["ZREMCDACCOUNT", "ZREMCDOBJECT"] {
        if let Some(select) = schema.select(table, &["ZNAME"]) {
            let _ = select.each(db, &mut book.problems, |row| {
                if let (Some(id), Some(name)) = (row.id(), row.some_text("ZNAME")) {
                    accounts.entry(id).or_insert(name);
                }
                Ok(ControlFlow::Continue(()))
            })?;
        }
    }
    let table = schema.first_of(&["ZREMCDBASELIST", "ZREMCDLIST", "ZREMCDOBJECT"]);
    let Some(table) = table.map(|table| table.name().to_owned()) else {
        return Ok(());
    };
    let Some(select) = schema.select(&table, &["ZNAME", "ZACCOUNT"]) else {
        return Ok(());
    };
    // In iOS 13 the name of a list is in one of the numbered columns of the table of all objects.
    let select = select
        .or("ZNAME2", &["ZNAME2"])
        .or("ZNAME1", &["ZNAME1"])
        .or("of_list", &["ZISGROUP", "ZSHARINGSTATUS"]);
    let only_lists = table.eq_ignore_ascii_case("ZREMCDOBJECT");
    let found = &mut book.calendars;
    let _ = select.each(db, &mut book.problems, |row| {
        if let Some(id) = row.id().filter(|_| !only_lists || !row.is_null("of_list")) {
            let title = row
                .some_text("ZNAME")
                .or_else(|| row.some_text("ZNAME2"))
                .or_else(|| row.some_text("ZNAME1"));
            found.push(Calendar {
                id,
                title,
                color: None,
                account: row
                    .integer("ZACCOUNT")
                    .and_then(|account| accounts.get(&account))
                    .cloned(),
            });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(())
}

#[derive(Default)]
struct Children {
    recurrences: HashMap<i64, Vec<Recurrence>>,
    assignees: HashMap<i64, Vec<Participant>>,
    alarms: HashMap<i64, Vec<Alarm>>,
}

/// The columns that may name the reminder an object hangs on.
const OWNERS: [&str; 7] = [
    "ZREMINDER",
    "ZREMINDER1",
    "ZREMINDER2",
    "ZREMINDER3",
    "ZREMINDER4",
    "ZREMINDER5",
    "ZREMINDER6",
];

impl Children {
    fn read(db: &Connection, schema: &Schema, book: &mut CalendarBook) -> Result<Self, RecordError> {
        let mut children = Self::default();
        let columns: Vec<&'static str> = [
            &OWNERS[..],
            &[
                "ZFREQUENCY",
                "ZINTERVAL",
                "ZOCCURRENCECOUNT",
                "ZENDDATE",
                "ZASSIGNEE",
                "ZFIRSTNAME",
                "ZLASTNAME",
                "ZADDRESS1",
                "ZDATECOMPONENTSDATA",
                "ZTIMEINTERVAL",
            ],
        ]
        .concat();
        let Some(select) = schema.select_noted("ZREMCDOBJECT", &columns, &mut book.problems) else {
            return Ok(children);
        };
        let mut people: HashMap<i64, Participant> = HashMap::new();
        let mut assignments: Vec<(i64, i64)> = Vec::new();
        let _ = select.each(db, &mut book.problems, |row| {
            let owner = OWNERS.iter().find_map(|column| row.integer(column));
            if let (Some(owner), false) = (owner, row.is_null("ZFREQUENCY")) {
                if let Some(rule) = recurrence(row) {
                    children.recurrences.entry(owner).or_default().push(rule);
                }
            } else if let (Some(owner), Some(seconds)) = (owner, row.integer("ZTIMEINTERVAL")) {
                children.alarms.entry(owner).or_default().push(Alarm::Relative(seconds));
            } else if let (Some(owner), Some(assignee)) = (owner, row.integer("ZASSIGNEE")) {
                assignments.push((owner, assignee));
            }
            if let (Some(id), Some(person)) = (row.id(), person(row)) {
                people.insert(id, person);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        for (reminder, assignee) in assignments {
            match people.get(&assignee) {
                Some(person) => children.assignees.entry(reminder).or_default().push(person.clone()),
                None => {
                    let problem = Problem::Dangling {
                        to: "person",
                        id: assignee,
                    };
                    book.problems.push(RecordNote::row(
                        "ZREMCDREMINDER",
                        Some(reminder),
                        Some("ZASSIGNEE"),
                        problem,
                    ));
                }
            }
        }
        Ok(children)
    }
}

/// Somebody whom a reminder may be assigned to; `None` for an object that names nobody.
fn person(row: &mut Fields<'_>) -> Option<Participant> {
    let names: Vec<_> = [row.some_text("ZFIRSTNAME"), row.some_text("ZLASTNAME")]
        .into_iter()
        .flatten()
        .collect();
    let address = row.some_text("ZADDRESS1");
    let mail = address
        .as_deref()
        .map(|address| address.strip_prefix("mailto:").unwrap_or(address));
    let says_something = !names.is_empty() || address.is_some();
    says_something.then(|| Participant {
        name: Some(names.join(" ")).filter(|name| !name.is_empty()),
        email: mail.filter(|mail| mail.contains('@')).map(str::to_owned),
        address: address.clone(),
        ..Participant::default()
    })
}

/// The numbers are taken to be those of EventKit, where 0 is daily; no published store confirms it, so that the number
/// stays visible in the rule's specifier.
fn recurrence(row: &mut Fields<'_>) -> Option<Recurrence> {
    let number = row.integer("ZFREQUENCY")?;
    let Some(frequency) = number.checked_add(1).and_then(Frequency::of_number) else {
        let reason = format!("the frequency {number} is not known");
        row.note(
            "ZFREQUENCY",
            Problem::Undecodable {
                what: "the recurrence",
                reason,
            },
        );
        return None;
    };
    let interval = row
        .integer("ZINTERVAL")
        .and_then(|interval| u32::try_from(interval).ok());
    let mut rule = Recurrence::every(interval.unwrap_or(1).max(1), frequency);
    rule.count = row
        .integer("ZOCCURRENCECOUNT")
        .and_then(|count| u32::try_from(count).ok())
        .filter(|count| *count > 0);
    rule.until = row.core_data_time("ZENDDATE");
    rule.specifier = Some(format!("ZFREQUENCY={number}"));
    Some(rule)
}

fn reminders(
    db: &Connection,
    schema: &Schema,
    children: &mut Children,
    book: &mut CalendarBook,
) -> Result<(), RecordError> {
    let columns = [
        "ZIDENTIFIER",
        "ZCKIDENTIFIER",
        "ZTITLE",
        "ZTITLE1",
        "ZNOTES",
        "ZCOMPLETED",
        "ZCOMPLETIONDATE",
        "ZFLAGGED",
        "ZPRIORITY",
        "ZALLDAY",
        "ZCREATIONDATE",
        "ZLASTMODIFIEDDATE",
        "ZDUEDATE",
        "ZSTARTDATE",
        "ZTIMEZONE",
        "ZMARKEDFORDELETION",
        "ZPARENTREMINDER",
        "ZLIST",
    ];
    let Some(select) = schema.select("ZREMCDREMINDER", &columns) else {
        return Ok(());
    };
    let select = select.expect(&["ZTITLE", "ZCOMPLETED", "ZDUEDATE", "ZLIST"], &mut book.problems);
    let known: std::collections::HashSet<i64> = book.calendars.iter().map(|list| list.id).collect();
    let tasks = &mut book.tasks;
    let _ = select.each(db, &mut book.problems, |row| {
        let Some(id) = row.id() else {
            return Ok(ControlFlow::Continue(()));
        };
        let list = row.integer("ZLIST");
        if let Some(list) = list.filter(|list| !known.contains(list)) {
            row.note("ZLIST", Problem::Dangling { to: "list", id: list });
        }
        tasks.push(task(row, id, list, children));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(())
}

fn task(row: &mut Fields<'_>, id: i64, list: Option<i64>, children: &mut Children) -> Task {
    Task {
        id,
        uid: uuid(row).or_else(|| row.some_text("ZCKIDENTIFIER")),
        list,
        parent: row.integer("ZPARENTREMINDER").filter(|parent| *parent != id),
        summary: row.some_text("ZTITLE").or_else(|| row.some_text("ZTITLE1")),
        description: row.some_text("ZNOTES"),
        completed: row.flag("ZCOMPLETED"),
        completed_at: row.core_data_time("ZCOMPLETIONDATE"),
        start: when(row, "ZSTARTDATE"),
        due: when(row, "ZDUEDATE"),
        all_day: row.flag("ZALLDAY"),
        priority: row.integer("ZPRIORITY"),
        flagged: row.flag("ZFLAGGED"),
        recurrences: children.recurrences.remove(&id).unwrap_or_default(),
        alarms: children.alarms.remove(&id).unwrap_or_default(),
        assignees: children.assignees.remove(&id).unwrap_or_default(),
        created: row.core_data_time("ZCREATIONDATE"),
        modified: row.core_data_time("ZLASTMODIFIEDDATE"),
        deleted: row.flag("ZMARKEDFORDELETION"),
    }
}

fn when(row: &mut Fields<'_>, column: &'static str) -> Option<When> {
    let at = row.core_data_time(column)?;
    let zone = row.some_text("ZTIMEZONE");
    Some(When {
        at,
        zone: zone.map_or(TimeZoneName::Unstated, TimeZoneName::Named),
    })
}

/// 16 bytes, or text.
fn uuid(row: &mut Fields<'_>) -> Option<String> {
    let bytes = row.data("ZIDENTIFIER")?;
    let Ok(bytes) = <&[u8; 16]>::try_from(bytes) else {
        return row.some_text("ZIDENTIFIER");
    };
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02X}"));
    }
    Some(text)
}
