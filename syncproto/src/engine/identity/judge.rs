//! Whether what a side reports under a known identifier still is the record it was. Spec: mobilesync, sections 15.3
//! ("Identity slip") and 15.4.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::super::canon;
use super::super::likeness::{kin, plain, value_of};
use super::{EngineId, EntityKind, Fields, Is, People, Ref, Side};

impl People {
    /// Looks whether reported records still are who they were: where identifiers may be reused, and where the map is not
    /// to be trusted without a check.
    pub(super) fn judge(
        &mut self,
        side: Side,
        mut fresh: Vec<(Arc<str>, Fields)>,
        reused: bool,
        check: bool,
    ) -> Vec<(Arc<str>, Fields)> {
        if !reused && !check {
            return fresh;
        }
        let mut had: HashMap<EngineId, Vec<usize>> = HashMap::new();
        let mut has: HashMap<Box<str>, Vec<String>> = HashMap::new();
        let mut within: HashMap<EngineId, bool> = HashMap::new();
        for (at, item) in self.items.iter().enumerate() {
            let old = item.row.agreed.get(side).as_deref().and_then(Fields::owner);
            let new = item.raw.get(side).as_ref().and_then(Fields::owner);
            if let Some(Ref::Known(owner)) = old {
                had.entry(*owner).or_default().push(at);
                let native = self
                    .at
                    .get(owner)
                    .and_then(|at| self.items.get(*at)?.row.native.get(side).as_deref());
                if let (Some(Ref::Unknown(new)), true) = (new, item.kind() != EntityKind::Child)
                    && native == Some(&**new)
                {
                    within.insert(*owner, true);
                }
            }
            if let (Some(Ref::Unknown(owner)), Some(raw)) = (new, item.raw.get(side)) {
                has.entry(owner.clone()).or_default().extend(value_of(raw));
            }
        }
        for (_, fields) in &fresh {
            if let Some(Ref::Unknown(owner)) = fields.owner() {
                has.entry(owner.clone()).or_default().extend(value_of(fields));
            }
        }
        let (mut strangers, mut judged) = (Vec::new(), 0_usize);
        for (at, item) in self.items.iter().enumerate() {
            let (Some(new), Some(old)) = (item.raw.get(side), item.row.agreed.get(side)) else {
                continue;
            };
            if item.kind() == EntityKind::Child || canon::is_empty(old, &plain(old)) {
                continue;
            }
            judged = judged.saturating_add(1);
            let values = had.get(&item.id).into_iter().flatten();
            let values = values.filter_map(|at| value_of(self.items.get(*at)?.row.agreed.get(side).as_deref()?));
            let values: BTreeSet<String> = values.collect();
            let native = item.row.native.get(side).as_deref().unwrap_or_default();
            let shares_child = has
                .get(native)
                .is_some_and(|has| has.iter().any(|value| values.contains(value)));
            let contents = !check && within.contains_key(&item.id);
            if !(shares_child || contents || kin(old, new) || self.members(side, old, new)) {
                strangers.push(at);
            }
        }
        if check && strangers.len().saturating_mul(10) > judged {
            *self.discarded.get_mut(side) = true;
            return fresh;
        }
        for at in strangers {
            self.slip(
                side,
                at,
                had.get(&self.items.get(at).map_or(EngineId::from_bytes([0; 16]), |item| item.id)),
                &mut fresh,
            );
        }
        fresh
    }

    fn members(&self, side: Side, old: &Fields, new: &Fields) -> bool {
        let mut pairs = new
            .iter()
            .filter_map(|(key, datum)| Some((old.get(key)?.refs(), datum.refs())));
        pairs.any(|(old, new)| {
            new.iter().any(|one| {
                let Ref::Unknown(native) = one else { return false };
                let item = self.natives.get(side).get(&**native).and_then(|at| self.items.get(*at));
                item.is_some_and(|item| old.contains(&Ref::Known(item.id)))
            })
        })
    }

    /// The row's record is gone, and another one has its number.
    fn slip(&mut self, side: Side, at: usize, parts: Option<&Vec<usize>>, fresh: &mut Vec<(Arc<str>, Fields)>) {
        self.slips.push(at);
        let parts = parts
            .into_iter()
            .flatten()
            .copied()
            .filter(|at| self.items.get(*at).is_some_and(|item| item.kind() == EntityKind::Child));
        let all: Vec<usize> = std::iter::once(at).chain(parts).collect();
        for at in all {
            let Some(item) = self.items.get_mut(at) else { continue };
            let native = item.row_mut().native.get_mut(side).take();
            *item.is.get_mut(side) = Is::Gone;
            *item.now.get_mut(side) = None;
            item.assumed = true;
            if let (Some(native), Some(fields)) = (native, item.raw.get_mut(side).take()) {
                self.natives.get_mut(side).remove(&native);
                fresh.push((native, fields));
            }
        }
    }

    /// None of a side's identifiers is worth anything: everything it told is new.
    pub(super) fn forget(&mut self, side: Side, fresh: &mut Vec<(Arc<str>, Fields)>) {
        self.natives.get_mut(side).clear();
        for item in &mut self.items {
            let native = item.row_mut().native.get_mut(side).take();
            if native.is_some() {
                *item.is.get_mut(side) = Is::Lost;
                *item.now.get_mut(side) = None;
                if let Some(more) = &mut item.row_mut().more {
                    *more.pending.get_mut(side) = None;
                }
            }
            if let (Some(native), Some(fields)) = (native, item.raw.get_mut(side).take()) {
                fresh.push((native, fields));
            }
        }
        fresh.sort_by(|a, b| a.0.cmp(&b.0));
    }
}
