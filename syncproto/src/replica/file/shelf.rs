//! A calendar that is a folder: its name and colour in files of their own.

use std::collections::BTreeSet;

use cabled_wire::plist::Value;

use super::book::Edit;
use crate::entity;
use crate::interchange::{Limits, icalendar};
use crate::record::{Record, RecordId};
use crate::records::{Calendar, View};

/// A calendar's folder.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: String,
    /// The folder with a slash, or nothing.
    pub(super) prefix: String,
    name: Option<String>,
    color: Option<String>,
    hidden: Option<Record>,
    /// It is ours to make: its name is written even where the folder says it, or an empty one would not be there.
    made: bool,
    pub(super) dirty: bool,
}

impl Shelf {
    const NAME: &'static str = "displayname";
    const COLOR: &'static str = "color";
    /// What the other two cannot say.
    const HIDDEN: &'static str = ".cabled-calendar";
    /// The files of a folder that are no items.
    pub(super) const FILES: [&'static str; 3] = [Self::NAME, Self::COLOR, Self::HIDDEN];

    pub(super) fn new(folder: &str, prefix: String) -> Self {
        Self {
            folder: folder.to_owned(),
            prefix,
            name: None,
            color: None,
            hidden: None,
            made: false,
            dirty: false,
        }
    }

    /// The folder of a new calendar.
    pub(super) fn made(folder: &str) -> Self {
        Self {
            made: true,
            ..Self::new(folder, format!("{folder}/"))
        }
    }

    pub(super) fn take(&mut self, name: &str, text: &str, limits: &Limits) -> Result<(), String> {
        let trimmed = Some(text.trim().to_owned()).filter(|text| !text.is_empty());
        match name {
            Self::NAME => self.name = trimmed,
            Self::COLOR => self.color = trimmed,
            _ => self.hidden = Some(super::events::calendar_of(text, limits)?),
        }
        Ok(())
    }

    pub(super) fn is_bare(&self) -> bool {
        self.name.is_none() && self.color.is_none() && self.hidden.is_none()
    }

    pub(super) fn sheets(&self) -> impl Iterator<Item = String> + '_ {
        Self::FILES.iter().map(|name| format!("{}{name}", self.prefix))
    }

    /// The calendar: what the files for people say, and the rest from the hidden one.
    pub(super) fn record(&self) -> Record {
        let mut record = self.hidden.clone().unwrap_or_else(|| Record::new(entity::CALENDAR));
        let title = self.name.as_ref().unwrap_or(&self.folder);
        if text(&record, "title").map(str::trim) != Some(title) {
            record = record.with("title", title.as_str());
        }
        let said = color_text(&record);
        match self.color.as_deref().and_then(components) {
            Some(parts) if said != self.color.as_deref().map(normal) => record = record.with("colorComponents", parts),
            None if said.is_some() => drop(record.attributes.remove("colorComponents")),
            _ => {}
        }
        record
    }

    /// The files for a calendar; without one, they go.
    pub(super) fn edits(&mut self, id: &RecordId, record: Option<Record>) -> Vec<Edit> {
        self.hidden = None;
        let (mut name, mut color, mut hidden) = (None, None, None);
        if let Some(record) = &record {
            let title = text(record, "title").map(str::trim).filter(|title| !title.is_empty());
            name = title
                .filter(|title| *title != self.folder || self.made || self.name.is_some())
                .map(str::to_owned);
            color = color_text(record);
        }
        (self.name, self.color) = (name.clone(), color.clone());
        if let Some(record) = record.filter(|record| self.record() != *record) {
            hidden = Calendar::read(id, &record)
                .ok()
                .map(|view| icalendar::write(Some(&view), []));
            self.hidden = Some(record);
        }
        let texts = [name, color, hidden];
        let pairs = self.sheets().collect::<Vec<_>>().into_iter().zip(texts);
        let edit = |(sheet, text)| Edit {
            sheet,
            text,
            after: BTreeSet::new(),
        };
        pairs.map(edit).collect()
    }
}

fn text<'a>(record: &'a Record, key: &str) -> Option<&'a str> {
    record.attributes.get(key)?.as_string()
}

fn normal(color: &str) -> String {
    color.get(..7).unwrap_or(color).to_ascii_uppercase()
}

/// `#RRGGBB`.
fn color_text(record: &Record) -> Option<String> {
    let parts = record.attributes.get("colorComponents")?.as_array()?;
    let parts: Option<Vec<u8>> = parts
        .iter()
        .map(|part| u8::try_from(part.as_signed_integer()?).ok())
        .collect();
    match parts?.as_slice() {
        [red, green, blue, _] => Some(format!("#{red:02X}{green:02X}{blue:02X}")),
        _ => None,
    }
}

fn components(color: &str) -> Option<Vec<Value>> {
    let digits = color.strip_prefix('#').filter(|digits| matches!(digits.len(), 6 | 8))?;
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let part = |at: usize| {
        let pair = digits.get(at..at.saturating_add(2))?;
        u8::from_str_radix(pair, 16)
            .ok()
            .map(|part| Value::from(i64::from(part)))
    };
    Some(vec![part(0)?, part(2)?, part(4)?, Value::from(255)])
}

/// The value of the one line that is kept under a key.
pub(super) fn line_value(record: &Record, key: &str) -> Option<String> {
    let line = record.attributes.get(key)?.as_array()?.first()?.as_string()?;
    line.split_once(':').map(|(_, value)| value.to_owned())
}

/// A folder for a calendar: its title in small letters where that is a safe name nobody has, else its identifier.
pub(super) fn folder_name(title: &str, id: &RecordId, taken: &BTreeSet<String>) -> String {
    let mut name = String::new();
    for c in title.chars().take(60) {
        match c {
            c if c.is_ascii_alphanumeric() => name.push(c.to_ascii_lowercase()),
            _ if name.is_empty() || name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    let name = name.trim_end_matches('-');
    let free = |name: &str| super::book::is_safe_name(name) && !taken.contains(name);
    let numbered = || {
        (2..100)
            .map(|number| format!("{name}-{number}"))
            .find(|name| free(name))
    };
    if name.is_empty() {
        let id = id.as_str();
        return if free(id) {
            id.to_owned()
        } else {
            super::book::made_id(id, 0).to_string()
        };
    }
    if free(name) {
        return name.to_owned();
    }
    numbered().unwrap_or_else(|| super::book::made_id(id.as_str(), 0).to_string())
}

/// The `VCALENDAR`s of a text. What cannot be cut stays whole, and is refused by who reads it.
pub(super) fn calendars(text: &str) -> Vec<&str> {
    let (mut pieces, mut depth, mut from, mut at) = (Vec::new(), 0_usize, 0_usize, 0_usize);
    for line in text.split_inclusive('\n') {
        at = at.saturating_add(line.len());
        let mark = line.trim_start_matches('\u{feff}').get(..6).unwrap_or_default();
        if mark.eq_ignore_ascii_case("BEGIN:") {
            depth = depth.saturating_add(1);
        } else if mark.get(..4).is_some_and(|mark| mark.eq_ignore_ascii_case("END:")) {
            let Some(less) = depth.checked_sub(1) else {
                return vec![text];
            };
            depth = less;
            if depth == 0 {
                pieces.extend(text.get(from..at));
                from = at;
            }
        }
    }
    if depth > 0 || pieces.is_empty() {
        return vec![text];
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_have_safe_names_that_nobody_has() {
        let id = RecordId::new("0b7c2e1a-5a00-4d2e-8f00-000000000001").unwrap();
        let none = BTreeSet::new();
        assert_eq!(folder_name("Home & Garden!", &id, &none), "home-garden");
        assert_eq!(folder_name("../../x", &id, &none), "x");
        assert_eq!(folder_name("仕事", &id, &none), id.as_str());
        assert_eq!(folder_name("CON", &id, &none), "con-2");
        let taken = BTreeSet::from(["home".to_owned(), "home-2".to_owned()]);
        assert_eq!(folder_name("HOME", &id, &taken), "home-3");
    }

    #[test]
    fn colours_are_read_and_written() {
        assert_eq!(components("#ff00AA").map(|all| all.len()), Some(4));
        for bad in ["ff00aa", "#ff00a", "#gg0000", "#+10000", "red"] {
            assert_eq!(components(bad), None, "{bad}");
        }
    }
}
