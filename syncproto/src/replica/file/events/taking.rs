//! What calendar files say, taken in.

use std::collections::{BTreeMap, HashMap};

use cabled_wire::plist::Value;

use super::{CALENDAR_ID, DEFAULT, Events, Place, Section, UID, occurrence_id, only};
use crate::interchange::icalendar::{self, NOT_SYNCABLE};
use crate::interchange::part_id;
use crate::record::RecordId;
use crate::records::{Event, View};
use crate::replica::file::book::{copy_id, first, made_id};
use crate::replica::file::shelf;

impl Events {
    pub(super) fn take_section(
        &mut self,
        sheet: &str,
        text: &str,
        number: usize,
        calendar: &RecordId,
    ) -> Result<Section, String> {
        let read = icalendar::read(text, calendar, &self.limits).map_err(|error| error.to_string())?;
        let mut section = Section::of(calendar.clone(), read.calendar.view);
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
    pub(super) fn take_file(&mut self, sheet: &str, text: &str) -> Result<(), String> {
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
}
