//! Bookmarks. Spec: mobilesync, section 8.3.

use super::{Entity, EntityKind, Key};
use crate::entity;

pub(super) const ENTITIES: &[Entity] = &[
    Entity {
        name: entity::FOLDER,
        kind: EntityKind::Container,
        owner: Some("parent"),
        title: &["name"],
        keys: &[Key::text("name"), Key::ids("parent"), Key::integer("position")],
    },
    Entity {
        name: entity::BOOKMARK,
        kind: EntityKind::Root,
        owner: Some("parent"),
        title: &["name", "url"],
        keys: &[
            Key::text("name"),
            Key::text("url"),
            Key::ids("parent"),
            Key::integer("position"),
        ],
    },
];
