//! Contacts. Spec: mobilesync, section 8.1.

use super::{Entity, EntityKind, Key, ValueKind};
use crate::entity;

pub(super) const ENTITIES: &[Entity] = &[
    Entity {
        name: entity::GROUP,
        kind: EntityKind::Container,
        owner: None,
        title: &["name"],
        keys: &[Key::text("name"), Key::ids("members")],
    },
    Entity {
        name: entity::CONTACT,
        kind: EntityKind::Root,
        owner: None,
        title: &["first name", "last name", "company name", "nickname"],
        keys: &[
            Key::text("first name").within("name"),
            Key::text("last name").within("name"),
            Key::text("middle name").within("name"),
            Key::text("title").within("name"),
            Key::text("suffix").within("name"),
            Key::text("nickname"),
            Key::text("first name yomi").within("phonetic name"),
            Key::text("last name yomi").within("phonetic name"),
            Key::text("middle name yomi").within("phonetic name"),
            Key::text("company name").within("company"),
            Key::text("department").within("company"),
            Key::text("job title").within("company"),
            Key::text("company name yomi").desktop(),
            Key::text("notes"),
            Key::date("birthday"),
            Key::text("display as company").or_text("person"),
            Key::new("image", ValueKind::Data),
            Key::new("ImageChanged", ValueKind::Boolean).desktop(),
            Key::ids("primary phone number").desktop(),
            Key::ids("primary email address").desktop(),
            Key::ids("primary street address").desktop(),
            Key::ids("primary URL").desktop(),
            Key::ids("phone numbers").desktop(),
            Key::ids("email addresses").desktop(),
            Key::ids("street addresses").desktop(),
            Key::ids("URLs").desktop(),
            Key::ids("IMs").desktop(),
            Key::ids("dates").desktop(),
            Key::ids("related names").desktop(),
            Key::ids("parent groups").desktop(),
        ],
    },
    child(entity::EMAIL_ADDRESS, &["value"], VALUE),
    child(entity::PHONE_NUMBER, &["value"], VALUE),
    child(
        entity::STREET_ADDRESS,
        &["street", "city"],
        &[
            CONTACT,
            TYPE,
            LABEL,
            Key::text("street").within("address"),
            Key::text("city").within("address"),
            Key::text("state").within("address"),
            Key::text("postal code").within("address"),
            Key::text("country").within("address"),
            Key::text("country code").within("address"),
        ],
    ),
    child(entity::URL, &["value"], VALUE),
    child(entity::RELATED_NAME, &["value"], VALUE),
    child(
        entity::IM,
        &["user"],
        &[
            CONTACT,
            TYPE,
            LABEL,
            Key::text("user").within("account"),
            Key::text("service").within("account"),
        ],
    ),
    child(entity::DATE, &["value"], &[CONTACT, TYPE, LABEL, Key::date("value")]),
    // Known to the desktop only: carried where they are seen, never sent.
    child(
        "com.apple.contacts.CalendarURI",
        &["value"],
        &[
            CONTACT.desktop(),
            TYPE.desktop(),
            LABEL.desktop(),
            Key::text("value").desktop(),
        ],
    ),
    child("com.apple.contacts.Custom Field", &[], &[CONTACT.desktop()]),
];

const CONTACT: Key = Key::ids("contact");
const TYPE: Key = Key::text("type").within("label").or_text("other");
const LABEL: Key = Key::text("label").within("label");
const VALUE: &[Key] = &[CONTACT, TYPE, LABEL, Key::text("value")];

const fn child(name: &'static str, title: &'static [&'static str], keys: &'static [Key]) -> Entity {
    Entity {
        name,
        kind: EntityKind::Child,
        owner: Some("contact"),
        title,
        keys,
    }
}
