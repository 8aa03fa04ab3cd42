//! The world of a schedule: a device, one or two computers, and whether they agree in the end.

use std::collections::{BTreeMap, BTreeSet};

use cabled_syncproto::engine::{
    Brakes, EngineId, FirstSync, Holds, Mask, OnConflict, OnDeleteEdit, OnDeselect, PairState, Policy, Rewriting, Rule,
    Selection, Side,
};
use cabled_syncproto::record::Record;
use cabled_syncproto::schema::{self, ValueKind};
use cabled_syncproto::{DataClass, entity};
use cabled_wire::plist::Value;

use crate::schedules::Random;
use crate::store::{RELATIONS, SUFFIX, Store, known_rewriting, lossy, related, text};

#[derive(Clone)]
pub(crate) struct Device {
    pub(crate) store: Store,
    /// As it was after the last edit, to know of what kind the deleted were.
    pub(crate) store_before: Store,
    pub(crate) next: usize,
    /// Row numbers that are given out again.
    pub(crate) free: Vec<(String, String)>,
    pub(crate) reuses: bool,
    pub(crate) changed: BTreeSet<String>,
    pub(crate) anchor: usize,
    pub(crate) computer: Option<String>,
    pub(crate) mask: Mask,
    pub(crate) echoes: bool,
    /// It rewrites texts in a way that the mask does not know.
    pub(crate) unknown: bool,
}

/// What is kept on a computer, and what it knows of the device.
pub(crate) struct Host {
    pub(crate) name: usize,
    pub(crate) store: Store,
    pub(crate) state: Option<PairState>,
    /// The device anchor of the last committed session.
    pub(crate) token: Option<(usize, String)>,
    pub(crate) doubt: Option<(PairState, usize, String)>,
    /// What was to be committed when somebody else committed.
    pub(crate) lost: Option<PairState>,
    /// What the last session that the device committed was to delete on the computer; not all of it may be done.
    pub(crate) unfinished: BTreeSet<String>,
}

pub(crate) struct World {
    pub(crate) random: Random,
    pub(crate) class: DataClass,
    pub(crate) device: Device,
    pub(crate) hosts: Vec<Host>,
    pub(crate) policy: Policy,
    pub(crate) quiet: bool,
    pub(crate) values: usize,
    pub(crate) pushed_skips: bool,
    pub(crate) refused: BTreeSet<EngineId>,
    /// How often the device skipped an update or deletion of a record without a word.
    pub(crate) skips: BTreeMap<EngineId, u8>,
    /// Selections come and go.
    pub(crate) selects: bool,
    /// Nobody edits what somebody else does, nothing is deleted, and so nothing may be lost.
    pub(crate) calm: bool,
    /// In calm schedules: the last value each side gave, by its unique name.
    pub(crate) expected: BTreeMap<String, String>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let class = [DataClass::Contacts, DataClass::Bookmarks, DataClass::Calendars][random.below(3)].clone();
        let mut mask = Mask::everything();
        mask.holds = match random.below(3) {
            0 => Holds::WhatDevicesStore,
            _ => Holds::WhatDevicesStoreBut(vec![(entity::CONTACT.to_owned(), "nickname".to_owned())]),
        };
        if random.one_in(2) {
            mask.rewrites = vec![Rewriting {
                entity: entity::CONTACT.to_owned(),
                key: "notes".to_owned(),
                rule: Rule::LowersText,
            }];
        }
        let hosts = if random.one_in(4) { 2 } else { 1 };
        let conflict = [OnConflict::Computer, OnConflict::Device, OnConflict::Defer][random.below(3)];
        let deletion = [OnDeleteEdit::EditWins, OnDeleteEdit::EditWins, OnDeleteEdit::DeleteWins][random.below(3)];
        let deselect = [OnDeselect::Leave, OnDeselect::Remove][random.below(2)];
        let none = Brakes {
            deletions: 1_000_000,
            deletions_percent: 1_000_000,
            changes_percent: 1_000_000,
        };
        let host = |name| Host {
            name,
            store: Store::new(),
            state: None,
            token: None,
            doubt: None,
            lost: None,
            unfinished: BTreeSet::new(),
        };
        let calm = random.one_in(3);
        Self {
            calm,
            class,
            device: Device {
                store: Store::new(),
                store_before: Store::new(),
                next: 1,
                free: Vec::new(),
                reuses: !calm && random.one_in(3),
                changed: BTreeSet::new(),
                anchor: 0,
                computer: None,
                mask,
                echoes: random.one_in(2),
                unknown: random.one_in(4),
            },
            hosts: (0..hosts).map(host).collect(),
            policy: Policy::default()
                .first_sync(FirstSync::Merge)
                .on_conflict(conflict)
                .on_delete_edit(deletion)
                .on_deselect(deselect)
                .brakes(none)
                .insist(true),
            quiet: false,
            values: 0,
            pushed_skips: random.one_in(2),
            selects: random.one_in(5),
            expected: BTreeMap::new(),
            refused: BTreeSet::new(),
            skips: BTreeMap::new(),
            random,
        }
    }

    pub(crate) fn run(mut self) {
        for _ in 0..self.random.below(5) + 2 {
            for _ in 0..self.random.below(5) {
                let host = self.random.below(self.hosts.len() + 1).checked_sub(1);
                self.edit(host);
            }
            self.mishap();
            self.select();
            let host = self.random.below(self.hosts.len());
            self.session(host);
        }
        self.quiet = true;
        self.policy = self.policy.clone().selection(Selection::All);
        let mut idle = 0;
        for round in 0.. {
            assert!(round < 16, "still busy after {round} rounds");
            let all: Vec<bool> = (0..self.hosts.len()).map(|host| self.session(host)).collect();
            idle = if all.iter().all(|idle| *idle) { idle + 1 } else { 0 };
            if idle == 2 {
                break;
            }
        }
        for host in &self.hosts {
            self.check(host);
        }
    }

    /// Some collections are left out for a while.
    fn select(&mut self) {
        if !self.selects {
            return;
        }
        let titles = self.hosts[0].store.values().filter_map(|record| {
            let container = matches!(record.entity.as_deref(), Some(entity::CALENDAR | entity::FOLDER));
            text(record, "title")
                .or_else(|| text(record, "name"))
                .filter(|_| container)
        });
        let titles: Vec<String> = titles.map(str::to_owned).collect();
        let out = self.random.pick(&titles).filter(|_| self.random.one_in(2));
        let selection = out.map_or(Selection::All, |out| Selection::AllBut(vec![out]));
        self.policy = self.policy.clone().selection(selection);
    }

    /// Every record is on both sides, once, with the same values under the mask.
    fn check(&self, host: &Host) {
        let state = host.state.as_ref().unwrap();
        let mut pairs: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, record) in &self.device.store {
            let row = state
                .find(Side::Device, name)
                .unwrap_or_else(|| panic!("{name} {record:?} of the device has no row"));
            let file = state
                .native(&row)
                .computer
                .unwrap_or_else(|| panic!("{name} is not on the computer"));
            assert!(host.store.contains_key(file), "{file} is not there");
            pairs.insert(name, file);
        }
        let there: BTreeSet<&str> = pairs.values().copied().collect();
        assert_eq!(there.len(), pairs.len(), "two records became one");
        for name in host.store.keys() {
            assert!(there.contains(name.as_str()), "{name} is not on the device");
        }
        for (name, file) in &pairs {
            self.check_pair(
                state,
                &pairs,
                (name, &self.device.store[*name]),
                (file, &host.store[*file]),
            );
        }
        if self.hosts.len() == 1 {
            self.nothing_was_lost(host);
        }
    }

    fn check_pair(
        &self,
        state: &PairState,
        pairs: &BTreeMap<&str, &str>,
        (name, device): (&str, &Record),
        (file, computer): (&str, &Record),
    ) {
        let row = state.find(Side::Device, name).unwrap();
        let open = |group: &str| state.conflicts().any(|(id, open, _)| *id == row && open == group);
        let shape = schema::entity(device.entity.as_deref().unwrap()).unwrap();
        // What was typed on the device may be in any case.
        let plain = |record: &Record| {
            let mut record = record.clone();
            lossy(&self.device.mask, &mut record);
            known_rewriting(&self.device.mask, &mut record);
            for value in record.attributes.values_mut() {
                match value {
                    Value::String(text) if self.device.unknown => *text = text.trim_end_matches(SUFFIX).to_owned(),
                    Value::Array(list) => list.sort_by_key(|value| format!("{value:?}")),
                    _ => {}
                }
            }
            record
        };
        let (ours, theirs) = (plain(device), plain(computer));
        let keys: BTreeSet<&String> = ours.attributes.keys().chain(theirs.attributes.keys()).collect();
        for key in keys {
            let relation = shape.key(key).is_some_and(|key| key.value == ValueKind::Ids);
            if !relation && key != "position" && !open(shape.group(key)) {
                let (ours, theirs) = (ours.attributes.get(key), theirs.attributes.get(key));
                let none =
                    |value: Option<&Value>| value.is_none_or(|value| value.as_array().is_some_and(Vec::is_empty));
                assert!(
                    ours == theirs || (none(ours) && none(theirs)),
                    "{key} of {name} and {file}: {ours:?}, {theirs:?}"
                );
            }
        }
        for key in RELATIONS {
            let ours: BTreeSet<String> = related(device, key)
                .iter()
                .filter_map(|id| pairs.get(id.as_str()))
                .map(|id| (*id).to_owned())
                .collect();
            let theirs: BTreeSet<String> = related(computer, key).into_iter().collect();
            if !open(shape.group(key)) {
                assert_eq!(ours, theirs, "{key} of {name} and {file}");
            }
        }
    }

    fn nothing_was_lost(&self, host: &Host) {
        for (name, value) in &self.expected {
            let record = host
                .store
                .values()
                .find(|record| text(record, "first name") == Some(name));
            let record = record.unwrap_or_else(|| panic!("{name} was lost"));
            let notes = text(record, "notes").unwrap_or_default();
            assert_eq!(notes.to_lowercase(), *value, "an edit of {name} was lost");
        }
    }
}
