//! DeviceLink: messages, raw transfers and the host's side of an exchange.

use std::time::{Duration, Instant};

use bytes::Bytes;
use cabled_devicelink::machine::{Event, Exchange, ExchangeOptions, Phase};
use cabled_devicelink::msg::{Encoding, Message, Status};
use cabled_devicelink::transfer::{self, Direction, MAX_NAME, MAX_TEXT, Receiver, TransferError};
use cabled_wire::plist::{Dictionary, Limits};

use crate::script::{pieces, with_cuts};

fn limits() -> Limits {
    Limits::default().with_bytes(1 << 20).with_nodes(100_000)
}

/// One message: what was decoded encodes to a message that says the same.
pub fn devicelink_message(data: &[u8]) {
    let Ok(message) = Message::decode(data, &limits()) else {
        return;
    };
    let body = message.encode();
    let wide = Limits::default();
    match Message::decode(&body, &wide) {
        // Compared by bytes: a progress may be no number.
        Ok(again) => assert_eq!(again.encode(), body, "{message:?} became {again:?}"),
        Err(error) => panic!("{message:?} cannot be read back: {error}"),
    }
    let _ = message.encode_as(Encoding::Xml);
}

/// What a transfer says, with the pieces of a file put together.
fn transferred<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    direction: Direction,
) -> (Vec<transfer::Event>, Vec<u8>, Result<usize, TransferError>) {
    let mut receiver = Receiver::new(direction);
    let (mut events, mut data) = (Vec::new(), Vec::new());
    let mut pieces = pieces;
    while let Some(piece) = pieces.next() {
        let mut chunk = Bytes::copy_from_slice(piece);
        while !receiver.is_finished() && !chunk.is_empty() {
            match receiver.feed(&mut chunk) {
                Ok(Some(transfer::Event::Data(part))) => {
                    assert!(!part.is_empty() && receiver.in_file());
                    data.extend_from_slice(&part);
                }
                Ok(Some(event)) => {
                    match &event {
                        transfer::Event::Name { path, .. } => assert!(path.len() <= MAX_NAME),
                        // Replacement characters are longer than what they replace.
                        transfer::Event::EndFailed { text, .. } => assert!(text.len() <= 3 * MAX_TEXT),
                        _ => {}
                    }
                    data.extend_from_slice(b"|");
                    events.push(event);
                }
                Ok(None) => assert!(chunk.is_empty()),
                Err(error) => {
                    assert!(receiver.is_finished(), "an error ends the transfer");
                    return (events, data, Err(error));
                }
            }
        }
        if receiver.is_finished() {
            let left = chunk.len() + pieces.map(<[u8]>::len).sum::<usize>();
            return (events, data, Ok(left));
        }
    }
    (events, data, Ok(0))
}

/// A raw transfer: where the stream is cut changes nothing, and what follows the batch is left alone.
pub fn transfer_receiver(data: &[u8]) {
    let (stream, cuts) = with_cuts(data);
    for direction in [Direction::Download, Direction::Upload] {
        let whole = transferred(std::iter::once(stream), direction);
        assert!(whole.1.len() <= stream.len());
        assert_eq!(whole, transferred(pieces(stream, cuts), direction));
    }
}

/// A device that says anything at all to a host which does as it is told. With bit 3 of the first byte the device
/// starts with a sound handshake: most of the machine is behind it.
pub fn devicelink_exchange(data: &[u8]) {
    let (stream, cuts) = with_cuts(data);
    let mut stream = stream.to_vec();
    if data.first().is_some_and(|choice| choice & 8 != 0) {
        stream.splice(0..0, handshake());
    }
    let mut now = Instant::now();
    let mut exchange = Exchange::new(now, ExchangeOptions::default().with_limits(limits()));
    for piece in pieces(&stream, cuts) {
        exchange.handle_bytes(now, Bytes::copy_from_slice(piece));
        if !drained(&mut exchange, now) {
            return;
        }
        now += Duration::from_millis(10);
    }
    // Silence: the phase that waits says so, once.
    if let Some(due) = exchange.poll_timeout() {
        let phase = exchange.phase();
        assert!(exchange.wants_bytes(), "{phase} waits for nothing");
        assert!(exchange.handle_timeout(due).is_err(), "{phase} waits for ever");
        assert_eq!(exchange.phase(), Phase::Closed);
        assert!(exchange.poll_timeout().is_none());
    }
}

/// Answers everything; false once the exchange is over.
fn drained(exchange: &mut Exchange, now: Instant) -> bool {
    loop {
        let event = match exchange.poll_event() {
            Ok(Some(event)) => event,
            Ok(None) => {
                while exchange.poll_transmit().is_some() {}
                return exchange.phase() != Phase::Closed;
            }
            Err(error) => {
                let _ = error.to_string();
                assert_eq!(exchange.phase(), Phase::Closed);
                assert!(exchange.respond(now, Status::ok()).is_err(), "closed is closed");
                return false;
            }
        };
        match event {
            Event::Ready(_) => exchange.request(now, Dictionary::new()).expect("a request is due"),
            Event::Asked(Message::UploadFiles { .. }) => assert_eq!(exchange.phase(), Phase::Upload),
            Event::Asked(_) => {
                assert!(!exchange.wants_bytes());
                exchange.respond(now, Status::ok()).expect("an answer is due");
            }
            Event::Transfer(transfer::Event::EndOfBatch | transfer::Event::Aborted) => {
                exchange.respond(now, Status::ok()).expect("the upload is over");
            }
            Event::Transfer(_) => assert_eq!(exchange.phase(), Phase::Upload),
            Event::Response(_) => {
                assert_eq!(exchange.phase(), Phase::Result);
                exchange.disconnect(None);
            }
            _ => {}
        }
    }
}

/// What a sound device says up to the request.
fn handshake() -> Vec<u8> {
    let mut hello = Dictionary::new();
    hello.insert("MessageName".to_owned(), "Response".into());
    hello.insert("ErrorCode".to_owned(), 0.into());
    hello.insert("ProtocolVersion".to_owned(), 2.1.into());
    let said = [
        Message::VersionExchange { major: 400, minor: 0 },
        Message::DeviceReady,
        Message::ProcessMessage(hello),
    ];
    let frames = said.map(|message| cabled_wire::frame::encode(&message.encode()).expect("short"));
    frames.concat()
}
