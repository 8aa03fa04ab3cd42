//! Sessions of our own client.

use std::collections::BTreeMap;
use std::time::Duration;

use cabled_devicelink::msg::Message as LinkMessage;
use cabled_syncproto::msg::{Message, PushInfo, SyncType, limits};
use cabled_syncproto::record::{Change, Changes, Record, RecordId};
use cabled_syncproto::session::machine::{Opening, Wanted};
use cabled_syncproto::session::{
    OpenOutcome, Opened, Pulled, Push, RefusalKind, SessionError, SessionOptions, StepError, SyncLink,
};
use cabled_syncproto::{DataClass, entity};
use cabled_virtualdevice::Phone;
use cabled_virtualdevice::sync::{SyncFault, SyncOptions};
use cabled_wire::frame::{read_frame, write_frame};
use cabled_wire::plist::Value;

use super::{connect, id, phone, text};

const CONTACTS: DataClass = DataClass::Contacts;
const CALENDARS: DataClass = DataClass::Calendars;
const NEW: &str = "0B7C2E1A-5A00-4D2E-8F00-000000000001";

/// A computer's memory of one class.
#[derive(Default)]
struct Computer {
    device_anchor: Option<String>,
    sessions: u32,
}

async fn link(phone: &Phone) -> SyncLink {
    SyncLink::connect(connect(phone), SessionOptions::default())
        .await
        .unwrap()
}

impl Computer {
    async fn open(&mut self, phone: &Phone, class: DataClass) -> OpenOutcome {
        self.sessions = self.sessions.saturating_add(1);
        let anchor = format!("computer {}", self.sessions);
        let version = class.version();
        let opened = link(phone)
            .await
            .open(class, self.device_anchor.clone(), anchor, version)
            .await;
        opened.unwrap()
    }

    async fn opened(&mut self, phone: &Phone, class: DataClass) -> (Opened, Opening) {
        let OpenOutcome::Opened(opened) = self.open(phone, class).await else {
            panic!("refused")
        };
        let opening = opened.opening().clone();
        (opened, opening)
    }

    /// Reads and commits; gives what was told, batch by batch, and the sync type.
    async fn read(&mut self, phone: &Phone, class: DataClass, wanted: Wanted) -> (Vec<Changes>, SyncType) {
        let (opened, opening) = self.opened(phone, class).await;
        let (batches, push) = pull(opened, wanted).await;
        assert!(push.is_complete());
        push.finish().await.unwrap();
        self.device_anchor = opening.device_anchor_next;
        (batches, opening.sync_type)
    }
}

async fn pull(opened: Opened, wanted: Wanted) -> (Vec<Changes>, Push) {
    let mut pull = opened.pull(wanted).unwrap();
    let mut batches = Vec::new();
    loop {
        match pull.next().await.unwrap() {
            Pulled::Batch(changes, rest) => {
                batches.push(changes);
                pull = rest;
            }
            Pulled::End(push) => return (batches, push),
        }
    }
}

fn upserts(batches: &[Changes]) -> BTreeMap<RecordId, Record> {
    let changes = batches.iter().flat_map(Changes::iter);
    let upsert = |(id, change): (&RecordId, &Change)| match change {
        Change::Upsert(record) => Some((id.clone(), record.clone())),
        Change::Delete => None,
    };
    changes.filter_map(upsert).collect()
}

fn one(at: &RecordId, record: Record) -> Changes {
    Changes::from_iter([(at.clone(), Change::Upsert(record))])
}

fn named(name: &str) -> Record {
    Record::new(entity::CONTACT)
        .with("first name", name)
        .with("display as company", "person")
}

fn people() -> PushInfo {
    PushInfo::new([entity::CONTACT, entity::GROUP], true)
}

#[tokio::test]
async fn a_first_session_is_a_reset_and_tells_everything_in_the_order_of_entities() {
    let phone = phone();
    let mut computer = Computer::default();
    let (batches, sync_type) = computer.read(&phone, CONTACTS, Wanted::All).await;
    assert_eq!(sync_type, SyncType::Reset);
    assert_eq!(batches.len(), 8, "people with groups, then seven kinds of values");
    assert_eq!(upserts(&batches), phone.sync().records(&CONTACTS));
    let entities = |batch: &Changes| -> Vec<String> {
        let all = upserts(std::slice::from_ref(batch)).into_values();
        all.filter_map(|record| record.entity).collect()
    };
    assert!(entities(&batches[1]).iter().all(|name| name == entity::EMAIL_ADDRESS));
    let (calendars, _) = Computer::default().read(&phone, CALENDARS, Wanted::All).await;
    assert_eq!(calendars.len(), 5);
    let bookmarks = Computer::default()
        .read(&phone, DataClass::Bookmarks, Wanted::All)
        .await;
    assert_eq!((bookmarks.0.len(), bookmarks.1), (1, SyncType::Reset));
}

#[tokio::test]
async fn a_second_session_is_fast_and_tells_what_a_person_changed() {
    let phone = phone();
    let mut computer = Computer::default();
    computer.read(&phone, CONTACTS, Wanted::All).await;
    let ids: Vec<RecordId> = phone
        .sync()
        .records(&CONTACTS)
        .into_keys()
        .filter(|id| !id.as_str().contains('/'))
        .collect();
    let (edited, deleted) = (&ids[0], &ids[1]);
    assert!(phone.sync().edit(&CONTACTS, edited, |record| {
        record.attributes.insert("first name".into(), "Bo".into());
    }));
    assert!(phone.sync().delete(&CONTACTS, deleted));
    let (batches, sync_type) = computer.read(&phone, CONTACTS, Wanted::Changes).await;
    assert_eq!(sync_type, SyncType::Fast);
    assert_eq!(text(&upserts(&batches)[edited], "first name"), "Bo");
    let gone = batches.iter().any(|batch| batch.get(deleted) == Some(&Change::Delete));
    assert!(gone, "{batches:?}");
    let (quiet, sync_type) = computer.read(&phone, CONTACTS, Wanted::Changes).await;
    assert_eq!(sync_type, SyncType::Fast);
    assert!(quiet.iter().all(Changes::is_empty), "{quiet:?}");
}

#[tokio::test]
async fn pushed_people_get_identifiers_with_the_last_of_them_and_their_values_afterwards() {
    let phone = phone();
    let mut computer = Computer::default();
    let (opened, _) = computer.opened(&phone, CONTACTS).await;
    let (_, push) = pull(opened, Wanted::All).await;
    let second = id("0B7C2E1A-5A00-4D2E-8F00-000000000002");
    let first_half = PushInfo::new([entity::CONTACT], false);
    let (given, push) = push.send(one(&id(NEW), named("Ann")), true, first_half).await.unwrap();
    assert!(given.is_empty(), "not before all have come");
    let (given, push) = push.send(one(&second, named("Bo")), true, people()).await.unwrap();
    assert_eq!(given.len(), 2);
    let ann = &given[&id(NEW)];
    let phone_number = Record::new(entity::PHONE_NUMBER)
        .with("contact", Value::Array(vec![ann.as_str().into()]))
        .with("type", "other")
        .with("label", "Mobile")
        .with("value", "555 0100");
    let at = id("0B7C2E1A-5A00-4D2E-8F00-000000000003");
    let orphan = phone_number
        .clone()
        .with("contact", Value::Array(vec!["999999".into()]));
    let lost = id("0B7C2E1A-5A00-4D2E-8F00-000000000004");
    let values = one(&at, phone_number).into_iter().chain(one(&lost, orphan)).collect();
    let (given, push) = push
        .send(values, false, PushInfo::new([entity::PHONE_NUMBER], true))
        .await
        .unwrap();
    let number = given[&at].clone();
    assert!(number.as_str().starts_with(&format!("3/{ann}/")), "{number}");
    let committed = push.finish().await.unwrap();
    assert_eq!(committed.not_accepted, [lost].into());
    let records = phone.sync().records(&CONTACTS);
    assert_eq!(text(&records[ann], "first name"), "Ann");
    assert_eq!(
        text(&records[&number], "type"),
        "mobile",
        "a label that the phone knows is a type"
    );
}

#[tokio::test]
async fn an_update_replaces_the_whole_record_and_the_marker_keeps_its_picture() {
    let phone = phone();
    let picture = Value::Data(vec![1; 100]);
    let ann = named("Ann").with("notes", "cake").with("image", picture.clone());
    let ann = phone.sync().add(&CONTACTS, ann).unwrap();
    let (opened, _) = Computer::default().opened(&phone, CONTACTS).await;
    let (_, push) = pull(opened, Wanted::All).await;
    let update = named("Anna").with("SDImageUnchangedMarker", true);
    let (given, push) = push.send(one(&ann, update), false, people()).await.unwrap();
    assert!(given.is_empty());
    push.finish().await.unwrap();
    let record = phone.sync().records(&CONTACTS).remove(&ann).unwrap();
    assert_eq!(text(&record, "first name"), "Anna");
    assert_eq!(record.attributes.get("notes"), None);
    assert_eq!(record.attributes.get("image"), Some(&picture));
}

#[tokio::test]
async fn nothing_of_a_session_is_kept_before_its_commit_but_the_anchor_has_moved() {
    let phone = phone();
    let mut computer = Computer::default();
    computer.read(&phone, CONTACTS, Wanted::All).await;
    let before = phone.sync().records(&CONTACTS);
    let (opened, opening) = computer.opened(&phone, CONTACTS).await;
    assert_eq!(opening.computer_anchor_last.as_deref(), Some("computer 1"));
    let (_, push) = pull(opened, Wanted::Changes).await;
    let (_, push) = push.send(one(&id(NEW), named("Ann")), false, people()).await.unwrap();
    drop(push);
    let (_, opening) = computer.opened(&phone, CONTACTS).await;
    assert_eq!(phone.sync().records(&CONTACTS), before);
    assert_eq!(opening.sync_type, SyncType::Slow, "the protocol's self-repair");
    assert_eq!(opening.computer_anchor_last.as_deref(), Some("computer 1"));
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_shows_in_the_next_opening() {
    let phone = phone();
    let mut computer = Computer::default();
    let (opened, _) = computer.opened(&phone, CONTACTS).await;
    let (_, push) = pull(opened, Wanted::All).await;
    let answer = "SDMessageDeviceFinishedSession".into();
    phone.sync().push_fault(SyncFault::CloseBefore { answer });
    let error = push.finish().await.unwrap_err();
    assert!(matches!(error, StepError::Link(SessionError::Closed { .. })), "{error}");
    let (_, opening) = computer.opened(&phone, CONTACTS).await;
    assert_eq!(
        opening.computer_anchor_last.as_deref(),
        Some("computer 1"),
        "it was committed"
    );
}

#[tokio::test]
async fn a_clear_takes_effect_with_the_commit_and_what_was_pushed_remains() {
    let phone = phone();
    let (opened, _) = Computer::default().opened(&phone, CONTACTS).await;
    let (_, push) = pull(opened, Wanted::All).await;
    let push = push.clear().await.unwrap();
    assert!(phone.sync().records(&CONTACTS).len() > 1);
    let (given, push) = push.send(one(&id(NEW), named("Ann")), false, people()).await.unwrap();
    push.finish().await.unwrap();
    let left: Vec<RecordId> = phone.sync().records(&CONTACTS).into_keys().collect();
    assert_eq!(left, given.into_values().collect::<Vec<_>>());
}

#[tokio::test]
async fn deleting_an_event_deletes_what_belongs_to_it() {
    let phone = phone();
    let calendar = phone
        .sync()
        .add(&CALENDARS, Record::new(entity::CALENDAR).with("title", "C"))
        .unwrap();
    let event = Record::new(entity::EVENT).with("calendar", Value::Array(vec![calendar.as_str().into()]));
    let event = phone.sync().add(&CALENDARS, event).unwrap();
    let alarm = Record::new(entity::DISPLAY_ALARM).with("owner", Value::Array(vec![event.as_str().into()]));
    let alarm = phone.sync().add(&CALENDARS, alarm).unwrap();
    let (opened, _) = Computer::default().opened(&phone, CALENDARS).await;
    let (_, push) = pull(opened, Wanted::All).await;
    let deletion = Changes::from_iter([(event.clone(), Change::Delete)]);
    let (_, push) = push.send(deletion, false, PushInfo::default()).await.unwrap();
    push.finish().await.unwrap();
    let records = phone.sync().records(&CALENDARS);
    assert!(!records.contains_key(&event) && !records.contains_key(&alarm));
    assert!(records.contains_key(&calendar));
}

#[tokio::test]
async fn classes_are_refused_for_the_reasons_that_phones_have() {
    let refused = |phone: Phone, class: DataClass| async move {
        match Computer::default().open(&phone, class).await {
            OpenOutcome::Refused(refusal, _) => refusal.kind,
            OpenOutcome::Opened(_) => panic!("opened"),
        }
    };
    assert_eq!(refused(phone(), DataClass::Notes).await, RefusalKind::NoDataStore);
    let disabled = phone();
    let flags = cabled_wire::dict! { "DisableTethered" => true };
    disabled.set_value(Some("com.apple.mobile.tethered_sync"), "Contacts", flags);
    assert_eq!(refused(disabled, CONTACTS).await, RefusalKind::DisabledOnDevice);
    let served = phone();
    let sources = cabled_wire::dict! { "Sources" => Value::Array(vec!["iCloud".into()]) };
    served.set_value(Some("com.apple.mobile.data_sync"), "Bookmarks", sources);
    assert_eq!(
        refused(served, DataClass::Bookmarks).await,
        RefusalKind::DisabledOnDevice
    );
    let link = link(&phone()).await;
    let OpenOutcome::Refused(refusal, _) = link.open(CONTACTS, None, "a".into(), 1).await.unwrap() else {
        panic!("opened")
    };
    assert_eq!(refusal.kind, RefusalKind::VersionTooOld);
}

#[tokio::test(start_paused = true)]
async fn a_lock_that_is_held_delays_or_refuses_and_a_busy_phone_says_so() {
    let with = |change: fn(&mut SyncOptions)| {
        let phone = phone();
        let mut options = phone.sync().options();
        change(&mut options);
        phone.sync().set_options(options);
        phone
    };
    let short = with(|options| options.lock_held = Duration::from_secs(29));
    let opened = Computer::default().open(&short, DataClass::Bookmarks).await;
    assert!(matches!(opened, OpenOutcome::Opened(_)));
    let long = with(|options| options.lock_held = Duration::from_secs(31));
    let OpenOutcome::Refused(refusal, _) = Computer::default().open(&long, DataClass::Bookmarks).await else {
        panic!("opened")
    };
    assert_eq!(refusal.kind, RefusalKind::LockedOnDevice);
    let slow = with(|options| options.busy = Duration::from_secs(59));
    let _ = link(&slow).await;
    let busy = with(|options| options.busy = Duration::from_secs(60));
    let error = SyncLink::connect(connect(&busy), SessionOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, SessionError::Busy { .. }), "{error}");
}

#[tokio::test]
async fn an_erased_phone_has_other_identifiers_and_forgets_the_computer() {
    let phone = phone();
    let mut computer = Computer::default();
    let (before, _) = computer.read(&phone, CONTACTS, Wanted::All).await;
    phone.sync().renumber();
    let (after, sync_type) = computer.read(&phone, CONTACTS, Wanted::All).await;
    assert_eq!(sync_type, SyncType::Reset);
    let (before, after) = (upserts(&before), upserts(&after));
    assert_eq!(before.len(), after.len());
    assert_ne!(before, after);
}

#[tokio::test]
async fn silent_skips_and_echoes_are_as_the_options_say() {
    let phone = phone();
    let ann = phone.sync().add(&CONTACTS, named("Ann")).unwrap();
    let mut options = phone.sync().options();
    options.drops = 1;
    options.echoes_writes = true;
    phone.sync().set_options(options);
    let mut computer = Computer::default();
    for (name, expected) in [("Anna", "Ann"), ("Annika", "Annika")] {
        let (opened, opening) = computer.opened(&phone, CONTACTS).await;
        let (_, push) = pull(opened, Wanted::All).await;
        let (_, push) = push.send(one(&ann, named(name)), false, people()).await.unwrap();
        assert!(push.finish().await.unwrap().not_accepted.is_empty());
        computer.device_anchor = opening.device_anchor_next;
        assert_eq!(text(&phone.sync().records(&CONTACTS)[&ann], "first name"), expected);
    }
    let (batches, sync_type) = computer.read(&phone, CONTACTS, Wanted::Changes).await;
    assert_eq!(sync_type, SyncType::Fast);
    assert_eq!(
        text(&upserts(&batches)[&ann], "first name"),
        "Annika",
        "our own write comes back"
    );
}

#[tokio::test]
async fn what_the_phone_has_no_words_for_is_told_as_it_is_and_when_it_changes() {
    let phone = phone();
    let mut computer = Computer::default();
    computer.read(&phone, CONTACTS, Wanted::All).await;
    let strange = Record::new("com.example.Pet").with("legs", Value::Array(vec![4.into(), "four".into()]));
    let nameless = Record {
        entity: None,
        ..strange.clone()
    };
    phone.sync().put(&CONTACTS, id("pet"), strange.clone());
    phone.sync().put(&CONTACTS, id("nameless"), nameless.clone());
    for wanted in [Wanted::Changes, Wanted::All] {
        let (batches, _) = computer.read(&phone, CONTACTS, wanted).await;
        let told = upserts(&batches);
        assert_eq!((&told[&id("pet")], &told[&id("nameless")]), (&strange, &nameless));
    }
    assert!(phone.sync().delete(&CONTACTS, &id("pet")));
    let (batches, _) = computer.read(&phone, CONTACTS, Wanted::Changes).await;
    assert!(
        batches
            .iter()
            .any(|batch| batch.get(&id("pet")) == Some(&Change::Delete))
    );
}

#[tokio::test]
async fn a_phone_that_says_a_wrong_sync_type_says_it_once() {
    let phone = phone();
    for said in [SyncType::Fast, SyncType::Slow] {
        phone.sync().push_fault(SyncFault::SayType { sync_type: said });
        let (_, opening) = Computer::default().opened(&phone, CONTACTS).await;
        assert_eq!(opening.sync_type, said);
        let (_, opening) = Computer::default().opened(&phone, CONTACTS).await;
        assert_eq!(opening.sync_type, SyncType::Reset);
    }
}

#[tokio::test]
async fn an_empty_batch_is_an_empty_dictionary_where_the_options_say_so() {
    for (empty_dictionaries, wanted) in [(false, None), (true, Some(Changes::new()))] {
        let phone = Phone::builder().empty().build().unwrap();
        let mut options = phone.sync().options();
        options.empty_dictionaries = empty_dictionaries;
        phone.sync().set_options(options);
        let mut stream = connect(&phone);
        let class = CONTACTS;
        let start = Message::Start {
            class: class.clone(),
            device_anchor: None,
            computer_anchor: String::new(),
            version: 106,
            info: None,
        };
        let asks = [start, Message::GetAllRecords { class }];
        let version = read_frame(&mut stream, 1 << 20).await.unwrap();
        assert!(LinkMessage::decode(&version, &limits()).is_ok());
        write_frame(&mut stream, &LinkMessage::VersionsOk { major: 300 }.encode())
            .await
            .unwrap();
        read_frame(&mut stream, 1 << 20).await.unwrap();
        let mut last = None;
        for ask in asks {
            write_frame(&mut stream, &ask.encode()).await.unwrap();
            let body = read_frame(&mut stream, 1 << 20).await.unwrap();
            last = Some(Message::decode(&body, &limits()).unwrap());
        }
        let Some(Message::ProcessChanges { changes, more, .. }) = last else {
            panic!("{last:?}")
        };
        assert_eq!((changes, more), (wanted, false));
    }
}
