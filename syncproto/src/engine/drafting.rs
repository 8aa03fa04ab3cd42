//! The writes of a plan: what each side lacks of what it is to have, in the order of section 15.7. Spec: mobilesync,
//! sections 15.3 and 15.7.

use std::sync::Arc;

use super::canon;
use super::draft::Inputs;
use super::id::{EngineId, Side, Sides};
use super::identity::{Is, Item, People};
use super::plan::{Action, Verb};
use super::report::Capabilities;
use super::state::{CHANCE, Held, MAX_REJECTS, PairState, Why};
use super::value::{Fields, Ref, groups};
use super::verdict::{Fate, Note, NoteKind, Verdicts};
use crate::schema::EntityKind;
use crate::{DataClass, entity};

/// Makes the writes of a plan.
pub(super) struct Drafting<'a> {
    pub(super) people: &'a mut People,
    pub(super) verdicts: &'a Verdicts,
    pub(super) inputs: &'a Inputs,
    pub(super) notes: Vec<Note>,
    pub(super) withheld: usize,
    /// What is known, without its rows.
    pub(super) state: &'a PairState,
    /// Records that broke session after session when they were sent to the device.
    pub(super) broken: &'a [EngineId],
    /// Records that did so long ago, and are tried once more.
    pub(super) again: Vec<EngineId>,
}

impl Drafting<'_> {
    /// The writes to a side.
    pub(super) fn side(&mut self, side: Side) -> Vec<Action> {
        let mut actions = Vec::new();
        for at in self.verdicts.items() {
            actions.extend(self.action(at, side));
        }
        let writes = self.inputs.policy.writes(side) && !self.inputs.capabilities.get(side).read_only;
        if !writes {
            self.withheld = self.withheld.saturating_add(actions.len());
            return Vec::new();
        }
        self.anchored(side, &mut actions);
        if side == Side::Computer && self.state.class == DataClass::Contacts {
            self.by_wholes(&mut actions);
        } else {
            actions.sort_by(|a, b| (a.order, a.entity(), a.id).cmp(&(b.order, b.entity(), b.id)));
        }
        actions
    }

    /// Puts the parts of a contact directly after it, in the same step of the order, for the computer: a folder finishes
    /// one card after the other and does not need to hold all of them until the last telephone number came. (An event is
    /// called by a name that its replica makes, and its parts by that: they wait until it is known.)
    fn by_wholes(&self, actions: &mut [Action]) {
        for action in actions.iter_mut().filter(|action| action.verb != Verb::Delete) {
            if let Some(whole) = self.whole(action.at) {
                let (_, level, _) = action.order;
                action.order = self.order(whole, Side::Computer, action.verb);
                action.place = level.saturating_add(1);
            }
        }
        actions.sort_by_cached_key(|action| {
            let whole = match action.place {
                0 => None,
                _ => self.whole(action.at).and_then(|at| self.people.items.get(at)),
            };
            let whole = whole.map_or(action.id, |whole| whole.id);
            (action.order, whole, action.place, action.id)
        });
    }

    /// The record that a part belongs to, or what that belongs to.
    fn whole(&self, part: usize) -> Option<usize> {
        let mut at = part;
        for _ in 0..8 {
            let item = self.people.items.get(at)?;
            if item.kind() != EntityKind::Child {
                break;
            }
            let want = self.verdicts.want(self.people, at, Side::Computer);
            match want.or(item.any()).and_then(|fields| fields.owner()) {
                Some(Ref::Known(owner)) => at = self.people.at.get(owner).copied()?,
                _ => break,
            }
        }
        (at != part).then_some(at)
    }

    /// What belongs to something that is kept off the side is kept off with it.
    fn anchored(&self, side: Side, actions: &mut Vec<Action>) {
        let mut made = vec![false; self.people.items.len()];
        for action in &*actions {
            if let Some(made) = made.get_mut(action.at) {
                *made = true;
            }
        }
        loop {
            let before = actions.len();
            let mut gone = Vec::new();
            actions.retain(|action| {
                let want = self.verdicts.want(self.people, action.at, side).map(|want| &**want);
                let series = want.and_then(|want| want.get("main event")?.refs().first());
                let above = [want.and_then(Fields::owner), series];
                let stays = action.verb != Verb::Create
                    || above.into_iter().flatten().all(|one| match one {
                        Ref::Known(id) => self.people.at.get(id).is_some_and(|at| {
                            let there = self.people.items.get(*at).is_some_and(|item| item.there(side));
                            there || made.get(*at) == Some(&true)
                        }),
                        Ref::Unknown(_) => true,
                    });
                if !stays {
                    gone.push(action.at);
                }
                stays
            });
            for at in gone {
                if let Some(made) = made.get_mut(at) {
                    *made = false;
                }
            }
            if actions.len() == before {
                return;
            }
        }
    }

    fn action(&mut self, at: usize, side: Side) -> Option<Action> {
        let item = self.people.items.get(at)?;
        let verdict = self.verdicts.get(at)?;
        let there = item.there(side);
        let (verb, asked_for) = match verdict.fate {
            Fate::Go if there => (Verb::Delete, false),
            Fate::Deselect if side == Side::Device => (Verb::Delete, true),
            Fate::Stay if there => (Verb::Update, false),
            Fate::Stay if *item.is.get(side) == Is::Absent => (Verb::Create, false),
            _ => return None,
        };
        let want = verdict.want.get(side).as_ref();
        let groups: Option<Box<[String]>> = match (verb, want) {
            (Verb::Create, Some(_)) => None,
            (Verb::Update, _) => Some(needs(item, want?, side, &self.inputs.capabilities).into()),
            (Verb::Delete, _) | (Verb::Create, None) => Some(Box::default()),
        };
        let mask = &self.inputs.capabilities.get(side).mask;
        let fields = Arc::clone(want.or(item.any())?);
        let nothing = groups.as_deref().is_some_and(<[String]>::is_empty);
        if (verb == Verb::Update && nothing) || !mask.takes_entity(&fields) || self.held(at, side, verb) {
            return None;
        }
        let item = self.people.items.get(at)?;
        let known = Arc::clone(item.any().unwrap_or(&fields));
        Some(Action {
            verb,
            id: item.id,
            native: item.row.native.get(side).clone(),
            part: self.part(at, side, verb),
            asked_for,
            order: self.order(at, side, verb),
            at,
            place: 0,
            fields,
            known,
            groups,
        })
    }

    /// Whether the record is kept off the side; what was held because of other content is so no longer.
    fn held(&mut self, at: usize, side: Side, verb: Verb) -> bool {
        let chance = self.chance(at);
        let Some(item) = self.people.items.get_mut(at) else {
            return true;
        };
        let breaks = side == Side::Device && self.broken.contains(&item.id);
        if item.row.held(side).is_none() && !breaks {
            return verb == Verb::Delete && item.row.rejects(side, "*") > MAX_REJECTS;
        }
        // What is deleted has no content.
        let content = item.now(side.other()).map_or([0; 32], |now| canon::record_hash(now).0);
        if breaks {
            let why = Why::Quarantined;
            let row = item.row_mut();
            row.set_rejects(side, "*", row.rejects(side, "*").saturating_add(1));
            *row.more().held.get_mut(side) = Some(Box::new(Held { why, content }));
        }
        let why = item
            .row
            .held(side)
            .filter(|held| held.content == content)
            .map(|held| held.why);
        // One that was refused, not broken at, has two rejects when it is held.
        let once = why == Some(Why::Quarantined) && item.row.rejects(side, "*") == 1;
        let why = why.filter(|_| !once || breaks || !chance);
        if why.is_none() && once {
            self.again.push(item.id);
        }
        let why = match (why, verb) {
            (Some(Why::Quarantined), _) if once => {
                "it broke the sync again and again; it is tried once more later, or when it is edited"
            }
            (Some(Why::Quarantined), _) => {
                "it was not taken twice, or broke the sync; it is tried again when it is edited"
            }
            (Some(Why::Deferred), Verb::Create | Verb::Update) => "it was deleted there",
            // What is out of the selection is left alone before it comes here: this is selected again.
            _ => {
                let row = item.row_mut();
                *row.more().held.get_mut(side) = None;
                row.set_rejects(side, "*", 0);
                row.tidy();
                return false;
            }
        };
        let what = NoteKind::Held { side, why };
        self.notes.extend(self.people.note(at, what));
        true
    }

    /// Whether a record that broke sessions is sent in this one all the same, to see whether it was the cable.
    fn chance(&self, at: usize) -> bool {
        let Some(item) = self.people.items.get(at) else {
            return false;
        };
        let searched = self.state.bisect.as_ref();
        self.state.sessions.is_multiple_of(CHANCE) && searched.is_none_or(|bisect| bisect.ids.contains(&item.id))
    }

    fn part(&self, at: usize, side: Side, verb: Verb) -> bool {
        let Some(item) = self.people.items.get(at) else {
            return false;
        };
        let owner = self
            .people
            .owner(at, side)
            .or_else(|| self.people.owner(at, side.other()));
        // Only what is there takes its parts along; one that hung on nothing is removed by itself.
        let goes_too = owner.is_some_and(|owner| {
            let there = self.people.items.get(owner).is_some_and(|owner| owner.there(side));
            there && self.verdicts.fate(owner) != Fate::Stay
        });
        item.kind() == EntityKind::Child
            && match verb {
                Verb::Delete => goes_too,
                _ => true,
            }
    }

    fn order(&self, at: usize, side: Side, verb: Verb) -> (u8, u8, u16) {
        let Some(item) = self.people.items.get(at) else {
            return (0, 0, 0);
        };
        let levels = self.state.class.entity_order();
        let level = levels.iter().position(|level| level.contains(&&*item.row.entity));
        let kind: usize = match item.kind() {
            EntityKind::Container => 0,
            EntityKind::Root => 1,
            EntityKind::Child => 100,
        };
        // A device takes groups with the contacts in them; on the computer they wait until it is known which of those are
        // there.
        let grouped = side == Side::Computer && &*item.row.entity == entity::GROUP;
        let level = if grouped {
            200
        } else {
            u8::try_from(level.unwrap_or(kind)).unwrap_or(200)
        };
        let mut depth = 0_u16;
        let mut next = at;
        while let Some(owner) = self.above(next) {
            depth = depth.saturating_add(1);
            next = owner;
            if depth > 200 {
                break;
            }
        }
        match verb {
            Verb::Delete => (
                1,
                255_u8.saturating_sub(level).saturating_sub(1),
                1000_u16.saturating_sub(depth),
            ),
            _ => (0, level, depth),
        }
    }

    /// What has to be there before a record of the same entity: the folder of a folder, the series of an occurrence.
    fn above(&self, at: usize) -> Option<usize> {
        let item = self.people.items.get(at)?;
        let want = |side| self.verdicts.want(self.people, at, side).map(|want| &**want);
        let sides = [want(Side::Computer), want(Side::Device), item.any().map(|any| &**any)];
        let fields = sides.into_iter().flatten().next()?;
        let key = if item.kind() == EntityKind::Container {
            fields.shape?.owner?
        } else {
            "main event"
        };
        match fields.get(key)?.refs().first()? {
            Ref::Known(id) => self.people.at.get(id).copied().filter(|above| *above != at),
            Ref::Unknown(_) => None,
        }
    }
}

/// The groups in which a side differs from what it is to have.
pub(crate) fn needs(item: &Item, want: &Fields, side: Side, capabilities: &Sides<Capabilities>) -> Vec<String> {
    let Some(now) = item.now(side) else {
        return Vec::new();
    };
    if std::ptr::eq(&**now, want) {
        return Vec::new();
    }
    let now: &Fields = now;
    let mask = &capabilities.get(side).mask;
    let predicted = mask.predict(want);
    let differs = |group: &&str| {
        let takes = |key: &str| want.group_of(key) == *group && mask.takes(want, key);
        // What the side would make of it is there already.
        !canon::same(Some(now), Some(want), &takes) && !canon::same(Some(now), Some(&predicted), &takes)
    };
    let groups = groups([Some(now), Some(want)]);
    groups.into_iter().filter(differs).map(str::to_owned).collect()
}
