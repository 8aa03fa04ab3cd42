//! Cards as contacts and groups, and back.

mod cards;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::book::{Applied, Book, Edit, Prints, failed, first, insert_checked, is_delete, is_safe_name, made_id};
use super::groups::{Sorted, hidden_file};
use super::index::{self, Index, Remembered};
use crate::engine::{Outcome, Write};
use crate::entity;
use crate::interchange::Limits;
use crate::interchange::vcard::{self, Version, WriteOptions, categories};
use crate::record::{Change, Changes, Record, RecordId};
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
        match (self, token.and_then(index::groups_of)) {
            (Self::AsFound, Some("cards")) => Self::Cards,
            (Self::AsFound, Some("categories")) => Self::Categories,
            (groups, _) => groups,
        }
    }

    /// How a token says it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Cards => "cards",
            Self::Categories | Self::AsFound => "categories",
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

/// A file that is in memory.
#[derive(Debug, Default)]
struct Sheet {
    cards: Vec<Card>,
    tail: String,
    /// When it was last needed: the greater, the later.
    touched: u64,
    /// Bytes, more or less.
    weight: usize,
    /// Groups are in it, which can be told when all cards are known.
    groups: bool,
    /// It is never let go: names in it are too long to be made again.
    stays: bool,
}

/// What was there when the files were read last, of those that are not as they were.
#[derive(Debug, Default)]
struct Before {
    /// The words that each card was sorted under.
    cards: BTreeMap<RecordId, Vec<String>>,
    /// All groups without a card.
    groups: Vec<RecordId>,
    /// Something about these is different now, so that they have to be told.
    stirred: bool,
}

/// Contacts in files.
#[derive(Debug)]
pub(crate) struct People {
    /// The records of the files that are in memory, and groups without a card.
    pub(super) graph: Graph,
    sheets: BTreeMap<Arc<str>, Sheet>,
    /// All cards, whether their files are in memory or not.
    pub(super) index: Index,
    /// Identifiers that cards are written under, where they are known under others.
    uids: HashMap<RecordId, RecordId>,
    /// Names of parts, with their entities, of cards that were let go after they changed.
    renamed: HashMap<RecordId, Vec<(Option<String>, RecordId)>>,
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
    /// Where only changes are told.
    before: Option<Before>,
    odd: bool,
    clock: u64,
    weight: usize,
    /// How many files are kept in memory between writes.
    pub(super) kept: usize,
}

impl People {
    pub(crate) fn new(one: Option<String>, groups: Groups, version: Option<Version>, limits: Limits) -> Self {
        Self {
            graph: Graph::default(),
            sheets: BTreeMap::new(),
            index: Index::default(),
            uids: HashMap::new(),
            renamed: HashMap::new(),
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
            before: None,
            odd: false,
            clock: 0,
            weight: 0,
            kept: cards::KEPT,
        }
    }

    /// Knows what was there when the files were read last; the files in `stale` are not as they were.
    pub(crate) fn recall(mut self, remembered: Remembered, stale: &[Arc<str>]) -> Self {
        let mut before = Before {
            groups: remembered.groups,
            stirred: remembered.tell,
            ..Before::default()
        };
        self.index = remembered.index;
        for sheet in stale {
            before.stirred |= **sheet == *self.hidden;
            for card in self.index.remove(sheet) {
                if let Ok(id) = RecordId::new(&*card.native) {
                    before.cards.insert(id, self.index.words(&card).to_vec());
                }
            }
        }
        self.before = Some(before);
        self
    }

    fn insert(&mut self, id: RecordId, record: Record) -> Result<(), String> {
        self.graph.insert(id, record).map_err(|error| error.to_string())
    }

    /// The file that a new record gets.
    fn sheet_for(&self, id: &RecordId) -> Arc<str> {
        let stem = if is_safe_name(id.as_str()) {
            id.clone()
        } else {
            made_id(id.as_str(), 0)
        };
        let sheet = self.one.clone().unwrap_or_else(|| format!("{stem}.vcf"));
        self.index.name(&sheet).cloned().unwrap_or_else(|| sheet.into())
    }

    fn new_home(&mut self, id: &RecordId, group: bool) {
        let sheet = self.sheet_for(id);
        let mut known = self.index.known(id.as_str(), group, Vec::new());
        known.made = true;
        self.index.add(&sheet, known);
        let touched = self.tick();
        let found = self.sheets.entry(sheet).or_default();
        found.stays |= id.as_str().len() > cards::LONG;
        found.touched = touched;
        found.cards.push(Card {
            native: id.clone(),
            before: String::new(),
            text: String::new(),
        });
    }

    /// A record's card has to be written again; `weight` is how many bytes came to it.
    fn touch(&mut self, id: &RecordId, weight: usize) -> Applied {
        self.dirty.insert(id.clone());
        let touched = self.tick();
        let Some(home) = self.index.home(id) else {
            return Applied::default();
        };
        if let Some(sheet) = self.sheets.get_mut(home) {
            sheet.touched = touched;
            sheet.weight = sheet.weight.saturating_add(weight);
            self.weight = self.weight.saturating_add(weight);
        }
        Applied::on(home)
    }

    fn put_contact(&mut self, write: &Write, record: &Record) -> Result<Applied, Outcome> {
        let known = self.index.has(&write.id);
        if !known && !write.new {
            return Err(failed("the card is not there any more"));
        }
        insert_checked(&mut self.graph, &write.id, record, |graph| {
            Contact::read(graph, &write.id)
        })?;
        if !known {
            self.new_home(&write.id, false);
        } else if !write.new {
            self.changed.insert(write.id.clone());
        }
        let words = categories(record);
        self.sorted.wrote |= self.words(&write.id) != words;
        self.index.set_words(&write.id, words);
        self.sorted.stale = true;
        let native = write.new.then(|| write.id.clone());
        Ok(self.touch(&write.id, weight(record)).named(native))
    }

    fn put_group(&mut self, write: &Write, record: &Record) -> Result<Applied, Outcome> {
        let known = self.graph.get(&write.id).is_some();
        if !known && !write.new {
            return Err(failed("the group is not there any more"));
        }
        Group::read(&write.id, record).map_err(|error| failed(error.to_string()))?;
        let native = write.new.then(|| write.id.clone());
        let card = self.index.has(&write.id) || (!known && self.groups == Groups::Cards);
        if card {
            if !self.index.has(&write.id) {
                self.new_home(&write.id, true);
            }
            self.insert(write.id.clone(), record.clone()).map_err(failed)?;
            return Ok(self.touch(&write.id, weight(record)).named(native));
        }
        let applied = self.sort_into(&write.id, record)?;
        Ok(applied.named(native))
    }

    fn put_part(&mut self, write: &Write, record: &Record) -> Result<Applied, Outcome> {
        let owner = first(record, "contact").filter(|owner| self.index.has(owner));
        let owner = owner.ok_or_else(|| failed("what it belongs to is not there any more"))?;
        let mut id = write.id.clone();
        let mut native = None;
        if write.new {
            // Behind those that are there, in the order in which they come.
            self.parts = self.parts.saturating_add(1);
            let place = format!("{owner}/~/{:012}", self.parts);
            id = RecordId::new(place).unwrap_or(id);
            native = Some(id.clone());
        } else {
            self.still_named(&id)?;
        }
        insert_checked(&mut self.graph, &id, record, |graph| Contact::read(graph, &owner))?;
        self.changed.insert(owner.clone());
        self.sorted.stale = true;
        Ok(self.touch(&owner, weight(record)).named(native))
    }

    /// A part that was made in this session is known by its name only until its card is let go.
    fn still_named(&self, id: &RecordId) -> Result<(), Outcome> {
        if id.as_str().contains("/~/") && self.graph.get(id).is_none() {
            return Err(failed("it was made a moment ago; it can be changed with the next sync"));
        }
        Ok(())
    }

    fn delete(&mut self, id: &RecordId) -> Result<Applied, Outcome> {
        let Some(record) = self.graph.get(id).cloned() else {
            return self.still_named(id).map(|()| Applied::default());
        };
        Ok(match record.entity.as_deref() {
            Some(entity::GROUP) if !self.index.has(id) => self.unsort(id),
            Some(entity::GROUP | entity::CONTACT) => {
                self.sorted.wrote |= !self.words(id).is_empty();
                let parts: Vec<RecordId> = self.graph.parts(id).map(|(id, _)| id.clone()).collect();
                for part in parts.iter().chain([id]) {
                    self.graph.remove(part);
                }
                self.dirty.remove(id);
                self.changed.remove(id);
                let Some(home) = self.index.drop_card(id) else {
                    return Ok(Applied::default());
                };
                self.thinner.insert(home.to_string());
                Applied::on(&home)
            }
            _ => {
                self.graph.remove(id);
                match first(&record, "contact") {
                    Some(owner) if self.index.has(&owner) => {
                        self.changed.insert(owner.clone());
                        self.touch(&owner, 0)
                    }
                    _ => Applied::default(),
                }
            }
        })
    }

    fn words(&self, id: &RecordId) -> &[String] {
        self.index.get(id).map_or(&[], |known| self.index.words(known))
    }

    fn write_card(&self, native: &RecordId) -> Option<String> {
        let record = self.graph.get(native)?;
        let uid = self.uids.get(native).unwrap_or(native).clone();
        let mut options = WriteOptions::default();
        if let (false, Some(version)) = (record.attributes.contains_key(VERSION), self.version) {
            options = options.version(version);
        }
        if record.entity.as_deref() == Some(entity::GROUP) {
            let mut group = Group::read(native, record).ok()?;
            // Cards name each other by their UID.
            for member in &mut group.members {
                if let Some(uid) = self.uids.get(member) {
                    *member = uid.clone();
                }
            }
            return Some(vcard::write_group(&uid, &group, &options));
        }
        let mut contact = Contact::read(&self.graph, native).ok()?;
        contact.id = uid;
        Some(vcard::write(&contact, &options))
    }

    /// Marks when a card was changed, if it says when that was last.
    fn stamp(&mut self, id: &RecordId, now: Timestamp) {
        if !self.changed.remove(id) {
            return;
        }
        let Some(record) = self.graph.get(id).filter(|record| record.attributes.contains_key(REV)) else {
            return;
        };
        let line = format!("REV:{}", super::stamp(now));
        let record = record.clone().with(REV, vec![line.into()]);
        drop(self.graph.insert(id.clone(), record));
    }

    /// The owners that a part's name may name, which begins with theirs.
    fn owners(&self, id: &RecordId) -> Vec<Arc<str>> {
        let text = id.as_str();
        let begins = text.match_indices('/').filter_map(|(at, _)| text.get(..at));
        let owners = begins.filter_map(|begin| self.index.home(&RecordId::new(begin).ok()?));
        owners.cloned().collect()
    }

    /// Whether what was sorted under words when the files were read last is not what is now.
    fn is_stirred(&self, before: &Before) -> bool {
        let had = before.cards.iter().filter(|(_, words)| !words.is_empty());
        let mut had: BTreeMap<&str, &[String]> = had.map(|(id, words)| (id.as_str(), &**words)).collect();
        let read = self.sheets.values().flat_map(|sheet| &sheet.cards);
        for known in read.filter_map(|card| self.index.get(&card.native)) {
            let words = self.index.words(known);
            if had.remove(&*known.native).unwrap_or_default() != words {
                return true;
            }
        }
        !had.is_empty()
    }
}

/// About how many bytes a record takes.
fn weight(record: &Record) -> usize {
    use cabled_wire::plist::Value;
    let bytes = record.attributes.values().map(|value| match value {
        Value::Data(data) => data.len(),
        Value::String(text) => text.len(),
        Value::Array(list) => list.len().saturating_mul(40),
        _ => 8,
    });
    bytes.fold(64, usize::saturating_add)
}

impl Book for People {
    fn expect(&mut self, files: usize) {
        self.index.reserve(files);
    }

    fn take(&mut self, sheet: &Arc<str>, text: &str) -> Result<(), String> {
        if **sheet == *self.hidden {
            // It is new, or not what it was.
            if let Some(before) = self.before.as_mut().filter(|_| self.index.cards(sheet).is_none()) {
                before.stirred = true;
            }
            self.index.put(sheet, Vec::new());
            return self.take_sorted(text);
        }
        self.take_cards(sheet, text)
    }

    fn hand_over(&mut self) -> Changes {
        match self.one {
            Some(_) => Changes::new(),
            None => self.release(),
        }
    }

    fn ready(&mut self) {
        let cards = self.index.files().flat_map(|(_, cards)| cards).any(|card| card.group);
        if self.groups == Groups::AsFound {
            // The hidden file stands beside words, and is no card.
            self.groups = if cards { Groups::Cards } else { Groups::Categories };
        }
        self.name_members();
        // A card counts before a line of the hidden file.
        let strays = self.graph.of_entity(entity::GROUP).map(|(id, _)| id);
        let strays = strays.filter(|id| self.index.home(id).is_some_and(|home| !self.sheets.contains_key(home)));
        for id in strays.cloned().collect::<Vec<_>>() {
            self.graph.remove(&id);
        }
        self.sort_all();
        if let Some(mut before) = self.before.take() {
            before.stirred = before.stirred || self.is_stirred(&before);
            self.before = Some(before);
        }
    }

    fn graph(&self) -> &Graph {
        &self.graph
    }

    fn told(&self, id: &RecordId) -> Option<Record> {
        let record = self.graph.get(id)?;
        let group = record.entity.as_deref() == Some(entity::GROUP) && !self.index.has(id);
        let known = group && self.before.as_ref().is_some_and(|before| !before.stirred);
        (!known).then(|| record.clone())
    }

    fn gone(&self) -> Vec<RecordId> {
        let Some(before) = &self.before else {
            return Vec::new();
        };
        let all = before.cards.keys().chain(&before.groups);
        let gone = all.filter(|id| !self.index.has(id) && self.graph.get(id).is_none());
        gone.cloned().collect()
    }

    fn is_odd(&self) -> bool {
        self.odd
    }

    fn token(&self, prints: Option<Prints<'_>>) -> String {
        let mut token = index::head(self.groups, self.sorted.wrote);
        if let Some(prints) = prints.filter(|_| !self.odd) {
            index::write(&mut token, &self.index, self.wordy().map(|(id, _)| id), prints);
        }
        token
    }

    fn notes(&self) -> Vec<String> {
        self.notes.clone()
    }

    fn needs(&self, write: &Write) -> Vec<Arc<str>> {
        let known = |id: &RecordId| self.index.home(id).cloned();
        let sheets = match &write.change {
            Change::Delete => known(&write.id).map_or_else(|| self.owners(&write.id), |home| vec![home]),
            Change::Upsert(record) => match first(record, "contact") {
                Some(owner) => known(&owner).into_iter().collect(),
                None => vec![known(&write.id).unwrap_or_else(|| self.sheet_for(&write.id))],
            },
        };
        sheets.into_iter().filter(|sheet| self.is_away(sheet)).collect()
    }

    fn is_away(&self, sheet: &str) -> bool {
        self.index.cards(sheet).is_some() && !self.sheets.contains_key(sheet)
    }

    fn load(&mut self, sheet: &Arc<str>, text: &str) -> Result<(), String> {
        self.load_cards(sheet, text)
    }

    fn apply(&mut self, write: &Write) -> Result<Applied, Outcome> {
        if is_delete(write) {
            return self.delete(&write.id);
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

    fn let_go(&mut self, now: Timestamp) -> Vec<Edit> {
        self.let_go_of_some(now)
    }

    fn unfinished(&mut self) -> Vec<Arc<str>> {
        self.unsorted()
    }

    fn finish(&mut self, sheet: &str) {
        self.set_words(sheet);
    }

    fn edits(&mut self, now: Timestamp) -> Vec<Edit> {
        let mut edits: Vec<Edit> = self.sorted_edit().into_iter().collect();
        let mut sheets = self.thinner.clone();
        sheets.extend(
            self.dirty
                .iter()
                .filter_map(|id| Some(self.index.home(id)?.to_string())),
        );
        edits.extend(sheets.iter().filter_map(|name| self.settle(name, now)));
        edits
    }
}
