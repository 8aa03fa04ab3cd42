//! What became of earlier pushes, as far as this session's reports tell. Spec: mobilesync, section 15.3, step 2.

use std::sync::Arc;

use super::canon;
use super::id::{Side, Sides};
use super::identity::{Is, Item, People};
use super::mask::Mask;
use super::state::{Held, Kind, MAX_REJECTS, More, Pending, Why};
use super::value::{Fields, groups};

/// A transfer that a side did not take, after all tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GivenUp {
    pub(crate) at: usize,
    pub(crate) side: Side,
    pub(crate) group: String,
}

/// What settling found out.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    pub(crate) given_up: Vec<GivenUp>,
    /// Values that came back otherwise than they were sent, directly after the push: for the mask.
    pub(crate) rewritten: Vec<GivenUp>,
    /// Transfers that were skipped and are planned again.
    pub(crate) skipped: usize,
}

/// How far conclusions may go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ground {
    /// Nobody else committed in between.
    pub(crate) own: bool,
    /// A full pull on the connection of the pushing session, directly after it.
    pub(crate) directly_after: bool,
}

/// `confirms`: the sides whose outcomes prove something. A push is pending there only when a session broke off before its
/// writes became visible, so a record that was to be made and is not there was never made.
pub(crate) fn run(
    people: &mut People,
    masks: &Sides<&Mask>,
    grounds: &Sides<Ground>,
    confirms: &Sides<bool>,
) -> Settled {
    let mut settled = Settled::default();
    for (at, item) in people.items.iter_mut().enumerate() {
        if item.row.more.is_none() {
            continue;
        }
        for side in Side::BOTH {
            let create = item
                .row
                .pending(side)
                .is_some_and(|pending| pending.kind == Kind::Create);
            if create && *confirms.get(side) && !item.there(side) {
                *item.is.get_mut(side) = Is::Absent;
                let row = item.row_mut();
                *row.native.get_mut(side) = None;
                *row.more().pending.get_mut(side) = None;
                row.agreed = Sides::default();
            }
        }
        for side in Side::BOTH {
            // A verification pull says nothing against a row that was just settled as agreed: nothing is pending there.
            if !*item.covered.get(side) || item.row.pending(side).is_none() {
                continue;
            }
            let Some(pending) = item.row_mut().more().pending.get_mut(side).take() else {
                continue;
            };
            let mut one = One {
                at,
                side,
                mask: masks.get(side),
                ground: *grounds.get(side),
                confirms: *confirms.get(side),
                settled: &mut settled,
            };
            match pending.kind {
                Kind::Delete => one.deletion(item, &pending),
                Kind::Create | Kind::Update => one.values(item, &pending),
            }
        }
        if item.row.more.as_deref().is_some_and(|more| *more == More::default()) {
            item.row_mut().tidy();
        }
    }
    settled
}

struct One<'a> {
    at: usize,
    side: Side,
    mask: &'a Mask,
    ground: Ground,
    /// The side refuses nothing without saying so: what is not there was broken off, and is tried again without limit.
    confirms: bool,
    settled: &'a mut Settled,
}

impl One<'_> {
    fn deletion(&mut self, item: &mut Item, pending: &Pending) {
        if !item.there(self.side) {
            item.row_mut().set_rejects(self.side, "*", 0);
            return;
        }
        // Not own: somebody made it anew, and it is a new record of this side: nothing is agreed about it.
        if !self.ground.own {
            return;
        }
        let rejects = if self.confirms {
            0
        } else {
            item.row.rejects(self.side, "*")
        };
        if rejects >= MAX_REJECTS {
            // It stays there, and is not brought back to the other side until it changes.
            if let Some(now) = item.now(self.side).cloned() {
                let content = canon::record_hash(&now).0;
                *item.row_mut().more().held.get_mut(self.side.other()) = Some(Box::new(Held {
                    why: Why::Deferred,
                    content,
                }));
            }
            self.settled.given_up.push(GivenUp {
                at: self.at,
                side: self.side,
                group: "*".to_owned(),
            });
        } else {
            item.row_mut().agreed = pending.agreed.clone();
            self.settled.skipped = self.settled.skipped.saturating_add(1);
            item.row_mut().set_rejects(self.side, "*", rejects.saturating_add(1));
        }
    }

    fn values(&mut self, item: &mut Item, pending: &Pending) {
        if !item.there(self.side) {
            return; // gone since: an ordinary deletion
        }
        let Some(now) = item.now(self.side).cloned() else {
            return;
        };
        let pushed = pending.pushes.iter().map(|push| push.wanted.as_deref());
        let records = [Some(&*now), pending.before.as_deref()].into_iter().chain(pushed);
        for group in groups(records) {
            self.group(item, pending, &now, group);
        }
    }

    fn group(&mut self, item: &mut Item, pending: &Pending, now: &Arc<Fields>, group: &str) {
        let takes = |key: &str| now.group_of(key) == group && self.mask.takes(now, key);
        let equal = |other: Option<&Fields>| canon::same(Some(now), other, &takes);
        let mut pushes = pending.pushes.iter().rev();
        let Some(newest) = pushes.next() else { return };
        if equal(newest.wanted.as_deref()) {
            item.row_mut().set_rejects(self.side, group, 0);
            return;
        }
        let rejects = if self.confirms {
            0
        } else {
            item.row.rejects(self.side, group)
        };
        let older = pushes.find(|push| equal(push.wanted.as_deref()));
        let skipped = equal(pending.before.as_deref());
        // A group whose transfer the other way failed went along as it was here: what the side makes of it still has to get
        // there.
        let agreed = item.row.agreed.get(self.side).as_deref();
        let was_agreed = canon::same(agreed, newest.wanted.as_deref(), &takes);
        let report = GivenUp {
            at: self.at,
            side: self.side,
            group: group.to_owned(),
        };
        if let Some(older) = older {
            self.agree(item, group, Some(now), older.other.as_ref());
            self.again(item, group, rejects);
        } else if skipped && self.ground.own && rejects < MAX_REJECTS {
            for side in Side::BOTH {
                let before = pending.agreed.get(side).as_deref();
                put(item.row_mut().agreed.get_mut(side), now, group, before);
            }
            self.again(item, group, rejects);
        } else if skipped && self.ground.own {
            let other = item.now(self.side.other()).cloned();
            self.agree(item, group, Some(now), other.as_ref());
            self.settled.given_up.push(report);
        } else if self.ground.directly_after && self.ground.own && pending.pushes.len() == 1 && was_agreed {
            self.agree(item, group, Some(now), newest.other.as_ref());
            self.settled.rewritten.push(report);
        }
        // Otherwise somebody edited it: an ordinary change of this side.
    }

    fn again(&mut self, item: &mut Item, group: &str, rejects: u8) {
        self.settled.skipped = self.settled.skipped.saturating_add(1);
        item.row_mut().set_rejects(self.side, group, rejects.saturating_add(1));
    }

    fn agree(&self, item: &mut Item, group: &str, here: Option<&Arc<Fields>>, there: Option<&Arc<Fields>>) {
        let Some(model) = here.or(there).cloned() else { return };
        put(
            item.row_mut().agreed.get_mut(self.side),
            &model,
            group,
            here.map(|now| &**now),
        );
        put(
            item.row_mut().agreed.get_mut(self.side.other()),
            &model,
            group,
            there.map(|now| &**now),
        );
    }
}

/// Sets one group of an agreed record.
pub(crate) fn put(agreed: &mut Option<Arc<Fields>>, model: &Fields, group: &str, from: Option<&Fields>) {
    let old = agreed.as_deref();
    let unchanged = canon::same(old, from, &|key| model.group_of(key) == group) && old.is_some();
    let literally = |fields: Option<&Fields>| {
        fields.map(|fields| {
            fields
                .group(group)
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect::<Vec<_>>()
        })
    };
    if unchanged && literally(old).unwrap_or_default() == literally(from).unwrap_or_default() {
        return;
    }
    let base = old.cloned().unwrap_or_else(|| Fields::empty(&model.entity));
    *agreed = Some(Arc::new(base.with_group(group, from, |_| true)));
}
