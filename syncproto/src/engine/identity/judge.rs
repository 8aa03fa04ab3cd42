//! Whether what a side reports under a known identifier still is the record it was. Spec: mobilesync, sections 15.3
//! ("Identity slip") and 15.4.

use std::collections::{HashMap, HashSet};

use super::super::canon;
use super::super::likeness::{kin, plain, value_of};
use super::{Datum, EntityKind, Fields, Fresh, Is, Item, People, Ref, Side, Terms};

impl People {
    /// Looks whether reported records still are who they were: where identifiers may be reused, and where the map is not
    /// to be trusted without a check.
    pub(super) fn judge(&mut self, side: Side, mut fresh: Vec<Fresh>, reused: bool, terms: &Terms<'_>) -> Vec<Fresh> {
        let (check, derive) = (*terms.check.get(side), *terms.derive.get(side));
        if !reused && !check {
            return fresh;
        }
        if check && self.renumbered(side, &fresh) {
            *self.discarded.get_mut(side) = true;
            return fresh;
        }
        let (mut suspects, mut judged) = (Vec::new(), 0_usize);
        for (at, item) in self.items.iter().enumerate() {
            let (Some(new), Some(old)) = (item.told.get(side), item.row.agreed.get(side)) else {
                continue;
            };
            if item.kind() == EntityKind::Child || canon::is_empty(old, &plain(old)) {
                continue;
            }
            judged = judged.saturating_add(1);
            if !kin(old, new) {
                suspects.push(at);
            }
        }
        if suspects.is_empty() {
            return fresh;
        }
        let parts = self.parts(side, &suspects);
        let strangers = self.strangers(side, suspects, &parts, &fresh, check);
        if check && strangers.len().saturating_mul(10) > judged {
            *self.discarded.get_mut(side) = true;
            return fresh;
        }
        for at in strangers {
            self.slip(side, at, derive, parts.get(&at), &mut fresh);
        }
        fresh
    }

    /// Whether the side has none of its records under the identifiers that are known, and at least half of them under new
    /// ones, as it seems: it was restored, or replaced by somebody. Nobody deleted all of that.
    fn renumbered(&self, side: Side, fresh: &[Fresh]) -> bool {
        let whole = |item: &&Item| item.kind() != EntityKind::Child && item.row.native.get(side).is_some();
        if fresh.is_empty() || self.items.iter().filter(whole).any(|item| item.there(side)) {
            return false;
        }
        let title = |fields: &Fields| {
            let keys = fields.shape.map_or(&[][..], |shape| shape.title);
            let text = |key: &&str| {
                fields
                    .get(key)
                    .and_then(Datum::text)
                    .map(canon::fold)
                    .unwrap_or_default()
            };
            let title: Vec<String> = keys.iter().map(text).collect();
            title
                .iter()
                .any(|text| !text.is_empty())
                .then(|| (fields.entity.clone(), title))
        };
        let new: HashSet<_> = fresh.iter().filter_map(|(_, fields)| title(fields)).collect();
        let (mut all, mut found) = (0_usize, 0_usize);
        for item in self.items.iter().filter(whole) {
            all = all.saturating_add(1);
            let again = item
                .row
                .agreed
                .get(side)
                .as_deref()
                .and_then(title)
                .is_some_and(|title| new.contains(&title));
            found = found.saturating_add(usize::from(again));
        }
        found > 0 && found.saturating_mul(2) >= all
    }

    /// What belonged to some items when it was agreed.
    fn parts(&self, side: Side, of: &[usize]) -> HashMap<usize, Vec<usize>> {
        let of: HashSet<usize> = of.iter().copied().collect();
        let mut parts: HashMap<usize, Vec<usize>> = HashMap::new();
        for (at, item) in self.items.iter().enumerate() {
            if let Some(Ref::Known(owner)) = item.row.agreed.get(side).as_deref().and_then(Fields::owner)
                && let Some(owner) = self.at.get(owner).filter(|at| of.contains(at))
            {
                parts.entry(*owner).or_default().push(at);
            }
        }
        parts
    }

    /// Those of some items that share no child, no content and no member with what they were either.
    fn strangers(
        &self,
        side: Side,
        mut suspects: Vec<usize>,
        parts: &HashMap<usize, Vec<usize>>,
        fresh: &[Fresh],
        check: bool,
    ) -> Vec<usize> {
        let name = |at: usize| self.items.get(at).and_then(|item| item.row.native.get(side).as_deref());
        let names: HashSet<&str> = suspects.iter().filter_map(|at| name(*at)).collect();
        let mut has: HashMap<&str, HashSet<String>> = HashMap::new();
        let told = self.items.iter().filter_map(|item| item.told.get(side).as_ref());
        for fields in told.chain(fresh.iter().map(|(_, fields)| fields)) {
            if let Some(Ref::Unknown(owner)) = fields.owner()
                && let Some(owner) = names.get(&**owner)
            {
                has.entry(owner).or_default().extend(value_of(fields));
            }
        }
        suspects.retain(|at| {
            let Some(item) = self.items.get(*at) else { return false };
            let (Some(new), Some(old)) = (item.told.get(side), item.row.agreed.get(side)) else {
                return false;
            };
            let native = name(*at).unwrap_or_default();
            let had = || parts.get(at).into_iter().flatten().filter_map(|at| self.items.get(*at));
            let has = has.get(native);
            let shares_child = had().any(|part| {
                let value = part.row.agreed.get(side).as_deref().and_then(value_of);
                value.is_some_and(|value| has.is_some_and(|has| has.contains(&value)))
            });
            // A folder is known by what is in it, too.
            let contents = || {
                had().any(|part| {
                    let owner = part.told.get(side).as_deref().and_then(Fields::owner);
                    part.kind() != EntityKind::Child && matches!(owner, Some(Ref::Unknown(owner)) if **owner == *native)
                })
            };
            !(shares_child || (!check && contents()) || self.members(side, old, new))
        });
        suspects
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

    /// Another record has the number of the row's, which is gone, if that may be concluded.
    fn slip(&mut self, side: Side, at: usize, derive: bool, parts: Option<&Vec<usize>>, fresh: &mut Vec<Fresh>) {
        let parts = parts
            .into_iter()
            .flatten()
            .copied()
            .filter(|at| self.items.get(*at).is_some_and(|item| item.kind() == EntityKind::Child));
        let all: Vec<usize> = std::iter::once(at).chain(parts).collect();
        for at in all {
            let Some(item) = self.items.get_mut(at) else { continue };
            let native = item.row_mut().native.get_mut(side).take();
            *item.is.get_mut(side) = if derive { Is::Gone } else { Is::Lost };
            item.assumed = true;
            if let (Some(native), Some(fields)) = (native, item.told.get_mut(side).take()) {
                self.natives.get_mut(side).remove(&native);
                fresh.push((native, fields));
            }
        }
    }

    /// None of a side's identifiers is worth anything: everything it told is new.
    pub(super) fn forget(&mut self, side: Side, fresh: &mut Vec<Fresh>) {
        self.natives.get_mut(side).clear();
        for item in &mut self.items {
            let native = match item.row.native.get(side) {
                Some(_) => item.row_mut().native.get_mut(side).take(),
                None => None,
            };
            if native.is_some() {
                *item.is.get_mut(side) = Is::Lost;
                if item.row.more.is_some()
                    && let Some(more) = &mut item.row_mut().more
                {
                    *more.pending.get_mut(side) = None;
                }
            }
            if let (Some(native), Some(fields)) = (native, item.told.get_mut(side).take()) {
                fresh.push((native, fields));
            }
        }
        fresh.sort_by(|a, b| a.0.cmp(&b.0));
    }
}
