//! Bookmarks in the file that every browser imports and exports, or in our own JSON.
//!
//! # Example
//! What a browser exported:
//! ```
//! use cabled_syncproto::engine::SessionId;
//! use cabled_syncproto::replica::{BookmarksFile, OnThread, OpenRequest, Replica, Told};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let file = folder.path().join("bookmarks.html");
//! std::fs::write(&file, "<DL><DT><H3>News</H3><DL><DT><A HREF=\"https://example.org\">Example</A></DL></DL>")?;
//!
//! let mut bookmarks = OnThread::new(BookmarksFile::new(&file));
//! bookmarks.open(OpenRequest::new(SessionId([7; 16]))).await?;
//! let Told::Batch(changes) = bookmarks.read().await? else { panic!("there is a bookmark") };
//! // The folder and the bookmark in it.
//! assert_eq!(changes.len(), 2);
//! bookmarks.abort("that was all").await?;
//! # Ok(())
//! # }
//! ```
//! # How it fits together
//! A name that ends in `.json` is read and written as JSON, everything else as HTML. A bookmark is known by the `ID` that we
//! write; browsers drop it, so an entry without one is known by its folder and its address, a folder by its folder and its
//! name. New entries are given that same name, so that a file that went through a browser is still the same bookmarks.
//! Everything else is as in [`file`](super::file): written beside, flushed, put in place only if nobody changed the file.
//!
//! # Limits
//! The file has at most 256 MiB. An address that is changed in a file without `ID`s is another bookmark. Two bookmarks of one
//! address in one folder may change places there.
//! Spec: mobilesync, section 8.3.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use cabled_wire::plist::Value;
use sha2::{Digest, Sha256};

use super::file::{Applied, Book, Edit, One, Prints, failed, first, is_delete};
use super::{BlockingReplica, Committed, OpenRequest, Opened, ReplicaError, Told};
use crate::engine::{Batch, Capabilities, EngineId, Outcome, Write};
use crate::entity;
use crate::interchange::{Limits, bookmarks};
use crate::record::{Change, Record, RecordId};
use crate::records::{Bookmark, Folder, Graph, Timestamp, View};

/// A file of bookmarks.
#[derive(Debug)]
pub struct BookmarksFile {
    one: One,
    limits: Limits,
}

impl BookmarksFile {
    /// The file. One that is not there is made by the first sync.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            one: One::new(path),
            limits: Limits::default(),
        }
    }

    /// What the file may cost (default [`Limits::default`]).
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}

impl BlockingReplica for BookmarksFile {
    fn capabilities(&self) -> Capabilities {
        Capabilities::of_files()
    }

    fn open(&mut self, request: OpenRequest<'_>) -> Result<Opened, ReplicaError> {
        let spot = self.one.spot(&request)?;
        let json = spot.name.to_ascii_lowercase().ends_with(".json");
        let shelf = Marks {
            sheet: spot.name.clone(),
            json,
            limits: self.limits,
            graph: Graph::default(),
            dirty: false,
        };
        self.one.open(&request, &spot, Box::new(shelf), None, self.limits.bytes)
    }

    fn read(&mut self) -> Result<Told, ReplicaError> {
        self.one.read()
    }

    fn write(&mut self, batch: Batch) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        self.one.write(batch)
    }

    fn commit(&mut self) -> Result<Committed, ReplicaError> {
        self.one.commit()
    }

    fn abort(&mut self) {
        self.one.abort();
    }
}

/// Bookmarks in a file.
#[derive(Debug)]
struct Marks {
    sheet: String,
    json: bool,
    limits: Limits,
    graph: Graph,
    dirty: bool,
}

/// The name of an entry without one: where it is, and what it leads to.
fn name_of(parent: Option<&RecordId>, record: &Record, number: usize) -> RecordId {
    let text = |key: &str| {
        record
            .attributes
            .get(key)
            .and_then(Value::as_string)
            .unwrap_or_default()
    };
    let folder = record.entity.as_deref() == Some(entity::FOLDER);
    let said = if folder { text("name") } else { text("url") };
    let mut hash = Sha256::new();
    for part in [parent.map_or("", RecordId::as_str), said, &number.to_string()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    let digits: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let kind = if folder { "folder" } else { "mark" };
    RecordId::new(format!("{kind}-{digits}")).unwrap_or_else(|_| RecordId::placeholder())
}

/// Whether the reader made the identifier up from where the entry stands.
fn is_made(id: &RecordId) -> bool {
    let rest = id
        .as_str()
        .strip_prefix("bookmark-")
        .and_then(|rest| rest.split_once('-'));
    rest.is_some_and(|(number, print)| {
        number.bytes().all(|byte| byte.is_ascii_digit())
            && print.len() == 16
            && print.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// The same entries, those without a name of their own under one that does not depend on where they stand.
fn named(graph: &Graph) -> Result<Graph, String> {
    let mut within: BTreeMap<Option<RecordId>, Vec<(i64, RecordId)>> = BTreeMap::new();
    for (id, record) in graph.iter() {
        let parent = first(record, "parent").filter(|parent| graph.get(parent).is_some());
        let place = record.attributes.get("position").and_then(Value::as_signed_integer);
        within
            .entry(parent)
            .or_default()
            .push((place.unwrap_or(i64::MAX), id.clone()));
    }
    let mut found = Graph::default();
    let mut open = VecDeque::from([(None::<RecordId>, None::<RecordId>)]);
    while let Some((old, new)) = open.pop_front() {
        let mut inside = within.remove(&old).unwrap_or_default();
        inside.sort();
        for (_, id) in inside {
            let Some(mut record) = graph.get(&id).cloned() else {
                continue;
            };
            if let Some(parent) = &new {
                record = record.with("parent", vec![parent.as_str().into()]);
            }
            let name = if is_made(&id) {
                free(&found, new.as_ref(), &record)
            } else {
                id.clone()
            };
            found.insert(name.clone(), record).map_err(|error| error.to_string())?;
            open.push_back((Some(id), Some(name)));
        }
    }
    // What is within itself is left as it is.
    for (_, id) in within.into_values().flatten() {
        if let Some(record) = graph.get(&id) {
            found.insert(id, record.clone()).map_err(|error| error.to_string())?;
        }
    }
    Ok(found)
}

fn free(graph: &Graph, parent: Option<&RecordId>, record: &Record) -> RecordId {
    let mut number = 0_usize;
    loop {
        let name = name_of(parent, record, number);
        if graph.get(&name).is_none() {
            return name;
        }
        number = number.saturating_add(1);
    }
}

impl Book for Marks {
    fn take(&mut self, _sheet: &Arc<str>, text: &str) -> Result<(), String> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let read = if self.json {
            bookmarks::read_json
        } else {
            bookmarks::read_html
        };
        let graph = read(text, &self.limits).map_err(|error| error.to_string())?;
        self.graph = named(&graph)?;
        Ok(())
    }

    fn ready(&mut self) {}

    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn token(&self, _prints: Option<Prints<'_>>) -> String {
        "bookmarks 1".to_owned()
    }

    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    fn apply(&mut self, write: &Write) -> Result<Applied, Outcome> {
        self.dirty = true;
        let applied = Applied::on(&self.sheet);
        if is_delete(write) {
            self.graph.remove(&write.id);
            return Ok(applied);
        }
        let Change::Upsert(record) = &write.change else {
            return Err(Outcome::NotAccepted);
        };
        // The whole file is written from what passes here.
        let readable = match record.entity.as_deref() {
            Some(entity::FOLDER) => Folder::read(&write.id, record).err(),
            Some(entity::BOOKMARK) => Bookmark::read(&write.id, record).err(),
            _ => return Err(Outcome::NotAccepted),
        };
        if let Some(error) = readable {
            return Err(failed(error.to_string()));
        }
        if !write.new && self.graph.get(&write.id).is_none() {
            return Err(failed("the bookmark is not there any more"));
        }
        let id = match write.new {
            true => free(&self.graph, first(record, "parent").as_ref(), record),
            false => write.id.clone(),
        };
        let put = self.graph.insert(id.clone(), record.clone());
        put.map_err(|error| failed(error.to_string()))?;
        Ok(applied.named(write.new.then_some(id)))
    }

    fn edits(&mut self, _now: Timestamp) -> Vec<Edit> {
        if !std::mem::take(&mut self.dirty) {
            return Vec::new();
        }
        let write = if self.json {
            bookmarks::write_json
        } else {
            bookmarks::write_html
        };
        match write(&self.graph) {
            Ok(text) => vec![Edit {
                sheet: self.sheet.clone(),
                text: Some(text),
                after: BTreeSet::new(),
            }],
            Err(error) => {
                tracing::warn!(%error, "the bookmarks cannot be written");
                Vec::new()
            }
        }
    }
}
