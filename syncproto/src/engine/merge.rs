//! Three-way merge of one record, group by group. Spec: mobilesync, section 15.3.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::canon::{self, POSITION};
use super::id::{Side, Sides};
use super::identity::Item;
use super::mask::Mask;
use super::policy::{Choice, Choices, OnConflict, Policy};
use super::value::{Datum, Fields, Name, Ref, groups};
use super::verdict::Moved;

pub(crate) struct Terms<'a> {
    pub(crate) masks: Sides<&'a Mask>,
    pub(crate) policy: &'a Policy,
    pub(crate) choices: &'a Choices,
    /// The side whose values are taken throughout.
    pub(crate) source: Option<Side>,
}

#[derive(Debug)]
pub(crate) struct Conflict {
    pub(crate) group: String,
    /// Whose value is taken; `None` leaves both.
    pub(crate) taken: Option<Side>,
    pub(crate) asked: bool,
}

#[derive(Debug)]
pub(crate) struct Merged {
    pub(crate) want: Sides<Option<Arc<Fields>>>,
    pub(crate) moved: Moved,
    pub(crate) conflicts: Vec<Conflict>,
    pub(crate) keep_both: bool,
}

impl Merged {
    /// Nothing changed.
    pub(crate) fn nothing(device: &Arc<Fields>, computer: &Arc<Fields>) -> Self {
        Self {
            want: Sides {
                device: Some(Arc::clone(device)),
                computer: Some(Arc::clone(computer)),
            },
            moved: Moved::None,
            conflicts: Vec::new(),
            keep_both: false,
        }
    }

    /// Both sides have the same.
    pub(crate) fn same(device: &Arc<Fields>, computer: &Arc<Fields>) -> Self {
        Self {
            moved: Moved::All,
            ..Self::nothing(device, computer)
        }
    }

    /// The other side gets what one has, as far as it can hold it.
    pub(crate) fn copy(side: Side, now: &Arc<Fields>, masks: &Sides<&Mask>) -> Self {
        let other = masks.get(side.other());
        let takes = |key: &str| other.takes(now, key) && !other.drops(now, key);
        let whole = now
            .iter()
            .all(|(key, datum)| takes(key) && !datum.refs().iter().any(is_unknown));
        let copy = || {
            let list = crossing(now).filter(|(key, _)| takes(key)).collect();
            Arc::new(now.like(list))
        };
        let mut want = Sides::default();
        *want.get_mut(side) = Some(Arc::clone(now));
        *want.get_mut(side.other()) = Some(if whole { Arc::clone(now) } else { copy() });
        Self {
            want,
            moved: Moved::All,
            conflicts: Vec::new(),
            keep_both: false,
        }
    }
}

fn is_unknown(one: &Ref) -> bool {
    matches!(one, Ref::Unknown(_))
}

/// The attributes of a record without relations that mean something on its own side only.
fn crossing(fields: &Fields) -> impl Iterator<Item = (Name, Datum)> {
    fields.iter().filter_map(|(key, datum)| {
        let datum = match datum {
            Datum::Refs(refs) if refs.iter().any(is_unknown) => {
                let refs: Vec<Ref> = refs
                    .iter()
                    .filter(|one| matches!(one, Ref::Known(_)))
                    .cloned()
                    .collect();
                if refs.is_empty() {
                    return None;
                }
                Datum::Refs(refs.into())
            }
            other => other.clone(),
        };
        Some((Name::clone(key), datum))
    })
}

/// Merges what both sides have.
pub(crate) fn three_way(item: &Item, device: &Arc<Fields>, computer: &Arc<Fields>, terms: &Terms<'_>) -> Merged {
    let mut merged = Merged::nothing(device, computer);
    let now = Sides { device, computer };
    let records = [
        Some(&**device),
        Some(&**computer),
        item.row.agreed.device.as_deref(),
        item.row.agreed.computer.as_deref(),
    ];
    for group in groups(records) {
        if group != POSITION {
            one_group(item, &now, group, terms, &mut merged);
        }
    }
    merged
}

fn one_group(item: &Item, now: &Sides<&Arc<Fields>>, group: &str, terms: &Terms<'_>, merged: &mut Merged) {
    let model: &Fields = now.computer;
    let in_group = |key: &str| model.group_of(key) == group;
    let stored = |side: Side, key: &str| terms.masks.get(side).takes(model, key);
    let changed = |side: Side| {
        let agreed = item.row.agreed.get(side).as_deref();
        !canon::same(Some(now.get(side)), agreed, &|key| in_group(key) && stored(side, key))
    };
    let both = |key: &str| in_group(key) && stored(Side::Device, key) && stored(Side::Computer, key);
    let equal = Side::BOTH.iter().any(|side| {
        terms
            .masks
            .get(*side)
            .alike(now.get(*side), now.get(side.other()), &both)
    });
    let changes = Sides::of(changed);
    let winner = match (terms.source, changes.device, changes.computer) {
        (Some(_), ..) if equal => None,
        (Some(source), ..) => Some(source),
        (None, false, false) => return,
        // What one side cannot hold never reaches it.
        (None, ..) if equal => None,
        (None, true, false) => Some(Side::Device),
        (None, false, true) => Some(Side::Computer),
        (None, true, true) => {
            if let Some(set) = set_key(model, group) {
                merged.moved.insert(group);
                return union(item, now, set, terms, merged);
            }
            match fill(now, &both).or_else(|| decide(item, now, group, terms, merged)) {
                Some(winner) => Some(winner),
                None => {
                    merged.moved.insert(group);
                    return;
                }
            }
        }
    };
    merged.moved.insert(group);
    let Some(winner) = winner else { return };
    if item.row.agreed.get(winner).is_some()
        && terms.source.is_none()
        && let Some(set) = set_key(model, group)
    {
        return union(item, now, set, terms, merged);
    }
    let loser = winner.other();
    let too_large = |key: &str| terms.masks.get(loser).drops(now.get(winner), key);
    let source = crossing(now.get(winner)).filter(|(key, _)| !too_large(key)).collect();
    let source = model.like(source);
    // What the loser had in its place stays, and both agree to differ; in a replacement nothing of the loser stays.
    let stays = |key: &str| terms.source.is_none() && too_large(key);
    if let Some(want) = merged.want.get_mut(loser) {
        *want = Arc::new(want.with_group(group, Some(&source), |key| {
            stored(loser, key) && stored(winner, key) && !stays(key)
        }));
    }
}

/// A group that only one side fills is no conflict when records meet for the first time.
fn fill(now: &Sides<&Arc<Fields>>, takes: &dyn Fn(&str) -> bool) -> Option<Side> {
    match (canon::is_empty(now.device, takes), canon::is_empty(now.computer, takes)) {
        (true, false) => Some(Side::Computer),
        (false, true) => Some(Side::Device),
        _ => None,
    }
}

/// Who wins a conflict; `None` leaves both.
fn decide(item: &Item, now: &Sides<&Arc<Fields>>, group: &str, terms: &Terms<'_>, merged: &mut Merged) -> Option<Side> {
    let chosen = terms.choices.get(&(item.id, group.to_owned()));
    let mut asked = false;
    let taken = match (chosen, terms.policy.on_conflict) {
        (Some(Choice::Take(side)), _) => Some(*side),
        (Some(Choice::Defer), _) | (None, OnConflict::Defer) => None,
        (None, OnConflict::Computer) => Some(Side::Computer),
        (None, OnConflict::Device) => Some(Side::Device),
        (None, OnConflict::KeepBoth) => {
            merged.keep_both = true;
            Some(Side::Computer)
        }
        (None, OnConflict::Newest) => {
            let time = |side: Side| match now.get(side).get("dateModified") {
                Some(Datum::Date(seconds, _)) => Some(*seconds),
                _ => None,
            };
            match time(Side::Device).zip(time(Side::Computer)) {
                Some((device, computer)) if device > computer => Some(Side::Device),
                Some((device, computer)) if device < computer => Some(Side::Computer),
                _ => None,
            }
        }
        (None, OnConflict::Ask) => {
            asked = true;
            None
        }
    };
    merged.conflicts.push(Conflict {
        group: group.to_owned(),
        taken,
        asked,
    });
    taken
}

/// The key of a group that is merged member by member.
fn set_key<'a>(model: &Fields, group: &'a str) -> Option<&'a str> {
    let shape = model.shape?;
    let key = shape.key(group)?;
    let alone = shape.keys.iter().filter(|key| key.group == group).count() == 1;
    (key.set && alone && shape.owner != Some(group)).then_some(group)
}

/// What either has, without what either removed.
fn union(item: &Item, now: &Sides<&Arc<Fields>>, key: &str, terms: &Terms<'_>, merged: &mut Merged) {
    let name: Name = key.into();
    let members = |fields: Option<&Fields>| -> BTreeSet<Member> {
        match fields.and_then(|fields| fields.get(key)) {
            Some(Datum::Refs(refs)) => refs.iter().cloned().map(Member::Ref).collect(),
            Some(Datum::List(list)) => {
                let canonical = |datum| canon::canonical(None, datum).map(|datum| Member::Datum(datum.into_owned()));
                list.iter().filter_map(canonical).collect()
            }
            _ => BTreeSet::new(),
        }
    };
    let has = Sides::of(|side| members(Some(now.get(side))));
    let removed: BTreeSet<Member> = Side::BOTH
        .iter()
        .flat_map(|side| {
            let before = members(item.row.agreed.get(*side).as_deref());
            before.difference(has.get(*side)).cloned().collect::<Vec<_>>()
        })
        .collect();
    for side in Side::BOTH {
        let Some(want) = merged.want.get_mut(side) else {
            continue;
        };
        if !terms.masks.get(side).takes(want, key) {
            continue;
        }
        let own = has.get(side).iter();
        let foreign = has
            .get(side.other())
            .iter()
            .filter(|member| !matches!(member, Member::Ref(Ref::Unknown(_))));
        let all: BTreeSet<Member> = own
            .chain(foreign)
            .filter(|member| !removed.contains(*member))
            .cloned()
            .collect();
        if all == *has.get(side) {
            continue;
        }
        let refs: Vec<Ref> = all
            .iter()
            .filter_map(|member| match member {
                Member::Ref(one) => Some(one.clone()),
                Member::Datum(_) => None,
            })
            .collect();
        let data: Vec<Datum> = all
            .into_iter()
            .filter_map(|member| match member {
                Member::Datum(one) => Some(one),
                Member::Ref(_) => None,
            })
            .collect();
        let datum = match (refs.is_empty(), data.is_empty()) {
            (false, _) => Some(Datum::Refs(refs.into())),
            (true, false) => Some(Datum::List(data.into())),
            (true, true) => None,
        };
        *want = Arc::new(want.with(&name, datum));
    }
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Member {
    Ref(Ref),
    Datum(Datum),
}
