//! Which records take part.

use std::collections::BTreeSet;

use super::canon::fold;
use super::id::Side;
use super::identity::{Item, People};
use super::policy::Selection;
use super::value::{Datum, Fields, Ref};
use crate::schema::EntityKind;

fn title(item: &Item) -> Option<String> {
    let sides = [Side::Computer, Side::Device];
    let fields = sides
        .iter()
        .find_map(|side| item.now(*side).map(|now| &**now))
        .or_else(|| item.any().map(|any| &**any))?;
    let key = fields.shape?.title.first()?;
    fields.get(key).and_then(Datum::text).map(fold)
}

/// The records that are in no selected collection. A record that is in none at all takes part unless only some do.
pub(crate) fn outside(people: &People, selection: &Selection) -> Vec<usize> {
    let (titles, only) = match selection {
        Selection::All => return Vec::new(),
        Selection::Only(titles) => (titles, true),
        Selection::AllBut(titles) => (titles, false),
    };
    let titles: BTreeSet<String> = titles.iter().map(|title| fold(title)).collect();
    let container = |item: &Item| item.kind() == EntityKind::Container;
    let named: BTreeSet<usize> = (0_usize..)
        .zip(&people.items)
        .filter(|(_, item)| container(item) && title(item).is_some_and(|title| titles.contains(&title)))
        .map(|(at, _)| at)
        .collect();
    // Members of a group are in it, though they do not say so themselves.
    let mut members = BTreeSet::new();
    for at in &named {
        let sides = people
            .items
            .get(*at)
            .into_iter()
            .flat_map(|item| Side::BOTH.map(|side| item.now(side)));
        // What it is in itself is no member of it.
        let member = |fields: &Fields, key: &str| fields.shape.is_none_or(|shape| shape.owner != Some(key));
        let related = sides.flatten().flat_map(|fields| {
            let members = fields.iter().filter(|(key, _)| member(fields, key));
            members.map(|(_, datum)| datum)
        });
        for datum in related {
            members.extend(datum.refs().iter().filter_map(|one| match one {
                Ref::Known(id) => people.at.get(id).copied(),
                Ref::Unknown(_) => None,
            }));
        }
    }
    let inside = |at: usize| {
        let mut at = at;
        for _ in 0..64 {
            if named.contains(&at) || members.contains(&at) {
                return true;
            }
            match Side::BOTH.iter().find_map(|side| people.owner(at, *side)) {
                Some(owner) => at = owner,
                None => return false,
            }
        }
        false
    };
    let child = |at: &usize| {
        people
            .items
            .get(*at)
            .is_some_and(|item| item.kind() == EntityKind::Child)
    };
    (0..people.items.len())
        .filter(|at| !child(at) && inside(*at) != only)
        .collect()
}
