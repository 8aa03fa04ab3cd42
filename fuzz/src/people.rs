//! Records: messages, contacts and calls out of a database that nobody vouches for.

use std::ops::ControlFlow;

use cabled_mobilebackup::archive::records::calls::Calls;
use cabled_mobilebackup::archive::records::contacts::Contacts;
use cabled_mobilebackup::archive::records::messages::Messages;
use cabled_mobilebackup::archive::records::messages::typedstream::AttributedText;
use cabled_mobilebackup::archive::records::vcard::{self, VcardVersion};
use cabled_mobilebackup::archive::records::{RecordError, Store};
use cabled_mobilebackup::archive::sqlite::rusqlite::Connection;

/// The body of a message: as it is, and behind the start that every body has.
pub fn typedstream(data: &[u8]) {
    let start =
        b"\x04\x0bstreamtyped\x81\xe8\x03\x84\x01@\x84\x84\x84\x12NSAttributedString\0\x84\x84\x08NSObject\0\x85";
    for body in [data.to_vec(), [&start[..], data].concat()] {
        if let Ok(text) = AttributedText::decode(&body) {
            // One byte that is no UTF-8 becomes three.
            assert!(text.text.len() <= body.len() * 3);
            assert!(text.runs.len() <= body.len());
        }
    }
}

/// A whole database through every reader. What it says never fails an export; only one without the tables is refused.
pub fn records_database(data: &[u8]) {
    if let Some(store) = store(data)
        && let Some(mut messages) = refused_only_for_its_schema(Messages::of(store))
    {
        let mut seen = 0;
        for chat in 0..messages.chats().len() {
            let _ = messages
                .each(chat, &mut |message| {
                    seen += 1;
                    serde_json::to_vec(&message).expect("every message has a form in JSON");
                    Ok(ControlFlow::Continue(()))
                })
                .expect("damage is a note");
        }
        // Rows that cannot be decoded are noted, none comes twice.
        assert!(seen <= messages.len() && (seen == messages.len() || !messages.notes().is_empty()));
    }
    if let (Some(store), pictures) = (store(data), self::store(data))
        && let Some(contacts) = refused_only_for_its_schema(Contacts::of(store, pictures))
    {
        for person in contacts.people() {
            serde_json::to_vec(person).expect("every contact has a form in JSON");
            let picture = contacts.picture(person).expect("damage is a note");
            for version in [VcardVersion::V4, VcardVersion::V3] {
                let mut card = Vec::new();
                vcard::write(&mut card, person, picture.as_ref(), version).expect("memory does not fail");
                assert!(card.split(|byte| *byte == b'\n').all(|line| line.len() <= 76));
                assert!(std::str::from_utf8(&card).is_ok());
            }
        }
    }
    if let Some(store) = store(data)
        && let Some(mut calls) = refused_only_for_its_schema(Calls::of(store))
    {
        let _ = calls
            .each(&mut |call| {
                serde_json::to_vec(&call).expect("every call has a form in JSON");
                Ok(ControlFlow::Continue(()))
            })
            .expect("damage is a note");
    }
}

fn store(data: &[u8]) -> Option<Store> {
    let mut connection = Connection::open_in_memory().ok()?;
    connection.deserialize_read_exact("main", data, data.len(), true).ok()?;
    connection.pragma_update(None, "trusted_schema", false).ok()?;
    Some(Store::from_connection(connection))
}

fn refused_only_for_its_schema<T>(opened: Result<T, RecordError>) -> Option<T> {
    match opened {
        Ok(opened) => Some(opened),
        Err(RecordError::Schema { .. } | RecordError::Sqlite(_)) => None,
        Err(other) => panic!("{other:?}"),
    }
}
