//! Conversations and messages as a program wants them.

use serde::Serialize;

use crate::archive::records::{Source, Timestamp};

/// A conversation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Chat {
    /// Row id in `chat`; `None` for the messages that belong to no conversation.
    pub id: Option<i64>,
    /// Its id across devices, such as `iMessage;-;+15550100`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    /// The address of the other person, or the group's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// The name that was given to a group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// `iMessage`, `SMS` or `RCS`; spelled as stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Whether it is a group.
    pub group: bool,
    /// Whether it is archived.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub archived: bool,
    /// Everybody in it but the owner.
    pub participants: Vec<Person>,
    /// How many messages there are, reactions and group events included.
    pub messages: u64,
}

impl Chat {
    /// What to call it: the group's name, or the names of those in it.
    #[must_use]
    pub fn title(&self) -> String {
        if let Some(name) = &self.display_name {
            return name.clone();
        }
        if !self.participants.is_empty() {
            let mut names: Vec<_> = self.participants.iter().take(8).map(Person::shown).collect();
            if self.participants.len() > names.len() {
                names.push("…");
            }
            return names.join(", ");
        }
        match (&self.identifier, self.id) {
            (Some(identifier), _) => identifier.clone(),
            (None, Some(id)) => format!("Conversation {id}"),
            (None, None) => "Messages in no conversation".to_owned(),
        }
    }
}

/// Somebody by address, and by name where the contacts have one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Person {
    /// Phone number or email address.
    pub address: String,
    /// The name in the contacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `iMessage`, `SMS` or `RCS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Country code of the address, as the phone saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
}

impl Person {
    /// The name, else the address.
    #[must_use]
    pub fn shown(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.address)
    }
}

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Message {
    /// Row id in `message`.
    pub id: i64,
    /// Its id across devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    /// Whether the owner of the phone sent it.
    pub from_me: bool,
    /// Who sent it; `None` if the owner did, or it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<Person>,
    /// `iMessage`, `SMS` or `RCS`; spelled as stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// When it was sent (from the phone) or received (by it).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
    /// When it was delivered to the other side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered: Option<Timestamp>,
    /// When it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<Timestamp>,
    /// When a recording was played.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub played: Option<Timestamp>,
    /// What it is.
    #[serde(flatten)]
    pub kind: MessageKind,
    /// Its subject line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Its text; U+FFFC stands where an attachment stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Where the text was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text_source: Option<TextSource>,
    /// Addresses that the text mentions.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    /// What it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Target>,
    /// The effect it was sent with, as stored: `com.apple.MobileSMS.expressivesend.impact` and the like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// The app or extension that shows it, as stored: a link preview, a game, a payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<String>,
    /// Its attachments, in the order of the text where that is known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// When it was last edited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited: Option<Timestamp>,
    /// When it, or a part of it, was unsent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsent: Option<Timestamp>,
    /// Texts it had, the oldest first, the present one last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
    /// Parts that were unsent, counted from 0.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unsent_parts: Vec<i64>,
    /// When it was deleted, if it is kept only until it is deleted for good (iOS 16 and later).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deleted: Option<Timestamp>,
    /// The error that sending it ended with; 0 is none.
    #[serde(skip_serializing_if = "is_zero")]
    pub error: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
const fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// What a message is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
#[non_exhaustive]
pub enum MessageKind {
    /// Text, attachments, or both.
    #[default]
    Message,
    /// A reaction to another message, put there or taken away.
    Reaction {
        /// Which one.
        reaction: Reaction,
        /// Whether it takes an earlier one away.
        removed: bool,
        /// What it is about.
        target: Target,
    },
    /// Somebody came into the group.
    Joined {
        /// Who, by address.
        #[serde(skip_serializing_if = "Option::is_none")]
        who: Option<String>,
    },
    /// Somebody was taken out of the group.
    Removed {
        /// Who, by address.
        #[serde(skip_serializing_if = "Option::is_none")]
        who: Option<String>,
    },
    /// The sender left the group.
    Left,
    /// The group got a name, or lost it.
    Renamed {
        /// The new name.
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<String>,
    },
    /// The group's picture changed.
    PictureChanged,
    /// The group's picture was taken away.
    PictureRemoved,
    /// Somebody began or stopped to share where they are.
    LocationSharing {
        /// Whether it began.
        started: bool,
    },
    /// A recording was kept.
    AudioKept,
    /// A group event that this version does not know.
    Other {
        /// `item_type` as stored.
        item_type: i64,
        /// `group_action_type` as stored.
        action: i64,
    },
}

/// A reaction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reaction {
    /// A heart.
    Loved,
    /// Thumbs up.
    Liked,
    /// Thumbs down.
    Disliked,
    /// Laughter.
    Laughed,
    /// Two exclamation marks.
    Emphasized,
    /// A question mark.
    Questioned,
    /// Any emoji (iOS 18 and later).
    Emoji(String),
    /// A sticker, which is an attachment.
    Sticker,
    /// One that this version does not know, by its number.
    Other(i64),
}

impl Reaction {
    /// As a sign.
    #[must_use]
    pub fn sign(&self) -> &str {
        match self {
            Self::Loved => "❤️",
            Self::Liked => "👍",
            Self::Disliked => "👎",
            Self::Laughed => "😂",
            Self::Emphasized => "‼️",
            Self::Questioned => "❓",
            Self::Emoji(emoji) => emoji,
            Self::Sticker => "(sticker)",
            Self::Other(_) => "(reaction)",
        }
    }
}

/// A message that another one is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Target {
    /// Its guid.
    pub guid: String,
    /// Which part of it, counted from 0: text and attachments are parts of their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub part: Option<u32>,
}

/// Where a message's text was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TextSource {
    /// The column `text`.
    Text,
    /// The column `attributedBody`.
    AttributedBody,
    /// The last text in `message_summary_info`.
    SummaryInfo,
}

/// A text that a message had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Edit {
    /// Which part of the message, counted from 0.
    pub part: u32,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// A file that came with a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Attachment {
    /// Row id in `attachment`.
    pub id: i64,
    /// Its id across devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    /// The name it was sent with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mime_type: Option<String>,
    /// Its uniform type identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uti: Option<String>,
    /// Its length in bytes, as the phone recorded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<i64>,
    /// Whether it is a sticker.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sticker: bool,
    /// When it came to the phone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// Where the phone keeps it, as stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The backup's file, if the backup lists one. Otherwise it was not on the phone (kept in iCloud only), or was left
    /// out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<Source>,
    /// Where an export has put it, below the category's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exported: Option<String>,
}

impl Attachment {
    /// The name it was sent with, else that of its file.
    #[must_use]
    pub fn shown(&self) -> &str {
        let last = self.path.as_deref().and_then(|path| path.rsplit('/').next());
        self.name
            .as_deref()
            .or(last)
            .filter(|name| !name.is_empty())
            .unwrap_or("attachment")
    }
}
