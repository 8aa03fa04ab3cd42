//! Folders, calendars and groups that go, and what is in them. Spec: mobilesync, section 15.3.

use std::sync::Arc;

use super::Deciding;
use crate::engine::id::Side;
use crate::engine::policy::OnDeleteEdit;
use crate::engine::value::Ref;
use crate::engine::verdict::{Fate, NoteKind};
use crate::schema::EntityKind;

impl Deciding<'_> {
    /// The container of a record after the merge.
    pub(crate) fn container(&self, at: usize) -> Option<usize> {
        let want = [self.want(at, Side::Computer), self.want(at, Side::Device)];
        let owner = want.into_iter().flatten().find_map(|fields| match fields.owner() {
            Some(Ref::Known(id)) => Some(*id),
            _ => None,
        })?;
        self.people.at.get(&owner).copied()
    }

    /// A container that goes stays for what is in it, or takes it along.
    pub(super) fn containers(&mut self) {
        let goes = |this: &Self, at: usize| {
            let container = this.item(at).is_some_and(|item| item.kind() != EntityKind::Child);
            container && this.fate(at) == Fate::Go
        };
        for _ in 0..=self.people.items.len().min(256) {
            if !self.verdicts.items().any(|at| goes(self, at)) {
                return;
            }
            let mut doomed: Vec<(usize, usize)> = Vec::new();
            for at in 0..self.people.items.len() {
                if self.fate(at) == Fate::Stay
                    && let Some(container) = self.container(at)
                    && goes(self, container)
                {
                    doomed.push((at, container));
                }
            }
            if doomed.is_empty() {
                return;
            }
            for (at, container) in doomed {
                let keeper = Side::BOTH
                    .into_iter()
                    .find(|side| self.item(container).is_some_and(|item| item.there(*side)));
                match keeper {
                    Some(keeper)
                        if self.policy.on_delete_edit != OnDeleteEdit::DeleteWins
                            && self.fate(container) == Fate::Go =>
                    {
                        self.revive(container, keeper.other());
                        self.note(container, NoteKind::Revived);
                        self.value(container);
                    }
                    Some(_) if self.fate(container) != Fate::Go => {}
                    Some(_) => {
                        for at in std::iter::once(at).chain(self.all_parts(at)).collect::<Vec<_>>() {
                            self.set(at, Fate::Go);
                        }
                    }
                    // Gone on both sides: what is left in it hangs at the root.
                    None => self.orphan(at),
                }
            }
        }
    }

    /// What goes leaves the groups that it is in: one side may have put it into a group while the other deleted it.
    pub(super) fn memberships(&mut self) {
        let goes = |this: &Self, one: &Ref| match one {
            Ref::Known(id) => this.people.at.get(id).is_some_and(|at| this.fate(*at) == Fate::Go),
            Ref::Unknown(_) => false,
        };
        for at in self.verdicts.items().collect::<Vec<_>>() {
            if self.fate(at) != Fate::Stay {
                continue;
            }
            for side in Side::BOTH {
                let Some(want) = self.want(at, side).map(Arc::clone) else {
                    continue;
                };
                let leaves = want
                    .iter()
                    .filter(|(_, datum)| datum.refs().iter().any(|one| goes(self, one)));
                let groups: Vec<&str> = leaves.map(|(key, _)| want.group_of(key)).collect();
                if groups.is_empty() {
                    continue;
                }
                let rest = Arc::new(want.without(|one| goes(self, one)));
                if let Some(verdict) = self.verdicts.touch(self.people, at) {
                    *verdict.want.get_mut(side) = Some(rest);
                    groups.into_iter().for_each(|group| verdict.moved.insert(group));
                }
            }
        }
    }

    pub(crate) fn orphan(&mut self, at: usize) {
        let Some(verdict) = self.verdicts.touch(self.people, at) else {
            return;
        };
        for side in Side::BOTH {
            if let Some(want) = verdict.want.get_mut(side)
                && let Some(owner) = want.shape.and_then(|shape| shape.owner)
            {
                *want = Arc::new(want.with(&owner.into(), None));
                verdict.moved.insert(want.group_of(owner));
            }
        }
    }
}
