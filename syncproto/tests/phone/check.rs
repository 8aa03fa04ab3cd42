//! What has to be true when everything is quiet.

use std::collections::{BTreeMap, BTreeSet};

use cabled_syncproto::engine::{EngineId, Mask, Side};
use cabled_syncproto::record::{Record, RecordId};

use crate::edits::{of_entity, text};
use crate::world::{Host, World};

impl World {
    pub(crate) fn check(&self, host: &Host) {
        let (device, computer) = (self.phone.sync().records(&self.class), host.folder.all());
        self.nobody_is_lost(&device, "the phone");
        self.nobody_is_lost(&computer, "a computer");
        if self.calm && self.hosts.len() == 1 {
            self.no_edit_is_lost(&device, "the phone");
            self.no_edit_is_lost(&computer, "a computer");
        }
        self.same(host, &device, &computer);
    }

    /// Every root that nobody deleted is there, once.
    fn nobody_is_lost(&self, records: &BTreeMap<RecordId, Record>, place: &str) {
        let roots = of_entity(records, self.shape.root);
        let names: Vec<String> = roots.iter().map(|id| text(&records[id], self.shape.name)).collect();
        let unique: BTreeSet<&String> = names.iter().collect();
        assert_eq!(unique.len(), names.len(), "somebody is on {place} twice");
        for name in &self.entered {
            let there = unique.contains(name);
            assert!(
                there || self.deleted.contains(name),
                "nobody deleted `{name}`, and {place} has it no more"
            );
        }
    }

    fn no_edit_is_lost(&self, records: &BTreeMap<RecordId, Record>, place: &str) {
        for ((name, key), value) in &self.typed {
            let root = records.values().find(|record| text(record, self.shape.name) == *name);
            let Some(root) = root else { continue };
            assert_eq!(text(root, key), *value, "an edit of {key} is lost on {place}");
        }
    }

    /// Every record is on both sides, with the same values as far as the device keeps them.
    fn same(&self, host: &Host, device: &BTreeMap<RecordId, Record>, computer: &BTreeMap<RecordId, Record>) {
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
        for id in computer.keys() {
            assert!(there.contains(id), "a record of the computer is not on the phone: {id}");
        }
        let mask = Mask::of_devices();
        for (id, record) in device {
            let file = &pairs[id.as_str()];
            let Some(other) = computer.get(file) else {
                panic!("a file is gone: {file}")
            };
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
