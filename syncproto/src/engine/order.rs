//! The order of entries in folders, and folders that were moved into each other. Spec: mobilesync, section 15.3.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::canon::POSITION;
use super::decide::{Deciding, Fate, NoteKind};
use super::id::Side;
use super::value::{Datum, Fields, Name, Ref};
use crate::schema::EntityKind;

fn position(fields: &Fields) -> Option<i64> {
    match fields.get(POSITION) {
        Some(Datum::Integer(number)) => Some(*number),
        _ => None,
    }
}

/// Undoes the device's move where two moves made a cycle.
pub(crate) fn cycles(deciding: &mut Deciding<'_>) {
    let folders: Vec<usize> = (0..deciding.people.items.len())
        .filter(|at| {
            deciding.fate(*at) == Fate::Stay
                && deciding
                    .people
                    .items
                    .get(*at)
                    .is_some_and(|item| item.kind() == EntityKind::Container)
        })
        .collect();
    for _ in 0..=folders.len() {
        let Some(ring) = folders.iter().find_map(|at| ring(deciding, *at)) else {
            return;
        };
        // The one that the device moved; where it moved none, the last in order goes to the root.
        let moved = ring.iter().copied().filter(|at| {
            deciding.people.items.get(*at).is_some_and(|item| {
                let owner = |fields: &Option<Arc<Fields>>| fields.as_ref().and_then(|fields| fields.owner().cloned());
                item.now.computer.is_some() && owner(&item.now.device) != owner(&item.now.computer)
            })
        });
        let by_id = |at: &usize| deciding.people.items.get(*at).map(|item| item.id);
        match moved.min_by_key(by_id) {
            Some(at) => undo(deciding, at),
            None => {
                if let Some(at) = ring.iter().copied().min_by_key(by_id) {
                    deciding.orphan(at);
                    deciding.note(at, NoteKind::Cycle);
                }
            }
        }
    }
}

fn ring(deciding: &Deciding<'_>, start: usize) -> Option<Vec<usize>> {
    let mut path = vec![start];
    let mut seen = BTreeSet::from([start]);
    let mut at = start;
    while let Some(next) = deciding.container(at) {
        if next == start {
            return Some(path);
        }
        if !seen.insert(next) {
            return None;
        }
        path.push(next);
        at = next;
    }
    None
}

fn undo(deciding: &mut Deciding<'_>, at: usize) {
    deciding.note(at, NoteKind::Cycle);
    let Some(item) = deciding.people.items.get(at) else {
        return;
    };
    let Some(computer) = item.now.computer.clone() else {
        return;
    };
    let Some(key) = computer.shape.and_then(|shape| shape.owner) else {
        return;
    };
    let parent = computer.get(key).cloned();
    // A computer that moved it, too, has its own way.
    let same = |want: &Arc<Fields>| want.get(key) == parent.as_ref();
    let Some(verdict) = deciding.verdicts.get_mut(at) else {
        return;
    };
    if verdict.want.computer.as_ref().is_some_and(same) && verdict.want.device.as_ref().is_some_and(same) {
        return deciding.orphan(at);
    }
    for side in Side::BOTH {
        if let Some(want) = verdict.want.get_mut(side) {
            *want = Arc::new(want.with(&Name::from(key), parent.clone()));
        }
    }
    verdict.moved.insert(computer.group_of(key).to_owned());
}

/// Merges the order of every folder: that of the side which changed it, the other side's new entries behind their left
/// neighbour. Positions below zero are roles, not places.
pub(crate) fn positions(deciding: &mut Deciding<'_>) {
    let mut folders: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
    for at in 0..deciding.people.items.len() {
        let ordered = deciding.verdicts.get(at).is_some_and(|verdict| {
            let mut want = [&verdict.want.device, &verdict.want.computer].into_iter().flatten();
            want.any(|fields| position(fields).is_some_and(|position| position >= 0))
        });
        if ordered && deciding.fate(at) == Fate::Stay {
            folders.entry(deciding.container(at)).or_default().push(at);
        }
    }
    for (_, entries) in folders {
        folder(deciding, &entries);
    }
}

fn folder(deciding: &mut Deciding<'_>, entries: &[usize]) {
    let place = |at: usize, side: Side, agreed: bool| -> Option<(i64, super::EngineId)> {
        let item = deciding.people.items.get(at)?;
        let fields = if agreed {
            item.row.agreed.get(side)
        } else {
            item.now.get(side)
        }
        .as_ref()?;
        let here = deciding.verdicts.get(at)?.want.get(side).as_ref()?;
        // An entry that was moved here from another folder is new in this one.
        (item.there(side) && owner(fields) == owner(here)).then_some((position(fields)?, item.id))
    };
    let sequence = |side: Side, agreed: bool| -> Vec<usize> {
        let mut list: Vec<_> = entries
            .iter()
            .filter_map(|at| Some((place(*at, side, agreed)?, *at)))
            .collect();
        list.sort();
        list.into_iter().map(|(_, at)| at).collect()
    };
    let now = super::id::Sides::of(|side| sequence(side, false));
    let changed = |side: Side| {
        let before = sequence(side, true);
        let now = now.get(side);
        let common: Vec<_> = now.iter().filter(|at| before.contains(at)).collect();
        let before: Vec<_> = before.iter().filter(|at| now.contains(at)).collect();
        common != before
    };
    let lead = if changed(Side::Device) && !changed(Side::Computer) {
        Side::Device
    } else {
        Side::Computer
    };
    let mut order = now.get(lead).clone();
    let follower = now.get(lead.other());
    for (index, at) in follower.iter().enumerate() {
        if !order.contains(at) {
            let left = follower
                .iter()
                .take(index)
                .rev()
                .find_map(|left| order.iter().position(|at| at == left));
            order.insert(left.map_or(0, |left| left.saturating_add(1)), *at);
        }
    }
    // What was moved here on one side comes last.
    let rest: Vec<usize> = entries.iter().copied().filter(|at| !order.contains(at)).collect();
    order.extend(rest);
    for side in Side::BOTH {
        let there = |at: &&usize| deciding.people.items.get(**at).is_some_and(|item| item.there(side));
        let present: Vec<usize> = order.iter().filter(there).copied().collect();
        let complete = present.len() == order.len();
        let in_order = present == *now.get(side);
        for (number, at) in order.iter().enumerate() {
            let Some(verdict) = deciding.verdicts.get_mut(*at) else {
                continue;
            };
            verdict.moved.insert(POSITION.to_owned());
            if complete && in_order {
                continue;
            }
            let Some(want) = verdict.want.get_mut(side) else {
                continue;
            };
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            if position(want) != Some(number) {
                *want = Arc::new(want.with(&Name::from(POSITION), Some(Datum::Integer(number))));
            }
        }
    }
}

fn owner(fields: &Fields) -> Option<&Ref> {
    fields.owner()
}
