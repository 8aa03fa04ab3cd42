//! Groups as categories: the word stands in each member's card, and a hidden file has what words cannot say.

use std::collections::{BTreeMap, BTreeSet};

use cabled_wire::plist::Value;
use sha2::{Digest, Sha256};

use super::book::{Applied, Edit, failed};
use super::people::{Groups, People};
use crate::engine::Outcome;
use crate::entity;
use crate::interchange::vcard::{self, WriteOptions, categories, set_categories};
use crate::record::{Record, RecordId};
use crate::records::{Group, View};

/// Groups that have no card.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Their names as they were read.
    names: BTreeSet<String>,
    /// Something about them was changed.
    changed: bool,
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
        let record = self.graph.get(id);
        record.is_some_and(|record| record.entity.as_deref() == Some(entity::CONTACT))
    }

    /// Groups without a card, by identifier.
    fn wordy(&self) -> Vec<(RecordId, Record)> {
        let groups = self.graph.of_entity(entity::GROUP);
        let wordy = groups.filter(|(id, _)| !self.homes.contains_key(id));
        wordy.map(|(id, record)| (id.clone(), record.clone())).collect()
    }

    /// Makes groups of the words in the cards.
    pub(super) fn sort_all(&mut self) {
        let mut words: BTreeMap<String, BTreeSet<RecordId>> = BTreeMap::new();
        for (id, record) in self.graph.of_entity(entity::CONTACT) {
            for word in categories(record) {
                words.entry(word).or_default().insert(id.clone());
            }
        }
        for (id, record) in self.wordy() {
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
        let twin = |(other, record): (RecordId, Record)| other != *id && name(&record) == Some(wanted);
        if self.wordy().into_iter().any(twin) {
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
        let homes = moved.filter_map(|id| self.homes.get(id));
        applied.sheets.extend(homes.map(|home| home.sheet.clone()));
        self.graph
            .insert(id.clone(), record.clone())
            .map_err(|error| failed(error.to_string()))?;
        self.sorted.changed = true;
        Ok(applied)
    }

    /// Forgets a group without a card.
    pub(super) fn unsort(&mut self, id: &RecordId) -> Applied {
        let mut applied = Applied::on(&self.hidden);
        if let Some(record) = self.graph.remove(id) {
            let members = members(&record);
            let homes = members.iter().filter_map(|id| self.homes.get(id));
            applied.sheets.extend(homes.map(|home| home.sheet.clone()));
            self.sorted.changed = true;
        }
        applied
    }

    /// Brings the words in the cards in line with the groups, and gives the hidden file.
    pub(super) fn sorted_edit(&mut self) -> Option<Edit> {
        if !(self.sorted.changed || self.dirty.iter().any(|id| self.is_contact(id))) {
            return None;
        }
        let groups = self.wordy();
        let mut wanted: BTreeMap<RecordId, Vec<String>> = BTreeMap::new();
        let mut managed = self.sorted.names.clone();
        for (_, record) in &groups {
            let Some(name) = name(record) else { continue };
            managed.insert(name.to_owned());
            for member in members(record) {
                wanted.entry(member).or_default().push(name.to_owned());
            }
        }
        let contacts: Vec<RecordId> = self
            .graph
            .of_entity(entity::CONTACT)
            .map(|(id, _)| id.clone())
            .collect();
        for id in contacts {
            let Some(record) = self.graph.get(&id) else { continue };
            let had = categories(record);
            let belongs = wanted.remove(&id).unwrap_or_default();
            let mut has: Vec<String> = had.clone();
            has.retain(|word| !managed.contains(word) || belongs.contains(word));
            for word in belongs {
                if !has.contains(&word) {
                    has.push(word);
                }
            }
            if has != had {
                let mut record = record.clone();
                set_categories(&mut record, &has);
                drop(self.graph.insert(id.clone(), record));
                self.dirty.insert(id);
            }
        }
        let mut text = String::new();
        for (id, record) in groups {
            let (contacts, others): (BTreeSet<RecordId>, BTreeSet<RecordId>) =
                members(&record).into_iter().partition(|id| self.is_contact(id));
            let word = Record::new(entity::GROUP).with("name", name(&record).unwrap_or_default());
            let hidden = with_members(record.clone(), &others);
            let plain = name(&record).map(word_id) == Some(id.clone()) && hidden == word && !contacts.is_empty();
            if plain {
                continue;
            }
            if let Ok(group) = Group::read(&id, &hidden) {
                text.push_str(&vcard::write_group(&id, &group, &WriteOptions::default()));
            }
        }
        Some(Edit {
            sheet: self.hidden.clone(),
            text: (!text.is_empty()).then_some(text),
            after: BTreeSet::new(),
        })
    }
}
