//! Cards as contacts and groups, and back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::book::{Applied, Book, Edit, copy_id, failed, first, insert_checked, is_delete, is_safe_name, made_id};
use super::groups::{Sorted, hidden_file};
use crate::engine::{Outcome, Write};
use crate::entity;
use crate::interchange::vcard::{self, Version, WriteOptions};
use crate::interchange::{Limits, part_id};
use crate::record::{Change, Record, RecordId};
use crate::records::{Contact, Graph, Group, Timestamp, View};
use crate::schema::{self, EntityKind};

/// The line of an identifier, where a card has one.
const UID: &str = "vcard:original:UID";
const VERSION: &str = "vcard:VERSION";
const REV: &str = "vcard:REV";

/// How groups of contacts are kept in files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Groups {
    /// As cards where there are group cards already, else as categories.
    #[default]
    AsFound,
    /// As the word in `CATEGORIES` of each member's card. What that cannot say (a group without members, a group within a
    /// group) is kept in a hidden file beside the cards.
    Categories,
    /// As a card of its own with `KIND:group`, or what stands for it in vCard 3.0.
    Cards,
}

impl Groups {
    /// What was found at the first sync stays, or a single card would turn words into something else.
    pub(crate) fn as_remembered(self, token: Option<&str>) -> Self {
        match (self, token) {
            (Self::AsFound, Some("contacts 1 cards")) => Self::Cards,
            (Self::AsFound, Some("contacts 1 categories")) => Self::Categories,
            (groups, _) => groups,
        }
    }
}

/// One card of a file.
#[derive(Debug)]
struct Card {
    native: RecordId,
    /// What stands before it and is no card.
    before: String,
    text: String,
}

#[derive(Debug, Default)]
struct Sheet {
    cards: Vec<Card>,
    tail: String,
}

/// Where a contact or group is, and under which identifier it is written.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub(super) sheet: String,
    uid: RecordId,
}

/// Contacts in files.
#[derive(Debug)]
pub(crate) struct People {
    pub(super) graph: Graph,
    sheets: BTreeMap<String, Sheet>,
    pub(super) homes: HashMap<RecordId, Home>,
    /// The one file that new records go to; `None` where each gets one of its own.
    one: Option<String>,
    pub(super) groups: Groups,
    /// The file of what categories cannot say.
    pub(super) hidden: String,
    pub(super) sorted: Sorted,
    version: Option<Version>,
    limits: Limits,
    /// Records whose card has to be written again, and those among them that were changed and are not new.
    pub(super) dirty: BTreeSet<RecordId>,
    changed: BTreeSet<RecordId>,
    /// Files in which something is no more.
    thinner: BTreeSet<String>,
    parts: u64,
    notes: Vec<String>,
}

impl People {
    pub(crate) fn new(one: Option<String>, groups: Groups, version: Option<Version>, limits: Limits) -> Self {
        Self {
            graph: Graph::default(),
            sheets: BTreeMap::new(),
            homes: HashMap::new(),
            hidden: hidden_file(one.as_deref()),
            one,
            groups,
            sorted: Sorted::default(),
            version,
            limits,
            dirty: BTreeSet::new(),
            changed: BTreeSet::new(),
            thinner: BTreeSet::new(),
            parts: 0,
            notes: Vec::new(),
        }
    }

    /// The name under which a record of a file is known: its own, unless another one has it.
    fn name(&mut self, id: &RecordId, named: bool, sheet: &str, number: usize) -> RecordId {
        if !named {
            return made_id(sheet, number);
        }
        match self.homes.get(id) {
            None => id.clone(),
            Some(other) => {
                self.notes.push(format!(
                    "{sheet} and {} have the same UID; both are kept, as two records",
                    other.sheet
                ));
                copy_id(id, sheet, number)
            }
        }
    }

    fn take_card(&mut self, sheet: &str, number: usize, text: &str) -> Result<RecordId, String> {
        let read = vcard::read(text, &self.limits).map_err(|error| error.to_string())?;
        let (records, id, has_uid) = match (read.contacts.as_slice(), read.groups.as_slice()) {
            ([contact], []) => {
                let root = contact.person.write();
                let has_uid = root.attributes.contains_key(UID);
                (vec![(contact.id.clone(), root)], contact.id.clone(), has_uid)
            }
            ([], [group]) => {
                let root = group.view.write();
                let has_uid = root.attributes.contains_key(UID);
                (vec![(group.id.clone(), root)], group.id.clone(), has_uid)
            }
            _ => return Err("its cards are within each other".to_owned()),
        };
        let named = read.unnamed.is_empty();
        let native = self.name(&id, named, sheet, number);
        // A card without a UID gets one when it is written; one that cannot be an identifier stays as it is.
        let uid = if named || has_uid { id } else { native.clone() };
        for (_, record) in records {
            self.insert(native.clone(), record)?;
        }
        let mut numbers = BTreeMap::new();
        for (_, part) in read.contacts.iter().flat_map(Contact::parts) {
            let id = part_id(&native, &part, &mut numbers);
            self.insert(id, part.with("contact", vec![native.as_str().into()]))?;
        }
        self.homes.insert(
            native.clone(),
            Home {
                sheet: sheet.to_owned(),
                uid,
            },
        );
        Ok(native)
    }

    fn insert(&mut self, id: RecordId, record: Record) -> Result<(), String> {
        self.graph.insert(id, record).map_err(|error| error.to_string())
    }

    /// The file of a record that is new.
    fn new_home(&mut self, id: &RecordId) -> Home {
        let stem = if is_safe_name(id.as_str()) {
            id.clone()
        } else {
            made_id(id.as_str(), 0)
        };
        let sheet = self.one.clone().unwrap_or_else(|| format!("{stem}.vcf"));
        let home = Home {
            sheet: sheet.clone(),
            uid: id.clone(),
        };
        let card = Card {
            native: id.clone(),
            before: String::new(),
            text: String::new(),
        };
        self.sheets.entry(sheet).or_default().cards.push(card);
        self.homes.insert(id.clone(), home.clone());
        home
    }

    fn touch(&mut self, id: &RecordId) -> Applied {
        self.dirty.insert(id.clone());
        match self.homes.get(id) {
            Some(home) => Applied::on(&home.sheet),
            None => Applied::default(),
        }
    }

    fn put_contact(&mut self, write: &Write, record: &Record) -> Result<Applied, Outcome> {
        let known = self.homes.contains_key(&write.id);
        if !known && !write.new {
            return Err(failed("the card is not there any more"));
        }
        insert_checked(&mut self.graph, &write.id, record, |graph| {
            Contact::read(graph, &write.id)
        })?;
        if !known {
            self.new_home(&write.id);
        } else if !write.new {
            self.changed.insert(write.id.clone());
        }
        Ok(self.touch(&write.id).named(write.new.then(|| write.id.clone())))
    }

    fn put_group(&mut self, write: &Write, record: &Record) -> Result<Applied, Outcome> {
        let known = self.graph.get(&write.id).is_some();
        if !known && !write.new {
            return Err(failed("the group is not there any more"));
        }
        Group::read(&write.id, record).map_err(|error| failed(error.to_string()))?;
        let native = write.new.then(|| write.id.clone());
        let card = self.homes.contains_key(&write.id) || (!known && self.groups == Groups::Cards);
        if card {
            if !self.homes.contains_key(&write.id) {
                self.new_home(&write.id);
            }
            self.insert(write.id.clone(), record.clone()).map_err(failed)?;
            return Ok(self.touch(&write.id).named(native));
        }
        let applied = self.sort_into(&write.id, record)?;
        Ok(applied.named(native))
    }

    fn put_part(&mut self, write: &Write, record: &Record) -> Result<Applied, Outcome> {
        let owner = first(record, "contact").filter(|owner| self.homes.contains_key(owner));
        let owner = owner.ok_or_else(|| failed("what it belongs to is not there any more"))?;
        let mut id = write.id.clone();
        let mut native = None;
        if write.new {
            // Behind those that are there, in the order in which they come.
            self.parts = self.parts.saturating_add(1);
            let place = format!("{owner}/~/{:012}", self.parts);
            id = RecordId::new(place).unwrap_or(id);
            native = Some(id.clone());
        }
        insert_checked(&mut self.graph, &id, record, |graph| Contact::read(graph, &owner))?;
        self.changed.insert(owner.clone());
        Ok(self.touch(&owner).named(native))
    }

    fn delete(&mut self, id: &RecordId) -> Applied {
        let Some(record) = self.graph.get(id).cloned() else {
            return Applied::default();
        };
        match record.entity.as_deref() {
            Some(entity::GROUP) if !self.homes.contains_key(id) => self.unsort(id),
            Some(entity::GROUP | entity::CONTACT) => {
                let parts: Vec<RecordId> = self.graph.parts(id).map(|(id, _)| id.clone()).collect();
                for part in parts.iter().chain([id]) {
                    self.graph.remove(part);
                }
                self.dirty.remove(id);
                let Some(home) = self.homes.remove(id) else {
                    return Applied::default();
                };
                self.thinner.insert(home.sheet.clone());
                Applied::on(&home.sheet)
            }
            _ => {
                self.graph.remove(id);
                match first(&record, "contact") {
                    Some(owner) if self.homes.contains_key(&owner) => {
                        self.changed.insert(owner.clone());
                        self.touch(&owner)
                    }
                    _ => Applied::default(),
                }
            }
        }
    }

    fn write_card(&self, native: &RecordId) -> Option<String> {
        let record = self.graph.get(native)?;
        let uid = self.homes.get(native)?.uid.clone();
        let mut options = WriteOptions::default();
        if let (false, Some(version)) = (record.attributes.contains_key(VERSION), self.version) {
            options = options.version(version);
        }
        if record.entity.as_deref() == Some(entity::GROUP) {
            let mut group = Group::read(native, record).ok()?;
            // Cards name each other by their UID.
            for member in &mut group.members {
                if let Some(home) = self.homes.get(member) {
                    *member = home.uid.clone();
                }
            }
            return Some(vcard::write_group(&uid, &group, &options));
        }
        let mut contact = Contact::read(&self.graph, native).ok()?;
        contact.id = uid;
        Some(vcard::write(&contact, &options))
    }

    fn stamp(&mut self, now: Timestamp) {
        for id in std::mem::take(&mut self.changed) {
            let Some(record) = self.graph.get(&id).filter(|record| record.attributes.contains_key(REV)) else {
                continue;
            };
            let line = format!("REV:{}", super::stamp(now));
            let record = record.clone().with(REV, vec![line.into()]);
            drop(self.graph.insert(id, record));
        }
    }
}

impl Book for People {
    fn take(&mut self, sheet: &str, text: &str) -> Result<(), String> {
        if sheet == self.hidden {
            return self.take_sorted(text);
        }
        let mut found = Sheet::default();
        let (cards, tail) = split(text, self.limits.records)?;
        let mut taken = Vec::new();
        for (number, (before, card)) in cards.into_iter().enumerate() {
            match self.take_card(sheet, number, card) {
                Ok(native) => {
                    taken.push(native.clone());
                    found.cards.push(Card {
                        native,
                        before: before.to_owned(),
                        text: card.to_owned(),
                    });
                }
                Err(reason) => return Err(reason),
            }
        }
        if taken.is_empty() && !tail.trim().is_empty() {
            return Err("there is no card in it".to_owned());
        }
        tail.clone_into(&mut found.tail);
        self.sheets.insert(sheet.to_owned(), found);
        Ok(())
    }

    fn ready(&mut self) {
        let cards = self.graph.of_entity(entity::GROUP).next().is_some();
        if self.groups == Groups::AsFound {
            self.groups = if cards { Groups::Cards } else { Groups::Categories };
        }
        self.name_members();
        self.sort_all();
    }

    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn token(&self) -> String {
        let groups = match self.groups {
            Groups::Cards => "cards",
            Groups::Categories | Groups::AsFound => "categories",
        };
        format!("contacts 1 {groups}")
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn apply(&mut self, write: &Write) -> Result<Applied, Outcome> {
        if is_delete(write) {
            return Ok(self.delete(&write.id));
        }
        let Change::Upsert(record) = &write.change else {
            return Err(Outcome::NotAccepted);
        };
        match record.entity.as_deref() {
            Some(entity::CONTACT) => self.put_contact(write, record),
            Some(entity::GROUP) => self.put_group(write, record),
            Some(name) if schema::entity(name).is_none_or(|known| known.kind == EntityKind::Child) => {
                self.put_part(write, record)
            }
            _ => Err(Outcome::NotAccepted),
        }
    }

    fn edits(&mut self, now: Timestamp) -> Vec<Edit> {
        let mut edits: Vec<Edit> = self.sorted_edit().into_iter().collect();
        self.stamp(now);
        let mut sheets = std::mem::take(&mut self.thinner);
        let dirty = std::mem::take(&mut self.dirty);
        sheets.extend(dirty.iter().filter_map(|id| Some(self.homes.get(id)?.sheet.clone())));
        for name in sheets {
            let Some(mut sheet) = self.sheets.remove(&name) else {
                continue;
            };
            let here = |card: &Card| self.homes.get(&card.native).is_some_and(|home| home.sheet == name);
            sheet.cards.retain(here);
            for card in sheet.cards.iter_mut().filter(|card| dirty.contains(&card.native)) {
                if let Some(text) = self.write_card(&card.native) {
                    card.text = text;
                }
            }
            let mut text = String::new();
            for card in &sheet.cards {
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push_str("\r\n");
                }
                text.push_str(&card.before);
                text.push_str(&card.text);
            }
            text.push_str(&sheet.tail);
            let empty = sheet.cards.is_empty() && text.trim().is_empty() && self.one.is_none();
            self.sheets.insert(name.clone(), sheet);
            edits.push(Edit {
                sheet: name,
                text: (!empty).then_some(text),
                after: BTreeSet::new(),
            });
        }
        edits
    }
}

impl People {
    /// Members of group cards by the names under which they are known here.
    fn name_members(&mut self) {
        let mut named: HashMap<RecordId, RecordId> = HashMap::new();
        let mut homes: Vec<(&RecordId, &Home)> = self.homes.iter().collect();
        homes.sort_by_key(|(native, _)| *native);
        for (native, home) in homes {
            if native != &home.uid && !self.homes.contains_key(&home.uid) {
                named.entry(home.uid.clone()).or_insert_with(|| native.clone());
            }
        }
        if named.is_empty() {
            return;
        }
        let groups: Vec<(RecordId, Record)> = self
            .graph
            .of_entity(entity::GROUP)
            .map(|(id, record)| (id.clone(), record.clone()))
            .collect();
        for (id, record) in groups {
            let Ok(members) = record.related("members") else {
                continue;
            };
            let names = members
                .iter()
                .map(|member| named.get(member).unwrap_or(member).as_str().into());
            let names = names.collect::<Vec<cabled_wire::plist::Value>>();
            if !names.is_empty() {
                drop(self.graph.insert(id, record.with("members", names)));
            }
        }
    }
}

/// A piece of text that is no card, and the card after it.
type Piece<'a> = (&'a str, &'a str);

/// The cards of a text as they stand in it, and what follows the last one.
fn split(text: &str, max: usize) -> Result<(Vec<Piece<'_>>, &str), String> {
    let (mut cards, mut depth, mut at) = (Vec::new(), 0_usize, 0_usize);
    let (mut from, mut begin) = (0_usize, 0_usize);
    for line in text.split_inclusive('\n') {
        let end = at.saturating_add(line.len());
        let bare = if at == 0 {
            line.trim_start_matches('\u{feff}')
        } else {
            line
        };
        let mark = bare.get(..6).unwrap_or_default();
        if mark.eq_ignore_ascii_case("BEGIN:") {
            if depth == 0 {
                begin = end.saturating_sub(bare.len());
            }
            depth = depth.saturating_add(1);
        } else if mark.get(..4).is_some_and(|mark| mark.eq_ignore_ascii_case("END:")) {
            depth = depth.checked_sub(1).ok_or("a card ends in it that did not begin")?;
            if depth == 0 {
                if cards.len() >= max {
                    return Err(format!("it has more than {max} cards"));
                }
                let before = text.get(from..begin).unwrap_or_default();
                cards.push((before, text.get(begin..end).unwrap_or_default()));
                from = end;
            }
        }
        at = end;
    }
    if depth > 0 {
        return Err("a card in it does not end; it is cut off".to_owned());
    }
    Ok((cards, text.get(from..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_into_its_cards_and_nothing_is_lost() {
        let text = "\u{feff}BEGIN:VCARD\nFN:a\nEND:VCARD\n\nnoise\nbegin:vcard\r\nFN:b\r\nend:vcard\r\ntail";
        let (cards, tail) = split(text, 10).unwrap();
        let whole: String = cards.iter().map(|(before, card)| format!("{before}{card}")).collect();
        assert_eq!(whole + tail, text);
        assert_eq!(cards.len(), 2);
        assert_eq!(cards[1].1, "begin:vcard\r\nFN:b\r\nend:vcard\r\n");
        assert!(split(text, 1).is_err());
        assert!(split("BEGIN:VCARD\nFN:a\n", 1).is_err());
        assert!(split("END:VCARD\n", 1).is_err());
    }
}
