//! What has to be true when everything is quiet.

use std::collections::{BTreeMap, BTreeSet};

use cabled_syncproto::engine::{EngineId, Mask, Side};
use cabled_syncproto::record::{Record, RecordId};

use crate::edits::{of_entity, text};
use crate::world::{Host, World};

impl World {
    pub(crate) fn check(&self, host: &Host) {
        let (device, computer) = (self.phone.sync().records(&self.class), host.folder.all());
        let held = self.held_with_all_in_them(&computer);
        // What one computer does not send is on no other.
        let others = self.hosts.iter().filter(|other| other.number != host.number);
        let others = others.flat_map(|other| self.held_with_all_in_them(&other.folder.all()));
        let others: BTreeSet<String> = others.collect();
        self.nobody_is_lost(&device, &held.union(&others).cloned().collect(), "the phone");
        self.nobody_is_lost(&computer, &others, "a computer");
        if self.calm && self.hosts.len() == 1 {
            self.no_edit_is_lost(&device, "the phone");
            self.no_edit_is_lost(&computer, "a computer");
        }
        self.same(host, &held, &device, &computer);
    }

    /// What is not sent until it is edited, as every report says, with all that is in it or hangs on it.
    fn held_with_all_in_them(&self, computer: &BTreeMap<RecordId, Record>) -> BTreeSet<String> {
        let names = |record: &Record| {
            let names = [self.shape.name, self.shape.container_name].map(|key| text(record, key));
            names.into_iter().filter(|name| !name.is_empty())
        };
        // A title has the name in it, and more.
        let is_held = |name: &String| {
            self.held
                .iter()
                .any(|title| format!("{title} ").contains(&format!("{name} ")))
        };
        let mut held: BTreeSet<String> = computer.values().flat_map(names).filter(is_held).collect();
        let known = |held: &BTreeSet<String>, record: &Record| names(record).any(|name| held.contains(&name));
        loop {
            let before = held.len();
            for record in computer.values() {
                let owners = ["contact", "owner", "calendar", "parent"].map(|key| record.related(key).unwrap());
                let in_one = owners
                    .iter()
                    .flatten()
                    .filter_map(|id| computer.get(id))
                    .any(|owner| known(&held, owner));
                if in_one {
                    held.insert(text(record, self.shape.name));
                }
            }
            if held.len() == before {
                return held;
            }
        }
    }

    /// Every root that nobody deleted is there, once.
    fn nobody_is_lost(&self, records: &BTreeMap<RecordId, Record>, held: &BTreeSet<String>, place: &str) {
        let roots = of_entity(records, self.shape.root);
        let names: Vec<String> = roots.iter().map(|id| text(&records[id], self.shape.name)).collect();
        let unique: BTreeSet<&String> = names.iter().collect();
        // Two computers that edited what was deleted on the phone both bring it back.
        let twice = |name: &String| {
            let excused = self.unsure || (self.hosts.len() > 1 && self.deleted.contains(name));
            !excused && names.iter().filter(|other| *other == name).count() > 1
        };
        assert!(!names.iter().any(twice), "somebody is on {place} twice: {names:?}");
        for name in &self.entered {
            let excused = self.deleted.contains(name) || held.contains(name);
            assert!(
                unique.contains(name) || excused,
                "nobody deleted `{name}`, and {place} has it no more"
            );
        }
    }

    fn no_edit_is_lost(&self, records: &BTreeMap<RecordId, Record>, place: &str) {
        // What was typed into a record and then deleted with it does not come back with it.
        for ((name, key), value) in self.typed.iter().filter(|((name, _), _)| !self.deleted.contains(name)) {
            let root = records.values().find(|record| text(record, self.shape.name) == *name);
            let Some(root) = root else { continue };
            assert_eq!(text(root, key), *value, "an edit of {key} is lost on {place}");
        }
    }

    /// Every record is on both sides, with the same values as far as the device keeps them.
    fn same(
        &self,
        host: &Host,
        held: &BTreeSet<String>,
        device: &BTreeMap<RecordId, Record>,
        computer: &BTreeMap<RecordId, Record>,
    ) {
        let state = host.store.state().unwrap();
        let open: BTreeSet<EngineId> = state.conflicts().map(|(id, ..)| *id).collect();
        let mut pairs: BTreeMap<&str, RecordId> = BTreeMap::new();
        for id in device.keys() {
            let row = state.find(Side::Device, id.as_str());
            let row = row.unwrap_or_else(|| panic!("a record of the phone has no row: {id} {:?}", device[id]));
            let file = state.native(&row).computer.map(str::to_owned);
            let file = file.unwrap_or_else(|| panic!("a record of the phone is not on the computer: {id}"));
            pairs.insert(id.as_str(), RecordId::new(file).unwrap());
        }
        let there: BTreeSet<&RecordId> = pairs.values().collect();
        for (id, record) in computer {
            let part = self
                .shape
                .part
                .filter(|(part, ..)| record.entity.as_deref() == Some(part));
            let owner = part.and_then(|(_, owner, _)| computer.get(record.related(owner).unwrap().first()?));
            let mut names = [self.shape.name, self.shape.container_name].into_iter();
            if names.any(|key| {
                [Some(record), owner]
                    .into_iter()
                    .flatten()
                    .any(|one| held.contains(&text(one, key)))
            }) {
                continue;
            }
            assert!(there.contains(id), "a record of the computer is not on the phone: {id}");
        }
        let mask = Mask::of_devices();
        for (id, record) in device {
            let file = &pairs[id.as_str()];
            let Some(other) = computer.get(file) else {
                panic!("a file is gone: {file}")
            };
            let owner = self
                .shape
                .part
                .and_then(|(_, owner, _)| computer.get(other.related(owner).unwrap().first()?));
            let named = [Some(other), owner].into_iter().flatten();
            let names = named.flat_map(|one| [self.shape.name, self.shape.container_name].map(|key| text(one, key)));
            if names.into_iter().any(|name| held.contains(&name)) {
                continue;
            }
            if open.contains(&state.find(Side::Device, id.as_str()).unwrap()) {
                continue;
            }
            let entity = record.entity.as_deref().unwrap();
            let keys = self
                .shape
                .keys
                .iter()
                .chain([&self.shape.name, &self.shape.container_name]);
            for key in keys.chain(self.shape.part.iter().map(|(_, _, key)| key)) {
                if mask.stores(entity, key) {
                    assert_eq!(text(record, key), text(other, key), "{key} differs: {id} and {file}");
                }
            }
            for key in ["members", "contact", "owner", "calendar", "parent"] {
                let here: BTreeSet<RecordId> = record
                    .related(key)
                    .unwrap()
                    .iter()
                    .map(|id| pairs[id.as_str()].clone())
                    .collect();
                let there: BTreeSet<RecordId> = other.related(key).unwrap().into_iter().collect();
                assert_eq!(here, there, "{key} differs: {id} and {file}");
            }
        }
    }
}
