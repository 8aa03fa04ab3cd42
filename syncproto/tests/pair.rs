//! A pair of replicas in memory, cut off at every step.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "test code")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use cabled_syncproto::engine::{
    Batch, Brakes, Capabilities, EngineId, Extent, FirstSync, Outcome, PairState, Policy, Side, Standing, Verb, Verify,
};
use cabled_syncproto::pair::{Pair, Progress, Request, SyncError, Synced, Verification};
use cabled_syncproto::record::{Changes, Record, RecordId};
use cabled_syncproto::replica::{Committed, Memory, OpenRequest, Opened, Replica, ReplicaError, Told};
use cabled_syncproto::store::{Entry, Loaded, MemoryStore, Snapshot, StateStore, StoreError};
use cabled_syncproto::{DataClass, entity};

fn id(text: &str) -> RecordId {
    RecordId::new(text).unwrap()
}

fn person(name: &str) -> Record {
    Record::new(entity::CONTACT).with("first name", name)
}

fn merge() -> Request {
    Request::default().policy(Policy::default().first_sync(FirstSync::Merge))
}

fn names(side: &Memory) -> BTreeSet<String> {
    let name = |record: &Record| record.attributes.get("first name")?.as_string().map(str::to_owned);
    side.all().values().filter_map(name).collect()
}

/// Counts down to a cut: the call at which it strikes fails or is done without an answer.
#[derive(Clone, Default)]
struct Fuse {
    left: Arc<AtomicU32>,
}

#[derive(Clone, Copy, PartialEq)]
enum Struck {
    No,
    Before,
    After,
}

impl Fuse {
    /// Burns at call `at`, counted from 0; every call takes two steps, one before and one after what it does.
    fn set(&self, at: u32) {
        self.left.store(at.wrapping_add(1), Ordering::SeqCst);
    }

    fn burn(&self) -> bool {
        let step = |left: u32| left.checked_sub(1);
        self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step) == Ok(1)
    }

    fn burnt(&self) -> bool {
        self.left.load(Ordering::SeqCst) == 0
    }

    fn strike(&self) -> Struck {
        if self.burn() {
            Struck::Before
        } else if self.burn() {
            Struck::After
        } else {
            Struck::No
        }
    }
}

/// A device in memory: it remembers who committed last, and can break.
struct Phone {
    memory: Memory,
    last: Arc<std::sync::Mutex<Option<String>>>,
    offered: Option<String>,
    fuse: Fuse,
    /// Whether it says what became of each write.
    confirms: bool,
}

fn broken() -> ReplicaError {
    ReplicaError::Broken("the cable was pulled".into())
}

impl Phone {
    async fn struck<T>(&mut self, done: Result<T, ReplicaError>, struck: Struck) -> Result<T, ReplicaError> {
        match struck {
            Struck::No => done,
            _ => Err(broken()),
        }
    }
}

impl Replica for Phone {
    fn capabilities(&self) -> Capabilities {
        Capabilities::of_files().can_clear(true).confirms(self.confirms)
    }

    async fn open(&mut self, request: OpenRequest<'_>) -> Result<Opened, ReplicaError> {
        let struck = self.fuse.strike();
        if struck == Struck::Before {
            return Err(broken());
        }
        self.memory.open(request).await?;
        let last = self.last.lock().unwrap().clone();
        let standing = match last.as_deref() {
            None => Standing::Own,
            same if same == request.token => Standing::Own,
            same if same == request.doubtful => Standing::Doubtful,
            _ => Standing::Foreign,
        };
        self.offered = Some(format!("{:?}", request.session));
        let opened = Opened::own().standing(standing).token(self.offered.clone());
        self.struck(Ok(opened), struck).await
    }

    async fn read(&mut self) -> Result<Told, ReplicaError> {
        let struck = self.fuse.strike();
        let told = self.memory.read().await;
        self.struck(told, struck).await
    }

    async fn clear(&mut self) -> Result<(), ReplicaError> {
        let struck = self.fuse.strike();
        let cleared = self.memory.clear().await;
        self.struck(cleared, struck).await
    }

    async fn write(&mut self, mut batch: Batch) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        let struck = self.fuse.strike();
        // A phone that says little has numbers of its own for what is new, and gives none out twice.
        static ROWS: AtomicU32 = AtomicU32::new(1_000);
        for write in batch.writes.iter_mut().filter(|write| write.new && !self.confirms) {
            write.id = id(&ROWS.fetch_add(1, Ordering::SeqCst).to_string());
        }
        let written = self.memory.write(batch).await;
        self.struck(written, struck).await
    }

    async fn commit(&mut self) -> Result<Committed, ReplicaError> {
        let struck = self.fuse.strike();
        if struck == Struck::Before {
            return Err(broken());
        }
        let committed = self.memory.commit().await;
        self.last.lock().unwrap().clone_from(&self.offered);
        self.struck(committed, struck).await
    }

    async fn abort(&mut self, reason: &str) -> Result<(), ReplicaError> {
        self.memory.abort(reason).await
    }
}

/// A store whose disk goes away.
struct Disk {
    memory: MemoryStore,
    fuse: Fuse,
}

impl Disk {
    fn struck<T>(&self, work: impl FnOnce(&mut MemoryStore) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let failed = || StoreError::Io {
            place: "memory".to_owned(),
            what: "written",
            source: std::io::ErrorKind::StorageFull.into(),
        };
        match self.fuse.strike() {
            Struck::No => work(&mut self.memory.clone()),
            Struck::Before => Err(failed()),
            Struck::After => work(&mut self.memory.clone()).and_then(|_| Err(failed())),
        }
    }
}

impl StateStore for Disk {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        self.struck(StateStore::load)
    }

    fn append(&mut self, entry: Entry) -> Result<(), StoreError> {
        self.struck(|memory| memory.append(entry))
    }

    fn keep_told(&mut self, side: Side, extent: Extent, changes: &Changes) -> Result<(), StoreError> {
        self.struck(|memory| memory.keep_told(side, extent, changes))
    }

    fn commit(&mut self, state: &PairState, snapshot: Snapshot) -> Result<(), StoreError> {
        self.struck(|memory| memory.commit(state, snapshot))
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.struck(StateStore::close)
    }
}

/// Ann on the phone, Bo in the folder, Cy on both and edited on both in different places, Di deleted on the phone.
struct World {
    phone: Memory,
    last: Arc<std::sync::Mutex<Option<String>>>,
    folder: Memory,
    store: MemoryStore,
    fuse: Fuse,
}

impl World {
    fn new() -> Self {
        Self {
            phone: Memory::default(),
            last: Arc::default(),
            folder: Memory::default(),
            store: MemoryStore::default(),
            fuse: Fuse::default(),
        }
    }

    async fn sync(&self, request: &Request) -> Result<Synced, SyncError> {
        let phone = Phone {
            memory: self.phone.clone(),
            last: self.last.clone(),
            offered: None,
            fuse: self.fuse.clone(),
            confirms: true,
        };
        let disk = Disk {
            memory: self.store.clone(),
            fuse: self.fuse.clone(),
        };
        let mut pair = Pair::new(DataClass::Contacts, phone, self.folder.clone(), disk);
        pair.sync(request, &mut |_| {}).await
    }

    /// Both sides agreed on Cy and Di, then everybody did something.
    async fn edited() -> Self {
        let world = Self::new();
        world.phone.put(id("1"), person("Cy"));
        world.phone.put(id("2"), person("Di"));
        let Synced::Done(_) = world.sync(&merge()).await.unwrap() else {
            panic!("it stopped")
        };
        world.phone.put(id("1"), person("Cy").with("notes", "from the phone"));
        let (file, _) = world
            .folder
            .all()
            .into_iter()
            .find(|(_, record)| record.attributes.get("first name").unwrap().as_string() == Some("Cy"))
            .unwrap();
        world.folder.put(file, person("Cy").with("nickname", "from the folder"));
        world.phone.remove(&id("2"));
        world.phone.put(id("3"), person("Ann"));
        world.folder.put(id("bo"), person("Bo"));
        world
    }

    fn check(&self, at: u32) {
        let wanted = BTreeSet::from(["Ann", "Bo", "Cy"].map(str::to_owned));
        for side in [&self.phone, &self.folder] {
            assert_eq!(names(side), wanted, "cut at {at}");
            assert_eq!(side.all().len(), 3, "cut at {at}");
            let all = side.all();
            let cy = all
                .values()
                .find(|record| record.attributes.get("first name").unwrap().as_string() == Some("Cy"))
                .unwrap();
            assert_eq!(
                cy.attributes["notes"].as_string(),
                Some("from the phone"),
                "cut at {at}"
            );
            assert_eq!(
                cy.attributes["nickname"].as_string(),
                Some("from the folder"),
                "cut at {at}"
            );
        }
    }
}

#[tokio::test]
async fn cut_off_at_any_step_the_next_sync_ends_as_if_nothing_had_happened() {
    for at in 0.. {
        assert!(at < 200, "the session never ends");
        let world = World::edited().await;
        world.fuse.set(at);
        let first = world.sync(&merge()).await;
        let struck = world.fuse.burnt();
        world.fuse.left.store(0, Ordering::SeqCst);
        if struck && first.is_ok() {
            // It struck in the verification, or at a step whose answer nobody needs.
            world.check(at);
        }
        for _ in 0..2 {
            let again = world.sync(&merge()).await.unwrap();
            assert!(matches!(again, Synced::Done(_)), "cut at {at}: {again:?}");
        }
        world.check(at);
        let Synced::Done(report) = world.sync(&merge()).await.unwrap() else {
            panic!("it stopped")
        };
        assert!(report.plan.is_empty(), "cut at {at}: {}", report.plan);
        if !struck {
            assert!(at > 20, "only {at} steps");
            break;
        }
    }
}

#[tokio::test]
async fn the_first_sync_asks_and_an_approved_plan_is_carried_out_if_it_is_still_the_same() {
    let world = World::new();
    for name in 0..30 {
        world
            .phone
            .put(id(&name.to_string()), person(&format!("Person {name}")));
    }
    assert!(matches!(
        world.sync(&Request::default()).await.unwrap(),
        Synced::Stopped(_)
    ));
    assert!(names(&world.folder).is_empty());
    assert!(matches!(world.sync(&merge()).await.unwrap(), Synced::Done(_)));

    for (name, _) in world.folder.all().into_iter().take(26) {
        world.folder.remove(&name);
    }
    let Synced::Stopped(preview) = world.sync(&merge()).await.unwrap() else {
        panic!("26 deletions did not stop")
    };
    assert_eq!(preview.plan.count(Side::Device, Verb::Delete), 26);
    assert_eq!(world.phone.all().len(), 30);
    let text = preview.approval.to_string();
    let approved = merge().approval(text.parse().unwrap());

    // Meanwhile somebody adds one: the plan is another one, and is asked for again.
    world.folder.put(id("late"), person("Late"));
    assert!(matches!(world.sync(&approved).await.unwrap(), Synced::Stopped(_)));
    world.folder.remove(&id("late"));
    assert!(matches!(world.sync(&approved).await.unwrap(), Synced::Done(_)));
    assert_eq!(world.phone.all().len(), 4);
}

#[tokio::test]
async fn a_preview_writes_nothing() {
    let world = World::edited().await;
    let (phone, folder, state) = (world.phone.all(), world.folder.all(), world.store.state());
    let Synced::Preview(preview) = world.sync(&merge().preview(true)).await.unwrap() else {
        panic!("it was carried out")
    };
    assert_eq!(preview.plan.count(Side::Device, Verb::Create), 1);
    assert_eq!(
        (world.phone.all(), world.folder.all(), world.store.state()),
        (phone, folder, state)
    );
    assert!(matches!(world.sync(&merge()).await.unwrap(), Synced::Done(_)));
    world.check(0);
}

/// One sync of a computer with a phone that does not say what became of writes.
async fn sync_silent(phone: &World, folder: &Memory, store: &MemoryStore) -> Result<Synced, SyncError> {
    let device = Phone {
        memory: phone.phone.clone(),
        last: phone.last.clone(),
        offered: None,
        fuse: phone.fuse.clone(),
        confirms: false,
    };
    let mut pair = Pair::new(DataClass::Contacts, device, folder.clone(), store.clone());
    let policy = Policy::default().first_sync(FirstSync::Merge).verify(Verify::Never);
    pair.sync(&Request::default().policy(policy), &mut |_| {}).await
}

#[tokio::test]
async fn what_was_made_before_the_answer_was_lost_and_another_computer_came_is_there_once() {
    let mut lost = 0;
    for at in 0..40 {
        let world = World::new();
        world.phone.put(id("1"), person("Zoe"));
        sync_silent(&world, &world.folder, &world.store).await.unwrap();
        world.folder.put(id("ann"), person("Ann"));
        let before = world.last.lock().unwrap().clone();
        world.fuse.set(at);
        let cut = sync_silent(&world, &world.folder, &world.store).await;
        world.fuse.set(u32::MAX - 1);
        if cut.is_ok() || *world.last.lock().unwrap() == before {
            continue;
        }
        lost += 1;
        // Another computer, which knows nothing of either, and a new name by which nobody would know Ann again.
        let (other, others) = (Memory::default(), MemoryStore::default());
        sync_silent(&world, &other, &others).await.unwrap();
        assert_eq!(names(&other).len(), 2);
        world.folder.put(id("ann"), person("Johanna"));
        for _ in 0..2 {
            sync_silent(&world, &world.folder, &world.store).await.unwrap();
        }
        let wanted = BTreeSet::from(["Johanna", "Zoe"].map(str::to_owned));
        assert_eq!(
            (names(&world.phone), names(&world.folder)),
            (wanted.clone(), wanted),
            "cut at {at}"
        );
    }
    assert!(lost > 0);
}

#[tokio::test]
async fn a_replacement_of_the_device_that_broke_off_deletes_nothing_on_the_computer() {
    for at in 0..40 {
        let world = World::new();
        for name in ["Ann", "Bo", "Cy"] {
            world.folder.put(id(name), person(name));
        }
        world.phone.put(id("1"), person("Old"));
        let replace = Request::default().policy(Policy::default().first_sync(FirstSync::ReplaceDevice));
        world.fuse.set(at);
        let _ = world.sync(&replace).await;
        world.fuse.left.store(0, Ordering::SeqCst);
        assert_eq!(names(&world.folder).len(), 3, "cut at {at}");
        let again = world.sync(&replace).await.unwrap();
        assert!(matches!(again, Synced::Done(_)), "cut at {at}: {again:?}");
        assert_eq!(names(&world.folder), names(&world.phone), "cut at {at}");
        assert_eq!(names(&world.folder).len(), 3, "cut at {at}");
        let kept = world.store.snapshots();
        assert!(!kept.is_empty(), "cut at {at}: what was on the phone is not kept");
    }
}

#[tokio::test]
async fn a_push_is_verified_when_the_policy_says_so() {
    let world = World::new();
    world.folder.put(id("bo"), person("Bo"));
    let policy = Policy::default().first_sync(FirstSync::Merge);
    let request = Request::default().policy(policy.clone().verify(Verify::Never));
    let Synced::Done(report) = world.sync(&request).await.unwrap() else {
        panic!("it stopped")
    };
    assert_eq!(report.verification, Verification::NotWanted);
    world.folder.put(id("cy"), person("Cy"));
    let request = Request::default().policy(policy.verify(Verify::AfterPush));
    let Synced::Done(report) = world.sync(&request).await.unwrap() else {
        panic!("it stopped")
    };
    assert_eq!(report.verification, Verification::Done { skipped: 0 });
}

#[tokio::test]
async fn progress_is_told_in_the_order_of_the_steps() {
    let world = World::edited().await;
    let phone = Phone {
        memory: world.phone.clone(),
        last: world.last.clone(),
        offered: None,
        fuse: Fuse::default(),
        confirms: true,
    };
    let mut pair = Pair::new(DataClass::Contacts, phone, world.folder.clone(), world.store.clone());
    let mut told = Vec::new();
    let mut observer = |progress: Progress<'_>| {
        told.push(match progress {
            Progress::Read { side, .. } => format!("read {side}"),
            Progress::Planned(_) => "planned".to_owned(),
            Progress::Written { side, .. } => format!("written {side}"),
            Progress::Committing => "committing".to_owned(),
            Progress::Committed => "committed".to_owned(),
            other => format!("{other:?}"),
        });
    };
    pair.sync(&merge(), &mut observer).await.unwrap();
    told.dedup();
    let order = [
        "read computer",
        "read device",
        "planned",
        "written computer",
        "written device",
        "committing",
        "committed",
        "Verifying",
    ];
    assert_eq!(told, order);
}

#[tokio::test]
async fn a_store_of_another_class_is_refused() {
    let world = World::edited().await;
    let (phone, folder) = (Memory::default(), Memory::default());
    let mut pair = Pair::new(DataClass::Calendars, phone, folder, world.store.clone());
    let refused = pair.sync(&merge(), &mut |_| {}).await;
    assert!(matches!(refused, Err(SyncError::AnotherClass { .. })), "{refused:?}");
}

#[tokio::test]
async fn what_cannot_be_undone_stops_even_an_approval() {
    let brakes = Brakes::default();
    assert_eq!(brakes.deletions, 25);
    let world = World::new();
    world.phone.put(id("1"), person("Ann"));
    let Synced::Stopped(preview) = world.sync(&Request::default()).await.unwrap() else {
        panic!("it was carried out")
    };
    let approved = Request::default().approval(preview.approval);
    assert!(matches!(world.sync(&approved).await.unwrap(), Synced::Stopped(_)));
}

#[tokio::test]
async fn a_sync_can_be_spawned() {
    let world = World::edited().await;
    let mut pair = Pair::new(
        DataClass::Contacts,
        world.phone.clone(),
        world.folder.clone(),
        world.store.clone(),
    );
    let task = tokio::spawn(async move { pair.sync(&merge(), &mut |_| {}).await.map(|_| ()) });
    task.await.unwrap().unwrap();
}
