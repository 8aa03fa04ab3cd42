//! Sessions of the sync service: a device that says what it likes to a computer that does what it likes, and the other way
//! round.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use cabled_devicelink::msg::Message as LinkMessage;
use cabled_syncproto::msg::{Message, PushInfo, SyncType, limits};
use cabled_syncproto::record::{Change, Changes, Record, RecordId};
use cabled_syncproto::session::machine::{Event, Machine, Wanted};
use cabled_syncproto::session::{Phase, SessionError, SessionOptions};
use cabled_syncproto::{DataClass, entity};
use cabled_virtualdevice::{Phone, service, sync};
use cabled_wire::frame::{self, FrameDecoder};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::script::Script;

const NEW: &str = "0B7C2E1A-5A00-4D2E-8F00-000000000001";
/// Calls and answers of one run: it has to be short.
const MAX_STEPS: usize = 200;

fn id(text: &str) -> RecordId {
    RecordId::new(text).expect("a short text")
}

fn class(choice: u8) -> DataClass {
    DataClass::KNOWN[usize::from(choice) % DataClass::KNOWN.len()].clone()
}

fn one(at: &str) -> Changes {
    let ann = Record::new(entity::CONTACT).with("first name", "Ann");
    Changes::from_iter([(id(at), Change::Upsert(ann))])
}

fn framed(body: &[u8]) -> Vec<u8> {
    frame::encode(body).expect("a short message").to_vec()
}

/// Something that a device may say, sound in itself. `class` is that of the last opening, or another one.
fn said_by_a_device(choice: u8, class: DataClass) -> Vec<u8> {
    let started = |sync_type, anchor: Option<&str>| Message::Started {
        class: class.clone(),
        computer_anchor: anchor.map(str::to_owned),
        device_anchor: Some("next".to_owned()),
        sync_type,
        version: Some(106),
    };
    let batch = |changes, more| Message::ProcessChanges {
        class: class.clone(),
        changes,
        more,
        info: None,
    };
    let remap = |pairs: &[(&str, &str)]| Message::Remap {
        class: class.clone(),
        ids: Some(pairs.iter().map(|(from, to)| (id(from), id(to))).collect()),
    };
    let reason = || "words".to_owned();
    let link = |message: LinkMessage| framed(&message.encode());
    let message = match choice % 18 {
        0 => return link(LinkMessage::VersionExchange { major: 300, minor: 100 }),
        1 => return link(LinkMessage::DeviceReady),
        2 => return link(LinkMessage::Disconnect { reason: Some(reason()) }),
        3 => return link(LinkMessage::Ping(reason())),
        4 => started(SyncType::Fast, Some("last")),
        5 => started(SyncType::Reset, None),
        6 => Message::Refused {
            class,
            reason: reason(),
        },
        7 => batch(Some(one("41")), true),
        8 => batch(None, false),
        9 => Message::Ready { class },
        10 => Message::WillClear { class },
        11 => remap(&[(NEW, "42")]),
        12 => remap(&[(NEW, "42"), ("41", "42")]),
        13 => Message::Remap { class, ids: None },
        14 => Message::Finished { class },
        15 => Message::Cancel {
            class,
            reason: reason(),
        },
        16 => remap(&[("nobody", "43")]),
        _ => Message::GetChanges { class },
    };
    framed(&message.encode())
}

/// The computer's side, and what a second reader makes of what it says.
struct Computer {
    machine: Machine,
    now: Instant,
    decoder: FrameDecoder,
    class: DataClass,
    /// New records that were sent in this session, and the identifiers given for them.
    sent: BTreeSet<RecordId>,
    given: BTreeSet<RecordId>,
}

impl Computer {
    fn new() -> Self {
        let now = Instant::now();
        let small = limits().with_bytes(1 << 20).with_nodes(50_000);
        Self {
            machine: Machine::new(now, SessionOptions::default().with_limits(small)),
            now,
            decoder: FrameDecoder::new(1 << 20),
            class: DataClass::Contacts,
            sent: BTreeSet::new(),
            given: BTreeSet::new(),
        }
    }

    /// A call: one that is out of turn says so and changes nothing, any other sends one message.
    fn call(&mut self, choice: u8, script: &mut Script<'_>) {
        let before = self.machine.phase();
        let now = self.now;
        let called = match choice {
            0 => {
                let class = class(script.byte());
                let opened = self.machine.open(now, class.clone(), None, "anchor".to_owned(), 106);
                if opened.is_ok() {
                    self.class = class;
                    self.sent.clear();
                    self.given.clear();
                }
                opened
            }
            1 => self.machine.pull(
                now,
                if script.byte().is_multiple_of(2) {
                    Wanted::All
                } else {
                    Wanted::Changes
                },
            ),
            2 => self.machine.acknowledge(now),
            3 => self.machine.clear(now),
            4 => {
                let at = if script.byte().is_multiple_of(2) { NEW } else { "41" };
                let pushed = self
                    .machine
                    .push(now, one(at), true, PushInfo::new([entity::CONTACT], true));
                if pushed.is_ok() {
                    self.sent.insert(id(at));
                }
                pushed
            }
            5 => self.machine.finish(now),
            _ => self.machine.cancel(now, "enough"),
        };
        match called {
            Ok(()) => {
                assert_eq!(before, Phase::Idle, "something was asked while an answer was owed");
                assert_eq!(self.spoken(), 1);
            }
            Err(SessionError::OutOfTurn { phase, .. }) => {
                assert_eq!((phase, self.machine.phase()), (before, before));
                assert_eq!(self.spoken(), 0);
            }
            Err(error) => panic!("a call fails with {error}"),
        }
    }

    /// How many messages came out, each of them sound.
    fn spoken(&mut self) -> usize {
        while let Some(bytes) = self.machine.poll_transmit() {
            self.decoder.push(&bytes);
        }
        let mut count = 0;
        while let Some(body) = self.decoder.next_frame().expect("sound frames") {
            let known = Message::decode(&body, &limits()).is_ok_and(|message| message.class() == Some(&self.class));
            assert!(known || LinkMessage::decode(&body, &limits()).is_ok());
            count += 1;
        }
        count
    }

    /// Everything that follows from what came.
    fn drain(&mut self) {
        loop {
            let before = self.machine.phase();
            match self.machine.poll_event() {
                Ok(None) => break,
                Ok(Some(event)) => self.check(&event),
                Err(error) => {
                    assert_ne!(before, Phase::Idle, "{error}: nothing was owed");
                    assert_eq!(self.machine.phase(), Phase::Closed, "{error}");
                    assert!(!error.to_string().is_empty());
                }
            }
        }
        // The handshake and a farewell.
        assert!(self.spoken() <= 2);
        let waits = self.machine.wants_bytes();
        assert_eq!(waits, !matches!(self.machine.phase(), Phase::Idle | Phase::Closed));
        assert_eq!(waits, self.machine.poll_timeout().is_some(), "every wait has an end");
    }

    fn check(&mut self, event: &Event) {
        // Whatever was heard, it is the computer's turn now.
        assert_eq!(self.machine.phase(), Phase::Idle, "{event:?}");
        match event {
            Event::Remapped(ids) => {
                for (computers, devices) in ids {
                    assert!(self.sent.contains(computers), "{computers} was not sent");
                    assert!(self.given.insert(devices.clone()), "{devices} was given twice");
                }
            }
            Event::Finished { not_accepted } => {
                assert!(not_accepted.is_subset(&self.sent));
                assert!(not_accepted.iter().all(|id| !id.is_devices_own()));
            }
            _ => {}
        }
    }
}

/// A device that says anything, sound messages and raw bytes, to a computer that calls anything, in any order.
pub fn sync_session(data: &[u8]) {
    let mut script = Script::new(data);
    let mut computer = Computer::new();
    for _ in 0..MAX_STEPS {
        if !script.goes_on() {
            break;
        }
        match script.byte() % 12 {
            call @ 0..=6 => computer.call(call, &mut script),
            7 | 8 => {
                let choice = script.byte();
                let class = if choice < 200 {
                    computer.class.clone()
                } else {
                    class(choice)
                };
                let bytes = said_by_a_device(choice, class);
                computer.machine.handle_bytes(computer.now, &bytes);
            }
            9 => {
                let len = usize::from(script.byte());
                computer.machine.handle_bytes(computer.now, script.take(len));
            }
            10 => {
                computer.now += Duration::from_secs(u64::from(script.byte()));
                let waited = computer.machine.poll_timeout().is_some_and(|due| due <= computer.now);
                assert_eq!(computer.machine.handle_timeout(computer.now).is_err(), waited);
            }
            _ => match script.byte() % 2 {
                0 => computer.machine.disconnect(),
                _ => drop(computer.machine.handle_end()),
            },
        }
        computer.drain();
    }
    computer.machine.disconnect();
    computer.drain();
    assert_eq!(computer.machine.phase(), Phase::Closed);
}

/// Something that a computer may say, sound in itself.
fn said_by_a_computer(choice: u8, class: DataClass, known: &RecordId) -> Vec<u8> {
    let start = |device_anchor: Option<&str>, version| Message::Start {
        class: class.clone(),
        device_anchor: device_anchor.map(str::to_owned),
        computer_anchor: "anchor".to_owned(),
        version,
        info: None,
    };
    let push = |changes, all_sent| Message::ProcessChanges {
        class: class.clone(),
        changes: Some(changes),
        more: true,
        info: Some(PushInfo::new([entity::CONTACT], all_sent)),
    };
    let message = match choice % 16 {
        0 => return framed(&LinkMessage::Ping("words".to_owned()).encode()),
        1 => start(None, class.version()),
        2 => start(Some("Nov 01 2026 00:01:01 +0100"), -1),
        3 => start(None, 1),
        4 => Message::GetAllRecords { class },
        5 => Message::GetChanges { class },
        6 => Message::Acknowledge { class },
        7 => Message::Clear { class },
        8 => push(one(NEW), false),
        9 => push(one(NEW), true),
        10 => push(one(known.as_str()), true),
        11 => push(Changes::from_iter([(known.clone(), Change::Delete)]), true),
        12 => push(one("no such record"), true),
        13 => Message::Cancel {
            class,
            reason: "words".to_owned(),
        },
        14 => Message::Ready { class },
        _ => Message::Finish { class },
    };
    framed(&message.encode())
}

/// A computer that says anything to the phone's agent, sound messages and raw bytes: nothing changes on the phone without a
/// commit, and the agent ends when its computer goes.
pub fn sync_agent(data: &[u8]) {
    let mut script = Script::new(data);
    let mut asked: Vec<u8> = Vec::new();
    let mut commits = false;
    asked.extend(framed(&LinkMessage::VersionsOk { major: 300 }.encode()));
    let known = id("1");
    for _ in 0..MAX_STEPS {
        if !script.goes_on() {
            break;
        }
        let choice = script.byte();
        if choice >= 250 {
            let len = usize::from(script.byte());
            // Bytes that nobody vouches for: they may hold a commit.
            asked.extend_from_slice(script.take(len));
            commits = true;
            continue;
        }
        let class = class((choice >> 4) % 2);
        commits |= choice % 16 == 15;
        asked.extend(said_by_a_computer(choice, class, &known));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(converse(asked, commits));
}

async fn converse(asked: Vec<u8>, commits: bool) {
    let phone = Phone::builder().empty().build().expect("an empty phone");
    for name in ["Ann", "Bo"] {
        let person = Record::new(entity::CONTACT).with("first name", name);
        phone.sync().add(&DataClass::Contacts, person);
    }
    let before = phone.sync().records(&DataClass::Contacts);
    let (computer, device) = tokio::io::duplex(16 << 10);
    let (mut read, mut write) = tokio::io::split(computer);
    let serving = service::dispatch(phone.clone(), sync::NAME, Box::new(device), None);
    let speaking = async move {
        // An agent that says goodbye does not read on.
        if write.write_all(&asked).await.is_ok() {
            drop(write.shutdown().await);
        }
    };
    let hearing = async move {
        let mut heard = Vec::new();
        drop(read.read_to_end(&mut heard).await);
        heard
    };
    let all = async { tokio::join!(serving, speaking, hearing) };
    let (_, (), heard) = tokio::time::timeout(Duration::from_secs(60), all)
        .await
        .expect("the agent ends when its computer goes");
    let mut decoder = FrameDecoder::new(64 << 20);
    decoder.push(&heard);
    while let Some(body) = decoder.next_frame().expect("sound frames") {
        let known = Message::decode(&body, &limits()).is_ok() || LinkMessage::decode(&body, &limits()).is_ok();
        assert!(known, "the agent says what nobody understands");
    }
    if !commits {
        assert_eq!(phone.sync().records(&DataClass::Contacts), before, "nobody committed");
    }
}
