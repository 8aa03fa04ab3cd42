//! The order of entries in folders, and folders that were moved into each other. Spec: mobilesync, section 15.3.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::canon::POSITION;
use super::decide::Deciding;
use super::id::{Side, Sides};
use super::value::{Datum, Fields, Name, Ref};
use super::verdict::{Fate, NoteKind};
use crate::schema::EntityKind;

fn position(fields: &Fields) -> Option<i64> {
    match fields.get(POSITION) {
        Some(Datum::Integer(number)) => Some(*number),
        _ => None,
    }
}

/// Undoes the device's move where two moves made a cycle.
pub(crate) fn cycles(deciding: &mut Deciding<'_>) {
    let container = |at: usize| {
        let item = deciding.people.items.get(at);
        item.is_some_and(|item| item.kind() == EntityKind::Container)
    };
    // Where no folder was touched, none was moved.
    if !deciding.verdicts.items().any(container) {
        return;
    }
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
                let owner = |side: Side| item.now(side).and_then(|fields| fields.owner());
                item.now(Side::Computer).is_some() && owner(Side::Device) != owner(Side::Computer)
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
    let Some(computer) = item.now(Side::Computer).cloned() else {
        return;
    };
    let Some(key) = computer.shape.and_then(|shape| shape.owner) else {
        return;
    };
    let parent = computer.get(key).cloned();
    // A computer that moved it, too, has its own way.
    let same = |want: &Arc<Fields>| want.get(key) == parent.as_ref();
    let Some(verdict) = deciding.verdicts.touch(deciding.people, at) else {
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
    verdict.moved.insert(computer.group_of(key));
}

/// Merges the order of every folder: that of the side which changed it, the other side's new entries behind their left
/// neighbour. Positions below zero are roles, not places.
pub(crate) fn positions(deciding: &mut Deciding<'_>) {
    let ordered = |at: usize| {
        let want = Side::BOTH.map(|side| deciding.want(at, side)).into_iter().flatten();
        let mut positions = want.filter_map(|fields| position(fields));
        deciding.fate(at) == Fate::Stay && positions.any(|position| position >= 0)
    };
    // A folder in which nothing was touched is in order.
    let touched = deciding.verdicts.items().filter(|at| ordered(*at));
    let mut folders: BTreeMap<Option<usize>, Vec<usize>> =
        touched.map(|at| (deciding.container(at), Vec::new())).collect();
    if folders.is_empty() {
        return;
    }
    for at in (0..deciding.people.items.len()).filter(|at| ordered(*at)) {
        if let Some(entries) = folders.get_mut(&deciding.container(at)) {
            entries.push(at);
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
            item.row.agreed.get(side).as_ref()
        } else {
            item.now(side)
        }?;
        let here = deciding.want(at, side)?;
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
    let now = Sides::of(|side| sequence(side, false));
    let changed = |side: Side| {
        let (before, now) = (sequence(side, true), now.get(side));
        let known: HashSet<usize> = before.iter().copied().collect();
        let present: HashSet<usize> = now.iter().copied().collect();
        let common = now.iter().filter(|at| known.contains(at));
        !common.eq(before.iter().filter(|at| present.contains(at)))
    };
    let lead = if changed(Side::Device) && !changed(Side::Computer) {
        Side::Device
    } else {
        Side::Computer
    };
    let order = interleave(now.get(lead), now.get(lead.other()), entries);
    for side in Side::BOTH {
        let there = |at: &&usize| deciding.people.items.get(**at).is_some_and(|item| item.there(side));
        let present: Vec<usize> = order.iter().filter(there).copied().collect();
        let complete = present.len() == order.len();
        let in_order = present == *now.get(side);
        for (number, at) in order.iter().enumerate() {
            let Some(verdict) = deciding.verdicts.touch(deciding.people, *at) else {
                continue;
            };
            verdict.moved.insert(POSITION);
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

/// The order of the side that leads, with the other's new entries behind their left neighbours. What is on neither list, as
/// it was moved here on one side, comes last.
fn interleave(lead: &[usize], follower: &[usize], all: &[usize]) -> Vec<usize> {
    let leads: HashSet<usize> = lead.iter().copied().collect();
    let mut behind: HashMap<Option<usize>, Vec<usize>> = HashMap::new();
    let mut left = None;
    for at in follower {
        if leads.contains(at) {
            left = Some(*at);
        } else {
            behind.entry(left).or_default().push(*at);
        }
    }
    let mut order = behind.remove(&None).unwrap_or_default();
    for at in lead {
        order.push(*at);
        order.extend(behind.remove(&Some(*at)).unwrap_or_default());
    }
    let placed: HashSet<usize> = order.iter().copied().collect();
    order.extend(all.iter().copied().filter(|at| !placed.contains(at)));
    order
}

fn owner(fields: &Fields) -> Option<&Ref> {
    fields.owner()
}
