//! From what is known and what was told to a plan. Pure: the same input gives the same plan.

use std::collections::HashMap;

use super::canon;
use super::decide::{Deciding, Fate, Note, NoteKind, Verdict};
use super::id::{EngineId, SessionId, Side, Sides};
use super::identity::{self, Is, Item, People, Terms};
use super::plan::{Action, Plan, Stop, Verb};
use super::policy::{Choices, FirstSync, Policy};
use super::report::{Capabilities, Extent, Reports, Standing};
use super::settle::{self, Ground};
use super::state::{Kept, MAX_REJECTS, PairState, Why};
use super::value::{Datum, Fields, groups};
use crate::schema::EntityKind;

/// Deletions below this number never stop by their share.
const FEW: usize = 5;

/// Share of records that were not accepted, in percent, from which the next session stops.
const NOT_ACCEPTED: u8 = 5;

/// What decides besides state and reports.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The session's name, from which new identifiers are derived.
    pub session: SessionId,
    /// What is true of the two sides.
    pub capabilities: Sides<Capabilities>,
    /// What the user wants.
    pub policy: Policy,
    /// Answers to conflicts.
    pub choices: Choices,
    /// This is the full pull directly after the pushing session, on the same connection.
    pub directly_after: bool,
    /// The journal shows a replacement of the device that broke off.
    pub unfinished_replacement: bool,
}

impl Inputs {
    /// A session between a device and files, with the default policy.
    #[must_use]
    pub fn new(session: SessionId) -> Self {
        Self {
            session,
            capabilities: Sides {
                device: Capabilities::of_devices(),
                computer: Capabilities::of_files(),
            },
            policy: Policy::default(),
            choices: Choices::new(),
            directly_after: false,
            unfinished_replacement: false,
        }
    }
}

/// A plan with all that is needed to carry it out.
#[derive(Debug)]
pub struct Planned {
    pub(crate) plan: Plan,
    pub(crate) people: People,
    pub(crate) verdicts: Vec<Verdict>,
    pub(crate) state: PairState,
    pub(crate) capabilities: Sides<Capabilities>,
    pub(crate) kept: HashMap<(EngineId, String), Kept>,
    pub(crate) closed: Vec<(EngineId, String)>,
    pub(crate) skipped: usize,
}

impl Planned {
    /// What will be done.
    #[must_use]
    pub const fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Transfers of earlier sessions that were found to have been skipped, and are planned again.
    #[must_use]
    pub const fn skipped(&self) -> usize {
        self.skipped
    }
}

/// Settles what is pending, compares, merges and plans. Cost: linear in the records, a few seconds for 200,000.
///
/// Spec: mobilesync, section 15.3.
#[must_use]
pub fn plan(mut state: PairState, reports: Reports, inputs: &Inputs) -> Planned {
    let mut stops = Vec::new();
    for side in Side::BOTH {
        let report = reports.get(side);
        if !report.complete {
            stops.push(Stop::Incomplete { side });
        }
        if !report.undecodable.is_empty() {
            stops.push(Stop::Undecodable {
                side,
                ids: report.undecodable.clone(),
            });
        }
    }
    let refused = !stops.is_empty();
    let initial = state.rows.is_empty();
    let had = Sides::of(|side| {
        state
            .rows
            .values()
            .filter(|row| row.native.get(side).is_some() && is_root(row.seen.get(side).as_deref()))
            .count()
    });
    let now_roots = Sides::of(|side| {
        let report = reports.get(side);
        let roots = report.records.values().filter(|record| is_root(record.as_ref()));
        roots.count().saturating_add(report.withheld.len())
    });
    let full = Sides::of(|side| reports.get(side).extent == Extent::Everything);
    let standing = Sides::of(|side| reports.get(side).standing);
    let check = Sides::of(|side| {
        let build = (side == Side::Device).then_some(state.build.as_deref()).flatten();
        identity::needs_check(*standing.get(side), build, reports.get(side).build.as_deref())
    });
    let derive = Sides::of(|side| {
        let report = reports.get(side);
        report.complete
            && report.undecodable.is_empty()
            && *standing.get(side) != Standing::Reset
            && !inputs.unfinished_replacement
    });
    let build = reports.sides.device.build.clone();
    let terms = Terms {
        session: &inputs.session,
        capabilities: &inputs.capabilities,
        check,
        derive,
    };
    let mut people = identity::meet(&mut state, reports.sides, &terms);
    let masks = Sides::of(|side| &inputs.capabilities.get(side).mask);
    let grounds = Sides::of(|side| Ground {
        own: *standing.get(side) == Standing::Own,
        directly_after: inputs.directly_after && *full.get(side),
    });
    let confirms = Sides::of(|side| inputs.capabilities.get(side).confirms);
    let settled = settle::run(&mut people, &masks, &grounds, &confirms);
    let starts_anew = initial
        || Side::BOTH
            .iter()
            .any(|side| *people.discarded.get(*side) || *standing.get(*side) == Standing::Reset);
    let first = starts_anew.then_some(inputs.policy.first_sync);
    let nothing = people.items.is_empty();
    if first == Some(FirstSync::Refuse) && !nothing {
        stops.push(Stop::FirstSync);
    }
    if inputs.unfinished_replacement
        && first != Some(FirstSync::ReplaceDevice)
        && inputs.policy.first_sync != FirstSync::ReplaceDevice
    {
        stops.push(Stop::UnfinishedReplacement);
    }
    let first = match inputs.unfinished_replacement && inputs.policy.first_sync == FirstSync::ReplaceDevice {
        true => Some(FirstSync::ReplaceDevice),
        false => first,
    };
    let number = state.sessions.saturating_add(1);
    let mut deciding = Deciding::new(
        &mut people,
        &inputs.capabilities,
        &inputs.policy,
        &inputs.choices,
        &inputs.session,
        number,
        first,
    );
    deciding.run();
    let (verdicts, mut notes, kept, closed, asks) = (
        std::mem::take(&mut deciding.verdicts),
        std::mem::take(&mut deciding.notes),
        std::mem::take(&mut deciding.kept),
        std::mem::take(&mut deciding.closed),
        deciding.asks,
    );
    drop(deciding);
    let clear = first == Some(FirstSync::ReplaceDevice)
        && inputs.capabilities.device.can_clear
        && inputs.policy.writes(Side::Device);
    if clear {
        empty_device(&mut people);
    }
    for (list, rewritten) in [(settled.given_up, false), (settled.rewritten, true)] {
        for given in list {
            let Some(item) = people.items.get(given.at) else {
                continue;
            };
            let what = match rewritten {
                true => NoteKind::Rewritten {
                    side: given.side,
                    group: given.group,
                },
                false => NoteKind::NotAccepted {
                    side: given.side,
                    group: given.group,
                },
            };
            notes.push(Note { id: item.id, what });
        }
    }
    let assumed = people.items.iter().filter(|item| item.assumed);
    notes.extend(assumed.map(|item| Note {
        id: item.id,
        what: NoteKind::Assumed,
    }));
    let mut drafting = Drafting {
        people: &mut people,
        verdicts: &verdicts,
        inputs,
        notes,
        withheld: 0,
        class: &state.class,
    };
    let mut actions = Sides::of(|side| drafting.side(side));
    let (mut notes, withheld) = (drafting.notes, drafting.withheld);
    notes.sort();
    notes.dedup();
    if refused {
        actions = Sides::default();
    } else {
        let replaces = matches!(first, Some(FirstSync::ReplaceDevice | FirstSync::ReplaceComputer));
        for side in Side::BOTH {
            let emptied = *full.get(side) && *had.get(side) > 0 && *now_roots.get(side) == 0;
            brakes(&mut stops, actions.get(side), *had.get(side), side, inputs, replaces);
            if emptied && !replaces && first.is_none() {
                stops.push(Stop::Emptied {
                    side,
                    had: *had.get(side),
                });
            }
        }
        if asks > 0 {
            stops.push(Stop::Asks { conflicts: asks });
        }
        let writes = Side::BOTH.iter().any(|side| !actions.get(*side).is_empty());
        if state.not_accepted_percent > NOT_ACCEPTED && writes && !inputs.policy.insist {
            stops.push(Stop::NotAccepted {
                percent: state.not_accepted_percent,
            });
        }
    }
    if build.is_some() {
        let same = state.build == build;
        state.build_sessions = if same { state.build_sessions } else { 0 };
        state.build = build;
    }
    if full.device {
        state.since_full = 0;
    } else {
        state.since_full = state.since_full.saturating_add(1);
    }
    state.alternations = if standing.device == Standing::Foreign {
        state.alternations.saturating_add(1)
    } else {
        0
    };
    let class = state.class.clone();
    Planned {
        plan: Plan {
            class,
            actions,
            clear: clear && !refused,
            stops,
            withheld,
            notes,
        },
        people,
        verdicts,
        state,
        capabilities: inputs.capabilities.clone(),
        kept: kept.into_iter().collect(),
        closed,
        skipped: settled.skipped,
    }
}

fn is_root(fields: Option<&Fields>) -> bool {
    fields.is_some_and(|fields| fields.kind() == EntityKind::Root)
}

/// The device is cleared: nothing is there any more.
fn empty_device(people: &mut People) {
    for item in &mut people.items {
        item.is.device = Is::Absent;
        let row = item.row_mut();
        row.native.device = None;
        row.seen.device = None;
        row.agreed = Sides::default();
        row.more = None;
        item.now.device = None;
    }
}

fn brakes(stops: &mut Vec<Stop>, actions: &[Action], had: usize, side: Side, inputs: &Inputs, replaces: bool) {
    let roots = |verb: Verb| {
        let root =
            |action: &&Action| action.verb == verb && !action.part && !action.asked_for && action.order.1 != u8::MAX;
        actions.iter().filter(root).count()
    };
    if replaces {
        return;
    }
    let share = |count: usize, percent: usize| count.saturating_mul(100) >= had.saturating_mul(percent);
    let limits = inputs.policy.brakes;
    let deletions = roots(Verb::Delete);
    if deletions >= limits.deletions || (deletions >= FEW && share(deletions, limits.deletions_percent)) {
        stops.push(Stop::Deletions {
            side,
            deletions,
            of: had,
        });
    }
    let changes = roots(Verb::Update);
    if changes >= 25 && share(changes, limits.changes_percent.saturating_add(1)) {
        stops.push(Stop::Changes { side, changes, of: had });
    }
}

struct Drafting<'a> {
    people: &'a mut People,
    verdicts: &'a [Verdict],
    inputs: &'a Inputs,
    notes: Vec<Note>,
    withheld: usize,
    class: &'a crate::DataClass,
}

impl Drafting<'_> {
    /// The writes to a side.
    fn side(&mut self, side: Side) -> Vec<Action> {
        let mut actions = Vec::new();
        for at in 0..self.people.items.len() {
            if let Some(action) = self.action(at, side) {
                actions.push(action);
            }
        }
        let writes = self.inputs.policy.writes(side) && !self.inputs.capabilities.get(side).read_only;
        if !writes {
            self.withheld = self.withheld.saturating_add(actions.len());
            return Vec::new();
        }
        self.anchored(side, &mut actions);
        actions.sort_by(|a, b| (a.order, &a.entity, a.id).cmp(&(b.order, &b.entity, b.id)));
        actions
    }

    /// What belongs to something that is kept off the side is kept off with it.
    fn anchored(&self, side: Side, actions: &mut Vec<Action>) {
        loop {
            let made: std::collections::HashSet<EngineId> = actions.iter().map(|action| action.id).collect();
            let before = actions.len();
            actions.retain(|action| {
                let at = self.people.at.get(&action.id);
                let want = at.and_then(|at| self.verdicts.get(*at)?.want.get(side).as_deref());
                let series = want.and_then(|want| want.get("main event")?.refs().first());
                let above = [want.and_then(Fields::owner), series];
                action.verb != Verb::Create
                    || above.into_iter().flatten().all(|one| match one {
                        super::value::Ref::Known(id) => {
                            let there = self.people.at.get(id).and_then(|at| self.people.items.get(*at));
                            made.contains(id) || there.is_some_and(|item| item.there(side))
                        }
                        super::value::Ref::Unknown(_) => true,
                    })
            });
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
        let want = verdict.want.get(side).as_deref();
        let groups = match verb {
            Verb::Delete => Vec::new(),
            Verb::Update => needs(item, want?, side, &self.inputs.capabilities),
            Verb::Create => groups([want]).into_iter().map(str::to_owned).collect(),
        };
        let mask = &self.inputs.capabilities.get(side).mask;
        let fields = want.or(item.any())?;
        if (verb == Verb::Update && groups.is_empty()) || !mask.takes_entity(fields) || self.held(at, side, verb) {
            return None;
        }
        let item = self.people.items.get(at)?;
        let fields = want.or(item.any())?;
        Some(Action {
            verb,
            id: item.id,
            native: item.row.native.get(side).as_deref().map(str::to_owned),
            entity: item.row.entity.to_string(),
            title: title(item),
            groups,
            part: self.part(at, side, verb),
            asked_for,
            order: self.order(at, verb),
            content: canon::record_hash(fields).0,
        })
    }

    /// Whether the record is kept off the side; what was held because of other content is so no longer.
    fn held(&mut self, at: usize, side: Side, verb: Verb) -> bool {
        let Some(item) = self.people.items.get_mut(at) else {
            return true;
        };
        let Some(held) = item.row.held(side) else {
            let tired = verb == Verb::Delete && item.row.rejects(side, "*") > MAX_REJECTS;
            return tired;
        };
        let content = item
            .now
            .get(side.other())
            .as_deref()
            .map(|now| canon::record_hash(now).0);
        if content == Some(held.content) && verb != Verb::Delete {
            let why = match held.why {
                Why::Quarantined => "it was not accepted twice",
                Why::Deferred => "it was deleted there",
                Why::OutOfSelection => "it is not selected",
            };
            self.notes.push(Note {
                id: item.id,
                what: NoteKind::Held { side, why },
            });
            return true;
        }
        let row = item.row_mut();
        *row.more().held.get_mut(side) = None;
        row.set_rejects(side, "*", 0);
        row.tidy();
        false
    }

    fn part(&self, at: usize, side: Side, verb: Verb) -> bool {
        let Some(item) = self.people.items.get(at) else {
            return false;
        };
        let owner = self
            .people
            .owner(at, side)
            .or_else(|| self.people.owner(at, side.other()));
        let with = owner.and_then(|owner| self.verdicts.get(owner));
        item.kind() == EntityKind::Child
            && match verb {
                Verb::Delete => with.is_none_or(|with| with.fate != Fate::Stay),
                _ => true,
            }
    }

    fn order(&self, at: usize, verb: Verb) -> (u8, u8, u16) {
        let Some(item) = self.people.items.get(at) else {
            return (0, 0, 0);
        };
        let levels = self.class.entity_order();
        let level = levels.iter().position(|level| level.contains(&&*item.row.entity));
        let kind: usize = match item.kind() {
            EntityKind::Container => 0,
            EntityKind::Root => 1,
            EntityKind::Child => 100,
        };
        let level = u8::try_from(level.unwrap_or(kind)).unwrap_or(200);
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
        let verdict = self.verdicts.get(at)?;
        let sides = [
            verdict.want.computer.as_deref(),
            verdict.want.device.as_deref(),
            item.any(),
        ];
        let fields = sides.into_iter().flatten().next()?;
        let key = if item.kind() == EntityKind::Container {
            fields.shape?.owner?
        } else {
            "main event"
        };
        match fields.get(key)?.refs().first()? {
            super::value::Ref::Known(id) => self.people.at.get(id).copied().filter(|above| *above != at),
            super::value::Ref::Unknown(_) => None,
        }
    }
}

/// The groups in which a side differs from what it is to have.
pub(crate) fn needs(item: &Item, want: &Fields, side: Side, capabilities: &Sides<Capabilities>) -> Vec<String> {
    let Some(now) = item.now.get(side).as_deref() else {
        return Vec::new();
    };
    if std::ptr::eq(now, want) {
        return Vec::new();
    }
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

/// What a person knows a record by.
fn title(item: &Item) -> String {
    let Some(fields) = item.any() else { return String::new() };
    let keys = fields.shape.map_or(&[][..], |shape| shape.title);
    let texts = keys.iter().filter_map(|key| fields.get(key).and_then(Datum::text));
    let title: Vec<&str> = texts.filter(|text| !text.is_empty()).take(2).collect();
    title.join(" ")
}
