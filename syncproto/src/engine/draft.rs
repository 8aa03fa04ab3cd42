//! From what is known and what was told to a plan. Pure: the same input gives the same plan.

use std::collections::BTreeMap;

use super::decide::Deciding;
use super::drafting::Drafting;
use super::id::{EngineId, SessionId, Side, Sides};
use super::identity::{self, People, Terms};
use super::plan::{Action, Plan, Stop, Verb};
use super::policy::{Choices, FirstSync, Policy};
use super::report::{Capabilities, Extent, Report, Reports, Standing};
use super::settle::{self, Ground, Settled};
use super::state::{Bisect, Kept, PairState};
use super::verdict::{Note, NoteKind, Verdicts};
use crate::schema::EntityKind;

/// Deletions below this number never stop by their share.
const FEW: usize = 5;

/// Share of records that were not accepted, in percent, from which the next session stops.
const NOT_ACCEPTED: u8 = 5;

/// What decides besides state and reports.
#[derive(Clone, Debug)]
pub struct Inputs {
    /// The session's name; see [`SessionId`].
    pub session: SessionId,
    /// What is true of the two sides.
    pub capabilities: Sides<Capabilities>,
    /// What the user wants.
    pub policy: Policy,
    /// Answers to conflicts.
    pub choices: Choices,
    /// This is the full pull directly after the pushing session, on the same connection.
    pub directly_after: bool,
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
        }
    }
}

/// A plan with all that is needed to carry it out.
#[derive(Debug)]
pub struct Planned {
    pub(crate) plan: Plan,
    pub(crate) people: People,
    pub(crate) verdicts: Verdicts,
    pub(crate) state: PairState,
    pub(crate) capabilities: Sides<Capabilities>,
    pub(crate) kept: BTreeMap<(EngineId, String), Kept>,
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

/// Settles what is pending, compares, merges and plans. Cost: some tenths of a second for 250,000 records of which a report
/// of changes names few; several seconds when both sides tell all of them for the first time. `docs/BENCHMARKS.md` has figures.
///
/// Spec: mobilesync, section 15.3.
#[must_use]
pub fn plan(mut state: PairState, reports: Reports, inputs: &Inputs) -> Planned {
    let told = Told::of(&state, &reports);
    let naming = state.seed.get_or_insert(inputs.session).numbered(state.sessions);
    let build = reports.sides.device.build.clone();
    let terms = Terms {
        session: &naming,
        capabilities: &inputs.capabilities,
        check: told.check,
        derive: told.derive,
    };
    let mut people = identity::meet(&mut state, reports.sides, &terms);
    let settled = settle(&mut people, &told, inputs);
    let (first, mut stops) = first(&people, &told, &state, inputs);
    let mut deciding = Deciding::new(&mut people, inputs, &state, &naming, first);
    deciding.run();
    let decided = deciding.decided();
    let clear = first == Some(FirstSync::ReplaceDevice)
        && inputs.capabilities.device.can_clear
        && inputs.policy.writes(Side::Device);
    if clear {
        people.empty_device();
    }
    let mut notes = decided.notes;
    notes.extend(assumptions(&people, &settled));
    let broken = std::mem::take(&mut state.quarantined);
    let mut drafting = Drafting {
        people: &mut people,
        verdicts: &decided.verdicts,
        inputs,
        notes,
        withheld: 0,
        state: &state,
        broken: &broken,
        again: Vec::new(),
    };
    let mut actions = Sides::of(|side| drafting.side(side));
    let (mut notes, withheld, again) = (drafting.notes, drafting.withheld, drafting.again);
    if !again.is_empty() {
        // Each in a batch of its own, so that it is the only suspect when the session breaks.
        state.bisect = Some(Bisect::alone(again));
    }
    notes.sort();
    notes.dedup();
    if told.refused() {
        actions = Sides::default();
    } else {
        stops.extend(brakes(&actions, &people, &told, first, inputs));
        stops.extend((decided.asks > 0).then_some(Stop::Asks {
            conflicts: decided.asks,
        }));
        let percent = state.not_accepted_percent;
        let writes = Side::BOTH.iter().any(|side| !actions.get(*side).is_empty());
        if percent > NOT_ACCEPTED && writes && !inputs.policy.insist {
            stops.push(Stop::NotAccepted { percent });
        }
    }
    count(&mut state, &told, build);
    Planned {
        plan: Plan {
            class: state.class.clone(),
            actions,
            clear: clear && !told.refused(),
            stops,
            withheld,
            notes,
        },
        people,
        verdicts: decided.verdicts,
        state,
        capabilities: inputs.capabilities.clone(),
        kept: decided.kept,
        closed: decided.closed,
        skipped: settled.skipped,
    }
}

/// How far the reports go, and what may be concluded from them.
struct Told {
    stops: Vec<Stop>,
    full: Sides<bool>,
    standing: Sides<Standing>,
    /// Roots that are there.
    roots: Sides<usize>,
    /// Identifiers have to be checked before they are used.
    check: Sides<bool>,
    /// Absence is a deletion.
    derive: Sides<bool>,
    initial: bool,
}

impl Told {
    fn of(state: &PairState, reports: &Reports) -> Self {
        let mut stops = Vec::new();
        for side in Side::BOTH {
            let report = reports.get(side);
            if !report.complete {
                stops.push(Stop::Incomplete { side });
            }
            if !report.undecodable.is_empty() {
                let ids = report.undecodable.clone();
                stops.push(Stop::Undecodable { side, ids });
            }
        }
        let roots = |report: &Report| {
            let records = report.records.values().flatten();
            let told = records.filter(|record| record.kind() == EntityKind::Root).count();
            told.saturating_add(report.withheld.len())
        };
        Self {
            stops,
            full: Sides::of(|side| reports.get(side).extent == Extent::Everything),
            standing: Sides::of(|side| reports.get(side).standing),
            roots: Sides::of(|side| roots(reports.get(side))),
            check: Sides::of(|side| {
                let build = (side == Side::Device).then_some(state.build.as_deref()).flatten();
                let report = reports.get(side);
                identity::needs_check(report.standing, build, report.build.as_deref())
            }),
            derive: Sides::of(|side| {
                let report = reports.get(side);
                let whole = report.complete && report.undecodable.is_empty();
                // What is missing after a replacement that broke off was not deleted by anybody.
                whole && report.standing != Standing::Reset && !state.replacing
            }),
            initial: state.rows.is_empty(),
        }
    }

    /// Whether nothing can be written at all.
    fn refused(&self) -> bool {
        !self.stops.is_empty()
    }
}

fn settle(people: &mut People, told: &Told, inputs: &Inputs) -> Settled {
    let masks = Sides::of(|side| &inputs.capabilities.get(side).mask);
    let grounds = Sides::of(|side| Ground {
        own: *told.standing.get(side) == Standing::Own,
        directly_after: inputs.directly_after && *told.full.get(side),
    });
    let confirms = Sides::of(|side| inputs.capabilities.get(side).confirms);
    settle::run(people, &masks, &grounds, &confirms)
}

/// How a session is done that starts from nothing, and what it has to ask; `None` when something is agreed.
fn first(people: &People, told: &Told, state: &PairState, inputs: &Inputs) -> (Option<FirstSync>, Vec<Stop>) {
    let mut stops = told.stops.clone();
    let wanted = inputs.policy.first_sync;
    if state.replacing && wanted == FirstSync::ReplaceDevice {
        return (Some(wanted), stops);
    }
    let anew = |side: &Side| *people.discarded.get(*side) || *told.standing.get(*side) == Standing::Reset;
    let first = (told.initial || Side::BOTH.iter().any(anew)).then_some(wanted);
    if first == Some(FirstSync::Refuse) && !people.items.is_empty() {
        stops.push(Stop::FirstSync);
    }
    // Somebody else's commit, or a new start of the device, is the end of a replacement: what is there is what counts.
    let moot = matches!(told.standing.device, Standing::Foreign | Standing::Reset);
    if state.replacing && !moot {
        stops.push(Stop::UnfinishedReplacement);
    }
    (first, stops)
}

/// What somebody should know of what was found out before anything was decided.
fn assumptions(people: &People, settled: &Settled) -> Vec<Note> {
    let mut notes = Vec::new();
    for given in &settled.given_up {
        let (side, group) = (given.side, given.group.clone());
        notes.extend(people.note(given.at, NoteKind::NotAccepted { side, group }));
    }
    for given in &settled.rewritten {
        let (side, group) = (given.side, given.group.clone());
        notes.extend(people.note(given.at, NoteKind::Rewritten { side, group }));
    }
    let assumed = (0_usize..).zip(&people.items).filter(|(_, item)| item.assumed);
    notes.extend(assumed.filter_map(|(at, _)| people.note(at, NoteKind::Assumed)));
    notes
}

/// Brings what is counted from session to session up to date.
fn count(state: &mut PairState, told: &Told, build: Option<String>) {
    if build.is_some() {
        let same = state.build == build;
        state.build_sessions = if same { state.build_sessions } else { 0 };
        state.build = build;
    }
    let counted = |on: bool, count: u32| if on { count.saturating_add(1) } else { 0 };
    state.since_full = counted(!told.full.device, state.since_full);
    state.alternations = counted(told.standing.device == Standing::Foreign, state.alternations);
}

/// What stops a session that would write too much.
fn brakes(
    actions: &Sides<Vec<Action>>,
    people: &People,
    told: &Told,
    first: Option<FirstSync>,
    inputs: &Inputs,
) -> Vec<Stop> {
    let mut stops = Vec::new();
    if matches!(first, Some(FirstSync::ReplaceDevice | FirstSync::ReplaceComputer)) {
        return stops;
    }
    let limits = inputs.policy.brakes;
    for side in Side::BOTH {
        let had = *people.had.get(side);
        let roots = |verb: Verb| {
            let root = move |action: &&Action| {
                action.verb == verb && !action.part && !action.asked_for && action.order.1 != u8::MAX
            };
            actions.get(side).iter().filter(root)
        };
        // What an earlier session was to delete, and did not before it broke off, is known there as well.
        let again = |action: &&Action| {
            let item = people.items.get(action.at);
            item.is_some_and(|item| item.row.seen.get(side).is_none())
        };
        let of = had.saturating_add(roots(Verb::Delete).filter(again).count());
        let share = |count: usize, percent: usize| of > 0 && count.saturating_mul(100) >= of.saturating_mul(percent);
        let deletions = roots(Verb::Delete).count();
        if deletions >= limits.deletions || (deletions >= FEW && share(deletions, limits.deletions_percent)) {
            stops.push(Stop::Deletions { side, deletions, of });
        }
        let changes = roots(Verb::Update).count();
        if changes >= 25 && share(changes, limits.changes_percent.saturating_add(1)) {
            stops.push(Stop::Changes { side, changes, of });
        }
        if *told.full.get(side) && had > 0 && *told.roots.get(side) == 0 && first.is_none() {
            stops.push(Stop::Emptied { side, had });
        }
    }
    stops
}
