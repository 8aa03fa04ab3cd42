//! Calendar files as calendars and events, and back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cabled_wire::plist::Value;

use super::book::{Applied, Book, Edit, copy_id, failed, first, is_delete, is_safe_name, made_id};
use super::shelf::{self, Shelf};
use crate::engine::{Outcome, Write};
use crate::entity;
use crate::interchange::icalendar::{self, NOT_SYNCABLE};
use crate::interchange::{Limits, part_id};
use crate::record::{Change, Record, RecordId};
use crate::records::{Calendar, Entry, Event, EventDetails, Graph, Timestamp, View};
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

    fn take_section(&mut self, sheet: &str, text: &str, number: usize, calendar: &RecordId) -> Result<Section, String> {
        let read = icalendar::read(text, calendar, &self.limits).map_err(|error| error.to_string())?;
        let mut section = Section {
            calendar: calendar.clone(),
            own: read.calendar.view,
            events: Vec::new(),
            gone: false,
        };
        let mut series: HashMap<RecordId, RecordId> = HashMap::new();
        let (alone, detached): (Vec<Event>, Vec<Event>) = read
            .events
            .into_iter()
            .partition(|event| event.details.main_event.is_empty());
        for (at, event) in alone.into_iter().chain(detached).enumerate() {
            let at = number.saturating_mul(self.limits.records).saturating_add(at);
            let named = !read.unnamed.contains(&event.id);
            let of = event.details.main_event.first().and_then(|of| series.get(of)).cloned();
            let wanted = match &of {
                Some(of) => occurrence_id(of, event.details.original).unwrap_or_else(|| event.id.clone()),
                None if named => event.id.clone(),
                None => made_id(sheet, at),
            };
            let native = match self.places.get(&wanted) {
                None => wanted,
                Some(other) => {
                    let both = if other.sheet == sheet {
                        format!("{sheet} has two events with the same UID")
                    } else {
                        format!("{sheet} and {} have the same UID", other.sheet)
                    };
                    self.notes.push(format!("{both}; both are kept"));
                    copy_id(&wanted, sheet, at)
                }
            };
            if of.is_none() {
                series.entry(event.id.clone()).or_insert_with(|| native.clone());
            }
            self.take_event(sheet, number, event, &native, of, named)?;
            section.events.push(native);
        }
        Ok(section)
    }

    fn take_event(
        &mut self,
        sheet: &str,
        section: usize,
        event: Event,
        native: &RecordId,
        series: Option<RecordId>,
        named: bool,
    ) -> Result<(), String> {
        let mut record = event.details.write();
        let held_with = series.as_ref().and_then(|series| self.places.get(series)?.held.clone());
        let held = record
            .attributes
            .get(NOT_SYNCABLE)
            .and_then(Value::as_string)
            .map(str::to_owned)
            .or(held_with);
        if let Some(reason) = &held {
            let title = event.details.summary.clone().unwrap_or_default();
            self.notes
                .push(format!("{sheet}: {title:?} stays on this computer, because {reason}"));
        }
        if let Some(series) = series {
            record = record.with("main event", vec![series.as_str().into()]);
        }
        if let Some(place) = shelf::line_value(&record, DEFAULT) {
            if first(&record, "calendar").is_some_and(|calendar| calendar.as_str() == place) {
                record.attributes.remove("calendar");
            }
            record.attributes.remove(DEFAULT);
        }
        let keeps = named || record.attributes.contains_key(UID) || held.is_some();
        let place = Place {
            sheet: sheet.to_owned(),
            section,
            uid: if keeps { event.id.clone() } else { native.clone() },
            held,
        };
        self.insert(native.clone(), record)?;
        let mut numbers = BTreeMap::new();
        for (_, part) in event.parts() {
            let id = part_id(native, &part, &mut numbers);
            self.insert(id, part.with("owner", vec![native.as_str().into()]))?;
        }
        self.places.insert(native.clone(), place);
        Ok(())
    }

    /// All calendars of one file.
    fn take_file(&mut self, sheet: &str, text: &str) -> Result<(), String> {
        let mut sections = Vec::new();
        if !text.trim().is_empty() {
            let whole = shelf::calendars(text);
            for (number, piece) in whole.iter().enumerate() {
                let probe = icalendar::read(piece, &only(), &self.limits).map_err(|error| error.to_string())?;
                let said = shelf::line_value(&probe.calendar.view.write(), CALENDAR_ID);
                let id = said
                    .and_then(|id| RecordId::new(id).ok())
                    .filter(|id| self.graph.get(id).is_none());
                let id = id.unwrap_or_else(|| if number == 0 { only() } else { made_id(sheet, number) });
                let section = self.take_section(sheet, piece, number, &id)?;
                self.insert(id, section.own.write())?;
                sections.push(section);
            }
        }
        self.sheets.insert(sheet.to_owned(), sections);
        Ok(())
    }

    /// Where a new event goes: its calendar, and the file and section in it.
    fn spot(&mut self, calendar: Option<RecordId>, name: &str) -> Result<(RecordId, String, usize), Outcome> {
        if let Layout::File(sheet) = self.layout.clone() {
            let sections = self.sheets.entry(sheet.clone()).or_default();
            let found = sections
                .iter()
                .position(|section| !section.gone && calendar.as_ref().is_none_or(|id| *id == section.calendar));
            let at = match (found, calendar) {
                (Some(at), _) => at,
                (None, Some(_)) => return Err(failed("its calendar is not there any more")),
                (None, None) => {
                    self.add_calendar(&only(), &Record::new(entity::CALENDAR).with("title", "Calendar"))?;
                    0
                }
            };
            let section = self.sheets.get(&sheet).and_then(|sections| sections.get(at));
            let id = section.map(|section| section.calendar.clone()).unwrap_or_else(only);
            return Ok((id, sheet, at));
        }
        let id = match calendar {
            Some(id) => id,
            None => match self.shelves.keys().next().cloned() {
                Some(id) if self.graph.get(&id).is_some() || self.layout == Layout::Folders => id,
                _ => {
                    let record = Record::new(entity::CALENDAR).with("title", "Calendar");
                    self.add_calendar(&only(), &record)?
                }
            },
        };
        let shelf = self
            .shelves
            .get(&id)
            .ok_or_else(|| failed("its calendar is not there any more"))?;
        let mut sheet = format!("{}{name}", shelf.prefix);
        if self.sheets.contains_key(&sheet) {
            sheet = format!("{}{}.ics", shelf.prefix, made_id(&sheet, self.sheets.len()));
        }
        let section = Section {
            calendar: id.clone(),
            own: Calendar::default(),
            events: Vec::new(),
            gone: false,
        };
        self.sheets.insert(sheet.clone(), vec![section]);
        Ok((id, sheet, 0))
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

    /// Puts a part in if the event it belongs to can be written with it.
    fn insert_checked(&mut self, id: &RecordId, record: &Record, root: &RecordId) -> Result<(), Outcome> {
        let before = self.graph.get(id).cloned();
        let put = self.insert(id.clone(), record.clone());
        let read = put.and_then(|()| {
            Event::read(&self.graph, root)
                .map(drop)
                .map_err(|error| error.to_string())
        });
        read.map_err(|reason| {
            match before {
                Some(before) => drop(self.graph.insert(id.clone(), before)),
                None => drop(self.graph.remove(id)),
            }
            failed(reason)
        })
    }

    fn put_event(&mut self, write: &Write, record: &Record) -> Result<Applied, Outcome> {
        let known = self.places.get(&write.id).cloned();
        if let Some(reason) = known.as_ref().and_then(|place| place.held.as_ref()) {
            return Err(failed(format!("it is not changed from a device, because {reason}")));
        }
        if known.is_none() && !write.new {
            return Err(failed("the event is not there any more"));
        }
        EventDetails::read(&write.id, record).map_err(|error| failed(error.to_string()))?;
        let calendar = first(record, "calendar");
        let series = first(record, "main event");
        let mut native = write.id.clone();
        let mut sheets = BTreeSet::new();
        match (known, &series) {
            (Some(place), series) => {
                sheets.insert(place.sheet.clone());
                let here = self
                    .sheets
                    .get(&place.sheet)
                    .and_then(|sections| sections.get(place.section));
                let moved = calendar
                    .as_ref()
                    .filter(|calendar| here.is_some_and(|here| here.calendar != **calendar));
                if let (Some(to), None) = (moved, series) {
                    sheets.insert(self.relocate(&write.id, to)?);
                }
            }
            (None, Some(series)) => {
                let place = self.places.get(series).filter(|place| place.held.is_none()).cloned();
                let place = place.ok_or_else(|| failed("its series is not there any more"))?;
                let original = record.attributes.get("original date").and_then(Value::as_date);
                let original = original.and_then(|date| {
                    let time: std::time::SystemTime = date.into();
                    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
                    Some(Timestamp::new(i64::try_from(since.as_secs()).ok()?))
                });
                native = occurrence_id(series, original).unwrap_or(native);
                if !self.places.contains_key(&native) {
                    self.list(&native, &place.sheet, place.section);
                }
                sheets.insert(place.sheet.clone());
                self.places.insert(
                    native.clone(),
                    Place {
                        uid: native.clone(),
                        ..place
                    },
                );
            }
            (None, None) => {
                let stem = if is_safe_name(native.as_str()) {
                    native.clone()
                } else {
                    made_id(native.as_str(), 0)
                };
                let (_, sheet, section) = self.spot(calendar, &format!("{stem}.ics"))?;
                self.list(&native, &sheet, section);
                sheets.insert(sheet.clone());
                let uid = native.clone();
                self.places.insert(
                    native.clone(),
                    Place {
                        sheet,
                        section,
                        uid,
                        held: None,
                    },
                );
            }
        }
        self.insert(native.clone(), record.clone()).map_err(failed)?;
        if !write.new {
            self.changed.insert(native.clone());
        }
        self.dirty.extend(sheets.iter().cloned());
        Ok(Applied {
            native: write.new.then_some(native),
            sheets,
            leaves: None,
        })
    }

    /// Takes an event and what was detached from it to another calendar, and gives the file.
    fn relocate(&mut self, id: &RecordId, to: &RecordId) -> Result<String, Outcome> {
        let from = self.places.get(id).map(|place| place.sheet.clone()).unwrap_or_default();
        let name = from.rsplit('/').next().unwrap_or_default().to_owned();
        let (_, sheet, section) = self.spot(Some(to.clone()), &name)?;
        let detached: Vec<RecordId> = self.graph.occurrences(id).map(|(id, _)| id.clone()).collect();
        for one in std::iter::once(id).chain(&detached) {
            let Some(place) = self.unlist(one) else { continue };
            self.list(one, &sheet, section);
            let sheet = sheet.clone();
            self.places.insert(
                one.clone(),
                Place {
                    sheet,
                    section,
                    ..place
                },
            );
            if let Some(record) = self.graph.get(one).cloned() {
                let record = record.with("calendar", vec![to.as_str().into()]);
                self.insert(one.clone(), record).map_err(failed)?;
            }
        }
        if from != sheet {
            self.dirty.insert(from.clone());
            self.moves.entry(from).or_default().insert(sheet.clone());
        }
        self.dirty.insert(sheet.clone());
        Ok(sheet)
    }

    fn add_calendar(&mut self, id: &RecordId, record: &Record) -> Result<RecordId, Outcome> {
        let title = record
            .attributes
            .get("title")
            .and_then(Value::as_string)
            .unwrap_or_default();
        let (native, record) = match self.layout.clone() {
            Layout::File(sheet) => {
                let line = format!("X-WR-RELCALID:{id}");
                let record = record.clone().with(CALENDAR_ID, vec![line.into()]);
                let section = Section {
                    calendar: id.clone(),
                    own: Calendar::default(),
                    events: Vec::new(),
                    gone: false,
                };
                self.sheets.entry(sheet.clone()).or_default().push(section);
                self.dirty.insert(sheet);
                (id.clone(), record)
            }
            Layout::Folder => {
                if self.graph.get(&only()).is_some() {
                    return Err(failed(
                        "the folder is one calendar, and has one; sync a folder of such folders",
                    ));
                }
                (only(), record.clone())
            }
            Layout::Folders => {
                let taken: BTreeSet<String> = self.shelves.keys().map(|id| id.as_str().to_lowercase()).collect();
                let folder = shelf::folder_name(title, id, &taken);
                let native = RecordId::new(folder.as_str()).map_err(|_| failed("it cannot have a folder"))?;
                self.shelves.insert(native.clone(), Shelf::made(&folder));
                (native, record.clone())
            }
        };
        if let Some(shelf) = self.shelves.get_mut(&native) {
            shelf.dirty = true;
        }
        self.insert(native.clone(), record).map_err(failed)?;
        Ok(native)
    }

    fn put_calendar(&mut self, write: &Write, record: &Record) -> Result<Applied, Outcome> {
        let known = self.graph.get(&write.id).is_some();
        if !known && !write.new {
            return Err(failed("the calendar is not there any more"));
        }
        Calendar::read(&write.id, record).map_err(|error| failed(error.to_string()))?;
        let mut native = write.id.clone();
        if known {
            self.insert(native.clone(), record.clone()).map_err(failed)?;
        } else {
            native = self.add_calendar(&write.id, record)?;
        }
        let mut applied = Applied::default();
        if let Some(shelf) = self.shelves.get_mut(&native) {
            shelf.dirty = true;
            applied.sheets.extend(shelf.sheets());
        }
        if let Layout::File(sheet) = &self.layout {
            self.dirty.insert(sheet.clone());
            applied.sheets.insert(sheet.clone());
        }
        Ok(applied.named(write.new.then_some(native)))
    }

    fn put_part(&mut self, write: &Write, record: &Record) -> Result<Applied, Outcome> {
        let owner = first(record, "owner").and_then(|owner| Some((self.places.get(&owner)?.clone(), owner)));
        let (place, owner) = owner.ok_or_else(|| failed("the event it belongs to is not there any more"))?;
        if let Some(reason) = &place.held {
            return Err(failed(format!(
                "its event is not changed from a device, because {reason}"
            )));
        }
        let mut id = write.id.clone();
        let mut native = None;
        if write.new {
            self.parts = self.parts.saturating_add(1);
            id = RecordId::new(format!("{owner}/~/{:012}", self.parts)).unwrap_or(id);
            native = Some(id.clone());
        }
        self.insert_checked(&id, record, &owner)?;
        self.changed.insert(owner);
        self.dirty.insert(place.sheet.clone());
        Ok(Applied::on(&place.sheet).named(native))
    }

    fn remove_event(&mut self, id: &RecordId) -> Option<String> {
        let place = self.unlist(id)?;
        self.places.remove(id);
        let detached: Vec<RecordId> = self.graph.occurrences(id).map(|(id, _)| id.clone()).collect();
        for one in detached {
            self.remove_event(&one);
        }
        let parts: Vec<RecordId> = self.graph.parts(id).map(|(id, _)| id.clone()).collect();
        for part in parts.iter().chain([id]) {
            self.graph.remove(part);
        }
        self.changed.remove(id);
        self.dirty.insert(place.sheet.clone());
        Some(place.sheet)
    }

    fn delete(&mut self, id: &RecordId) -> Result<Applied, Outcome> {
        let Some(record) = self.graph.get(id).cloned() else {
            return Ok(Applied::default());
        };
        match record.entity.as_deref() {
            Some(entity::EVENT) => {
                let detached = self.graph.occurrences(id).map(|(id, _)| id);
                let held = std::iter::once(id)
                    .chain(detached)
                    .find_map(|id| self.places.get(id)?.held.clone());
                if let Some(reason) = held {
                    return Err(failed(format!("it is not deleted from a device, because {reason}")));
                }
                Ok(self
                    .remove_event(id)
                    .map_or_else(Applied::default, |sheet| Applied::on(&sheet)))
            }
            Some(entity::CALENDAR) => self.delete_calendar(id),
            _ => {
                self.graph.remove(id);
                let place = first(&record, "owner").and_then(|owner| Some((self.places.get(&owner)?.clone(), owner)));
                let Some((place, owner)) = place else {
                    return Ok(Applied::default());
                };
                self.changed.insert(owner);
                self.dirty.insert(place.sheet.clone());
                Ok(Applied::on(&place.sheet))
            }
        }
    }

    fn delete_calendar(&mut self, id: &RecordId) -> Result<Applied, Outcome> {
        let held = |place: &Place| {
            let section = self
                .sheets
                .get(&place.sheet)
                .and_then(|sections| sections.get(place.section));
            place.held.is_some() && section.is_some_and(|section| section.calendar == *id)
        };
        if self.places.values().any(held) {
            return Err(failed("events are in it that no device knows; it stays"));
        }
        if self.layout == Layout::Folder {
            return Err(failed("the folder is the calendar, and stays"));
        }
        let inside = |section: &Section| section.calendar == *id;
        let events: Vec<RecordId> = self
            .sheets
            .values()
            .flatten()
            .filter(|section| inside(section))
            .flat_map(|section| section.events.clone())
            .collect();
        let mut applied = Applied::default();
        for event in events {
            applied.sheets.extend(self.remove_event(&event));
        }
        self.graph.remove(id);
        if let Layout::File(sheet) = self.layout.clone() {
            for section in self
                .sheets
                .values_mut()
                .flatten()
                .filter(|section| section.calendar == *id)
            {
                section.gone = true;
            }
            self.dirty.insert(sheet.clone());
            applied.sheets.insert(sheet);
        } else if let Some(shelf) = self.shelves.get_mut(id) {
            shelf.dirty = true;
            applied.sheets.extend(shelf.sheets());
            applied.leaves = Some(shelf.prefix.trim_end_matches('/').to_owned());
        }
        Ok(applied)
    }

    /// An event as it is written.
    fn event(&self, native: &RecordId, calendar: &RecordId) -> Option<Event> {
        let mut event = Event::read(&self.graph, native).ok()?;
        event.id = self.places.get(native)?.uid.clone();
        for series in &mut event.details.main_event {
            if let Some(place) = self.places.get(series) {
                *series = place.uid.clone();
            }
        }
        if event.details.calendar.is_empty() {
            let line = format!("X-CABLED-DEFAULT-CALENDAR:{calendar}");
            event.details.residue.keep(DEFAULT, Value::Array(vec![line.into()]));
            // Where it is written is not where it belongs; the mark says so.
            event.details.calendar = vec![calendar.clone()];
        }
        Some(event)
    }

    fn text(&self, sheet: &str) -> Option<String> {
        let sections = self.sheets.get(sheet)?;
        let file = matches!(self.layout, Layout::File(_));
        let mut text = String::new();
        for section in sections.iter().filter(|section| !section.gone) {
            let own = match self.graph.get(&section.calendar).filter(|_| file) {
                Some(record) => Calendar::read(&section.calendar, record).unwrap_or_default(),
                None => section.own.clone(),
            };
            let events: Vec<Event> = section
                .events
                .iter()
                .filter_map(|native| self.event(native, &section.calendar))
                .collect();
            if file || !events.is_empty() || own.write().attributes.contains_key(COMPONENTS) {
                text.push_str(&icalendar::write(Some(&own), &events));
            }
        }
        Some(text)
    }

    /// Marks what was changed, for people and for programs that exchange invitations. Spec: mobilesync, section 8.6.
    fn stamp(&mut self, now: Timestamp) {
        for id in std::mem::take(&mut self.changed) {
            let Some(mut record) = self.graph.get(&id).cloned() else {
                continue;
            };
            let line = format!("LAST-MODIFIED:{}", super::stamp(now));
            record = record.with("ical:LAST-MODIFIED", vec![line.into()]);
            let organizer = |(_, part): (&RecordId, &Record)| part.entity.as_deref() == Some(entity::ORGANIZER);
            if self.graph.parts(&id).any(organizer) {
                let old = shelf::line_value(&record, "ical:SEQUENCE").and_then(|text| text.trim().parse::<u32>().ok());
                let line = format!("SEQUENCE:{}", old.unwrap_or(0).saturating_add(1));
                record = record.with("ical:SEQUENCE", vec![line.into()]);
            }
            drop(self.graph.insert(id, record));
        }
    }
}

impl Book for Events {
    fn take(&mut self, sheet: &str, text: &str) -> Result<(), String> {
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

    fn token(&self) -> String {
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
