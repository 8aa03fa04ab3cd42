//! One row of `message` to one [`Message`].

use std::collections::HashMap;

use super::summary::{self, Summary};
use super::typedstream::{Attribute, AttributedText, Run};
use super::types::{Message, MessageKind, Person, Reaction, Target, TextSource};
use crate::archive::records::Problem;
use crate::archive::records::schema::Fields;

/// Everything that is read of `message`, whichever version has it.
pub(super) const COLUMNS: &[&str] = &[
    "guid",
    "text",
    "attributedBody",
    "subject",
    "handle_id",
    "other_handle",
    "service",
    "date",
    "date_read",
    "date_delivered",
    "date_played",
    "date_edited",
    "date_retracted",
    "is_from_me",
    "error",
    "item_type",
    "group_action_type",
    "group_title",
    "share_direction",
    "share_status",
    "associated_message_type",
    "associated_message_guid",
    "associated_message_emoji",
    "thread_originator_guid",
    "thread_originator_part",
    "reply_to_guid",
    "expressive_send_style_id",
    "balloon_bundle_id",
    "message_summary_info",
];

/// Longest attributed body that is decoded, in bytes.
const MAX_BODY: usize = 16 << 20;

/// Most runs whose attributes are looked at, and the longest guid or address in one, in bytes.
const MAX_NAMED: usize = 4096;
const MAX_NAME: usize = 1024;

/// A decoded row, and the order in which its text names its attachments.
pub(super) struct Decoded {
    pub(super) message: Message,
    pub(super) attachment_order: Vec<String>,
}

pub(super) fn decode(row: &mut Fields<'_>, handles: &HashMap<i64, Person>) -> Decoded {
    let from_me = row.flag("is_from_me");
    let handle = row.integer("handle_id").unwrap_or_default();
    let mut message = Message {
        id: row.id().unwrap_or_default(),
        guid: row.some_text("guid"),
        from_me,
        sender: if from_me {
            None
        } else {
            person(row, "handle_id", handle, handles)
        },
        service: row.some_text("service"),
        date: row.apple_time("date"),
        delivered: row.apple_time("date_delivered"),
        read: row.apple_time("date_read"),
        played: row.apple_time("date_played"),
        subject: row.some_text("subject"),
        effect: row.some_text("expressive_send_style_id"),
        app: row.some_text("balloon_bundle_id"),
        edited: row.apple_time("date_edited"),
        unsent: row.apple_time("date_retracted"),
        error: row.integer("error").unwrap_or_default(),
        reply_to: reply(row),
        ..Message::default()
    };
    message.kind = kind(row, handles);
    summary(row, &mut message);
    let attachment_order = text(row, &mut message);
    Decoded {
        message,
        attachment_order,
    }
}

fn person(row: &mut Fields<'_>, column: &'static str, id: i64, handles: &HashMap<i64, Person>) -> Option<Person> {
    if id == 0 {
        return None;
    }
    let found = handles.get(&id).cloned();
    if found.is_none() {
        row.note(column, Problem::Dangling { to: "handle", id });
    }
    found
}

fn reply(row: &mut Fields<'_>) -> Option<Target> {
    let guid = row.some_text("thread_originator_guid")?;
    // `0:0:5`: the part, and where in its text.
    let part = row.some_text("thread_originator_part");
    let part = part.and_then(|part| part.split(':').next()?.parse().ok());
    Some(Target { guid, part })
}

/// What the row is: a message, a reaction, or something that happened to the group.
fn kind(row: &mut Fields<'_>, handles: &HashMap<i64, Person>) -> MessageKind {
    if let Some(reaction) = reaction(row) {
        return reaction;
    }
    let item_type = row.integer("item_type").unwrap_or_default();
    let action = row.integer("group_action_type").unwrap_or_default();
    let mut who = || {
        let id = row.integer("other_handle").unwrap_or_default();
        person(row, "other_handle", id, handles).map(|person| person.address)
    };
    match (item_type, action) {
        (0, _) => MessageKind::Message,
        (1, 0) => MessageKind::Joined { who: who() },
        (1, 1) => MessageKind::Removed { who: who() },
        (2, _) => MessageKind::Renamed {
            title: row.some_text("group_title"),
        },
        (3, 0) => MessageKind::Left,
        (3, 1) => MessageKind::PictureChanged,
        (3, 2) => MessageKind::PictureRemoved,
        (4, _) => MessageKind::LocationSharing {
            started: !row.flag("share_status"),
        },
        (5, _) => MessageKind::AudioKept,
        (item_type, action) => MessageKind::Other { item_type, action },
    }
}

/// Reactions have numbers from 2000 on; from 3000 on they take one away.
fn reaction(row: &mut Fields<'_>) -> Option<MessageKind> {
    let number = row
        .integer("associated_message_type")
        .filter(|number| (2000..4000).contains(number))?;
    let Some(target) = row.some_text("associated_message_guid") else {
        row.note(
            "associated_message_guid",
            Problem::WrongType {
                expected: "the guid of a message",
                found: "NULL",
            },
        );
        return None;
    };
    let reaction = match number.rem_euclid(1000) {
        0 => Reaction::Loved,
        1 => Reaction::Liked,
        2 => Reaction::Disliked,
        3 => Reaction::Laughed,
        4 => Reaction::Emphasized,
        5 => Reaction::Questioned,
        6 => Reaction::Emoji(row.some_text("associated_message_emoji").unwrap_or_default()),
        7 => Reaction::Sticker,
        _ => Reaction::Other(number),
    };
    Some(MessageKind::Reaction {
        reaction,
        removed: number >= 3000,
        target: target_of(&target),
    })
}

/// `p:1/GUID` is a part of a message, `bp:GUID` its bubble, `GUID` the message.
fn target_of(stored: &str) -> Target {
    let (part, guid) = match stored.strip_prefix("p:").and_then(|rest| rest.split_once('/')) {
        Some((part, guid)) => (part.parse().ok(), guid),
        None => (None, stored.strip_prefix("bp:").unwrap_or(stored)),
    };
    Target {
        guid: guid.to_owned(),
        part,
    }
}

fn summary(row: &mut Fields<'_>, message: &mut Message) {
    let Some(bytes) = row
        .data_up_to("message_summary_info", summary::MAX_LEN)
        .filter(|bytes| !bytes.is_empty())
    else {
        return;
    };
    match Summary::decode(bytes) {
        Ok(summary) => {
            message.edits = summary.edits;
            message.unsent_parts = summary.unsent_parts;
        }
        Err(error) => row.note(
            "message_summary_info",
            Problem::Undecodable {
                what: "the summary of edits",
                reason: error.to_string(),
            },
        ),
    }
}

/// A short text among the attributes of a run.
fn named(run: &Run, attribute: &str) -> Option<String> {
    match run.attributes.get(attribute) {
        Some(Attribute::Text(text)) if text.len() <= MAX_NAME => Some(text.clone()),
        _ => None,
    }
}

/// Fills in the text, from where there is one; gives the guids of attachments in the order of the text.
fn text(row: &mut Fields<'_>, message: &mut Message) -> Vec<String> {
    let mut order = Vec::new();
    message.text = row.some_text("text");
    message.text_source = message.text.as_ref().map(|_| TextSource::Text);
    if let Some(body) = row
        .data_up_to("attributedBody", MAX_BODY)
        .filter(|body| !body.is_empty())
    {
        match AttributedText::decode(body) {
            Ok(body) => {
                for run in body.runs.iter().take(MAX_NAMED) {
                    order.extend(named(run, "__kIMFileTransferGUIDAttributeName"));
                    message.mentions.extend(named(run, "__kIMMentionConfirmedMention"));
                }
                if message.text.is_none() && !body.text.is_empty() {
                    message.text = Some(body.text);
                    message.text_source = Some(TextSource::AttributedBody);
                }
            }
            Err(error) => row.note(
                "attributedBody",
                Problem::Undecodable {
                    what: "the attributed text",
                    reason: error.to_string(),
                },
            ),
        }
    }
    if message.text.is_none() && message.unsent_parts.is_empty() {
        // An edited message whose body was lost still has its last text here.
        let last = message.edits.iter().rev().find_map(|edit| edit.text.clone());
        message.text_source = last.as_ref().map(|_| TextSource::SummaryInfo);
        message.text = last;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_of_reactions_are_told_apart() {
        let target = |stored| {
            let target = target_of(stored);
            (target.part, target.guid)
        };
        assert_eq!(target("p:2/AB-CD"), (Some(2), "AB-CD".into()));
        assert_eq!(target("bp:AB-CD"), (None, "AB-CD".into()));
        assert_eq!(target("AB-CD"), (None, "AB-CD".into()));
        assert_eq!(target("p:x/AB/CD"), (None, "AB/CD".into()));
    }
}
