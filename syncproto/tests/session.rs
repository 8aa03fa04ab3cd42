//! The exchange, held against recorded runs of libimobiledevice and against devices that do odd things.
#![cfg(feature = "session")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use cabled_devicelink::msg::Message as LinkMessage;
use cabled_golden::{LIBIMOBILEDEVICE, Line, Side, lines};
use cabled_syncproto::msg::{Message, PushInfo, SyncType, limits};
use cabled_syncproto::record::{Change, Changes, Record, RecordId};
use cabled_syncproto::session::machine::{Event, Machine, Wanted};
use cabled_syncproto::session::{CancellationKind, Phase, RefusalKind, SessionError, SessionOptions};
use cabled_syncproto::{DataClass, entity};
use cabled_wire::frame::{self, FrameDecoder};
use proptest::prelude::*;

const CLASS: DataClass = DataClass::Contacts;

/// The computer's side with a clock that the test moves.
struct Computer {
    machine: Machine,
    now: Instant,
}

impl Computer {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            machine: Machine::new(now, SessionOptions::default()),
            now,
        }
    }

    fn linked() -> Self {
        let mut computer = Self::new();
        computer.link(&LinkMessage::VersionExchange { major: 300, minor: 100 });
        computer.link(&LinkMessage::DeviceReady);
        assert_eq!(computer.event(), Some(Event::Linked { version: (300, 100) }));
        assert_eq!(computer.link_said(), [LinkMessage::VersionsOk { major: 400 }]);
        computer
    }

    fn opened() -> Self {
        let mut computer = Self::linked();
        computer.open().unwrap();
        computer.hear(&started(SyncType::Slow));
        assert!(matches!(computer.event(), Some(Event::Opened(_))));
        computer.said();
        computer
    }

    fn pushable() -> Self {
        let mut computer = Self::opened();
        computer.machine.pull(computer.now, Wanted::All).unwrap();
        computer.hear(&batch(Changes::new(), false));
        assert!(matches!(computer.event(), Some(Event::Batch(_))));
        computer.machine.acknowledge(computer.now).unwrap();
        computer.hear(&Message::Ready { class: CLASS });
        assert_eq!(computer.event(), Some(Event::Pushable { complete: true }));
        computer.said();
        computer
    }

    fn open(&mut self) -> Result<(), SessionError> {
        self.machine
            .open(self.now, CLASS, None, "anchor".into(), CLASS.version())
    }

    fn link(&mut self, message: &LinkMessage) {
        self.hear_body(&message.encode());
    }

    fn hear(&mut self, message: &Message) {
        self.hear_body(&message.encode());
    }

    fn hear_body(&mut self, body: &[u8]) {
        self.machine.handle_bytes(self.now, &frame::encode(body).unwrap());
    }

    fn event(&mut self) -> Option<Event> {
        self.machine.poll_event().unwrap()
    }

    fn bodies(&mut self) -> Vec<Vec<u8>> {
        let mut decoder = FrameDecoder::new(1 << 20);
        while let Some(bytes) = self.machine.poll_transmit() {
            decoder.push(&bytes);
        }
        std::iter::from_fn(|| decoder.next_frame().unwrap())
            .map(|body| body.to_vec())
            .collect()
    }

    fn said(&mut self) -> Vec<Message> {
        let read = |body: Vec<u8>| Message::decode(&body, &limits()).unwrap();
        self.bodies().into_iter().map(read).collect()
    }

    fn link_said(&mut self) -> Vec<LinkMessage> {
        let read = |body: Vec<u8>| LinkMessage::decode(&body, &limits()).unwrap();
        self.bodies().into_iter().map(read).collect()
    }
}

fn started(sync_type: SyncType) -> Message {
    Message::Started {
        class: CLASS,
        computer_anchor: Some("before".into()),
        device_anchor: Some("next".into()),
        sync_type,
        version: Some(106),
    }
}

fn batch(changes: Changes, more: bool) -> Message {
    Message::ProcessChanges {
        class: CLASS,
        changes: Some(changes),
        more,
        info: None,
    }
}

fn id(text: &str) -> RecordId {
    RecordId::new(text).unwrap()
}

const NEW: &str = "0B7C2E1A-5A00-4D2E-8F00-000000000001";

fn one(text: &str) -> Changes {
    Changes::from_iter([(id(text), Change::Upsert(Record::new(entity::CONTACT)))])
}

/// Does what the recorded computer did, and hears what the recorded device said.
fn replay(run: &str) -> Vec<Event> {
    let file = format!("{LIBIMOBILEDEVICE}/mobilesync-{run}.jsonl");
    let mut computer = Computer::new();
    let mut events = Vec::new();
    let lines: Vec<Line> = lines(&file)
        .into_iter()
        .filter(|line| line.layer == "com.apple.mobilesync")
        .collect();
    for line in lines {
        if line.from == Side::Device {
            computer.machine.handle_bytes(computer.now, &line.bytes);
            events.extend(computer.event());
            continue;
        }
        let Ok(theirs) = Message::decode(&line.body(), &limits()) else {
            continue; // the link's own messages are compared elsewhere
        };
        let (machine, now) = (&mut computer.machine, computer.now);
        match theirs.clone() {
            Message::Start {
                class,
                device_anchor,
                computer_anchor,
                version,
                ..
            } => machine.open(now, class, device_anchor, computer_anchor, version),
            Message::GetAllRecords { .. } => machine.pull(now, Wanted::All),
            Message::GetChanges { .. } => machine.pull(now, Wanted::Changes),
            Message::Acknowledge { .. } => machine.acknowledge(now),
            Message::Clear { .. } => machine.clear(now),
            Message::Finish { .. } => machine.finish(now),
            Message::Cancel { reason, .. } => machine.cancel(now, &reason),
            Message::ProcessChanges {
                changes, more, info, ..
            } => machine.push(now, changes.unwrap_or_default(), more, info.unwrap_or_default()),
            other => panic!("{other:?} from a computer"),
        }
        .unwrap_or_else(|error| panic!("{}: {error}", line.place()));
        let mut ours: Vec<Message> = computer
            .bodies()
            .iter()
            .filter_map(|body| Message::decode(body, &limits()).ok())
            .collect();
        // Where they send no dictionary, we send an empty one.
        if let [Message::ProcessChanges { info, .. }] = ours.as_mut_slice()
            && matches!(&theirs, Message::ProcessChanges { info: None, .. })
        {
            *info = None;
        }
        assert_eq!(ours, [theirs], "{}", line.place());
    }
    events
}

#[test]
fn recorded_runs_are_followed_message_by_message() {
    for run in ["two-way", "export", "replace", "clear-then-pull", "placeholders"] {
        let events = replay(run);
        assert!(
            events.iter().any(|event| matches!(event, Event::Opened(_))),
            "{run}: {events:?}"
        );
        let complete = events
            .iter()
            .any(|event| matches!(event, Event::Pushable { complete: true }));
        assert!(complete, "{run}: {events:?}");
        assert!(
            matches!(events.last(), Some(Event::Finished { .. })),
            "{run}: {events:?}"
        );
    }
}

#[test]
fn a_finish_that_the_device_cancels_is_no_success() {
    let events = replay("finish-refused");
    let kinds: Vec<CancellationKind> = events
        .iter()
        .filter_map(|event| match event {
            Event::Cancelled(cancellation) => Some(cancellation.kind),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, [CancellationKind::CommitFailed], "{events:?}");
    assert!(!events.iter().any(|event| matches!(event, Event::Finished { .. })));
}

#[test]
fn a_newer_link_is_refused_with_both_numbers_and_a_word_to_the_device() {
    let mut computer = Computer::new();
    computer.link(&LinkMessage::VersionExchange { major: 400, minor: 101 });
    let error = computer.machine.poll_event().unwrap_err();
    assert!(matches!(
        error,
        SessionError::UnsupportedLinkVersion { major: 400, minor: 101 }
    ));
    assert!(matches!(
        &computer.link_said()[..],
        [LinkMessage::Disconnect { reason: Some(_) }]
    ));
    let mut old = Computer::new();
    old.link(&LinkMessage::VersionExchange { major: 299, minor: 999 });
    assert_eq!(old.event(), None);
    assert_eq!(old.link_said(), [LinkMessage::VersionsOk { major: 400 }]);
}

#[test]
fn a_disconnect_before_the_device_is_ready_means_that_it_is_busy() {
    let mut computer = Computer::new();
    computer.link(&LinkMessage::VersionExchange { major: 300, minor: 100 });
    let reason = "another sync is running".to_owned();
    computer.link(&LinkMessage::Disconnect {
        reason: Some(reason.clone()),
    });
    assert!(matches!(computer.machine.poll_event(), Err(SessionError::Busy { reason: told }) if told == reason));
}

#[test]
fn after_a_refusal_another_class_can_be_opened() {
    let mut computer = Computer::linked();
    computer.open().unwrap();
    let reason = "No Data Store available for data class".to_owned();
    computer.hear(&Message::Refused { class: CLASS, reason });
    let Some(Event::Refused(refusal)) = computer.event() else {
        panic!("no refusal");
    };
    assert_eq!(refusal.kind, RefusalKind::NoDataStore);
    computer.open().unwrap();
}

#[test]
fn every_answer_may_be_a_cancel_or_the_end_of_the_link() {
    type Ask = (Phase, fn() -> Computer, fn(&mut Computer) -> Result<(), SessionError>);
    let asks: [Ask; 5] = [
        (Phase::Opening, Computer::linked, Computer::open),
        (Phase::Pulling, Computer::opened, |c| {
            c.machine.pull(c.now, Wanted::Changes)
        }),
        (Phase::Clearing, Computer::opened, |c| c.machine.clear(c.now)),
        (Phase::Pushing, Computer::pushable, |c| {
            c.machine.push(c.now, one(NEW), false, PushInfo::default())
        }),
        (Phase::Finishing, Computer::pushable, |c| c.machine.finish(c.now)),
    ];
    for (phase, computer, ask) in asks {
        let mut cancelled = computer();
        ask(&mut cancelled).unwrap();
        let reason = "no".to_owned();
        cancelled.hear(&Message::Cancel { class: CLASS, reason });
        assert!(matches!(cancelled.event(), Some(Event::Cancelled(_))), "{phase}");
        cancelled.open().unwrap();

        let mut ended = computer();
        ask(&mut ended).unwrap();
        ended.link(&LinkMessage::Disconnect { reason: None });
        let error = ended.machine.poll_event().unwrap_err();
        assert!(
            matches!(error, SessionError::Disconnected { phase: told, .. } if told == phase),
            "{error}"
        );

        let mut lost = computer();
        ask(&mut lost).unwrap();
        let error = lost.machine.handle_end().unwrap_err();
        assert!(
            matches!(error, SessionError::Closed { phase: told } if told == phase),
            "{error}"
        );

        let mut silent = computer();
        ask(&mut silent).unwrap();
        let due = silent.machine.poll_timeout().unwrap();
        silent.machine.handle_timeout(due - Duration::from_millis(1)).unwrap();
        let error = silent.machine.handle_timeout(due).unwrap_err();
        assert!(
            matches!(error, SessionError::TimedOut { phase: told, .. } if told == phase),
            "{error}"
        );
        assert!(
            silent.open().is_err(),
            "a late answer would be taken for that of the next request"
        );
    }
}

#[test]
fn an_answer_for_another_class_is_an_error() {
    let mut computer = Computer::opened();
    computer.machine.finish(computer.now).unwrap();
    computer.hear(&Message::Finished {
        class: DataClass::Calendars,
    });
    assert!(matches!(
        computer.machine.poll_event(),
        Err(SessionError::Unexpected { .. })
    ));
}

#[test]
fn a_pull_whose_last_batch_promised_more_is_incomplete() {
    let mut computer = Computer::opened();
    computer.machine.pull(computer.now, Wanted::All).unwrap();
    computer.hear(&batch(one("41"), true));
    assert_eq!(computer.event(), Some(Event::Batch(one("41"))));
    computer.machine.acknowledge(computer.now).unwrap();
    computer.hear(&Message::Ready { class: CLASS });
    assert_eq!(computer.event(), Some(Event::Pushable { complete: false }));
}

#[test]
fn ready_without_any_batch_is_an_error() {
    let mut computer = Computer::opened();
    computer.machine.pull(computer.now, Wanted::All).unwrap();
    computer.hear(&Message::Ready { class: CLASS });
    assert!(matches!(
        computer.machine.poll_event(),
        Err(SessionError::Unexpected { .. })
    ));
}

#[test]
fn new_records_without_an_identifier_are_reported_at_the_end() {
    let mut computer = Computer::pushable();
    let other = "0B7C2E1A-5A00-4D2E-8F00-000000000002";
    let both = one(NEW).into_iter().chain(one(other)).collect();
    computer
        .machine
        .push(computer.now, both, false, PushInfo::default())
        .unwrap();
    let ids = BTreeMap::from([(id(NEW), id("42")), (id("never sent"), id("43"))]);
    computer.hear(&Message::Remap {
        class: CLASS,
        ids: Some(ids),
    });
    let expected = BTreeMap::from([(id(NEW), id("42"))]);
    assert_eq!(
        computer.event(),
        Some(Event::Remapped(expected)),
        "what was not sent is ignored"
    );
    computer.machine.finish(computer.now).unwrap();
    computer.hear(&Message::Finished { class: CLASS });
    let not_accepted = [id(other)].into();
    assert_eq!(computer.event(), Some(Event::Finished { not_accepted }));
}

#[test]
fn one_identifier_for_two_records_is_an_error() {
    let mut computer = Computer::pushable();
    let other = "0B7C2E1A-5A00-4D2E-8F00-000000000002";
    let both = one(NEW).into_iter().chain(one(other)).collect();
    computer
        .machine
        .push(computer.now, both, false, PushInfo::default())
        .unwrap();
    let ids = BTreeMap::from([(id(NEW), id("42")), (id(other), id("42"))]);
    computer.hear(&Message::Remap {
        class: CLASS,
        ids: Some(ids),
    });
    assert!(matches!(
        computer.machine.poll_event(),
        Err(SessionError::AmbiguousRemap { .. })
    ));
}

#[test]
fn calls_out_of_turn_send_nothing_and_change_nothing() {
    let mut computer = Computer::linked();
    let now = computer.now;
    assert!(computer.machine.pull(now, Wanted::All).is_err());
    assert!(computer.machine.acknowledge(now).is_err());
    assert!(
        computer
            .machine
            .push(now, one(NEW), false, PushInfo::default())
            .is_err()
    );
    assert!(computer.machine.clear(now).is_err());
    assert!(computer.machine.finish(now).is_err());
    assert!(computer.machine.cancel(now, "why").is_err());
    assert!(computer.said().is_empty());
    computer.open().unwrap();
    assert!(computer.machine.cancel(now, "an answer is owed").is_err());
    computer.hear(&started(SyncType::Fast));
    assert!(matches!(computer.event(), Some(Event::Opened(_))));
    let pushed = computer.machine.push(now, one(NEW), false, PushInfo::default());
    assert!(
        matches!(pushed, Err(SessionError::OutOfTurn { .. })),
        "no push without a pull"
    );
}

#[test]
fn a_trickle_does_not_hold_a_wait_open_and_a_long_batch_does() {
    let mut computer = Computer::opened();
    computer.machine.pull(computer.now, Wanted::All).unwrap();
    let started = computer.now;
    let long = batch(
        Changes::from_iter([(id("41"), Change::Upsert(Record::new(&"x".repeat(1 << 20))))]),
        false,
    );
    let bytes = frame::encode(&long.encode()).unwrap();
    let step = Duration::from_secs(200);
    for (index, part) in bytes.chunks(100 << 10).take(5).enumerate() {
        computer
            .machine
            .handle_bytes(started + step * u32::try_from(index).unwrap(), part);
    }
    computer.machine.handle_timeout(started + step * 5).unwrap();
    computer.machine.handle_bytes(started + step * 5, b"x");
    assert!(
        computer
            .machine
            .handle_timeout(started + step * 4 + Duration::from_secs(300))
            .is_err()
    );
}

proptest! {
    #[test]
    fn splitting_the_stream_anywhere_changes_nothing(cuts in prop::collection::vec(1_usize..40, 1..200)) {
        let mut stream = Vec::new();
        for message in [
            LinkMessage::VersionExchange { major: 300, minor: 100 }.encode(),
            LinkMessage::DeviceReady.encode(),
        ] {
            stream.extend(frame::encode(&message).unwrap());
        }
        let mut computer = Computer::new();
        let mut rest = &stream[..];
        let mut events = Vec::new();
        for cut in cuts.into_iter().chain([usize::MAX]) {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            computer.machine.handle_bytes(computer.now, now);
            events.extend(computer.event());
            rest = later;
        }
        prop_assert_eq!(events, [Event::Linked { version: (300, 100) }]);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut computer = Computer::opened();
        computer.machine.pull(computer.now, Wanted::All).unwrap();
        computer.machine.handle_bytes(computer.now, &bytes);
        while let Ok(Some(_)) = computer.machine.poll_event() {}
    }
}
