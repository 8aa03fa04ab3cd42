//! Children without names of their own: the lines of a card are paired with the children that the card had, by what they
//! say. Spec: mobilesync, section 15.4.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::super::canon::{self, ContentHash};
use super::super::likeness::{plain, same_literally};
use super::super::value::Name;
use super::{ById, EntityKind, Fields, Fresh, Is, People, Ref, Side};

/// Reported lines by what the side calls the record that they belong to, each with its name in this report.
pub(super) type Lines = HashMap<Box<str>, Vec<Fresh>>;

/// Up to so many lines of a card are compared each with each, which for few is faster than hashing them.
const FEW: usize = 16;

/// What makes two lines the same one.
type Key = fn(&Fields) -> (Name, ContentHash);

impl People {
    /// Pairs the lines of every card that was told with the children it had. Ambiguous ones are never paired by position.
    /// What is not paired is a new child, and is left in `lines`; a child that finds no line is gone.
    pub(super) fn align(&mut self, side: Side, derive: bool, lines: &mut Lines) {
        if !self.items.iter().any(|item| *item.covered.get(side)) {
            return;
        }
        let mut had: ById<Vec<usize>> = ById::default();
        for (at, item) in self.items.iter().enumerate() {
            if item.kind() == EntityKind::Child
                && let Some(Ref::Known(owner)) = item.row.seen.get(side).as_ref().and_then(|seen| seen.owner())
                && let Some(owner) = self.at.get(owner).and_then(|at| self.items.get(*at))
                && owner.there(side)
                && *owner.covered.get(side)
            {
                had.entry(owner.id).or_default().push(at);
            }
        }
        for at in 0..self.items.len() {
            let Some(item) = self.items.get(at) else { break };
            let (Some(native), Some(mut old)) = (item.row.native.get(side).clone(), had.remove(&item.id)) else {
                continue;
            };
            let mut new = lines.remove(&*native).unwrap_or_default();
            self.card(side, &mut old, &mut new);
            if !new.is_empty() {
                lines.insert((*native).into(), new);
            }
            for at in old {
                if let Some(item) = self.items.get_mut(at).filter(|item| !*item.covered.get(side)) {
                    *item.covered.get_mut(side) = true;
                    *item.is.get_mut(side) = if derive { Is::Gone } else { Is::Lost };
                }
            }
        }
    }

    /// The lines of one card: those that say the same, then those with the same value, then the only one left of a kind.
    fn card(&mut self, side: Side, old: &mut Vec<usize>, new: &mut Vec<Fresh>) {
        if old.len() <= FEW && new.len() <= FEW {
            new.retain(|(native, fields)| {
                let twin = old.iter().position(|at| {
                    let seen = self.items.get(*at).and_then(|item| item.row.seen.get(side).as_deref());
                    seen.is_some_and(|seen| same_literally(seen, fields))
                });
                let Some(twin) = twin else { return true };
                let twin = old.remove(twin);
                self.line(side, twin, native, fields);
                false
            });
        }
        let keys: [Key; 2] = [
            |fields| {
                (
                    Arc::clone(&fields.entity),
                    canon::content_hash(fields, &plain(fields), Vec::new()),
                )
            },
            |fields| {
                let value = plain(fields);
                let value = |key: &str| value(key) && fields.group_of(key) != "label";
                (
                    Arc::clone(&fields.entity),
                    canon::content_hash(fields, &value, Vec::new()),
                )
            },
        ];
        for key in keys {
            if old.is_empty() || new.is_empty() {
                return;
            }
            let mut twins: HashMap<_, Vec<usize>> = HashMap::new();
            for at in old.iter().rev() {
                if let Some(seen) = self.items.get(*at).and_then(|item| item.row.seen.get(side).as_ref()) {
                    twins.entry(key(seen)).or_default().push(*at);
                }
            }
            new.retain(|(native, fields)| {
                let Some(twin) = twins.get_mut(&key(fields)).and_then(Vec::pop) else {
                    return true;
                };
                self.line(side, twin, native, fields);
                false
            });
            old.retain(|at| self.items.get(*at).is_some_and(|item| !*item.covered.get(side)));
        }
        self.lone(side, old, new);
    }

    /// One that is the only one of its entity left, before and now, is the same with another value.
    fn lone(&mut self, side: Side, old: &mut Vec<usize>, new: &mut Vec<Fresh>) {
        let mut left: BTreeMap<Name, (Vec<usize>, usize)> = BTreeMap::new();
        for at in old.iter() {
            if let Some(item) = self.items.get(*at) {
                left.entry(Arc::clone(&item.row.entity)).or_default().0.push(*at);
            }
        }
        for (_, fields) in new.iter() {
            if let Some((_, lines)) = left.get_mut(&fields.entity) {
                *lines = lines.saturating_add(1);
            }
        }
        new.retain(|(native, fields)| match left.get(&fields.entity) {
            Some((old, 1)) if old.len() == 1 => {
                old.iter().for_each(|twin| self.line(side, *twin, native, fields));
                false
            }
            _ => true,
        });
        old.retain(|at| self.items.get(*at).is_some_and(|item| !*item.covered.get(side)));
    }

    /// Makes the names of lines known in the rare case that a record speaks of one.
    pub(super) fn name_lines(&mut self, side: Side) {
        let natives = self.natives.get(side);
        let speaks = |fields: &Arc<Fields>| {
            let mut refs = fields.iter().flat_map(|(_, datum)| datum.refs());
            refs.any(|one| matches!(one, Ref::Unknown(native) if !natives.contains_key(&**native)))
        };
        let mut told = self.items.iter().filter(|item| item.kind() != EntityKind::Child);
        if !told.any(|item| item.told.get(side).as_ref().is_some_and(speaks)) {
            return;
        }
        for (at, item) in self.items.iter().enumerate() {
            if item.kind() == EntityKind::Child
                && item.there(side)
                && let Some(native) = item.row.native.get(side)
            {
                self.natives.get_mut(side).insert(Arc::clone(native), at);
            }
        }
    }

    fn line(&mut self, side: Side, at: usize, native: &Arc<str>, fields: &Arc<Fields>) {
        if let Some(item) = self.items.get_mut(at) {
            if item.row.native.get(side).as_ref() != Some(native) {
                *item.row_mut().native.get_mut(side) = Some(Arc::clone(native));
            }
            *item.covered.get_mut(side) = true;
            *item.is.get_mut(side) = Is::There;
            *item.told.get_mut(side) = Some(Arc::clone(fields));
        }
    }
}
