//! What the phone keeps of each kind of record, and how it numbers them. Spec: mobilesync, sections 7.3 and 8.

use cabled_syncproto::entity;

/// How a kind of record gets its identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Numbering {
    /// `720`.
    Person,
    /// `Group/4`.
    Group,
    /// `3/720/0`: property, person, value.
    Value(u32),
    /// `2/17`: type, row.
    Row(u32),
    /// `8/17`: type, row of the owner.
    OwnersRow(u32),
    /// `Note/5`.
    Note,
    /// The computer's own identifier is kept.
    Computers,
}

/// One kind of record.
#[derive(Debug)]
pub(super) struct Kind {
    pub(super) entity: &'static str,
    pub(super) numbering: Numbering,
    /// Keys that are kept; all others are dropped.
    pub(super) keeps: &'static [&'static str],
    /// Keys without which the record is skipped.
    pub(super) needs: &'static [&'static str],
    /// The relation that names the owner or container.
    pub(super) owner: Option<&'static str>,
    /// Whether a record without its owner is skipped.
    pub(super) owner_needed: bool,
}

const fn kind(entity: &'static str, numbering: Numbering, keeps: &'static [&'static str]) -> Kind {
    Kind {
        entity,
        numbering,
        keeps,
        needs: &[],
        owner: None,
        owner_needed: false,
    }
}

impl Kind {
    const fn needing(mut self, keys: &'static [&'static str]) -> Self {
        self.needs = keys;
        self
    }

    const fn inside(mut self, relation: &'static str) -> Self {
        self.owner = Some(relation);
        self.owner_needed = true;
        self
    }

    const fn perhaps_inside(mut self, relation: &'static str) -> Self {
        self.owner = Some(relation);
        self
    }
}

/// The kind of an entity; `None` for one that the phone does not know.
pub(super) fn of(entity: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.entity == entity)
}

/// The types of a value that the phone knows; as a label they become the type.
pub(super) fn known_types(entity: &str) -> &'static [&'static str] {
    match entity {
        entity::PHONE_NUMBER => &["home", "work", "mobile", "main", "home fax", "work fax", "pager"],
        entity::URL => &["home page", "home", "work"],
        entity::RELATED_NAME => &[
            "father",
            "mother",
            "parent",
            "child",
            "brother",
            "sister",
            "friend",
            "spouse",
            "partner",
            "assistant",
            "manager",
        ],
        entity::DATE => &["anniversary"],
        _ => &["home", "work"],
    }
}

const VALUE: &[&str] = &["contact", "type", "label", "value"];

static KINDS: &[Kind] = &[
    kind(
        entity::CONTACT,
        Numbering::Person,
        &[
            "first name",
            "last name",
            "middle name",
            "title",
            "suffix",
            "nickname",
            "first name yomi",
            "last name yomi",
            "middle name yomi",
            "company name",
            "department",
            "job title",
            "notes",
            "birthday",
            "display as company",
            "image",
        ],
    ),
    kind(entity::GROUP, Numbering::Group, &["name", "members"]).needing(&["name"]),
    kind(entity::PHONE_NUMBER, Numbering::Value(3), VALUE)
        .needing(&["value"])
        .inside("contact"),
    kind(entity::EMAIL_ADDRESS, Numbering::Value(4), VALUE)
        .needing(&["value"])
        .inside("contact"),
    kind(
        entity::STREET_ADDRESS,
        Numbering::Value(5),
        &[
            "contact",
            "type",
            "label",
            "street",
            "city",
            "state",
            "postal code",
            "country",
            "country code",
        ],
    )
    .inside("contact"),
    kind(entity::URL, Numbering::Value(22), VALUE)
        .needing(&["value"])
        .inside("contact"),
    kind(entity::RELATED_NAME, Numbering::Value(23), VALUE)
        .needing(&["value"])
        .inside("contact"),
    kind(
        entity::IM,
        Numbering::Value(13),
        &["contact", "type", "label", "user", "service"],
    )
    .needing(&["user"])
    .inside("contact"),
    kind(entity::DATE, Numbering::Value(12), VALUE)
        .needing(&["value"])
        .inside("contact"),
    kind(
        entity::CALENDAR,
        Numbering::Row(1),
        &[
            "title",
            "read only",
            "colorComponents",
            "com.apple.ical.type",
            "com.apple.MobileSync.calDAVInfo",
        ],
    )
    .needing(&["title"]),
    kind(
        entity::EVENT,
        Numbering::Row(2),
        &[
            "calendar",
            "summary",
            "location",
            "description",
            "url",
            "start date",
            "end date",
            "start date.timezone",
            "floatingOffset",
            "all day",
            "exception dates",
            "original date",
            "main event",
        ],
    )
    .needing(&["start date", "end date"])
    .inside("calendar"),
    kind(
        entity::DISPLAY_ALARM,
        Numbering::Row(4),
        &["owner", "triggerduration", "triggerdate", "description"],
    )
    .inside("owner"),
    kind(
        entity::AUDIO_ALARM,
        Numbering::Row(4),
        &["owner", "triggerduration", "triggerdate"],
    )
    .inside("owner"),
    kind(
        entity::RECURRENCE,
        Numbering::Row(5),
        &[
            "owner",
            "frequency",
            "interval",
            "count",
            "until",
            "bymonth",
            "bymonthday",
            "byyearday",
            "byweeknumber",
            "bysetpos",
            "bydaydays",
            "bydayfreq",
            "weekstartday",
        ],
    )
    .needing(&["frequency"])
    .inside("owner"),
    kind(
        entity::ATTENDEE,
        Numbering::Row(7),
        &["owner", "email", "common name", "role", "status", "user type"],
    )
    .inside("owner"),
    kind(
        entity::ORGANIZER,
        Numbering::OwnersRow(8),
        &["owner", "email", "common name"],
    )
    .inside("owner"),
    kind(
        entity::TASK,
        Numbering::Row(3),
        &["calendar", "summary", "priority", "due date", "completion date"],
    )
    .inside("calendar"),
    kind(entity::FOLDER, Numbering::Computers, &["name", "parent", "position"]).perhaps_inside("parent"),
    kind(
        entity::BOOKMARK,
        Numbering::Computers,
        &["name", "url", "parent", "position"],
    )
    .needing(&["url"])
    .perhaps_inside("parent"),
    kind(
        entity::NOTE,
        Numbering::Note,
        &[
            "subject",
            "content",
            "contentType",
            "author",
            "dateCreated",
            "dateModified",
        ],
    )
    .needing(&["content"]),
    kind(
        entity::MAIL_ACCOUNT,
        Numbering::Computers,
        &[
            "AccountType",
            "Username",
            "Hostname",
            "EmailAddresses",
            "AuthenticationScheme",
            "__Password__",
        ],
    )
    .needing(&["AccountType", "Username", "Hostname"]),
];
