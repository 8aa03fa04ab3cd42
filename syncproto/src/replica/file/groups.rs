//! Groups as categories: the word stands in each member's card, and a hidden file has what words cannot say.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cabled_wire::plist::Value;
use sha2::{Digest, Sha256};

use super::book::{Applied, Edit, failed};
use super::people::{Groups, People};
use crate::engine::Outcome;
use crate::entity;
use crate::interchange::vcard::{self, WriteOptions, set_categories};
use crate::record::{Record, RecordId};
use crate::records::{Group, View};

/// Groups that have no card.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Their names as they were read.
    names: BTreeSet<String>,
    /// Something about them was changed.
    changed: bool,
    /// Something about them was changed at some time in the session.
    pub(super) wrote: bool,
    /// Cards were changed, and their words perhaps with them.
    pub(super) stale: bool,
    /// The words that cards are to have in place of theirs, by file.
    words: HashMap<Arc<str>, Vec<(RecordId, Vec<String>)>>,
}

/// The hidden file of a folder, or that of a single file.
pub(crate) fn hidden_file(of: Option<&str>) -> String {
    match of {
        None => ".cabled-groups".to_owned(),
        Some(name) => format!(".{name}.cabled-groups"),
    }
}

/// The identifier of a group that is nothing but a word.
fn word_id(word: &str) -> RecordId {
    let digest: [u8; 32] = Sha256::digest(word.as_bytes()).into();
    let digits: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let id = format!("category/{digits}");
    RecordId::new(id).unwrap_or_else(|_| RecordId::placeholder())
}

fn name(record: &Record) -> Option<&str> {
    record.attributes.get("name")?.as_string()
}

fn members(record: &Record) -> BTreeSet<RecordId> {
    record.related("members").unwrap_or_default().into_iter().collect()
}

fn with_members<'a>(record: Record, members: impl IntoIterator<Item = &'a RecordId>) -> Record {
    let list: Vec<Value> = members.into_iter().map(|id| id.as_str().into()).collect();
    let mut record = record;
    if list.is_empty() {
        record.attributes.remove("members");
        return record;
    }
    record.with("members", list)
}

impl People {
    /// The hidden file.
    pub(super) fn take_sorted(&mut self, text: &str) -> Result<(), String> {
        if text.trim().is_empty() {
            return Ok(());
        }
        let read = vcard::read(text, &crate::interchange::Limits::default()).map_err(|error| error.to_string())?;
        for group in read.groups {
            let done = self.graph.insert(group.id, group.view.write());
            done.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn is_contact(&self, id: &RecordId) -> bool {
        self.index.get(id).is_some_and(|known| !known.group)
    }

    /// Groups without a card, by identifier.
    pub(super) fn wordy(&self) -> impl Iterator<Item = (&RecordId, &Record)> {
        let groups = self.graph.of_entity(entity::GROUP);
        groups.filter(|(id, _)| !self.index.has(id))
    }

    /// Makes groups of the words in the cards.
    pub(super) fn sort_all(&mut self) {
        let mut words: BTreeMap<String, BTreeSet<RecordId>> = BTreeMap::new();
        for (_, known) in self.index.contacts() {
            for word in self.index.words(known) {
                let Ok(id) = RecordId::new(&*known.native) else {
                    continue;
                };
                match words.get_mut(word) {
                    Some(all) => drop(all.insert(id)),
                    None => drop(words.insert(word.clone(), BTreeSet::from([id]))),
                }
            }
        }
        let wordy: Vec<(RecordId, Record)> = self.wordy().map(|(id, record)| (id.clone(), record.clone())).collect();
        for (id, record) in wordy {
            let mut all = members(&record);
            if let Some(name) = name(&record) {
                all.extend(words.remove(name).unwrap_or_default());
                self.sorted.names.insert(name.to_owned());
            }
            drop(self.graph.insert(id, with_members(record, &all)));
        }
        if self.groups == Groups::Cards {
            return;
        }
        for (word, all) in words {
            let group = with_members(Record::new(entity::GROUP).with("name", word.as_str()), &all);
            drop(self.graph.insert(word_id(&word), group));
            self.sorted.names.insert(word);
        }
    }

    /// Changes a group without a card, or makes one.
    pub(super) fn sort_into(&mut self, id: &RecordId, record: &Record) -> Result<Applied, Outcome> {
        let wanted = name(record).map(str::trim).filter(|name| !name.is_empty());
        let Some(wanted) = wanted else {
            return Err(failed(
                "a group without a name cannot be a category; keep groups as cards",
            ));
        };
        let twin = |(other, record): (&RecordId, &Record)| other != id && name(record) == Some(wanted);
        if self.wordy().any(twin) {
            return Err(failed(format!(
                "there is a group {wanted:?} already, and as categories they would be one; keep groups as cards"
            )));
        }
        let old = self.graph.get(id).cloned();
        let (before, after) = (old.as_ref().map(members).unwrap_or_default(), members(record));
        let renamed = old.as_ref().and_then(name) != Some(wanted);
        let moved = before
            .iter()
            .chain(&after)
            .filter(|id| renamed || before.contains(*id) != after.contains(*id));
        let mut applied = Applied::on(&self.hidden);
        let homes = moved.filter_map(|id| self.index.home(id));
        applied.sheets.extend(homes.map(ToString::to_string));
        self.graph
            .insert(id.clone(), record.clone())
            .map_err(|error| failed(error.to_string()))?;
        (self.sorted.changed, self.sorted.wrote) = (true, true);
        Ok(applied)
    }

    /// Forgets a group without a card.
    pub(super) fn unsort(&mut self, id: &RecordId) -> Applied {
        let mut applied = Applied::on(&self.hidden);
        if let Some(record) = self.graph.remove(id) {
            let members = members(&record);
            let homes = members.iter().filter_map(|id| self.index.home(id));
            applied.sheets.extend(homes.map(ToString::to_string));
            (self.sorted.changed, self.sorted.wrote) = (true, true);
        }
        applied
    }

    /// The files with cards whose words are not in line with the groups.
    pub(super) fn unsorted(&mut self) -> Vec<Arc<str>> {
        if !(self.sorted.changed || self.sorted.stale) {
            return Vec::new();
        }
        let mut wanted: HashMap<RecordId, Vec<String>> = HashMap::new();
        let mut managed = self.sorted.names.clone();
        for (_, record) in self.wordy() {
            let Some(name) = name(record) else { continue };
            managed.insert(name.to_owned());
            for member in members(record) {
                wanted.entry(member).or_default().push(name.to_owned());
            }
        }
        let mut words: HashMap<Arc<str>, Vec<(RecordId, Vec<String>)>> = HashMap::new();
        for (sheet, known) in self.index.contacts() {
            let had = self.index.words(known);
            let Ok(id) = RecordId::new(&*known.native) else {
                continue;
            };
            let belongs = wanted.remove(&id).unwrap_or_default();
            let mut has = had.to_vec();
            has.retain(|word| !managed.contains(word) || belongs.contains(word));
            for word in belongs {
                if !has.contains(&word) {
                    has.push(word);
                }
            }
            if has != had {
                words.entry(Arc::clone(sheet)).or_default().push((id, has));
            }
        }
        let mut sheets: Vec<Arc<str>> = words.keys().cloned().collect();
        sheets.sort_unstable();
        self.sorted.words = words;
        sheets
    }

    /// Brings the words of the cards in a file in line with the groups.
    pub(super) fn set_words(&mut self, sheet: &str) {
        for (id, words) in self.sorted.words.remove(sheet).unwrap_or_default() {
            let Some(mut record) = self.graph.get(&id).cloned() else {
                continue;
            };
            set_categories(&mut record, &words);
            drop(self.graph.insert(id.clone(), record));
            self.index.set_words(&id, words);
            self.dirty.insert(id);
        }
    }

    /// The hidden file.
    pub(super) fn sorted_edit(&mut self) -> Option<Edit> {
        let changed = std::mem::take(&mut self.sorted.changed);
        if !(std::mem::take(&mut self.sorted.stale) || changed) {
            return None;
        }
        let mut text = String::new();
        for (id, record) in self.wordy() {
            let (contacts, others): (BTreeSet<RecordId>, BTreeSet<RecordId>) =
                members(record).into_iter().partition(|id| self.is_contact(id));
            let word = Record::new(entity::GROUP).with("name", name(record).unwrap_or_default());
            let hidden = with_members(record.clone(), &others);
            let plain = name(record).map(word_id).as_ref() == Some(id) && hidden == word && !contacts.is_empty();
            if plain {
                continue;
            }
            if let Ok(group) = Group::read(id, &hidden) {
                text.push_str(&vcard::write_group(id, &group, &WriteOptions::default()));
            }
        }
        Some(Edit {
            sheet: self.hidden.clone(),
            text: (!text.is_empty()).then_some(text),
            after: BTreeSet::new(),
        })
    }
}
