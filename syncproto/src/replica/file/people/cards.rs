//! Cards between their files and memory.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::{Card, People, Sheet, UID};
use crate::entity;
use crate::interchange::part_id;
use crate::interchange::vcard::{self, categories};
use crate::record::{Change, Changes, Record, RecordId};
use crate::records::{Contact, Timestamp, View};
use crate::replica::file::book::{Edit, copy_id, made_id};
use crate::replica::file::index::Known;

/// Files that are kept in memory between writes, and bytes of them.
pub(super) const KEPT: usize = 512;
const KEPT_BYTES: usize = 4 << 20;

/// The longest identifier to which those of parts can be added.
pub(super) const LONG: usize = 900;

/// A card that was read.
struct Parsed<'a> {
    /// What stands before it and is no card.
    before: &'a str,
    text: &'a str,
    group: bool,
    id: RecordId,
    /// The identifier is that of the card.
    named: bool,
    root: Record,
    parts: Vec<Record>,
}

impl Parsed<'_> {
    fn is_odd(&self, native: &RecordId) -> bool {
        self.uid(native) != *native || native.as_str().len() > LONG
    }

    /// The identifier that it is written under. A card without a UID gets one when it is written; one that cannot be an
    /// identifier stays as it is.
    fn uid(&self, native: &RecordId) -> RecordId {
        let has_uid = self.root.attributes.contains_key(UID);
        if self.named || has_uid {
            self.id.clone()
        } else {
            native.clone()
        }
    }
}

impl People {
    fn parse<'a>(&self, text: &'a str) -> Result<(Vec<Parsed<'a>>, &'a str), String> {
        let (cards, tail) = split(text, self.limits.records)?;
        let mut parsed = Vec::with_capacity(cards.len());
        for (before, text) in cards {
            parsed.push(self.parse_card(before, text)?);
        }
        if parsed.is_empty() && !tail.trim().is_empty() {
            return Err("there is no card in it".to_owned());
        }
        Ok((parsed, tail))
    }

    fn parse_card<'a>(&self, before: &'a str, text: &'a str) -> Result<Parsed<'a>, String> {
        let read = vcard::read(text, &self.limits).map_err(|error| error.to_string())?;
        let (group, id, root) = match (read.contacts.as_slice(), read.groups.as_slice()) {
            ([contact], []) => (false, contact.id.clone(), contact.person.write()),
            ([], [group]) => (true, group.id.clone(), group.view.write()),
            _ => return Err("its cards are within each other".to_owned()),
        };
        Ok(Parsed {
            before,
            text,
            group,
            id,
            named: read.unnamed.is_empty(),
            root,
            parts: read
                .contacts
                .iter()
                .flat_map(Contact::parts)
                .map(|(_, part)| part)
                .collect(),
        })
    }

    /// Takes in what was read for the first time.
    pub(super) fn take_cards(&mut self, sheet: &Arc<str>, text: &str) -> Result<(), String> {
        let (cards, tail) = self.parse(text)?;
        let mut natives: Vec<RecordId> = Vec::with_capacity(cards.len());
        let mut here: HashSet<RecordId> = HashSet::new();
        for (number, card) in cards.iter().enumerate() {
            let native = self.name(card, &here, sheet, number);
            self.odd |= card.is_odd(&native);
            if card.uid(&native) != native {
                self.uids.insert(native.clone(), card.uid(&native));
            }
            here.insert(native.clone());
            natives.push(native);
        }
        let known = cards.iter().zip(&natives).map(|(card, native)| {
            let words = if card.group { Vec::new() } else { categories(&card.root) };
            self.index.known(native.as_str(), card.group, words)
        });
        let known = known.collect();
        self.index.put(sheet, known);
        self.put(sheet, cards, natives, tail)
    }

    /// The name under which a record of a file is known: its own, unless another one has it.
    fn name(&mut self, card: &Parsed<'_>, here: &HashSet<RecordId>, sheet: &str, number: usize) -> RecordId {
        if !card.named {
            return made_id(sheet, number);
        }
        let other = match self.index.home(&card.id) {
            Some(other) => other.to_string(),
            None if here.contains(&card.id) => sheet.to_owned(),
            None => return card.id.clone(),
        };
        self.odd = true;
        self.notes.push(format!(
            "{sheet} and {other} have the same UID; both are kept, as two records"
        ));
        copy_id(&card.id, sheet, number)
    }

    /// Takes in again what was let go: the records have the names that they had.
    pub(super) fn load_cards(&mut self, sheet: &Arc<str>, text: &str) -> Result<(), String> {
        let (cards, tail) = self.parse(text)?;
        let known = self.index.cards(sheet).unwrap_or_default();
        let same = |(card, known): (&Parsed<'_>, &Known)| card.group == known.group;
        if known.len() != cards.len() || !cards.iter().zip(known).all(same) {
            return Err(format!("{sheet} does not have the cards in it that it had"));
        }
        let natives = known.iter().map(|known| RecordId::new(&*known.native));
        let natives = natives.collect::<Result<_, _>>().map_err(|error| error.to_string())?;
        self.put(sheet, cards, natives, tail)
    }

    fn put(
        &mut self,
        sheet: &Arc<str>,
        cards: Vec<Parsed<'_>>,
        natives: Vec<RecordId>,
        tail: &str,
    ) -> Result<(), String> {
        let mut found = Sheet {
            tail: tail.to_owned(),
            ..Sheet::default()
        };
        for (card, native) in cards.into_iter().zip(natives) {
            let names = self.part_names(&native, &card.parts)?;
            self.renamed.remove(&native);
            self.insert(native.clone(), card.root)?;
            for (id, part) in names.into_iter().zip(card.parts) {
                self.insert(id, part.with("contact", vec![native.as_str().into()]))?;
            }
            found.stays |= native.as_str().len() > LONG;
            found.groups |= card.group;
            found.weight = found.weight.saturating_add(card.text.len());
            found.cards.push(Card {
                native,
                before: card.before.to_owned(),
                text: card.text.to_owned(),
            });
        }
        found.touched = self.tick();
        self.weight = self.weight.saturating_add(found.weight);
        self.sheets.insert(Arc::clone(sheet), found);
        Ok(())
    }

    /// The names of a card's parts: by their places, unless they were let go under others.
    fn part_names(&self, native: &RecordId, parts: &[Record]) -> Result<Vec<RecordId>, String> {
        let mut numbers = BTreeMap::new();
        let Some(had) = self.renamed.get(native) else {
            return Ok(parts.iter().map(|part| part_id(native, part, &mut numbers)).collect());
        };
        let same = had.len() == parts.len() && had.iter().zip(parts).all(|((entity, _), part)| *entity == part.entity);
        if !same {
            return Err("its card changed as a whole; the rest comes with the next sync".to_owned());
        }
        Ok(had.iter().map(|(_, id)| id.clone()).collect())
    }

    pub(super) fn tick(&mut self) -> u64 {
        self.clock = self.clock.saturating_add(1);
        self.clock
    }

    /// Gives away the records of files that nothing else depends on.
    pub(super) fn release(&mut self) -> Changes {
        let free = self.sheets.iter().filter(|(_, sheet)| !sheet.groups && !sheet.stays);
        let free: Vec<Arc<str>> = free.map(|(name, _)| Arc::clone(name)).collect();
        let mut told = Changes::new();
        for name in free {
            for id in self.out_of(&name) {
                if let Some(record) = self.graph.remove(&id) {
                    told.insert(id, Change::Upsert(record));
                }
            }
        }
        told
    }

    /// Takes a file out of memory, and gives the records that were in it.
    fn out_of(&mut self, name: &str) -> Vec<RecordId> {
        let Some(sheet) = self.sheets.remove(name) else {
            return Vec::new();
        };
        self.weight = self.weight.saturating_sub(sheet.weight);
        let mut ids = Vec::new();
        for card in sheet.cards {
            ids.extend(self.graph.parts(&card.native).map(|(id, _)| id.clone()));
            ids.push(card.native);
        }
        ids
    }

    /// Writes the files that were not touched for longest, and takes them out of memory.
    pub(super) fn let_go_of_some(&mut self, now: Timestamp) -> Vec<Edit> {
        let mut edits = Vec::new();
        if self.one.is_some() || (self.sheets.len() <= self.kept && self.weight <= KEPT_BYTES) {
            return edits;
        }
        let going = self.sheets.iter().filter(|(_, sheet)| !sheet.stays);
        let mut going: Vec<(u64, Arc<str>)> = going.map(|(name, sheet)| (sheet.touched, Arc::clone(name))).collect();
        going.sort_unstable();
        for (_, name) in going {
            if self.sheets.len() <= self.kept / 2 && self.weight <= KEPT_BYTES / 2 {
                break;
            }
            edits.extend(self.settle(&name, now));
            self.remember_parts(&name);
            for id in self.out_of(&name) {
                self.graph.remove(&id);
            }
        }
        edits
    }

    /// Parts that will have other places when the file is read again keep their names. Of a card that was made in this
    /// session nobody knows the parts yet.
    fn remember_parts(&mut self, name: &str) {
        let cards = self.sheets.get(name).map(|sheet| &sheet.cards);
        for card in cards.into_iter().flatten() {
            let native = &card.native;
            if self.index.get(native).is_none_or(|known| known.made || known.group) {
                continue;
            }
            let Ok(contact) = Contact::read(&self.graph, native) else {
                continue;
            };
            let mut numbers = BTreeMap::new();
            let parts: Vec<(RecordId, Record)> = contact.parts();
            if parts
                .iter()
                .any(|(id, part)| part_id(native, part, &mut numbers) != *id)
            {
                let names = parts.into_iter().map(|(id, part)| (part.entity, id)).collect();
                self.renamed.insert(native.clone(), names);
            }
        }
    }

    /// What a file is to be, if anything about it changed.
    pub(super) fn settle(&mut self, name: &str, now: Timestamp) -> Option<Edit> {
        let mut touched = self.thinner.remove(name);
        let (key, mut sheet) = self.sheets.remove_entry(name)?;
        self.index.tidy(name);
        sheet
            .cards
            .retain(|card| self.index.home(&card.native).is_some_and(|home| **home == *name));
        for card in &mut sheet.cards {
            if !self.dirty.remove(&card.native) {
                continue;
            }
            touched = true;
            self.stamp(&card.native, now);
            if let Some(text) = self.write_card(&card.native) {
                card.text = text;
            }
        }
        if !touched {
            self.sheets.insert(key, sheet);
            return None;
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
        if empty {
            self.weight = self.weight.saturating_sub(sheet.weight);
            self.index.remove(name);
        } else {
            self.sheets.insert(key, sheet);
        }
        Some(Edit {
            sheet: name.to_owned(),
            text: (!empty).then_some(text),
            after: BTreeSet::new(),
        })
    }

    /// Members of group cards by the names under which they are known here.
    pub(super) fn name_members(&mut self) {
        let mut named: HashMap<RecordId, RecordId> = HashMap::new();
        let mut uids: Vec<(&RecordId, &RecordId)> = self.uids.iter().collect();
        uids.sort_unstable();
        for (native, uid) in uids {
            if !self.index.has(uid) {
                named.entry(uid.clone()).or_insert_with(|| native.clone());
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
