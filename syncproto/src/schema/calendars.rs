//! Calendars. Spec: mobilesync, section 8.2.

use super::{Device, Entity, EntityKind, Key, ValueKind};
use crate::entity;

pub(super) const ENTITIES: &[Entity] = &[
    Entity {
        name: entity::CALENDAR,
        kind: EntityKind::Container,
        owner: None,
        title: &["title"],
        keys: &[
            Key::text("title"),
            Key::integer("read only").or_integer(0),
            Key::integers("colorComponents"),
            Key::text("com.apple.ical.type"),
            Key::new("com.apple.MobileSync.calDAVInfo", ValueKind::Boolean),
            Key::new("com.apple.MobileSync.updated", ValueKind::Boolean).on_device(Device::ReadOnly),
        ],
    },
    Entity {
        name: entity::EVENT,
        kind: EntityKind::Root,
        owner: Some("calendar"),
        title: &["summary", "start date"],
        keys: EVENT,
    },
    Entity {
        name: entity::TASK,
        kind: EntityKind::Root,
        owner: Some("calendar"),
        title: &["summary"],
        keys: &[
            Key::ids("calendar").on_device(Device::WriteOnly),
            Key::text("summary").on_device(Device::WriteOnly),
            Key::integer("priority").on_device(Device::WriteOnly),
            Key::date("due date").on_device(Device::WriteOnly),
            Key::date("completion date").on_device(Device::WriteOnly),
        ],
    },
    child(
        entity::DISPLAY_ALARM,
        &["description", "triggerduration", "triggerdate"],
        &[
            OWNER,
            Key::integer("triggerduration").within("trigger"),
            Key::date("triggerdate").within("trigger"),
            Key::text("description"),
            Key::integer("repeat count").desktop(),
            Key::text("com.apple.ical.sound").desktop(),
        ],
    ),
    child(
        entity::AUDIO_ALARM,
        &["triggerduration", "triggerdate"],
        &[
            OWNER,
            Key::integer("triggerduration").within("trigger"),
            Key::date("triggerdate").within("trigger"),
            Key::integer("repeat count").desktop(),
            Key::text("com.apple.ical.sound").desktop(),
        ],
    ),
    child(entity::RECURRENCE, &["frequency"], RECURRENCE),
    child(
        entity::ATTENDEE,
        &["common name", "email"],
        &[
            OWNER,
            Key::text("email"),
            Key::text("common name"),
            Key::text("role").or_text("requiredparticipant"),
            Key::text("status").or_text("needsaction"),
            Key::text("user type").or_text("individual"),
            Key::new("rsvp", ValueKind::Boolean).desktop(),
            Key::new("delegatedfrom", ValueKind::Texts).desktop(),
            Key::new("delegatedto", ValueKind::Texts).desktop(),
            Key::text("directory entry").desktop(),
        ],
    ),
    child(
        entity::ORGANIZER,
        &["common name", "email"],
        &[OWNER, Key::text("email"), Key::text("common name")],
    ),
    Entity {
        name: entity::CALENDAR_ORDER,
        kind: EntityKind::Root,
        owner: None,
        title: &[],
        keys: &[Key::ids("calendars").ordered().on_device(Device::WriteOnly)],
    },
];

const OWNER: Key = Key::ids("owner");

const EVENT: &[Key] = &[
    Key::ids("calendar"),
    Key::text("summary"),
    Key::text("location"),
    Key::text("description"),
    Key::text("url"),
    Key::date("start date").within("time"),
    Key::date("end date").within("time"),
    Key::text("start date.timezone").within("time"),
    Key::integer("floatingOffset").within("time"),
    Key::date("floatingGMTDate").within("time").on_device(Device::ReadOnly),
    Key::integer("all day").within("time").or_integer(0),
    Key::new("exception dates", ValueKind::Dates).unordered(),
    Key::date("original date").within("occurrence"),
    Key::ids("main event").within("occurrence"),
    Key::text("status").or_text("none").desktop(),
    Key::text("classification").or_text("public").desktop(),
    Key::ids("recurrences").desktop(),
    Key::ids("attendees").desktop(),
    Key::ids("organizer").desktop(),
    Key::ids("display alarms").desktop(),
    Key::ids("audio alarms").desktop(),
    Key::ids("mail alarms").desktop(),
    Key::ids("detached events").desktop(),
    Key::text("com.apple.ical.uid").desktop(),
    Key::integer("com.apple.ical.sequence").desktop(),
];

const RECURRENCE: &[Key] = &[
    OWNER,
    Key::text("frequency").within("recurrence"),
    Key::integer("interval").within("recurrence").or_integer(1),
    Key::integer("count").within("recurrence").or_integer(0),
    Key::date("until").within("recurrence"),
    Key::integers("bymonth").within("recurrence"),
    Key::integers("bymonthday").within("recurrence"),
    Key::integers("byyearday").within("recurrence"),
    Key::integers("byweeknumber").within("recurrence"),
    Key::integers("bysetpos").within("recurrence"),
    Key::new("bydaydays", ValueKind::Texts)
        .within("recurrence")
        .unordered()
        .in_step_with("bydayfreq"),
    Key::integers("bydayfreq")
        .within("recurrence")
        .unordered()
        .in_step_with("bydaydays"),
    Key::text("weekstartday").within("recurrence").or_text("monday"),
];

const fn child(name: &'static str, title: &'static [&'static str], keys: &'static [Key]) -> Entity {
    Entity {
        name,
        kind: EntityKind::Child,
        owner: Some("owner"),
        title,
        keys,
    }
}
