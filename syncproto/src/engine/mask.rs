//! What a side can hold, and what it is known to make of what it is given.

use super::canon;
use super::value::{Datum, Fields, Name};
use crate::schema;

/// Which keys of which entities a side holds. Spec: mobilesync, section 15.3: as important as the merge itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holds {
    /// Everything, unknown keys included: files.
    #[default]
    Everything,
    /// What the tables mark as stored by devices.
    WhatDevicesStore,
    /// Everything but some keys, by entity and key.
    AllBut(Vec<(String, String)>),
    /// What the tables mark, without some keys, by entity and key.
    WhatDevicesStoreBut(Vec<(String, String)>),
}

/// Something that a side is known to do to values on their way in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewriting {
    /// The entity.
    pub entity: String,
    /// The key.
    pub key: String,
    /// What happens.
    pub rule: Rule,
}

/// What happens to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// Data of more bytes is left out: pictures above 768,000 bytes. What a record had there before stays.
    DropsDataAbove(usize),
    /// Texts are cut after so many characters.
    CutsTextAfter(usize),
    /// Blanks at both ends of a text are removed.
    TrimsText,
    /// Texts are written in lower case.
    LowersText,
    /// One text becomes another.
    Replaces {
        /// The text that is given.
        from: String,
        /// The text that is kept.
        to: String,
    },
    /// A text is set where none is given: a bookmark without a name takes its address.
    FillsFrom(String),
}

/// What a side can hold, and what it is known to make of what it is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mask {
    /// The keys that are kept. What is outside never counts as changed or deleted on this side.
    pub holds: Holds,
    /// What is known to be rewritten, in this order.
    pub rewrites: Vec<Rewriting>,
}

impl Mask {
    /// A side that keeps everything as it is.
    #[must_use]
    pub fn everything() -> Self {
        Self::default()
    }

    /// Current device software, as far as it is known.
    #[must_use]
    pub fn of_devices() -> Self {
        let rule = |entity: &str, key: &str, rule| Rewriting {
            entity: entity.to_owned(),
            key: key.to_owned(),
            rule,
        };
        Self {
            holds: Holds::WhatDevicesStore,
            rewrites: vec![
                rule(crate::entity::CONTACT, "image", Rule::DropsDataAbove(768_000)),
                rule(crate::entity::BOOKMARK, "name", Rule::FillsFrom("url".to_owned())),
            ],
        }
    }

    /// Whether a key of an entity is kept.
    #[must_use]
    pub fn stores(&self, entity: &str, key: &str) -> bool {
        let but = |list: &[(String, String)]| !list.iter().any(|(e, k)| e == entity && k == key);
        let device = || schema::entity(entity).is_some_and(|shape| shape.stores(key));
        match &self.holds {
            Holds::Everything => true,
            Holds::WhatDevicesStore => device(),
            Holds::AllBut(list) => but(list),
            Holds::WhatDevicesStoreBut(list) => but(list) && device(),
        }
    }

    pub(crate) fn takes(&self, fields: &Fields, key: &str) -> bool {
        match &self.holds {
            Holds::Everything => true,
            Holds::WhatDevicesStore => fields.shape.is_some_and(|shape| shape.stores(key)),
            _ => self.stores(&fields.entity, key),
        }
    }

    /// Whether records of an entity can be on this side at all.
    pub(crate) fn takes_entity(&self, fields: &Fields) -> bool {
        match self.holds {
            Holds::Everything | Holds::AllBut(_) => true,
            Holds::WhatDevicesStore | Holds::WhatDevicesStoreBut(_) => {
                let stores = |shape: &schema::Entity| shape.keys.iter().any(|key| shape.stores(key.name));
                fields.shape.is_some_and(stores)
            }
        }
    }

    /// Whether the side keeps a record as it is given, for all that can be said without looking at values.
    pub(crate) fn keeps(&self, fields: &Fields) -> bool {
        !self
            .rewrites
            .iter()
            .any(|rewriting| *rewriting.entity == *fields.entity)
            && fields.iter().all(|(key, _)| self.takes(fields, key))
    }

    /// Whether a value is not sent, because it is larger than what the side keeps.
    pub(crate) fn drops(&self, fields: &Fields, key: &str) -> bool {
        let of_key = |one: &&Rewriting| *one.entity == *fields.entity && one.key == key;
        let mut rules = self.rewrites.iter().filter(of_key);
        rules.any(|one| one.rule.drops(fields.get(key)))
    }

    /// What the side will report after it was given a new record.
    pub(crate) fn predict(&self, fields: &Fields) -> Fields {
        let kept = fields.iter().filter(|(key, _)| self.takes(fields, key));
        let mut list: Vec<(Name, Datum)> = kept.map(|(key, datum)| (Name::clone(key), datum.clone())).collect();
        for rewriting in self
            .rewrites
            .iter()
            .filter(|rewriting| *rewriting.entity == *fields.entity)
        {
            let at = list.iter().position(|(key, _)| **key == *rewriting.key);
            let old = at.and_then(|at| list.get(at)).map(|(_, datum)| datum);
            let new = rewriting.rule.of(old, fields);
            match (at, new) {
                (Some(at), Some(new)) => {
                    if let Some((_, datum)) = list.get_mut(at) {
                        *datum = new;
                    }
                }
                (Some(at), None) => drop(list.remove(at)),
                (None, Some(new)) => list.push((Name::from(&*rewriting.key), new)),
                (None, None) => {}
            }
        }
        fields.like(list)
    }

    /// Whether a value on this side and one on the other are the same to both: literally, or by what this side makes of
    /// the other's.
    pub(crate) fn alike(&self, here: &Fields, there: &Fields, takes: &dyn Fn(&str) -> bool) -> bool {
        canon::same(Some(here), Some(there), takes) || canon::same(Some(here), Some(&self.predict(there)), takes)
    }
}

impl Rule {
    fn drops(&self, datum: Option<&Datum>) -> bool {
        matches!((self, datum), (Self::DropsDataAbove(limit), Some(Datum::Data(data))) if data.len() > *limit)
    }

    fn of(&self, datum: Option<&Datum>, fields: &Fields) -> Option<Datum> {
        let text = |change: &dyn Fn(&str) -> String| match datum {
            Some(Datum::Text(text)) => Some(Datum::Text(change(text).into())),
            other => other.cloned(),
        };
        match self {
            Self::DropsDataAbove(_) => datum.filter(|_| !self.drops(datum)).cloned(),
            Self::CutsTextAfter(limit) => text(&|text| text.chars().take(*limit).collect()),
            Self::TrimsText => text(&|text| text.trim().to_owned()),
            Self::LowersText => text(&str::to_lowercase),
            Self::Replaces { from, to } => text(&|text| if text == from { to.clone() } else { text.to_owned() }),
            Self::FillsFrom(key) => match datum {
                Some(Datum::Text(text)) if !text.is_empty() => datum.cloned(),
                _ => fields.get(key).cloned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::value::Names;
    use crate::entity;
    use crate::record::Record;

    #[test]
    fn a_bookmark_without_a_name_takes_its_address_and_unknown_keys_stay_behind() {
        let bookmark = Record::new(entity::BOOKMARK)
            .with("url", "https://example.org")
            .with("x-mood", "good");
        let fields = Fields::read(&bookmark, &mut Names::default()).unwrap();
        let kept = Mask::of_devices().predict(&fields);
        assert_eq!(kept.get("name"), kept.get("url"));
        assert_eq!(kept.get("x-mood"), None);
        assert_eq!(Mask::everything().predict(&fields), fields);
    }

    #[test]
    fn a_picture_that_is_too_large_is_not_kept() {
        let contact = Record::new(entity::CONTACT).with("image", cabled_wire::plist::Value::Data(vec![0; 768_001]));
        let fields = Fields::read(&contact, &mut Names::default()).unwrap();
        assert_eq!(Mask::of_devices().predict(&fields).get("image"), None);
    }
}
