//! Contacts and groups out of the rows of their tables.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use super::Group;
use super::contact::{Contact, TextField};
use super::value::{ContactValue, Day, Property};
use crate::archive::records::schema::{Fields, Schema};
use crate::archive::records::{Notes, Problem, RecordError, RecordNote, Store};

pub(super) fn people(store: &Store, schema: &Schema, notes: &mut Notes) -> Result<Vec<Contact>, RecordError> {
    let accounts = names(store, schema, notes, "ABStore", "Name")?;
    let columns = &[
        "guid",
        "Kind",
        "Birthday",
        "CreationDate",
        "ModificationDate",
        "StoreID",
        "PersonLink",
    ];
    let mut select = schema.select("ABPerson", columns).ok_or(RecordError::Schema {
        records: "contacts",
        table: "ABPerson",
    })?;
    for (_, column) in TextField::COLUMNS {
        select = select.or(column, &[column]);
    }
    let select = select.expect(&["First", "Last", "Organization"], notes);
    let mut people = Vec::new();
    let _ = select.each(store.connection(), notes, |row| {
        people.push(person(row, &accounts));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(people)
}

fn person(row: &mut Fields<'_>, accounts: &HashMap<i64, String>) -> Contact {
    let texts = TextField::COLUMNS.iter();
    let texts = texts
        .filter_map(|(field, column)| Some((*field, row.some_text(column)?)))
        .collect();
    Contact {
        id: row.id().unwrap_or_default(),
        texts,
        guid: row.some_text("guid"),
        company: row.integer("Kind") == Some(1),
        birthday: day(row, "Birthday"),
        values: Vec::new(),
        groups: Vec::new(),
        account: row.integer("StoreID").and_then(|id| accounts.get(&id).cloned()),
        linked: row.integer("PersonLink").filter(|link| *link >= 0),
        created: row.apple_time("CreationDate"),
        modified: row.apple_time("ModificationDate"),
    }
}

fn day(row: &mut Fields<'_>, column: &'static str) -> Option<Day> {
    let stored = row.some_text(column)?;
    let day = Day::parse(&stored);
    if day.is_none() {
        row.note(column, Problem::Time { value: stored });
    }
    day
}

/// A column of names by row id.
fn names(
    store: &Store,
    schema: &Schema,
    notes: &mut Notes,
    table: &str,
    column: &'static str,
) -> Result<HashMap<i64, String>, RecordError> {
    let mut names = HashMap::new();
    if let Some(select) = schema.select_noted(table, &[column], notes) {
        let _ = select.each(store.connection(), notes, |row| {
            if let (Some(id), Some(name)) = (row.id(), row.some_text(column)) {
                names.insert(id, name);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(names)
}

/// Numbers, addresses and all else there may be several of.
pub(super) fn values(
    store: &Store,
    schema: &Schema,
    notes: &mut Notes,
    places: &HashMap<i64, usize>,
    people: &mut [Contact],
) -> Result<(), RecordError> {
    let labels = names(store, schema, notes, "ABMultiValueLabel", "value")?;
    let keys = names(store, schema, notes, "ABMultiValueEntryKey", "value")?;
    let mut fields: HashMap<i64, BTreeMap<String, String>> = HashMap::new();
    if let Some(select) = schema.select_noted("ABMultiValueEntry", &["parent_id", "key", "value"], notes) {
        let _ = select.each(store.connection(), notes, |row| {
            let (parent, key, value) = (row.integer("parent_id"), row.integer("key"), row.some_text("value"));
            if let (Some(parent), Some(key), Some(value)) = (parent, key, value) {
                let name = keys
                    .get(&key)
                    .map_or_else(|| format!("key {key}"), |name| name.to_lowercase());
                fields.entry(parent).or_default().insert(name, value);
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    let columns = &["record_id", "property", "label", "value", "UID"];
    let Some(select) = schema.select_noted("ABMultiValue", columns, notes) else {
        return Ok(());
    };
    let _ = select.each(store.connection(), notes, |row| {
        let record = row.integer("record_id").unwrap_or_default();
        let Some(person) = places.get(&record).and_then(|at| people.get_mut(*at)) else {
            row.note(
                "record_id",
                Problem::Dangling {
                    to: "ABPerson",
                    id: record,
                },
            );
            return Ok(ControlFlow::Continue(()));
        };
        let id = row.integer("UID").or(row.id());
        let fields = id.and_then(|id| fields.remove(&id)).unwrap_or_default();
        person.values.extend(value(row, &labels, fields));
        Ok(ControlFlow::Continue(()))
    })?;
    for parent in fields.into_keys() {
        let problem = Problem::Dangling {
            to: "ABMultiValue",
            id: parent,
        };
        notes.push(RecordNote::row("ABMultiValueEntry", None, Some("parent_id"), problem));
    }
    Ok(())
}

fn value(
    row: &mut Fields<'_>,
    labels: &HashMap<i64, String>,
    fields: BTreeMap<String, String>,
) -> Option<ContactValue> {
    let property = Property::of(row.integer("property").unwrap_or_default());
    let label = row.integer("label").and_then(|id| {
        let label = labels.get(&id).cloned();
        if label.is_none() {
            row.note(
                "label",
                Problem::Dangling {
                    to: "ABMultiValueLabel",
                    id,
                },
            );
        }
        label
    });
    let day = if property == Property::Date {
        day(row, "value")
    } else {
        None
    };
    let value = row.some_text("value").filter(|_| day.is_none());
    let says_something = value.is_some() || day.is_some() || !fields.is_empty();
    says_something.then_some(ContactValue {
        property,
        label,
        value,
        day,
        fields,
    })
}

pub(super) fn groups(store: &Store, schema: &Schema, notes: &mut Notes) -> Result<Vec<Group>, RecordError> {
    let mut groups: BTreeMap<i64, Group> = names(store, schema, notes, "ABGroup", "Name")?
        .into_iter()
        .map(|(id, name)| {
            (
                id,
                Group {
                    id,
                    name,
                    members: Vec::new(),
                },
            )
        })
        .collect();
    if let Some(select) = schema.select("ABGroupMembers", &["group_id", "member_id", "member_type"]) {
        let _ = select.each(store.connection(), notes, |row| {
            // Type 0 is a person, 1 a group in the group.
            let person = row.integer("member_type").unwrap_or_default() == 0;
            let (group, member) = (row.integer("group_id"), row.integer("member_id"));
            match (group.and_then(|id| groups.get_mut(&id)), member) {
                (Some(group), Some(member)) if person => group.members.push(member),
                (Some(_), Some(_)) => {}
                _ => row.note(
                    "group_id",
                    Problem::Dangling {
                        to: "ABGroup",
                        id: group.unwrap_or_default(),
                    },
                ),
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(groups.into_values().collect())
}
