//! What a device changed, put in.

use std::collections::BTreeSet;

use cabled_wire::plist::Value;

use super::{CALENDAR_ID, Events, Layout, Place, Section, occurrence_id, only};
use crate::engine::{Outcome, Write};
use crate::entity;
use crate::record::{Record, RecordId};
use crate::records::{Calendar, Event, EventDetails, View};
use crate::replica::file::book::{Applied, failed, first, insert_checked, is_safe_name, made_id};
use crate::replica::file::shelf::{self, Shelf};

impl Events {
    /// Where a new event goes: a file, and the section in it.
    fn spot(&mut self, calendar: Option<RecordId>, name: &str) -> Result<(String, usize), Outcome> {
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
            return Ok((sheet, at));
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
        self.sheets
            .insert(sheet.clone(), vec![Section::of(id, Calendar::default())]);
        Ok((sheet, 0))
    }

    pub(super) fn put_event(&mut self, write: &Write, record: &Record) -> Result<Applied, Outcome> {
        let known = self.places.get(&write.id).cloned();
        if let Some(reason) = known.as_ref().and_then(|place| place.held.as_ref()) {
            return Err(failed(format!("it is not changed from a device, because {reason}")));
        }
        if known.is_none() && !write.new {
            return Err(failed("the event is not there any more"));
        }
        let details = EventDetails::read(&write.id, record).map_err(|error| failed(error.to_string()))?;
        let calendar = first(record, "calendar");
        let series = first(record, "main event");
        let mut native = write.id.clone();
        let mut applied = match (known, &series) {
            (Some(place), series) => {
                let mut applied = Applied::on(&place.sheet);
                let moved =
                    calendar.filter(|calendar| self.section(&place).is_some_and(|here| here.calendar != *calendar));
                if let (Some(to), None) = (moved, series) {
                    applied.sheets.insert(self.relocate(&write.id, &to)?);
                }
                applied
            }
            (None, Some(series)) => {
                native = occurrence_id(series, details.original).unwrap_or(native);
                self.detach(&native, series)?
            }
            (None, None) => self.add_event(&native, calendar)?,
        };
        self.insert(native.clone(), record.clone()).map_err(failed)?;
        if !write.new {
            self.changed.insert(native.clone());
        }
        self.dirty.extend(applied.sheets.iter().cloned());
        applied.native = write.new.then_some(native);
        Ok(applied)
    }

    /// Finds the place of an occurrence that is new here: beside its series.
    fn detach(&mut self, native: &RecordId, series: &RecordId) -> Result<Applied, Outcome> {
        let place = self.places.get(series).filter(|place| place.held.is_none()).cloned();
        let place = place.ok_or_else(|| failed("its series is not there any more"))?;
        if !self.places.contains_key(native) {
            self.list(native, &place.sheet, place.section);
        }
        let applied = Applied::on(&place.sheet);
        let uid = native.clone();
        self.places.insert(native.clone(), Place { uid, ..place });
        Ok(applied)
    }

    /// Finds the place of an event that is new here.
    fn add_event(&mut self, native: &RecordId, calendar: Option<RecordId>) -> Result<Applied, Outcome> {
        let stem = if is_safe_name(native.as_str()) {
            native.clone()
        } else {
            made_id(native.as_str(), 0)
        };
        let (sheet, section) = self.spot(calendar, &format!("{stem}.ics"))?;
        self.list(native, &sheet, section);
        let applied = Applied::on(&sheet);
        let place = Place {
            sheet,
            section,
            uid: native.clone(),
            held: None,
        };
        self.places.insert(native.clone(), place);
        Ok(applied)
    }

    /// Takes an event and what was detached from it to another calendar, and gives the file.
    fn relocate(&mut self, id: &RecordId, to: &RecordId) -> Result<String, Outcome> {
        let from = self.places.get(id).map(|place| place.sheet.clone()).unwrap_or_default();
        let name = from.rsplit('/').next().unwrap_or_default().to_owned();
        let (sheet, section) = self.spot(Some(to.clone()), &name)?;
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
                let section = Section::of(id.clone(), Calendar::default());
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

    pub(super) fn put_calendar(&mut self, write: &Write, record: &Record) -> Result<Applied, Outcome> {
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

    pub(super) fn put_part(&mut self, write: &Write, record: &Record) -> Result<Applied, Outcome> {
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
        insert_checked(&mut self.graph, &id, record, |graph| Event::read(graph, &owner))?;
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

    pub(super) fn delete(&mut self, id: &RecordId) -> Result<Applied, Outcome> {
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
            let section = self.section(place);
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
}
