//! Text messages: conversations, who said what when, reactions, edits, and the files that came with them.
//!
//! # Example
//! ```
//! use std::ops::ControlFlow;
//!
//! use cabled_mobilebackup::archive::records::messages::Messages;
//! use cabled_mobilebackup::archive::records::Store;
//!
//! # let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/novkostya/messages.1.sms.db");
//! let mut messages = Messages::of(Store::from_file(file)?)?;
//! for chat in 0..messages.chats().len() {
//!     println!("{}", messages.chats()[chat].title());
//!     let _ = messages.each(chat, &mut |message| {
//!         println!("  {}", message.text.as_deref().unwrap_or_default());
//!         Ok(ControlFlow::Continue(()))
//!     })?;
//! }
//! assert_eq!(messages.chats()[1].display_name.as_deref(), Some("Fixture Group"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! [`read`] opens `sms.db` of a backup and looks for the files of attachments in it; [`Messages::of`] takes any such
//! database. Both read the conversations and where each message belongs; [`Messages::each`] then decodes the messages of
//! one conversation in the order of time. [`typedstream`] gets the text out of `attributedBody`.
//!
//! # Limits
//! iOS 6 to 18 and what follows with the same tables; columns that a version lacks are left out. About 40 bytes of
//! memory per message and per attachment, one decoded message at a time. Messages kept in iCloud only are in no backup.
//! What apps put into a message (`payload_data`) is not decoded; the app is named.

mod export;
mod row;
mod summary;
pub mod typedstream;
mod types;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::ops::ControlFlow;

pub(super) use export::EXPORTER;
pub use types::{Attachment, Chat, Edit, Message, MessageKind, Person, Reaction, Target, TextSource};

use super::directory::Directory;
use super::schema::{Fields, Schema, Select, Visit};
use super::{Notes, Problem, RecordError, RecordNote, Source, Store};
use crate::archive::{Archive, ArchiveError, Kind};

/// Where messages are.
const PLACES: &[(&str, &str)] = &[("HomeDomain", "Library/SMS/sms.db")];

/// A group, by `style`; a conversation with one person is 45.
const STYLE_GROUP: i64 = 43;

/// The messages of a phone.
#[derive(Debug)]
pub struct Messages {
    store: Store,
    message: Select,
    attachment: Option<Select>,
    handles: HashMap<i64, Person>,
    chats: Vec<Chat>,
    /// By conversation, then by time.
    order: Vec<Placed>,
    /// Message and attachment, by message.
    joined: Vec<(i64, i64)>,
    notes: Notes,
}

/// Where a message belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    chat: u32,
    /// Nanoseconds since 2001; what has no time comes first.
    when: i64,
    message: i64,
    /// When it was deleted, in the same count; `None` if it was not.
    deleted: Option<i64>,
    reaction: bool,
}

/// Opens the messages of a backup; `None` if it has none.
///
/// # Errors
/// [`RecordError::Archive`] if the backup is locked or the database cannot be read; as [`Messages::of`].
pub fn read(archive: &Archive) -> Result<Option<Messages>, RecordError> {
    Store::find(archive, PLACES)?.map(Messages::of).transpose()
}

impl Messages {
    /// The messages of an open database. Reads the conversations and the place of every message, about 40 bytes each.
    ///
    /// # Errors
    /// [`RecordError::Schema`] if there is no table `message`; [`RecordError::Sqlite`] if the database is damaged so
    /// that it has no schema.
    pub fn of(store: Store) -> Result<Self, RecordError> {
        let schema = Schema::of(store.connection())?;
        let mut notes = store.notes();
        let message = schema.select("message", row::COLUMNS).ok_or(RecordError::Schema {
            records: "messages",
            table: "message",
        })?;
        let message = message.expect(&["guid", "text", "date", "handle_id", "is_from_me"], &mut notes);
        let attachment = schema.select_noted("attachment", ATTACHMENT, &mut notes);
        let mut this = Self {
            message,
            attachment,
            handles: handles(&store, &schema, &mut notes)?,
            chats: Vec::new(),
            order: Vec::new(),
            joined: Vec::new(),
            store,
            notes,
        };
        this.read_chats(&schema)?;
        this.place(&schema)?;
        this.joined = pairs(
            &this.store,
            &schema,
            &mut this.notes,
            "message_attachment_join",
            ["message_id", "attachment_id"],
        )?;
        Ok(this)
    }

    /// The file they are in.
    #[must_use]
    pub const fn source(&self) -> &Source {
        self.store.source()
    }

    /// The conversations, in the store's order; at the end, if there are any, the messages that are in none.
    #[must_use]
    pub fn chats(&self) -> &[Chat] {
        &self.chats
    }

    /// How many messages there are, reactions and group events included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// What could not be read so far. Grows while messages are visited.
    #[must_use]
    pub const fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Gives names to phone numbers and addresses.
    pub fn name_people(&mut self, directory: &Directory) {
        let participants = self.chats.iter_mut().flat_map(|chat| &mut chat.participants);
        for person in self.handles.values_mut().chain(participants) {
            person.name = directory.name(&person.address).map(str::to_owned);
        }
    }

    /// Decodes the messages of the conversation at `chat` in [`Messages::chats`], by time, and hands each to `visit`.
    /// Constant memory. A place that does not exist has no messages.
    ///
    /// # Errors
    /// What the visitor gives; [`RecordError::Sqlite`] if the disk fails, never for damage.
    pub fn each(&mut self, chat: usize, visit: &mut dyn FnMut(Message) -> Visit) -> Visit {
        self.each_of(chat, |_| true, visit)
    }

    /// As [`Messages::each`], for reactions only: they come after what they are about, and a page needs them with it.
    fn each_reaction(&mut self, chat: usize, visit: &mut dyn FnMut(Message) -> Visit) -> Visit {
        self.each_of(chat, |placed| placed.reaction, visit)
    }

    fn each_of(
        &mut self,
        chat: usize,
        wanted: impl Fn(&Placed) -> bool,
        visit: &mut dyn FnMut(Message) -> Visit,
    ) -> Visit {
        let Ok(chat) = u32::try_from(chat) else {
            return Ok(ControlFlow::Continue(()));
        };
        let start = self.order.partition_point(|placed| placed.chat < chat);
        let end = self.order.partition_point(|placed| placed.chat <= chat);
        for at in start..end {
            let Some(placed) = self.order.get(at).copied().filter(|placed| wanted(placed)) else {
                continue;
            };
            if let Some(message) = self.message(placed)?
                && visit(message)?.is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn message(&mut self, placed: Placed) -> Result<Option<Message>, RecordError> {
        let handles = &self.handles;
        let connection = self.store.connection();
        let decoded = self.message.get(connection, placed.message, &mut self.notes, |row| {
            Ok(row::decode(row, handles))
        });
        let Some(row::Decoded {
            mut message,
            attachment_order,
        }) = decoded?
        else {
            return Ok(None);
        };
        message.deleted = placed.deleted.and_then(super::time::apple_nanos);
        message.attachments = self.attachments(placed.message)?;
        let places: HashMap<_, _> = attachment_order.iter().map(String::as_str).zip(0_usize..).collect();
        let place = |attachment: &Attachment| {
            let place = attachment.guid.as_deref().and_then(|guid| places.get(guid));
            place.copied().unwrap_or(usize::MAX)
        };
        message.attachments.sort_by_key(place);
        Ok(Some(message))
    }

    fn attachments(&mut self, message: i64) -> Result<Vec<Attachment>, RecordError> {
        let start = self.joined.partition_point(|(other, _)| *other < message);
        let ids = self
            .joined
            .iter()
            .skip(start)
            .take_while(|(other, _)| *other == message);
        let mut found = Vec::new();
        for (_, id) in ids {
            let read = self
                .attachment
                .as_ref()
                .map(|select| select.get(self.store.connection(), *id, &mut self.notes, |row| Ok(attachment(row))));
            match read.transpose()?.flatten() {
                Some(attachment) => found.push(attachment),
                None => {
                    let problem = Problem::Dangling {
                        to: "attachment",
                        id: *id,
                    };
                    self.notes
                        .push(RecordNote::row("message_attachment_join", Some(message), None, problem));
                }
            }
        }
        Ok(found)
    }

    fn read_chats(&mut self, schema: &Schema) -> Result<(), RecordError> {
        let mut participants: HashMap<i64, Vec<Person>> = HashMap::new();
        let joins = pairs(
            &self.store,
            schema,
            &mut self.notes,
            "chat_handle_join",
            ["chat_id", "handle_id"],
        )?;
        for (chat, handle) in joins {
            match self.handles.get(&handle) {
                Some(person) => participants.entry(chat).or_default().push(person.clone()),
                None => {
                    let problem = Problem::Dangling {
                        to: "handle",
                        id: handle,
                    };
                    self.notes
                        .push(RecordNote::row("chat_handle_join", Some(chat), None, problem));
                }
            }
        }
        let columns = &[
            "guid",
            "chat_identifier",
            "display_name",
            "service_name",
            "style",
            "is_archived",
        ];
        let Some(select) = schema.select_noted("chat", columns, &mut self.notes) else {
            return Ok(());
        };
        let chats = &mut self.chats;
        let _ = select.each(self.store.connection(), &mut self.notes, |row| {
            let people = row.id().and_then(|id| participants.remove(&id)).unwrap_or_default();
            chats.push(Chat {
                id: row.id(),
                guid: row.some_text("guid"),
                identifier: row.some_text("chat_identifier"),
                display_name: row.some_text("display_name"),
                service: row.some_text("service_name"),
                group: row
                    .integer("style")
                    .map_or(people.len() > 1, |style| style == STYLE_GROUP),
                archived: row.flag("is_archived"),
                participants: people,
                messages: 0,
            });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(())
    }

    /// Finds out where each message belongs.
    fn place(&mut self, schema: &Schema) -> Result<(), RecordError> {
        let numbers: HashMap<i64, u32> = (0..)
            .zip(&self.chats)
            .filter_map(|(at, chat)| Some((chat.id?, at)))
            .collect();
        let none = u32::try_from(self.chats.len()).unwrap_or(u32::MAX);
        let mut joins = Vec::new();
        let sources = [
            ("chat_message_join", None),
            ("chat_recoverable_message_join", Some("delete_date")),
        ];
        for (table, deleted) in sources {
            if deleted.is_some() && !schema.has_table(table) {
                continue; // older than iOS 16
            }
            let columns: &[&'static str] = if deleted.is_some() {
                &["chat_id", "message_id", "delete_date"]
            } else {
                &["chat_id", "message_id"]
            };
            let Some(select) = schema.select_noted(table, columns, &mut self.notes) else {
                continue;
            };
            let _ = select.each(self.store.connection(), &mut self.notes, |row| {
                let (Some(chat), Some(message)) = (row.integer("chat_id"), row.integer("message_id")) else {
                    row.note(
                        "message_id",
                        Problem::WrongType {
                            expected: "two row ids",
                            found: "NULL",
                        },
                    );
                    return Ok(ControlFlow::Continue(()));
                };
                let number = numbers.get(&chat).copied();
                if number.is_none() {
                    row.note("chat_id", Problem::Dangling { to: "chat", id: chat });
                }
                let deleted = deleted.map(|column| row.apple_time(column).map_or(0, nanos));
                joins.push((message, number.unwrap_or(none), deleted));
                Ok(ControlFlow::Continue(()))
            })?;
        }
        joins.sort_unstable();
        joins.dedup_by_key(|(message, chat, _)| (*message, *chat));
        self.place_by(schema, &joins, none)
    }

    fn place_by(&mut self, schema: &Schema, joins: &[(i64, u32, Option<i64>)], none: u32) -> Result<(), RecordError> {
        let Some(select) = schema.select("message", &["date", "associated_message_type"]) else {
            return Ok(());
        };
        let (order, mut next) = (&mut self.order, 0_usize);
        let (mut dangling, mut quiet) = (Vec::new(), Notes::default());
        // What is wrong with a row is noted when it is decoded.
        let _ = select.each(self.store.connection(), &mut quiet, |row| {
            let Some(message) = row.id() else {
                return Ok(ControlFlow::Continue(()));
            };
            let when = row.apple_time("date").map_or(i64::MIN, nanos);
            let number = row.integer("associated_message_type");
            let reaction = number.is_some_and(|number| (2000..4000).contains(&number));
            while let Some((other, ..)) = joins.get(next).filter(|(other, ..)| *other < message) {
                dangling.push(*other);
                next = next.saturating_add(1);
            }
            let before = order.len();
            while let Some((_, chat, deleted)) = joins.get(next).filter(|(other, ..)| *other == message) {
                let (chat, deleted) = (*chat, *deleted);
                order.push(Placed {
                    chat,
                    when,
                    message,
                    deleted,
                    reaction,
                });
                next = next.saturating_add(1);
            }
            if order.len() == before {
                order.push(Placed {
                    chat: none,
                    when,
                    message,
                    deleted: None,
                    reaction,
                });
            }
            Ok(ControlFlow::Continue(()))
        })?;
        dangling.extend(joins.iter().skip(next).map(|(message, ..)| *message));
        for id in dangling {
            let problem = Problem::Dangling { to: "message", id };
            self.notes
                .push(RecordNote::row("chat_message_join", None, Some("message_id"), problem));
        }
        // Damage that ends the scan must not pass in silence; wrong values come up again later.
        for note in quiet
            .kept()
            .iter()
            .filter(|note| matches!(note.problem, Problem::Damaged { .. }))
        {
            self.notes.push(note.clone());
        }
        self.order.sort_unstable();
        self.count_by_chat(none);
        Ok(())
    }

    /// Counts the messages of every conversation; `none` becomes one of those that belong to none, if there are any.
    fn count_by_chat(&mut self, none: u32) {
        if self.order.iter().any(|placed| placed.chat == none) {
            self.chats.push(Chat::default());
        }
        for placed in &self.order {
            if let Some(chat) = self.chats.get_mut(placed.chat as usize) {
                chat.messages = chat.messages.saturating_add(1);
            }
        }
    }
}

/// Looks for the files of a message's attachments in a backup, and says which ones it lists.
///
/// # Errors
/// [`ArchiveError`] if the index cannot be read.
pub fn locate(archive: &Archive, message: &mut Message) -> Result<(), ArchiveError> {
    for attachment in &mut message.attachments {
        let Some(path) = attachment.path.as_deref().and_then(home_path) else {
            continue;
        };
        for domain in ["MediaDomain", "HomeDomain", "CameraRollDomain"] {
            if let Some(entry) = archive.entry_at(domain, path)?.filter(|entry| entry.kind == Kind::File) {
                attachment.file = Some(Source::from(&entry));
                break;
            }
        }
    }
    Ok(())
}

/// A path on the phone, relative to `/var/mobile`, which the three domains share.
fn home_path(path: &str) -> Option<&str> {
    let homes = ["~/", "/var/mobile/", "/private/var/mobile/"];
    homes
        .into_iter()
        .find_map(|home| path.strip_prefix(home))
        .filter(|path| !path.is_empty())
}

/// Nanoseconds since 2001, cut to what fits: only an order hangs on it.
fn nanos(time: super::Timestamp) -> i64 {
    let seconds = time.unix_seconds().saturating_sub(978_307_200);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(time.subsec_nanos().into())
}

const ATTACHMENT: &[&str] = &[
    "guid",
    "filename",
    "transfer_name",
    "mime_type",
    "uti",
    "total_bytes",
    "is_sticker",
    "created_date",
];

fn attachment(row: &mut Fields<'_>) -> Attachment {
    Attachment {
        id: row.id().unwrap_or_default(),
        guid: row.some_text("guid"),
        name: row.some_text("transfer_name"),
        mime_type: row.some_text("mime_type"),
        uti: row.some_text("uti"),
        bytes: row.integer("total_bytes").filter(|bytes| *bytes > 0),
        sticker: row.flag("is_sticker"),
        created: row.apple_time("created_date"),
        path: row.some_text("filename"),
        file: None,
        exported: None,
    }
}

fn handles(store: &Store, schema: &Schema, notes: &mut Notes) -> Result<HashMap<i64, Person>, RecordError> {
    let mut handles = HashMap::new();
    let Some(select) = schema.select_noted("handle", &["id", "service", "country"], notes) else {
        return Ok(handles);
    };
    let _ = select.each(store.connection(), notes, |row| {
        if let Some(id) = row.id() {
            let person = Person {
                address: row.text("id").unwrap_or_default(),
                name: None,
                service: row.some_text("service"),
                country: row.some_text("country"),
            };
            handles.insert(id, person);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(handles)
}

/// Two columns of row ids, in order, each pair once.
fn pairs(
    store: &Store,
    schema: &Schema,
    notes: &mut Notes,
    table: &str,
    columns: [&'static str; 2],
) -> Result<Vec<(i64, i64)>, RecordError> {
    let mut pairs = Vec::new();
    let Some(select) = schema.select_noted(table, &columns, notes) else {
        return Ok(pairs);
    };
    let [first, second] = columns;
    let _ = select.each(store.connection(), notes, |row| {
        match (row.integer(first), row.integer(second)) {
            (Some(a), Some(b)) => pairs.push((a, b)),
            _ => row.note(
                first,
                Problem::WrongType {
                    expected: "two row ids",
                    found: "NULL",
                },
            ),
        }
        Ok(ControlFlow::Continue(()))
    })?;
    pairs.sort_unstable();
    pairs.dedup();
    Ok(pairs)
}
