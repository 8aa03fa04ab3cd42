//! Calendars and events as the text of files.

use cabled_wire::plist::Value;

use super::{COMPONENTS, DEFAULT, Events, Layout};
use crate::entity;
use crate::interchange::icalendar;
use crate::record::{Record, RecordId};
use crate::records::{Calendar, Event, Timestamp, View};
use crate::replica::file::{shelf, stamp};

impl Events {
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

    pub(super) fn text(&self, sheet: &str) -> Option<String> {
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
    pub(super) fn stamp(&mut self, now: Timestamp) {
        for id in std::mem::take(&mut self.changed) {
            let Some(mut record) = self.graph.get(&id).cloned() else {
                continue;
            };
            let line = format!("LAST-MODIFIED:{}", stamp(now));
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
