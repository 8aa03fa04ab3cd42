//! A schedule: people, a phone, one or two computers, and sessions that may break.

use std::collections::{BTreeMap, BTreeSet};

use cabled_syncproto::DataClass;
use cabled_syncproto::engine::{Brakes, FirstSync, OnConflict, Policy, Stop, Verify};
use cabled_syncproto::pair::{Pair, Progress, Request, SyncError, Synced};
use cabled_syncproto::record::{Record, RecordId};
use cabled_syncproto::replica::{Device, Memory};
use cabled_syncproto::store::MemoryStore;
use cabled_virtualdevice::Phone;
use cabled_virtualdevice::sync::{SyncFault, SyncOptions};

use crate::edits::{Member, Place, Shape, new_root, of_entity, refs, shape, text};
use crate::link;
use crate::schedules::Random;
use crate::sides::{Fault, Folder, Pictures};

/// Messages at which the connection may break.
const REQUESTS: [&str; 5] = [
    "SDMessageSyncDataClassWithDevice",
    "SDMessageGetAllRecordsFromDevice",
    "SDMessageAcknowledgeChangesFromDevice",
    "SDMessageProcessChanges",
    "SDMessageFinishSessionOnDevice",
];
const ANSWERS: [&str; 5] = [
    "SDMessageSyncDataClassWithComputer",
    "SDMessageProcessChanges",
    "SDMessageDeviceReadyToReceiveChanges",
    "SDMessageRemapRecordIdentifiers",
    "SDMessageDeviceFinishedSession",
];

pub(crate) struct Host {
    pub(crate) number: u64,
    pub(crate) folder: Memory,
    pub(crate) store: MemoryStore,
    /// The folder tells what changed.
    pictures: Option<Pictures>,
}

pub(crate) struct World {
    random: Random,
    pub(crate) class: DataClass,
    pub(crate) shape: Shape,
    pub(crate) phone: Phone,
    pub(crate) hosts: Vec<Host>,
    policy: Policy,
    values: u64,
    /// Each key of each record is edited on one side only, so that nothing can be a conflict.
    pub(crate) calm: bool,
    /// The names of roots that somebody deleted, or that were in a container that somebody deleted.
    pub(crate) deleted: BTreeSet<String>,
    /// All names of roots that were ever entered.
    pub(crate) entered: BTreeSet<String>,
    /// Records that broke so many sessions in a row that they are not sent until they are edited, which is said.
    pub(crate) held: BTreeSet<String>,
    /// With two computers: the answer to a commit of one was lost, the other one committed, and the phone no longer tells who
    /// wrote what. Doubles are possible then.
    pub(crate) unsure: bool,
    /// In calm schedules: the last value of a key of a root, by the root's name.
    pub(crate) typed: BTreeMap<(String, String), String>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let classes = [DataClass::Contacts, DataClass::Calendars, DataClass::Bookmarks];
        let class = random.pick(&classes).unwrap();
        let phone = Phone::builder().seed(seed).empty().build().unwrap();
        let mut options = SyncOptions::default();
        options.echoes_writes = random.one_in(2);
        options.children_first = random.one_in(3);
        phone.sync().set_options(options);
        let none = Brakes {
            deletions: 1_000_000,
            deletions_percent: 1_000_000,
            changes_percent: 1_000_000,
        };
        let conflict = [OnConflict::Computer, OnConflict::Device, OnConflict::Defer];
        let verify = [Verify::WhileNew, Verify::AfterPush, Verify::NextFull];
        let policy = Policy::default()
            .first_sync(FirstSync::Merge)
            .on_conflict(random.pick(&conflict).unwrap())
            .verify(random.pick(&verify).unwrap())
            .brakes(none)
            .insist(true);
        let hosts = if random.one_in(4) { 2 } else { 1 };
        let host = |number| Host {
            number,
            folder: Memory::default(),
            store: MemoryStore::default(),
            pictures: seed.is_multiple_of(3).then(Pictures::default),
        };
        Self {
            calm: random.one_in(2),
            shape: shape(&class),
            class,
            phone,
            hosts: (0..hosts).map(host).collect(),
            policy,
            values: 0,
            deleted: BTreeSet::new(),
            entered: BTreeSet::new(),
            held: BTreeSet::new(),
            unsure: false,
            typed: BTreeMap::new(),
            random,
        }
    }

    pub(crate) async fn run(mut self) {
        for _ in 0..self.random.below(5) + 2 {
            for _ in 0..self.random.below(6) {
                self.edit();
            }
            let host = self.random.below(self.hosts.len());
            self.disturbed(host).await;
        }
        let mut idle = 0;
        for round in 0.. {
            assert!(round < 14, "still busy after {round} rounds");
            let mut all = true;
            for host in 0..self.hosts.len() {
                all &= self.quiet(host).await;
            }
            idle = if all { idle + 1 } else { 0 };
            if idle == 2 {
                break;
            }
        }
        for host in &self.hosts {
            self.check(host);
        }
    }

    /// A session in which anything may go wrong.
    async fn disturbed(&mut self, host: usize) {
        let bytes = match self.random.below(4) {
            0 => {
                let most = [400, 2_000, 8_000, 30_000][self.random.below(4)];
                Some(i64::try_from(self.random.below(most)).unwrap())
            }
            1 => {
                let message = |random: &mut Random, list: &[&str]| random.pick(list).unwrap().to_owned();
                let fault = match self.random.below(3) {
                    0 => SyncFault::CloseOnReceipt {
                        request: message(&mut self.random, &REQUESTS),
                    },
                    1 => SyncFault::CloseBefore {
                        answer: message(&mut self.random, &ANSWERS),
                    },
                    _ => SyncFault::CloseAfter {
                        answer: message(&mut self.random, &ANSWERS),
                    },
                };
                self.phone.sync().push_fault(fault);
                None
            }
            _ => None,
        };
        let every = self.random.below(4) + 1;
        let fault = match self.random.below(8) {
            0 => Fault::Write(every),
            1 => Fault::Commit(every),
            2 => Fault::Ends(self.random.below(5)),
            3 => Fault::Unavailable,
            _ => Fault::None,
        };
        let synced = self.session(host, bytes, fault).await;
        self.unsure |= self.hosts.len() > 1 && matches!(synced, Some(Err(SyncError::Doubtful(_))));
    }

    /// A session in which nothing goes wrong; gives whether there was nothing to do and nothing is pending.
    async fn quiet(&mut self, host: usize) -> bool {
        self.phone.sync().clear_faults();
        let synced = self.session(host, None, Fault::None).await.unwrap().unwrap();
        let Synced::Done(report) = synced else {
            panic!("it stopped")
        };
        let held = report
            .plan
            .notes()
            .filter_map(|note| Some(note.split_once(": not sent to the device")?.0.to_owned()));
        self.held.extend(held);
        report.plan.is_empty() && report.pending == 0
    }

    async fn session(&self, host: usize, bytes: Option<i64>, fault: Fault) -> Option<Result<Synced, SyncError>> {
        let host = &self.hosts[host];
        let mut request = Request::default().policy(self.policy.clone());
        for _ in 0..3 {
            let link = link::connect(&self.phone, bytes).await?;
            let device = Device::new(link, self.class.clone());
            let folder = Folder::new(host.folder.clone(), host.pictures.clone(), fault);
            let mut pair = Pair::new(self.class.clone(), device, folder, host.store.clone());
            let shows = std::env::var_os("CABLED_SHOW").is_some();
            let mut observer = |progress: Progress<'_>| {
                if shows {
                    println!("host {} {progress}", host.number);
                }
            };
            let synced = pair.sync(&request, &mut observer).await;
            if shows {
                println!("host {} {fault:?} cut at {bytes:?}: {synced:?}", host.number);
            }
            let Ok(Synced::Stopped(preview)) = &synced else {
                return Some(synced);
            };
            // One side is empty: somebody looked, and says that it is right.
            let stops = &preview.plan.stops;
            assert!(stops.iter().all(Stop::can_be_approved), "{stops:?}");
            request = request.approval(preview.approval);
        }
        panic!("an approved plan stopped")
    }

    fn fresh(&mut self, what: &str) -> String {
        self.values += 1;
        format!("{what} {}", self.values)
    }

    /// Somebody does something on the phone or on a computer.
    fn edit(&mut self) {
        let phone = self.phone.clone();
        let at = self.random.below(self.hosts.len() + 1);
        let folder = at
            .checked_sub(1)
            .map(|host| (self.hosts[host].folder.clone(), self.hosts[host].number));
        let place = match &folder {
            Some((folder, number)) => Place::Computer(folder, *number),
            None => Place::Phone(&phone, self.class.clone()),
        };
        let records = place.records();
        let roots = of_entity(&records, self.shape.root);
        let containers = of_entity(&records, self.shape.container);
        match self.random.below(12) {
            0..=3 => self.add(&place, &containers),
            4..=6 => self.change(&place, &records, &roots),
            7 => self.remove(&place, &records, &roots),
            8 => drop(self.add_container(&place)),
            9 => self.join(&place, &records, &roots, &containers),
            _ => self.add_part(&place, &roots),
        }
    }

    fn add_container(&mut self, place: &Place<'_>) -> RecordId {
        let name = self.fresh("Container");
        let record = Record::new(self.shape.container).with(self.shape.container_name, name.as_str());
        place.add(&name, record)
    }

    fn add(&mut self, place: &Place<'_>, containers: &[RecordId]) {
        let name = self.fresh("Name");
        // A phone takes no event without a calendar.
        let needs = self.class == DataClass::Calendars;
        let container = self
            .random
            .pick(containers)
            .filter(|_| needs || self.values.is_multiple_of(2));
        let container = match container {
            None if needs => Some(self.add_container(place)),
            container => container,
        };
        let record = new_root(&self.shape, &name, self.values, container);
        place.add(&name, record);
        self.entered.insert(name);
    }

    fn change(&mut self, place: &Place<'_>, records: &BTreeMap<RecordId, Record>, roots: &[RecordId]) {
        let (Some(id), Some(key)) = (self.random.pick(roots), self.random.pick(self.shape.keys)) else {
            return;
        };
        let name = text(&records[&id], self.shape.name);
        // In calm schedules a key belongs to the phone or to the first computer, by the number in the name.
        let number: usize = name
            .rsplit(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .unwrap_or(0);
        let phones = (number + key.len()).is_multiple_of(2);
        let mine = match place {
            Place::Phone(..) => phones,
            Place::Computer(_, host) => !phones && *host == 0,
        };
        if self.calm && !mine {
            return;
        }
        let value = match key {
            "url" => {
                self.values += 1;
                format!("https://{}.example/changed", self.values)
            }
            _ => self.fresh("Value"),
        };
        place.set(&id, key, value.as_str());
        if self.calm {
            self.typed.insert((name, key.to_owned()), value);
        }
    }

    fn remove(&mut self, place: &Place<'_>, records: &BTreeMap<RecordId, Record>, roots: &[RecordId]) {
        let Some(id) = self.random.pick(roots) else { return };
        self.deleted.insert(text(&records[&id], self.shape.name));
        place.delete(&id);
    }

    /// Something is put into a container.
    fn join(
        &mut self,
        place: &Place<'_>,
        records: &BTreeMap<RecordId, Record>,
        roots: &[RecordId],
        containers: &[RecordId],
    ) {
        let (Some(root), Some(container)) = (self.random.pick(roots), self.random.pick(containers)) else {
            return;
        };
        match self.shape.member {
            Member::Names(key) => place.set(&root, key, refs([container])),
            Member::Lists(key) => {
                let mut members: BTreeSet<RecordId> = records[&container].related(key).unwrap().into_iter().collect();
                members.insert(root);
                place.set(&container, key, refs(members));
            }
        }
    }

    fn add_part(&mut self, place: &Place<'_>, roots: &[RecordId]) {
        let (Some(root), Some((part, owner, key))) = (self.random.pick(roots), self.shape.part) else {
            return;
        };
        let value = self.fresh("555 0");
        let mut record = Record::new(part).with(owner, refs([root])).with(key, value.as_str());
        if part == cabled_syncproto::entity::DISPLAY_ALARM {
            record = record.with("triggerduration", -60 * i64::try_from(self.values).unwrap());
        }
        place.add(&value, record);
    }
}
