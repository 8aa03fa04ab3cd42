//! `History.db`.

use std::collections::HashMap;
use std::ops::ControlFlow;

use rusqlite::Connection;
use serde::Serialize;

use crate::archive::Archive;
use crate::archive::records::note::{Notes, Problem};
use crate::archive::records::schema::Schema;
use crate::archive::records::store::read_into;
use crate::archive::records::time::Timestamp;
use crate::archive::records::{RecordError, Source};

/// The visits of one store.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct History {
    /// The store.
    pub source: Source,
    /// The profile it belongs to; none for the main one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Visits in the order of their rows. Pages of which no visit is left are there once, without a time.
    pub visits: Vec<Visit>,
    /// What could not be read.
    pub problems: Notes,
    /// Why nothing or not all of the store could be read; told among the problems, too.
    #[serde(skip)]
    pub failure: Option<RecordError>,
}

/// One visit to a page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Visit {
    /// Its row; none for a page of which no visit is left.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    /// The address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The title that the page had.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// How many visits to this page the phone counted, forgotten ones included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visit_count: Option<i64>,
    /// The visit that led here by redirection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirected_from: Option<i64>,
    /// The visit to which this one was redirected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirected_to: Option<i64>,
    /// Made on another device of the same account.
    pub from_other_device: bool,
    /// Whether the page came.
    pub loaded: bool,
}

impl History {
    /// Reads the history of a backup: one for each store that is there, in every place of spec 14 and for every
    /// profile. A store that cannot be read is empty and says so.
    ///
    /// Looks at every row of the index.
    ///
    /// # Errors
    /// [`RecordError::Archive`] if the backup is locked or its index damaged; [`RecordError::TooManyStores`].
    pub fn read_all(archive: &Archive) -> Result<Vec<Self>, RecordError> {
        let mut all = Vec::new();
        for entry in super::stores(archive, &["History.db"])? {
            let source = Source::from(&entry);
            let (mut visits, mut problems) = (Vec::new(), Notes::default());
            let failure = read_into(
                archive,
                &entry,
                &mut problems,
                |notes| notes,
                |db, notes| read(db, &mut visits, notes),
            );
            all.push(Self {
                profile: super::profile_of(&source),
                source,
                visits,
                problems,
                failure,
            });
        }
        Ok(all)
    }
}

struct Item {
    url: Option<String>,
    count: Option<i64>,
    visited: bool,
}

pub(super) fn read(db: &Connection, visits: &mut Vec<Visit>, problems: &mut Notes) -> Result<(), RecordError> {
    let schema = Schema::of(db)?;
    let mut items = items(db, &schema, problems)?;
    read_visits(db, &schema, &mut items, visits, problems)?;
    let mut left: Vec<(i64, Item)> = items.into_iter().filter(|(_, item)| !item.visited).collect();
    left.sort_unstable_by_key(|(id, _)| *id);
    visits.extend(left.into_iter().map(|(_, item)| Visit {
        id: None,
        url: item.url,
        title: None,
        at: None,
        visit_count: item.count,
        redirected_from: None,
        redirected_to: None,
        from_other_device: false,
        loaded: true,
    }));
    Ok(())
}

/// The pages, by row id.
fn items(db: &Connection, schema: &Schema, problems: &mut Notes) -> Result<HashMap<i64, Item>, RecordError> {
    let mut items = HashMap::new();
    let Some(select) = schema.select("history_items", &["url", "visit_count"]) else {
        return Err(RecordError::Schema {
            records: "visits",
            table: "history_items",
        });
    };
    let _ = select.expect(&["url"], problems).each(db, problems, |row| {
        if let Some(id) = row.id() {
            let item = Item {
                url: row.some_text("url"),
                count: row.integer("visit_count"),
                visited: false,
            };
            items.insert(id, item);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(items)
}

/// The visits, each with what is known of its page.
fn read_visits(
    db: &Connection,
    schema: &Schema,
    items: &mut HashMap<i64, Item>,
    visits: &mut Vec<Visit>,
    problems: &mut Notes,
) -> Result<(), RecordError> {
    let columns = [
        "history_item",
        "visit_time",
        "title",
        "redirect_source",
        "redirect_destination",
        "origin",
        "load_successful",
    ];
    let Some(select) = schema.select_noted("history_visits", &columns, problems) else {
        return Ok(());
    };
    let has_success = select.table().has("load_successful");
    let _ = select
        .expect(&["history_item", "visit_time"], problems)
        .each(db, problems, |row| {
            let page = row.integer("history_item");
            let item = page.and_then(|page| items.get_mut(&page));
            let known = item.map(|item| {
                item.visited = true;
                (item.url.clone(), item.count)
            });
            if let (Some(id), None) = (page, &known) {
                row.note("history_item", Problem::Dangling { to: "page", id });
            }
            let (url, visit_count) = known.unwrap_or_default();
            visits.push(Visit {
                id: row.id(),
                url,
                title: row.some_text("title"),
                at: row.core_data_time("visit_time"),
                visit_count,
                redirected_from: row.integer("redirect_source"),
                redirected_to: row.integer("redirect_destination"),
                from_other_device: row.flag("origin"),
                loaded: !has_success || row.is_null("load_successful") || row.flag("load_successful"),
            });
            Ok(ControlFlow::Continue(()))
        })?;
    Ok(())
}
