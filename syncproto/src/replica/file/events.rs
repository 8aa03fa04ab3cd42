//! Calendar files as calendars and events, and back.

mod changes;
mod taking;
mod text;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::book::{Applied, Book, Edit, Prints, first, is_delete};
use super::shelf::Shelf;
use crate::engine::{Outcome, Write};
use crate::entity;
use crate::interchange::Limits;
use crate::interchange::icalendar::{self, NOT_SYNCABLE};
use crate::record::{Change, Record, RecordId};
use crate::records::{Calendar, Entry, Graph, Timestamp, View};
use crate::schema::{self, EntityKind};

const UID: &str = "ical:original:UID";
const COMPONENTS: &str = "ical:components";
/// Marks an event that is in the device's default calendar, and says in which of ours it was put.
const DEFAULT: &str = "ical:X-CABLED-DEFAULT-CALENDAR";
/// The identifier of a calendar that shares its file with others.
const CALENDAR_ID: &str = "ical:X-WR-RELCALID";

/// Where calendars are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// The folder is one calendar.
    Folder,
    /// Each folder in it is one.
    Folders,
    /// All are in one file of this name.
    File(String),
}

/// One `VCALENDAR`.
#[derive(Debug)]
struct Section {
    calendar: RecordId,
    /// What it says beside its events. In a file of its own it is the calendar's record that counts.
    own: Calendar,
    events: Vec<RecordId>,
    gone: bool,
}

impl Section {
    fn of(calendar: RecordId, own: Calendar) -> Self {
        Self {
            calendar,
            own,
            events: Vec::new(),
            gone: false,
        }
    }
}

#[derive(Clone, Debug)]
struct Place {
    sheet: String,
    section: usize,
    /// The identifier that it is written under.
    uid: RecordId,
    /// Why it cannot be sent.
    held: Option<String>,
}

/// Calendars in files.
#[derive(Debug)]
pub(crate) struct Events {
    graph: Graph,
    layout: Layout,
    sheets: BTreeMap<String, Vec<Section>>,
    places: HashMap<RecordId, Place>,
    shelves: BTreeMap<RecordId, Shelf>,
    limits: Limits,
    dirty: BTreeSet<String>,
    changed: BTreeSet<RecordId>,
    /// What went from one file to others.
    moves: BTreeMap<String, BTreeSet<String>>,
    parts: u64,
    notes: Vec<String>,
}

/// The identifier of the only calendar of a folder.
fn only() -> RecordId {
    RecordId::new("calendar").unwrap_or_else(|_| RecordId::placeholder())
}

fn occurrence_id(series: &RecordId, original: Option<Timestamp>) -> Option<RecordId> {
    RecordId::new(format!("{series}/{}", super::stamp(original?))).ok()
}

impl Events {
    /// `folders` are those of [`Layout::Folders`]; for [`Layout::Folder`] the name of the folder itself.
    pub(crate) fn new(layout: Layout, folders: &[String], limits: Limits) -> Self {
        let mut shelves = BTreeMap::new();
        for folder in folders {
            let (id, prefix) = match layout {
                Layout::Folder => (Ok(only()), String::new()),
                _ => (RecordId::new(folder.as_str()), format!("{folder}/")),
            };
            if let Ok(id) = id {
                shelves.insert(id, Shelf::new(folder, prefix));
            }
        }
        Self {
            graph: Graph::default(),
            layout,
            sheets: BTreeMap::new(),
            places: HashMap::new(),
            shelves,
            limits,
            dirty: BTreeSet::new(),
            changed: BTreeSet::new(),
            moves: BTreeMap::new(),
            parts: 0,
            notes: Vec::new(),
        }
    }

    fn shelf_of(&self, sheet: &str) -> Option<RecordId> {
        let prefix = sheet.rsplit_once('/').map_or("", |(folder, _)| folder);
        let on = |shelf: &&Shelf| shelf.prefix.trim_end_matches('/') == prefix;
        let found = self.shelves.iter().find(|(_, shelf)| on(shelf));
        found.map(|(id, _)| id.clone())
    }

    fn insert(&mut self, id: RecordId, record: Record) -> Result<(), String> {
        self.graph.insert(id, record).map_err(|error| error.to_string())
    }

    fn section(&self, place: &Place) -> Option<&Section> {
        self.sheets.get(&place.sheet)?.get(place.section)
    }

    fn list(&mut self, native: &RecordId, sheet: &str, section: usize) {
        if let Some(section) = self
            .sheets
            .get_mut(sheet)
            .and_then(|sections| sections.get_mut(section))
        {
            section.events.push(native.clone());
        }
    }

    fn unlist(&mut self, native: &RecordId) -> Option<Place> {
        let place = self.places.get(native)?.clone();
        let sections = self.sheets.get_mut(&place.sheet);
        if let Some(section) = sections.and_then(|sections| sections.get_mut(place.section)) {
            section.events.retain(|event| event != native);
        }
        Some(place)
    }
}

impl Book for Events {
    fn take(&mut self, sheet: &Arc<str>, text: &str) -> Result<(), String> {
        let sheet = &**sheet;
        if matches!(self.layout, Layout::File(_)) {
            return self.take_file(sheet, text);
        }
        let id = self.shelf_of(sheet).ok_or("it is in no calendar's folder")?;
        let name = sheet.rsplit('/').next().unwrap_or_default();
        if Shelf::FILES.contains(&name) {
            if let Some(shelf) = self.shelves.get_mut(&id) {
                shelf.take(name, text, &self.limits)?;
            }
            return Ok(());
        }
        let section = self.take_section(sheet, text, 0, &id)?;
        self.sheets.insert(sheet.to_owned(), vec![section]);
        Ok(())
    }

    fn ready(&mut self) {
        let empty = self.sheets.is_empty();
        for (id, shelf) in &self.shelves {
            // A folder without anything in it takes the first calendar that comes.
            if self.layout == Layout::Folder && empty && shelf.is_bare() {
                continue;
            }
            drop(self.graph.insert(id.clone(), shelf.record()));
        }
    }

    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn told(&self, id: &RecordId) -> Option<Record> {
        let record = self.graph.get(id).cloned()?;
        let held = |id: &RecordId| self.places.get(id).and_then(|place| place.held.clone());
        if let Some(reason) = held(id) {
            return Some(record.with(NOT_SYNCABLE, reason));
        }
        // What belongs to an event that stays here stays with it.
        let part = !self.places.contains_key(id);
        let stays = part && first(&record, "owner").is_some_and(|owner| held(&owner).is_some());
        (!stays).then_some(record)
    }

    fn token(&self, _prints: Option<Prints<'_>>) -> String {
        let folders: Vec<&str> = match self.layout {
            Layout::Folders => self.shelves.keys().map(RecordId::as_str).collect(),
            _ => Vec::new(),
        };
        serde_json::json!({ "calendars": 1, "folders": folders }).to_string()
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn apply(&mut self, write: &Write) -> Result<Applied, Outcome> {
        if is_delete(write) {
            return self.delete(&write.id);
        }
        let Change::Upsert(record) = &write.change else {
            return Err(Outcome::NotAccepted);
        };
        match record.entity.as_deref() {
            Some(entity::EVENT) => self.put_event(write, record),
            Some(entity::CALENDAR) => self.put_calendar(write, record),
            Some(name) if schema::entity(name).is_none_or(|known| known.kind == EntityKind::Child) => {
                self.put_part(write, record)
            }
            _ => Err(Outcome::NotAccepted),
        }
    }

    fn edits(&mut self, now: Timestamp) -> Vec<Edit> {
        self.stamp(now);
        let mut edits = Vec::new();
        for (id, shelf) in self.shelves.iter_mut().filter(|(_, shelf)| shelf.dirty) {
            let record = self.graph.get(id).cloned();
            edits.extend(shelf.edits(id, record));
            shelf.dirty = false;
        }
        for sheet in std::mem::take(&mut self.dirty) {
            let Some(text) = self.text(&sheet) else { continue };
            let stays = matches!(self.layout, Layout::File(_)) || !text.is_empty();
            edits.push(Edit {
                after: self.moves.remove(&sheet).unwrap_or_default(),
                text: stays.then_some(text),
                sheet,
            });
        }
        edits
    }
}

/// The calendar that a hidden file describes.
pub(super) fn calendar_of(text: &str, limits: &Limits) -> Result<Record, String> {
    let read = icalendar::read(text, &only(), limits).map_err(|error| error.to_string())?;
    let Entry { view, .. } = read.calendar;
    Ok(view.write())
}
