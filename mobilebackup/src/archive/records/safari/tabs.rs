//! Open tabs: `BrowserState.db` until iOS 14, `SafariTabs.db` since iOS 15.

use std::ops::ControlFlow;

use rusqlite::Connection;
use serde::Serialize;

use crate::archive::Archive;
use crate::archive::records::note::Notes;
use crate::archive::records::schema::Schema;
use crate::archive::records::store::read_into;
use crate::archive::records::time::Timestamp;
use crate::archive::records::{RecordError, Source};

/// The tabs of one store.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Tabs {
    /// The store.
    pub source: Source,
    /// Tabs in the order of their rows.
    pub tabs: Vec<Tab>,
    /// What could not be read.
    pub problems: Notes,
    /// Why nothing or not all of the store could be read; told among the problems, too.
    #[serde(skip)]
    pub failure: Option<RecordError>,
}

/// An open tab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Tab {
    /// Its row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    /// The title of its page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The address of its page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The row of its group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<i64>,
    /// When it was looked at last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub viewed: Option<Timestamp>,
    /// Opened in private; unknown in stores that do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private: Option<bool>,
}

impl Tabs {
    /// Reads the open tabs of a backup: one for each store that is there, those of profiles included. A store that
    /// cannot be read is empty and says so.
    ///
    /// Looks at every row of the index.
    ///
    /// # Errors
    /// [`RecordError::Archive`] if the backup is locked or its index damaged; [`RecordError::TooManyStores`].
    pub fn read_all(archive: &Archive) -> Result<Vec<Self>, RecordError> {
        let mut all = Vec::new();
        for entry in super::stores(archive, &["BrowserState.db", "SafariTabs.db"])? {
            let (mut tabs, mut problems) = (Vec::new(), Notes::default());
            let failure = read_into(
                archive,
                &entry,
                &mut problems,
                |notes| notes,
                |db, notes| read(db, &mut tabs, notes),
            );
            all.push(Self {
                source: (&entry).into(),
                tabs,
                problems,
                failure,
            });
        }
        Ok(all)
    }
}

pub(super) fn read(db: &Connection, tabs: &mut Vec<Tab>, problems: &mut Notes) -> Result<(), RecordError> {
    let schema = Schema::of(db)?;
    if let Some(select) = schema.select(
        "tabs",
        &[
            "title",
            "url",
            "last_viewed_time",
            "private_browsing",
            "browser_window_id",
        ],
    ) {
        let says = select.table().has("private_browsing");
        let _ = select.expect(&["url"], problems).each(db, problems, |row| {
            tabs.push(Tab {
                id: row.id(),
                title: row.some_text("title"),
                url: row.some_text("url"),
                group: row.integer("browser_window_id"),
                viewed: row.core_data_time("last_viewed_time"),
                private: says.then(|| row.flag("private_browsing")),
            });
            Ok(ControlFlow::Continue(()))
        })?;
        return Ok(());
    }
    // Tabs as bookmarks of a kind; groups and windows are folders, which have no address.
    let Some(select) = schema.select("bookmarks", &["title", "url", "parent", "deleted"]) else {
        return Err(RecordError::Schema {
            records: "tabs",
            table: "tabs",
        });
    };
    let _ = select.expect(&["url"], problems).each(db, problems, |row| {
        if !row.is_null("url") && !row.flag("deleted") {
            tabs.push(Tab {
                id: row.id(),
                title: row.some_text("title"),
                url: row.some_text("url"),
                group: row.integer("parent"),
                viewed: None,
                private: None,
            });
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(())
}
