//! The daemon's protocol, both versions.

use cabled_usbmux::msg::{Form, MAX_MESSAGE, Message, MessageDecoder, Request};

use crate::script::{pieces, with_cuts};
use crate::wire::survives_xml;

type Messages = Vec<(cabled_usbmux::msg::Header, bytes::Bytes)>;

fn messages<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Messages, bool) {
    let mut decoder = MessageDecoder::new(MAX_MESSAGE);
    let mut found = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next() {
                Ok(Some(message)) => found.push(message),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next().as_ref(), Err(&error), "the stream stays unusable");
                    return (found, false);
                }
            }
        }
    }
    (found, true)
}

/// A stream of messages, read as the daemon does and as a client does.
pub fn usbmux_messages(data: &[u8]) {
    let (stream, cuts) = with_cuts(data);
    let (found, sound) = messages(std::iter::once(stream));
    assert_eq!(messages(pieces(stream, cuts)), (found.clone(), sound));
    for (header, payload) in found {
        if let Ok(call) = Request::decode(&header, &payload) {
            let (again, _) = messages(std::iter::once(&call.request.encode(&call.client, header.tag)[..]));
            let [(header, payload)] = &again[..] else {
                panic!("one message became {}", again.len())
            };
            let decoded = Request::decode(header, payload);
            assert!(
                decoded.as_ref() == Ok(&call) || !survives_xml(&call),
                "{call:?} became {decoded:?}"
            );
        }
        match Message::decode(&header, &payload) {
            Ok(Message::Reply(reply)) => {
                let bytes = reply
                    .encode(Form::Plist, header.tag)
                    .expect("every reply has a plist form");
                said_again(&bytes, &Message::Reply(reply));
            }
            Ok(Message::Event(event)) => {
                let bytes = event.encode(Form::Plist).expect("every event has a plist form");
                said_again(&bytes, &Message::Event(event));
            }
            _ => {}
        }
    }
}

/// What was encoded decodes to the same message.
fn said_again(bytes: &[u8], message: &Message) {
    let (again, _) = messages(std::iter::once(bytes));
    let [(header, payload)] = &again[..] else {
        panic!("{message:?} became {} messages", again.len())
    };
    let decoded = Message::decode(header, payload);
    assert!(
        decoded.as_ref() == Ok(message) || !survives_xml(message),
        "{message:?} became {decoded:?}"
    );
}
