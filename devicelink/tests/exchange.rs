//! The host core against recorded devices, hostile ones and silent ones; no socket, and a clock moved by hand.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use cabled_devicelink::DeviceLinkError;
use cabled_devicelink::machine::{Event, Exchange, ExchangeOptions, Phase};
use cabled_devicelink::msg::{Detail, Message, Status, limits};
use cabled_devicelink::transfer;
use cabled_golden::{LIBIMOBILEDEVICE, PYMOBILEDEVICE3, Side};
use cabled_wire::plist::{Dictionary, Value};
use cabled_wire::{dict, frame};
use proptest::prelude::*;

/// Everything a recorded device said on its device link.
fn device_bytes(file: &str) -> Vec<u8> {
    let mut lines = cabled_golden::lines(file);
    lines.retain(|line| line.layer == "com.apple.mobilebackup2" && line.from == Side::Device);
    lines.iter().flat_map(|line| &line.bytes).copied().collect()
}

/// Feeds a device's bytes in pieces, answers everything with success, and notes what happened.
fn drive(device: &[u8], cuts: &[usize]) -> Result<Vec<String>, DeviceLinkError> {
    let now = Instant::now();
    let mut exchange = Exchange::new(now, ExchangeOptions::default());
    let (mut log, mut uploaded) = (Vec::new(), Vec::new());
    let mut rest = Bytes::copy_from_slice(device);
    let mut cuts = cuts.iter().copied().cycle();
    loop {
        while let Some(event) = exchange.poll_event()? {
            match event {
                Event::Ready(hello) => {
                    log.push(format!("{hello:?}"));
                    exchange.request(now, dict! { "MessageName" => "Backup" })?;
                }
                Event::Asked(message) => {
                    log.push(format!("{message:?}"));
                    if !matches!(message, Message::UploadFiles { .. }) {
                        exchange.respond(now, Status::ok())?;
                    }
                }
                Event::Transfer(transfer::Event::Data(data)) => uploaded.extend_from_slice(&data),
                Event::Transfer(event) => {
                    log.push(format!("{event:?} {}", uploaded.len()));
                    if matches!(event, transfer::Event::EndOfBatch | transfer::Event::Aborted) {
                        exchange.respond(now, Status::ok())?;
                    }
                }
                Event::Response(response) => {
                    log.push(format!("{response:?}"));
                    exchange.disconnect(None);
                }
                other => panic!("{other:?}"),
            }
        }
        while exchange.poll_transmit().is_some() {}
        if rest.is_empty() {
            exchange.handle_end()?;
            return Ok(log);
        }
        let piece = rest.split_to(cuts.next().unwrap_or(rest.len()).clamp(1, rest.len()));
        exchange.handle_bytes(now, piece);
    }
}

#[test]
fn a_recorded_full_backup_runs_to_its_response() {
    let log = drive(
        &device_bytes(&format!("{LIBIMOBILEDEVICE}/idevicebackup2-full.jsonl")),
        &[1 << 20],
    )
    .unwrap();
    assert_eq!(log[0], "Hello { device_link: (400, 0), protocol: 2.1 }");
    assert!(log.last().unwrap().starts_with("Response { code: Some(0)"), "{log:?}");
    assert_eq!(log.iter().filter(|line| line.starts_with("UploadFiles")).count(), 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn splitting_the_stream_anywhere_changes_nothing(cuts in prop::collection::vec(1_usize..9000, 1..30)) {
        for file in [
            &format!("{PYMOBILEDEVICE3}/backup2-incremental.jsonl"),
            &format!("{LIBIMOBILEDEVICE}/idevicebackup2-restore.jsonl"),
        ] {
            let device = device_bytes(file);
            prop_assert_eq!(drive(&device, &cuts).unwrap(), drive(&device, &[device.len()]).unwrap());
        }
    }

    #[test]
    fn a_device_that_breaks_off_or_babbles_gets_an_error(at in 0_usize..30_000, noise in prop::collection::vec(any::<u8>(), 0..60)) {
        let mut device = device_bytes(&format!("{LIBIMOBILEDEVICE}/idevicebackup2-full.jsonl"));
        let end = device.len() - 118;
        device.truncate(at.min(end));
        device.extend(noise);
        prop_assert!(drive(&device, &[700]).is_err());
    }
}

fn frame_of(message: &Message) -> Bytes {
    frame::encode(&message.encode()).unwrap()
}

/// An exchange after the handshake and its request; what it has to send is thrown away.
fn running(now: Instant) -> Exchange {
    let mut exchange = Exchange::new(now, ExchangeOptions::default());
    for message in handshake() {
        exchange.handle_bytes(now, frame_of(&message));
        let _ = exchange.poll_event().unwrap();
    }
    exchange.request(now, dict! { "MessageName" => "Backup" }).unwrap();
    while exchange.poll_transmit().is_some() {}
    exchange
}

fn handshake() -> [Message; 3] {
    let response = dict! { "MessageName" => "Response", "ErrorCode" => 0, "ProtocolVersion" => 2.1 };
    [
        Message::VersionExchange { major: 400, minor: 0 },
        Message::DeviceReady,
        Message::ProcessMessage(response),
    ]
}

fn sent(exchange: &mut Exchange) -> Vec<Message> {
    let mut decoder = frame::FrameDecoder::new(1 << 20);
    while let Some(bytes) = exchange.poll_transmit() {
        decoder.push(&bytes);
    }
    let mut messages = Vec::new();
    while let Some(body) = decoder.next_frame().unwrap() {
        messages.push(Message::decode(&body, &limits()).unwrap());
    }
    messages
}

#[test]
fn the_devices_major_version_is_echoed_whatever_it_is() {
    for major in [100, 300, 400, 500] {
        let now = Instant::now();
        let mut exchange = Exchange::new(now, ExchangeOptions::default());
        exchange.handle_bytes(now, frame_of(&Message::VersionExchange { major, minor: 0 }));
        assert!(exchange.poll_event().unwrap().is_none());
        assert_eq!(sent(&mut exchange), [Message::VersionsOk { major }]);
    }
}

#[test]
fn hello_offers_both_protocol_versions_as_reals() {
    let now = Instant::now();
    let mut exchange = Exchange::new(now, ExchangeOptions::default());
    for message in &handshake()[..2] {
        exchange.handle_bytes(now, frame_of(message));
        assert!(exchange.poll_event().unwrap().is_none());
    }
    let messages = sent(&mut exchange);
    let Message::ProcessMessage(hello) = &messages[1] else {
        panic!("{messages:?}")
    };
    assert_eq!(
        hello["SupportedProtocolVersions"],
        Value::Array(vec![Value::Real(2.0), Value::Real(2.1)])
    );
    assert_eq!(messages[1].encode().len(), 150);
}

#[test]
fn a_first_message_other_than_the_version_exchange_is_refused() {
    let now = Instant::now();
    let mut exchange = Exchange::new(now, ExchangeOptions::default());
    exchange.handle_bytes(now, frame_of(&Message::DeviceReady));
    let error = exchange.poll_event().unwrap_err();
    assert!(
        matches!(
            error,
            DeviceLinkError::Unexpected {
                phase: Phase::Handshake,
                ..
            }
        ),
        "{error}"
    );
    assert!(matches!(
        exchange.request(now, Dictionary::new()),
        Err(DeviceLinkError::OutOfTurn { .. })
    ));
}

#[test]
fn hello_answers_other_than_success_are_told_apart() {
    let answer = |dict: Dictionary| {
        let now = Instant::now();
        let mut exchange = Exchange::new(now, ExchangeOptions::default());
        for message in [&handshake()[0], &handshake()[1], &Message::ProcessMessage(dict)] {
            exchange.handle_bytes(now, frame_of(message));
            if let Some(event) = exchange.poll_event()? {
                return Ok(event);
            }
        }
        panic!("no event")
    };
    let refused = answer(dict! { "MessageName" => "Response", "ErrorCode" => 1 });
    assert!(matches!(refused, Err(DeviceLinkError::NoCommonVersion)));
    let refused =
        answer(dict! { "MessageName" => "Response", "ErrorCode" => 208, "ErrorDescription" => "Device locked" });
    assert!(matches!(refused, Err(DeviceLinkError::HelloRefused { code: 208, .. })));
    let odd = answer(dict! { "MessageName" => "Response", "ErrorCode" => 0 });
    assert!(
        matches!(odd, Err(DeviceLinkError::Wire(_))),
        "a missing ProtocolVersion is an error"
    );
    let old = answer(dict! { "MessageName" => "Response", "ErrorCode" => 0, "ProtocolVersion" => 2.0 });
    assert!(matches!(old, Ok(Event::Ready(hello)) if hello.protocol == 2.0));
}

#[test]
fn every_question_waits_for_its_answer() {
    let now = Instant::now();
    let mut exchange = running(now);
    let mut both = frame_of(&Message::GetFreeDiskSpace).to_vec();
    both.extend_from_slice(&frame_of(&Message::Unknown {
        name: "DLMessageNew".to_owned(),
        elements: vec![],
    }));
    exchange.handle_bytes(now, both.into());
    assert!(matches!(
        exchange.poll_event(),
        Ok(Some(Event::Asked(Message::GetFreeDiskSpace)))
    ));
    assert!(matches!(exchange.poll_event(), Ok(None)), "the second waits");
    assert_eq!(exchange.phase(), Phase::Answer);
    exchange.respond(now, Status::ok_with(Detail::Integer(5))).unwrap();
    assert!(matches!(
        exchange.poll_event(),
        Ok(Some(Event::Asked(Message::Unknown { .. })))
    ));
    exchange
        .respond(now, Status::failed(-1, "Operation not supported"))
        .unwrap();
    assert!(matches!(
        exchange.respond(now, Status::ok()),
        Err(DeviceLinkError::OutOfTurn { .. })
    ));
    assert_eq!(sent(&mut exchange).len(), 2);
}

#[test]
fn an_empty_download_list_gets_the_terminator_and_a_status() {
    let now = Instant::now();
    let mut exchange = running(now);
    let empty = Message::DownloadFiles {
        paths: vec![],
        options: Dictionary::new(),
        progress: Some(10.0),
    };
    exchange.handle_bytes(now, frame_of(&empty));
    assert!(matches!(exchange.poll_event(), Ok(Some(Event::Asked(_)))));
    exchange.respond(now, Status::ok()).unwrap();
    let bytes = exchange.poll_transmit().unwrap();
    assert_eq!(bytes[..4], [0; 4]);
    assert_eq!(bytes.len(), 4 + 4 + 108);
}

#[test]
fn the_final_response_gets_no_answer() {
    let now = Instant::now();
    let mut exchange = running(now);
    exchange.handle_bytes(
        now,
        frame_of(&Message::ProcessMessage(
            dict! { "MessageName" => "Response", "ErrorCode" => 105 },
        )),
    );
    let Some(Event::Response(response)) = exchange.poll_event().unwrap() else {
        panic!("a response")
    };
    assert_eq!(response.code, Some(105));
    assert!(exchange.poll_transmit().is_none());
    exchange.disconnect(None);
    assert_eq!(sent(&mut exchange), [Message::Disconnect { reason: None }]);
    assert!(exchange.handle_end().is_ok());
}

#[test]
fn a_disconnect_before_the_result_is_an_error_with_its_reason() {
    let now = Instant::now();
    let mut exchange = running(now);
    exchange.handle_bytes(
        now,
        frame_of(&Message::Disconnect {
            reason: Some("tired".to_owned()),
        }),
    );
    let error = exchange.poll_event().unwrap_err();
    assert!(
        matches!(&error, DeviceLinkError::Disconnected { phase: Phase::FirstMessage, reason: Some(r) } if r == "tired"),
        "{error}"
    );
}

#[test]
fn a_status_from_the_device_breaks_the_protocol() {
    let now = Instant::now();
    let mut exchange = running(now);
    exchange.handle_bytes(now, frame_of(&Message::StatusResponse(Status::ok())));
    assert!(matches!(exchange.poll_event(), Err(DeviceLinkError::Unexpected { .. })));
}

#[test]
fn silence_is_counted_from_the_last_byte_and_by_phase() {
    let start = Instant::now();
    let mut exchange = running(start);
    let minute = Duration::from_secs(60);
    assert_eq!(exchange.poll_timeout(), Some(start + 10 * minute));
    let later = start + 9 * minute;
    exchange.handle_timeout(later).unwrap();
    exchange.handle_bytes(later, frame_of(&Message::GetFreeDiskSpace).slice(..5));
    assert!(exchange.poll_event().unwrap().is_none());
    assert_eq!(exchange.poll_timeout(), Some(later + 10 * minute), "one byte is life");
    exchange.handle_timeout(start + 12 * minute).unwrap();
    let error = exchange.handle_timeout(later + 10 * minute).unwrap_err();
    assert!(
        matches!(
            error,
            DeviceLinkError::TimedOut {
                phase: Phase::FirstMessage,
                ..
            }
        ),
        "{error}"
    );
    assert!(exchange.poll_timeout().is_none());
}

#[test]
fn a_frame_above_the_limit_is_refused_before_its_body() {
    let now = Instant::now();
    let mut exchange = Exchange::new(now, ExchangeOptions::default());
    exchange.handle_bytes(now, Bytes::from_static(&[0xff, 0xff, 0xff, 0xff]));
    assert!(matches!(exchange.poll_event(), Err(DeviceLinkError::Wire(_))));
    let mut exchange = Exchange::new(now, ExchangeOptions::default());
    exchange.handle_bytes(now, Bytes::from_static(&[0; 4]));
    assert!(exchange.poll_event().is_err(), "a frame of no bytes is no message");
}

#[test]
fn a_few_empty_arrays_are_forgiven_and_no_more() {
    let now = Instant::now();
    let mut exchange = running(now);
    let empty = frame::encode(&cabled_wire::plist::to_binary(&Value::Array(vec![]))).unwrap();
    for _ in 0..3 {
        exchange.handle_bytes(now, empty.clone());
        assert!(exchange.poll_event().unwrap().is_none());
    }
    exchange.handle_bytes(now, empty);
    assert!(exchange.poll_event().is_err());
}
