//! One session of a computer with the device, which may be cut off anywhere, and what the device makes of a push.

use std::collections::{BTreeMap, BTreeSet};

use cabled_syncproto::engine::{
    Capabilities, EngineId, Execution, Extent, Inputs, Outcome, PairState, Plan, Report, Reports, SessionId, Side,
    Sides, Standing, Stop, Verb, Write, plan,
};
use cabled_syncproto::record::{Change, Changes, Record, RecordId};

use crate::store::{
    RELATIONS, Store, forget_members, id, known_rewriting, lossy, owners, refs, related, remove, renumbered,
    unknown_rewriting,
};
use crate::world::{Device, World};

/// What may not be concluded from what a side tells.
struct Grounds {
    device: (Extent, Standing),
    /// What keeps this session's reports from being the whole truth.
    lack: Option<Lack>,
    /// Nothing was known before.
    first: bool,
}

/// Why nothing follows from what is not in a report. Spec: mobilesync, section 15.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    /// The side told only a part and says so: the link broke, a folder is not mounted.
    Partial(Side),
    /// One record of the side cannot be read.
    Undecodable(Side),
}

impl Grounds {
    fn partial(&self, side: Side) -> bool {
        self.lack == Some(Lack::Partial(side))
    }
}

/// What a side tells of its records.
fn told(store: &Store, grounds: &Grounds, side: Side) -> Changes {
    let step = if grounds.partial(side) { 2 } else { 1 };
    let mut changes: Vec<(RecordId, Change)> = store
        .iter()
        .step_by(step)
        .map(|(name, record)| (id(name), Change::Upsert(record.clone())))
        .collect();
    if grounds.lack == Some(Lack::Undecodable(side)) {
        garble(&mut changes);
    }
    changes.into_iter().collect()
}

/// A record that nobody can read: it does not say what it is.
fn nothing() -> Record {
    Record {
        entity: None,
        ..Record::new("")
    }
}

/// Makes the first record one that nobody can read.
fn garble(changes: &mut Vec<(RecordId, Change)>) {
    if changes.is_empty() {
        changes.push((id("unreadable"), Change::Upsert(nothing())));
    }
    changes[0].1 = Change::Upsert(nothing());
}

impl World {
    fn inputs(&mut self) -> Inputs {
        let mut session = [0; 16];
        for byte in &mut session {
            *byte = u8::try_from(self.random.below(256)).unwrap();
        }
        let mut inputs = Inputs::new(SessionId(session));
        inputs.capabilities = Sides {
            device: Capabilities::of_devices()
                .mask(self.device.mask.clone())
                .ids_are_reused(self.device.reuses),
            computer: Capabilities::of_files(),
        };
        inputs.policy = self.policy.clone();
        inputs
    }

    /// The device is erased, or comes back from a backup with other numbers, and somebody else's anchors, or none.
    pub(crate) fn mishap(&mut self) {
        if self.calm || !self.random.one_in(12) {
            return;
        }
        match self.random.below(3) {
            0 => self.device.store.clear(),
            1 => (self.device.store, self.device.next) = renumbered(&self.device.store, self.device.next),
            _ => {}
        }
        self.device.store_before = self.device.store.clone();
        self.device.free.clear();
        self.device.changed.clear();
        self.device.anchor += 1;
        self.device.computer = self.random.one_in(2).then(|| "somebody else".to_owned());
    }

    /// How the device stands to a host's last commit, and how much it tells.
    fn opened(&mut self, host: usize, state: &mut PairState) -> (Extent, Standing) {
        let mut own = self.device.computer.as_ref() == self.hosts[host].token.as_ref().map(|token| &token.1)
            && self.device.computer.is_some();
        // A session of which nobody knew whether it was committed.
        self.hosts[host].lost = None;
        if let Some((journaled, anchor, name)) = self.hosts[host].doubt.take() {
            if self.device.computer.as_ref() == Some(&name) {
                self.hosts[host].state = Some(journaled.clone());
                self.hosts[host].token = Some((anchor, name));
                *state = journaled;
                own = true;
            } else {
                self.hosts[host].lost = Some(journaled);
            }
        }
        let token = self.hosts[host].token.as_ref();
        let fast = own
            && token.is_some_and(|token| token.0 == self.device.anchor)
            && !state.wants_full(0)
            && !(self.quiet && state.pending() > 0);
        match (fast, own || state.is_empty()) {
            (true, _) => (Extent::Changes, Standing::Own),
            (false, true) => (Extent::Everything, Standing::Own),
            (false, false) if self.device.computer.is_none() => (Extent::Everything, Standing::Reset),
            (false, false) => (Extent::Everything, Standing::Foreign),
        }
    }

    fn told(&mut self, host: usize, grounds: &Grounds) -> Reports {
        let (extent, standing) = grounds.device;
        let mut reports = Reports::new(
            Report::new(extent, standing).complete(!grounds.partial(Side::Device)),
            Report::new(Extent::Everything, Standing::Own).complete(!grounds.partial(Side::Computer)),
        );
        let computer = told(&self.hosts[host].store, grounds, Side::Computer);
        reports.add(Side::Computer, computer);
        let store = &self.device.store;
        let changes = match extent {
            Extent::Everything => told(store, grounds, Side::Device),
            Extent::Changes => {
                let change = |name: &String| {
                    let one = store.get(name);
                    one.map_or(Change::Delete, |one| Change::Upsert(one.clone()))
                };
                let changed = self.device.changed.iter();
                let mut changes: Vec<_> = changed.map(|name| (id(name), change(name))).collect();
                if grounds.lack == Some(Lack::Undecodable(Side::Device)) {
                    garble(&mut changes);
                }
                changes.into_iter().collect()
            }
        };
        reports.add(Side::Device, changes);
        reports
    }

    /// What was known to be deleted before this session told anything, and what goes with it: the journal of a committed
    /// session is carried out, and what hangs on a record goes when that goes.
    fn known_deletions(&self, host: usize, plan: &Plan) -> BTreeSet<String> {
        let host = &self.hosts[host];
        let deletes = plan.actions.computer.iter().filter(|one| one.verb == Verb::Delete);
        let deletes: BTreeSet<&str> = deletes.filter_map(|one| one.native.as_deref()).collect();
        let going = |native: &&str| host.unfinished.contains(*native);
        let mut known: BTreeSet<String> = deletes
            .iter()
            .filter(|one| going(one))
            .map(|one| (*one).to_owned())
            .collect();
        loop {
            let hangs = |native: &&&str| {
                let record = host.store.get(**native);
                record.is_some_and(|record| owners(record).iter().any(|owner| known.contains(owner)))
            };
            let more = deletes.iter().filter(|native| !known.contains(**native)).filter(hangs);
            let more: Vec<String> = more.map(|native| (*native).to_owned()).collect();
            if more.is_empty() {
                return known;
            }
            known.extend(more);
        }
    }

    /// The table of 15.5: from what no deletion follows, none was planned.
    fn no_forbidden_deletion(&self, host: usize, grounds: &Grounds, plan: &Plan) {
        let (_, standing) = grounds.device;
        if let Some(lack) = grounds.lack {
            assert!(plan.is_empty(), "something is written after {lack:?}: {plan}");
        }
        if standing == Standing::Reset || grounds.first {
            // What a committed session was to delete is no conclusion from this report.
            let known = self.known_deletions(host, plan);
            let actions = plan.actions.computer.iter().filter(|one| one.verb == Verb::Delete);
            let deleted = actions
                .filter(|one| one.native.as_deref().is_none_or(|native| !known.contains(native)))
                .count();
            assert_eq!(deleted, 0, "a deletion follows from {standing:?}: {plan}");
        }
        if grounds.first {
            assert_eq!(
                plan.count(Side::Device, Verb::Delete),
                0,
                "a first sync deletes: {plan}"
            );
        }
    }

    /// Whether this session's reports lack something, and what: by a byte that was drawn for its name, so that schedules
    /// stay what they were.
    fn lack(&mut self, session: &SessionId) -> Option<Lack> {
        if self.quiet || !self.random.one_in(15) {
            return None;
        }
        let [byte, ..] = session.0;
        Some(match byte % 5 {
            0 | 1 => Lack::Partial(Side::Device),
            2 => Lack::Partial(Side::Computer),
            3 => Lack::Undecodable(Side::Device),
            _ => Lack::Undecodable(Side::Computer),
        })
    }

    /// One session of a host; gives whether nothing was written and nothing is pending.
    pub(crate) fn session(&mut self, host: usize) -> bool {
        let inputs = self.inputs();
        let cut = if self.quiet { 99 } else { self.random.below(14) };
        if cut == 0 {
            return false;
        }
        let offered = format!("host {} session {}", self.hosts[host].name, inputs.session);
        let known = self.hosts[host].state.clone();
        let mut state = known.unwrap_or_else(|| PairState::new(self.class.clone()));
        let device = self.opened(host, &mut state);
        let grounds = Grounds {
            device,
            lack: self.lack(&inputs.session),
            first: state.is_empty(),
        };
        let reports = self.told(host, &grounds);
        if let (Some(lost), Standing::Foreign) = (self.hosts[host].lost.take(), device.1) {
            let taken_over = state.take_over_arrived(&lost, &reports);
            if std::env::var_os("CABLED_SHOW").is_some() && taken_over > 0 {
                println!("took {taken_over} records over");
            }
        }
        self.device.changed.clear();
        self.device.anchor += 1;
        let anchor = self.device.anchor;
        if cut == 1 {
            return false;
        }
        let planned = plan(state, reports, &inputs);
        let harmless = |stop: &&Stop| matches!(stop, Stop::Emptied { .. } | Stop::NotAccepted { .. });
        let fatal: Vec<&Stop> = planned.plan().stops.iter().filter(|stop| !harmless(stop)).collect();
        if std::env::var_os("CABLED_SHOW").is_some() {
            println!(
                "--- host {host} cut {cut} {device:?} quiet {}\n{}",
                self.quiet,
                planned.plan()
            );
        }
        self.no_forbidden_deletion(host, &grounds, planned.plan());
        if let Some(lack) = grounds.lack {
            let said = match (lack, &fatal[..]) {
                (Lack::Partial(side), [Stop::Incomplete { side: told }]) => side == *told,
                (Lack::Undecodable(side), [Stop::Undecodable { side: told, ids }]) => side == *told && ids.len() == 1,
                _ => false,
            };
            assert!(said, "{lack:?}, and the plan says {fatal:?}");
            return false;
        }
        assert!(fatal.is_empty(), "{fatal:?}");
        self.carry_out(host, Execution::new(planned), cut, (anchor, offered))
    }

    fn carry_out(
        &mut self,
        host: usize,
        mut execution: Execution,
        cut: usize,
        (anchor, offered): (usize, String),
    ) -> bool {
        let idle = execution.plan().is_empty();
        let deletions = execution.plan().actions.computer.iter();
        let deletions = deletions.filter(|one| one.verb == Verb::Delete);
        let deletions = deletions
            .filter_map(|one| one.native.as_deref().map(str::to_owned))
            .collect();
        let staging = self.stage(&mut execution);
        let before = self.device.clone();
        let mut staged = self.device.clone();
        let mut batches = 0;
        while let Some(batch) = execution.next_batch(Side::Device) {
            batches += 1;
            if cut == 2 && batches == 2 {
                return false;
            }
            let outcomes = self.push(&mut staged, batch.writes);
            execution.handle_outcomes(Side::Device, outcomes);
        }
        if cut == 3 {
            return false;
        }
        let journaled = execution.doubtful_state(0);
        self.hosts[host].doubt = Some((journaled, anchor, offered.clone()));
        if cut == 4 {
            // The question was lost on the way.
            self.device = before;
            return false;
        }
        staged.computer = Some(offered.clone());
        staged.store_before = staged.store.clone();
        self.device = staged;
        self.hosts[host].unfinished = deletions;
        if cut == 5 {
            return false;
        }
        let visible = if cut == 6 { staging.len() / 2 } else { staging.len() };
        for (name, change) in staging.into_iter().take(visible) {
            let store = &mut self.hosts[host].store;
            match change {
                Change::Upsert(record) => drop(store.insert(name, record)),
                Change::Delete => {
                    let gone = remove(store, &name);
                    forget_members(store, &gone);
                }
            }
        }
        if cut == 6 || cut == 7 {
            return false;
        }
        let after = execution.into_state(0);
        let idle = idle && after.pending() == 0;
        let wrote = batches > 0;
        let host_state = &mut self.hosts[host];
        host_state.state = Some(after);
        host_state.token = Some((anchor, offered));
        host_state.doubt = None;
        if wrote && self.device.unknown {
            self.verify(host);
        }
        idle
    }

    /// Looks on the same connection what the device made of a push; nothing is written.
    fn verify(&mut self, host: usize) {
        let mut inputs = self.inputs();
        inputs.directly_after = true;
        let offered = format!("host {} looks {}", self.hosts[host].name, inputs.session);
        let state = self.hosts[host].state.clone().unwrap();
        let upsert = |(name, record): (&String, &Record)| (id(name), Change::Upsert(record.clone()));
        let mut reports = Reports::new(
            Report::new(Extent::Everything, Standing::Own),
            Report::new(Extent::Changes, Standing::Own),
        );
        reports.add(Side::Device, self.device.store.iter().map(upsert).collect());
        self.device.changed.clear();
        self.device.anchor += 1;
        self.device.computer = Some(offered.clone());
        let sessions = state.sessions;
        let mut after = Execution::new(plan(state, reports, &inputs)).into_state(0);
        after.sessions = sessions;
        self.hosts[host].state = Some(after);
        self.hosts[host].token = Some((self.device.anchor, offered));
    }

    /// The computer's writes, some of which fail.
    fn stage(&mut self, execution: &mut Execution) -> Vec<(String, Change)> {
        let mut staging = Vec::new();
        while let Some(batch) = execution.next_batch(Side::Computer) {
            let mut outcomes: Vec<(EngineId, Outcome)> = Vec::new();
            let mut failed: BTreeSet<String> = BTreeSet::new();
            for write in batch.writes {
                // A part goes into its whole's file: without that it goes nowhere.
                let alone = match &write.change {
                    Change::Upsert(record) => owners(record).iter().any(|owner| failed.contains(owner)),
                    Change::Delete => false,
                };
                if alone || (!self.quiet && self.random.one_in(12)) {
                    if write.new {
                        failed.insert(write.id.as_str().to_owned());
                    }
                    let reason = "a test".to_owned();
                    outcomes.push((write.engine, Outcome::Failed { reason }));
                    continue;
                }
                let native = write.new.then(|| write.id.clone());
                outcomes.push((write.engine, Outcome::Done { native }));
                staging.push((write.id.as_str().to_owned(), write.change));
            }
            execution.handle_outcomes(Side::Computer, outcomes);
        }
        staging
    }

    /// What the device makes of a batch.
    fn push(&mut self, device: &mut Device, writes: Vec<Write>) -> Vec<(EngineId, Outcome)> {
        let mut outcomes = Vec::new();
        let mut remapped: BTreeMap<String, String> = BTreeMap::new();
        for write in &writes {
            let skip = !self.quiet && self.pushed_skips && self.random.one_in(10);
            let name = write.id.as_str().to_owned();
            if !write.new {
                outcomes.push((write.engine, Outcome::Done { native: None }));
                // A third time would be given up, and both sides would stay as they are.
                let skips = self.skips.entry(write.engine).or_default();
                if skip && *skips < 2 {
                    *skips += 1;
                    remapped.insert(name, String::new());
                }
            } else if skip && self.refused.insert(write.engine) {
                // Twice would be a quarantine, which ends with the next edit only.
                outcomes.push((write.engine, Outcome::NotAccepted));
            } else {
                device.next += 1;
                let native = device.next.to_string();
                outcomes.push((
                    write.engine,
                    Outcome::Done {
                        native: Some(id(&native)),
                    },
                ));
                remapped.insert(name, native);
            }
        }
        for write in writes {
            let name = write.id.as_str();
            let native = remapped.get(name).cloned().unwrap_or_else(|| name.to_owned());
            if native.is_empty() || (write.new && !remapped.contains_key(name)) {
                continue;
            }
            match write.change {
                Change::Delete => {
                    let gone = remove(&mut device.store, &native);
                    forget_members(&mut device.store, &gone);
                    if device.echoes {
                        device.changed.extend(gone);
                    }
                }
                Change::Upsert(record) => {
                    if device.echoes {
                        device.changed.insert(native.clone());
                    }
                    let record = device.taken(record, &remapped);
                    device.store.insert(native, record);
                }
            }
        }
        outcomes
    }
}

impl Device {
    /// What the device keeps of a record.
    fn taken(&self, mut record: Record, remapped: &BTreeMap<String, String>) -> Record {
        lossy(&self.mask, &mut record);
        known_rewriting(&self.mask, &mut record);
        if self.unknown {
            unknown_rewriting(&mut record);
        }
        for key in RELATIONS {
            if record.attributes.get(key).is_some() {
                let ids = related(&record, key)
                    .into_iter()
                    .map(|id| remapped.get(&id).cloned().filter(|id| !id.is_empty()).unwrap_or(id));
                let ids: Vec<String> = ids.filter(|id| id.parse::<usize>().is_ok()).collect();
                record.attributes.insert(key.to_owned(), refs(&ids));
            }
        }
        record
    }
}
