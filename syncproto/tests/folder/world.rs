//! A schedule: people, a phone, a folder of cards, and sessions that may break.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use cabled_syncproto::engine::{Brakes, FirstSync, Policy, Stop, Verify};
use cabled_syncproto::pair::{Pair, Progress, Request, SyncError, Synced};
use cabled_syncproto::record::{Record, RecordId};
use cabled_syncproto::replica::{Device, OnThread, Vdir};
use cabled_syncproto::store::FileStore;
use cabled_syncproto::{DataClass, entity};
use cabled_virtualdevice::Phone;
use cabled_virtualdevice::sync::SyncOptions;
use cabled_wire::plist::Value;
use tempfile::TempDir;

use crate::cards::Cards;
use crate::check::text;
use crate::link;
use crate::schedules::Random;

const CLASS: DataClass = DataClass::Contacts;

pub(crate) struct World {
    random: Random,
    phone: Phone,
    home: TempDir,
    pub(crate) cards: Cards,
    policy: Policy,
    values: u64,
    /// Files keep the times at which they were written, which is the moment of the sync.
    at_once: bool,
    /// A session broke off, so that what it staged may lie about for a while.
    pub(crate) broke: bool,
    /// The names that somebody deleted.
    pub(crate) deleted: BTreeSet<String>,
    /// All names that were ever entered.
    pub(crate) entered: BTreeSet<String>,
    /// The last value under a key of a name. Nicknames and numbers are edited in the folder alone, notes on the phone.
    pub(crate) typed: BTreeMap<(String, String), String>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Random(seed);
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
        let verify = [Verify::WhileNew, Verify::AfterPush, Verify::NextFull];
        let policy = Policy::default()
            .first_sync(FirstSync::Merge)
            .verify(random.pick(&verify).unwrap())
            .brakes(none)
            .insist(true);
        let home = tempfile::tempdir().unwrap();
        Self {
            cards: Cards::new(home.path().join("people")),
            at_once: random.one_in(4),
            random,
            phone,
            home,
            policy,
            values: 0,
            broke: false,
            deleted: BTreeSet::new(),
            entered: BTreeSet::new(),
            typed: BTreeMap::new(),
        }
    }

    pub(crate) async fn run(mut self) {
        for _ in 0..self.random.below(5) + 2 {
            for _ in 0..self.random.below(6) {
                match self.random.one_in(2) {
                    true => self.edit_phone(),
                    false => self.edit_folder(),
                }
            }
            let most = [400, 2_000, 8_000, 30_000][self.random.below(4)];
            let bytes = self
                .random
                .one_in(2)
                .then(|| i64::try_from(self.random.below(most)).unwrap());
            self.broke |= !matches!(self.session(bytes).await, Some(Ok(_)));
        }
        let mut idle = 0;
        for round in 0.. {
            assert!(round < 14, "still busy after {round} rounds");
            let Synced::Done(report) = self.session(None).await.unwrap().unwrap() else {
                panic!("it stopped")
            };
            idle = if report.plan.is_empty() && report.pending == 0 {
                idle + 1
            } else {
                0
            };
            if idle == 2 {
                break;
            }
        }
        self.check();
    }

    /// A program that starts, syncs and ends.
    async fn session(&mut self, bytes: Option<i64>) -> Option<Result<Synced, SyncError>> {
        if !self.at_once {
            self.cards.age();
        }
        let mut request = Request::default().policy(self.policy.clone());
        for _ in 0..3 {
            let link = link::connect(&self.phone, bytes).await?;
            let device = Device::new(link, CLASS);
            let folder = OnThread::new(Vdir::contacts(self.cards.folder()));
            let store = FileStore::open(self.home.path().join("state")).unwrap();
            let mut pair = Pair::new(CLASS, device, folder, store);
            let shows = std::env::var_os("CABLED_SHOW").is_some();
            let mut observer = |progress: Progress<'_>| {
                if shows {
                    println!("{progress}");
                }
            };
            let synced = pair.sync(&request, &mut observer).await;
            if shows {
                println!("cut at {bytes:?}: {synced:?}");
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

    pub(crate) fn records(&self) -> BTreeMap<RecordId, Record> {
        self.phone.sync().records(&CLASS)
    }

    fn fresh(&mut self, what: &str) -> String {
        self.values += 1;
        format!("{what}{}", self.values)
    }

    fn on_phone(&mut self, entity: &str) -> Option<(RecordId, Record)> {
        let all = self.records().into_iter();
        let all: Vec<_> = all
            .filter(|(_, record)| record.entity.as_deref() == Some(entity))
            .collect();
        self.random.pick(&all)
    }

    fn edit_phone(&mut self) {
        let refs = |id: RecordId| Value::Array(vec![id.as_str().into()]);
        let sync = self.phone.clone();
        let sync = sync.sync();
        let person = self.on_phone(entity::CONTACT);
        match (self.random.below(8), person) {
            (0..=2, _) | (_, None) => {
                let name = self.fresh("Phone");
                let person = Record::new(entity::CONTACT).with("first name", name.as_str());
                sync.add(&CLASS, person.with("display as company", "person")).unwrap();
                self.entered.insert(name);
            }
            (3 | 4, Some((id, record))) => {
                let note = self.fresh("Note");
                let typed = Value::from(note.as_str());
                sync.edit(&CLASS, &id, |record| {
                    drop(record.attributes.insert("notes".to_owned(), typed))
                });
                self.typed
                    .insert((text(&record, "first name"), "notes".to_owned()), note);
            }
            (5, Some((id, record))) => {
                self.deleted.insert(text(&record, "first name"));
                sync.delete(&CLASS, &id);
            }
            (6, Some((id, _))) => {
                let number = self.fresh("0555");
                let number = Record::new(entity::PHONE_NUMBER)
                    .with("value", number)
                    .with("contact", refs(id));
                sync.add(&CLASS, number.with("type", "mobile")).unwrap();
            }
            (_, Some((id, _))) => match self.on_phone(entity::GROUP).filter(|_| self.random.one_in(2)) {
                Some((group, _)) if self.random.one_in(4) => drop(sync.delete(&CLASS, &group)),
                Some((group, record)) => {
                    let mut members = record.related("members").unwrap();
                    members.retain(|member| *member != id);
                    members.push(id);
                    let members = members.iter().map(|id| id.as_str().into()).collect();
                    let members = Value::Array(members);
                    sync.edit(&CLASS, &group, |record| {
                        drop(record.attributes.insert("members".to_owned(), members));
                    });
                }
                None => {
                    let name = self.fresh("Group");
                    let group = Record::new(entity::GROUP).with("name", name).with("members", refs(id));
                    sync.add(&CLASS, group).unwrap();
                }
            },
        }
    }

    fn edit_folder(&mut self) {
        let file: Option<PathBuf> = self.random.pick(&self.cards.files());
        match (self.random.below(9), file) {
            (0 | 1, _) | (_, None) => {
                let name = self.fresh("Card");
                self.cards.add(&name);
                self.entered.insert(name);
            }
            (2 | 3, Some(file)) => {
                let nickname = self.fresh("Nick");
                Cards::put(&file, &format!("NICKNAME:{nickname}"), true);
                self.typed.insert((Cards::name(&file), "nickname".to_owned()), nickname);
            }
            (4, Some(file)) => {
                let number = self.fresh("0666");
                Cards::put(&file, &format!("TEL;TYPE=cell:{number}"), false);
                self.typed.insert((Cards::name(&file), number.clone()), number);
            }
            (5, Some(file)) => {
                self.deleted.insert(Cards::name(&file));
                std::fs::remove_file(file).unwrap();
            }
            (6, Some(file)) => {
                let name = self.fresh("renamed");
                self.cards.rename(&file, &name);
            }
            (7, Some(file)) => {
                let word = format!("Word{}", self.random.below(3));
                Cards::put(&file, &format!("CATEGORIES:{word}"), true);
            }
            // Written again as it is.
            (_, Some(file)) => {
                let text = std::fs::read(&file).unwrap();
                std::fs::write(&file, text).unwrap();
            }
        }
    }
}
