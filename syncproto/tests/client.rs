//! The async client against a device that a few lines play.
#![cfg(feature = "session")]
#![expect(clippy::unwrap_used, reason = "test code")]

use std::collections::BTreeMap;
use std::time::Duration;

use cabled_devicelink::msg::Message as LinkMessage;
use cabled_syncproto::msg::{Message, PushInfo, SyncType, limits};
use cabled_syncproto::record::{Change, Changes, Record, RecordId};
use cabled_syncproto::session::machine::Wanted;
use cabled_syncproto::session::{OpenOutcome, Phase, Pulled, SessionError, SessionOptions, StepError, SyncLink};
use cabled_syncproto::{DataClass, entity};
use cabled_wire::frame::{read_frame, write_frame};
use tokio::io::DuplexStream;

const CLASS: DataClass = DataClass::Contacts;
const NEW: &str = "0B7C2E1A-5A00-4D2E-8F00-000000000001";

fn id(text: &str) -> RecordId {
    RecordId::new(text).unwrap()
}

fn contact(at: &str) -> Changes {
    Changes::from_iter([(
        id(at),
        Change::Upsert(Record::new(entity::CONTACT).with("first name", "Ann")),
    )])
}

/// A device that answers as `answer` says, until it says nothing more.
fn device(mut answer: impl FnMut(Message) -> Vec<Message> + Send + 'static) -> DuplexStream {
    let (host, mut stream) = tokio::io::duplex(64 << 10);
    tokio::spawn(async move {
        let hello = LinkMessage::VersionExchange { major: 300, minor: 100 };
        write_frame(&mut stream, &hello.encode()).await.unwrap();
        let _version = read_frame(&mut stream, 1 << 20).await.unwrap();
        write_frame(&mut stream, &LinkMessage::DeviceReady.encode())
            .await
            .unwrap();
        while let Ok(body) = read_frame(&mut stream, 1 << 20).await {
            let Ok(message) = Message::decode(&body, &limits()) else {
                break;
            };
            for message in answer(message) {
                write_frame(&mut stream, &message.encode()).await.unwrap();
            }
        }
    });
    host
}

/// Two batches, then whatever is pushed becomes record 42.
fn ordinary() -> impl FnMut(Message) -> Vec<Message> + Send {
    let mut batches = vec![(Changes::new(), false), (contact("41"), true)];
    move |message| {
        let class = message.class().unwrap().clone();
        vec![match message {
            Message::Start { .. } => Message::Started {
                class,
                computer_anchor: None,
                device_anchor: Some("next".into()),
                sync_type: SyncType::Reset,
                version: Some(106),
            },
            Message::GetAllRecords { .. } | Message::Acknowledge { .. } => match batches.pop() {
                Some((changes, more)) => Message::ProcessChanges {
                    class,
                    changes: Some(changes),
                    more,
                    info: None,
                },
                None => Message::Ready { class },
            },
            Message::ProcessChanges { .. } => Message::Remap {
                class,
                ids: Some(BTreeMap::from([(id(NEW), id("42"))])),
            },
            Message::Clear { .. } => Message::WillClear { class },
            Message::Finish { .. } => Message::Finished { class },
            _ => return Vec::new(),
        }]
    }
}

async fn open(link: SyncLink) -> OpenOutcome {
    link.open(CLASS, None, "anchor".into(), CLASS.version()).await.unwrap()
}

#[tokio::test]
async fn a_session_is_walked_from_the_opening_to_the_commit() {
    let link = SyncLink::connect(Box::new(device(ordinary())), SessionOptions::default())
        .await
        .unwrap();
    let OpenOutcome::Opened(opened) = open(link).await else {
        panic!("refused")
    };
    assert_eq!(opened.opening().sync_type, SyncType::Reset);
    let mut pull = opened.pull(Wanted::All).unwrap();
    let mut batches = Vec::new();
    let push = loop {
        match pull.next().await.unwrap() {
            Pulled::Batch(changes, rest) => {
                batches.push(changes);
                pull = rest;
            }
            Pulled::End(push) => break push,
        }
    };
    assert_eq!(batches, [contact("41"), Changes::new()]);
    assert!(push.is_complete());
    let info = PushInfo::new([entity::CONTACT], true);
    let (ids, push) = push.send(contact(NEW), false, info).await.unwrap();
    assert_eq!(ids, BTreeMap::from([(id(NEW), id("42"))]));
    let committed = push.finish().await.unwrap();
    assert!(committed.not_accepted.is_empty());
    let OpenOutcome::Opened(again) = open(committed.link).await else {
        panic!("refused")
    };
    again.cancel("enough").await.unwrap().close().await;
}

#[tokio::test]
async fn a_commit_that_the_device_cancels_is_an_error_that_gives_the_link_back() {
    let mut device_answers = ordinary();
    let link = device(move |message| match message {
        Message::Finish { class } => vec![Message::Cancel {
            class,
            reason: "Couldn't commit changes on device".into(),
        }],
        message => device_answers(message),
    });
    let link = SyncLink::connect(Box::new(link), SessionOptions::default())
        .await
        .unwrap();
    let OpenOutcome::Opened(opened) = open(link).await else {
        panic!("refused")
    };
    let Err(StepError::Cancelled(ended)) = opened.finish().await else {
        panic!("committed");
    };
    assert!(ended.to_string().contains("could not commit"));
    assert!(matches!(open(ended.link).await, OpenOutcome::Opened(_)));
}

#[tokio::test(start_paused = true)]
async fn a_silent_device_ends_the_link_with_the_phase_it_was_silent_in() {
    let link = device(|_| Vec::new());
    let link = SyncLink::connect(Box::new(link), SessionOptions::default())
        .await
        .unwrap();
    let before = tokio::time::Instant::now();
    let error = link.open(CLASS, None, "anchor".into(), 106).await.unwrap_err();
    let StepError::Link(SessionError::TimedOut { phase, after }) = error else {
        panic!("{error}");
    };
    assert_eq!((phase, after), (Phase::Opening, Duration::from_secs(60)));
    assert_eq!(before.elapsed().as_secs(), 60);
}

#[tokio::test]
async fn a_link_that_ends_in_the_middle_of_a_message_says_where() {
    let (host, mut stream) = tokio::io::duplex(1024);
    tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        stream.write_all(&[0, 0, 1, 0, b'b']).await.unwrap();
    });
    let error = SyncLink::connect(Box::new(host), SessionOptions::default())
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            SessionError::Closed {
                phase: Phase::LinkVersion
            }
        ),
        "{error}"
    );
}
