//! Whether two records can be the same one, by what they hold.

use super::canon::{self, POSITION};
use super::value::{Datum, Fields};
use crate::schema::EntityKind;

/// Keys that are no relation and no position.
pub(crate) fn plain(fields: &Fields) -> impl Fn(&str) -> bool {
    let shape = fields.shape;
    move |key| {
        let relation = shape
            .and_then(|shape| shape.key(key))
            .is_some_and(|key| key.value == crate::schema::ValueKind::Ids);
        !relation && key != POSITION
    }
}

/// Whether two records are spelled the same, relations apart.
pub(crate) fn same_literally(a: &Fields, b: &Fields) -> bool {
    let a_keys = a.iter().filter(|(_, datum)| !matches!(datum, Datum::Refs(_)));
    let b_keys = b.iter().filter(|(_, datum)| !matches!(datum, Datum::Refs(_)));
    a.entity == b.entity && a_keys.eq(b_keys)
}

/// A child's value in the form in which values are compared across records.
pub(crate) fn value_of(fields: &Fields) -> Option<String> {
    if fields.kind() != EntityKind::Child {
        return None;
    }
    let text = |key: &str| fields.get(key).and_then(Datum::text);
    let value = match fields.entity.as_ref() {
        crate::entity::PHONE_NUMBER => canon::fold_phone(text("value")?).or_else(|| text("value").map(canon::fold)),
        crate::entity::EMAIL_ADDRESS => text("value").map(canon::fold_email),
        crate::entity::URL => text("value").map(canon::fold_url),
        crate::entity::ATTENDEE | crate::entity::ORGANIZER => text("email").map(canon::fold_email),
        _ => {
            let plain = plain(fields);
            let value = |key: &str| plain(key) && fields.group_of(key) != "label";
            let hash = canon::content_hash(fields, &value, Vec::new());
            Some(hash.0.iter().map(|byte| format!("{byte:02x}")).collect())
        }
    }?;
    (!value.is_empty()).then(|| format!("{}\0{value}", fields.entity))
}

/// Whether two states can be of one record: an equal name, title or other filled key.
pub(crate) fn kin(old: &Fields, new: &Fields) -> bool {
    let plain = plain(old);
    old.iter().any(|(key, before)| {
        let Some(after) = new.get(key).filter(|_| plain(key)) else {
            return false;
        };
        let key = old.shape.and_then(|shape| shape.key(key));
        match (canon::canonical(key, before), canon::canonical(key, after)) {
            (Some(before), Some(after)) => {
                let texts = (before.text(), after.text());
                before == after
                    || matches!(texts, (Some(before), Some(after)) if canon::fold(before) == canon::fold(after))
            }
            _ => false,
        }
    })
}
