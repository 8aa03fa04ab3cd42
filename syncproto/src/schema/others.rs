//! Notes and mail accounts. Spec: mobilesync, sections 8.4 and 8.5.

use super::{Device, Entity, EntityKind, Key, ValueKind};
use crate::entity;

pub(super) const NOTES: &[Entity] = &[
    Entity {
        name: entity::NOTE,
        kind: EntityKind::Root,
        owner: None,
        title: &["subject"],
        keys: &[
            Key::text("subject"),
            Key::text("content").within("content"),
            Key::text("contentType").within("content"),
            Key::text("author"),
            Key::date("dateCreated"),
            Key::date("dateModified"),
            Key::ids("attachments").desktop(),
        ],
    },
    Entity {
        name: "com.apple.notes.Attachment",
        kind: EntityKind::Child,
        owner: Some("note"),
        title: &["name"],
        keys: &[
            Key::ids("note").desktop(),
            Key::text("attachmentID").desktop(),
            Key::new("content", ValueKind::Data).desktop(),
            Key::text("contentType").desktop(),
            Key::text("name").desktop(),
        ],
    },
];

pub(super) const MAIL_ACCOUNTS: &[Entity] = &[Entity {
    name: entity::MAIL_ACCOUNT,
    kind: EntityKind::Root,
    owner: None,
    title: &["Username", "Hostname"],
    keys: &[
        Key::text("AccountType").within("identity").on_device(Device::WriteOnly),
        Key::text("Username").within("identity").on_device(Device::WriteOnly),
        Key::text("Hostname").within("identity").on_device(Device::WriteOnly),
        Key::new("EmailAddresses", ValueKind::Texts).on_device(Device::WriteOnly),
        Key::text("AuthenticationScheme").on_device(Device::WriteOnly),
        Key::new("__Password__", ValueKind::Data).on_device(Device::WriteOnly),
    ],
}];
