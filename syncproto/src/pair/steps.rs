//! The steps of a session, each safe to be cut off at. Spec: mobilesync, section 15.6.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::spawn_blocking;
use uuid::Uuid;

use super::outcome::{Failure, Preview, Report, Synced, Verification};
use super::request::{Approval, Request};
use super::{Pair, Progress, SyncError};
use crate::engine::{
    Execution, Extent, Inputs, PairState, Planned, Report as Told, Reports, SessionId, Side, Sides, Standing, Stop,
    plan,
};
use crate::replica::{End, OpenRequest, Opened, Replica, ReplicaError, Told as Heard};
use crate::store::{Entry, Loaded, Snapshot, StateStore};

/// Whom progress is told.
type Observer<'a> = &'a mut (dyn FnMut(Progress<'_>) + Send);

/// What one session goes by.
struct Session {
    id: SessionId,
    /// Seconds since 1970: for people, and for how long deleted records are remembered.
    now: u64,
    device: Opened,
    computer: Opened,
    /// What was to be known after the session before, when somebody else has committed since.
    lost: Option<Arc<PairState>>,
}

/// What is known before a session.
struct Known {
    state: PairState,
    /// The state that is true if the device committed a session of which nobody knows.
    doubt: Option<Box<PairState>>,
    /// The session before broke off or was given up.
    broken: bool,
}

impl<D: Replica, C: Replica, S: StateStore> Pair<D, C, S> {
    /// One session; gives the state if the device is to be read again after it.
    pub(super) async fn session(
        &mut self,
        request: &Request,
        observer: Observer<'_>,
    ) -> Result<(Synced, Option<PairState>), SyncError> {
        let id = request.approval.map_or_else(fresh, |approval| approval.session);
        let Known { state, doubt, broken } = self.take_up().await?;
        // A session that broke off had the device forget what it told; and its anchors are times in seconds, so it may not
        // even notice.
        let due = broken || state.wants_full(now());
        // Before the device, which may be edited while this takes its time. A folder goes by the times of its files: what a
        // program changed without a trace there is found out when the device is read in full, too.
        let computer = self.open_computer(id, &state, due).await?;
        let mut reports = Reports::new(unopened(), report(&computer));
        let end = match self.read_computer(&mut reports, observer).await {
            Ok(end) => end,
            Err(error) => {
                log_if_failed(self.computer.abort("it could not be read").await, Side::Computer);
                return Err(error);
            }
        };
        let wanted = match due || state.tokens.device.is_none() {
            true => Extent::Everything,
            false => Extent::Changes,
        };
        let (state, device, lost) = match self.open_device(id, state, doubt, wanted).await {
            Ok(opened) => opened,
            Err(error) => return Err(self.abandon(error).await),
        };
        let session = Session {
            id,
            now: now(),
            device,
            computer,
            lost,
        };
        *reports.get_mut(Side::Device) = report(&session.device);
        conclude(&mut reports, Side::Computer, end);
        match self.merge(request, &session, state, reports, observer).await {
            Ok(synced) => Ok(synced),
            Err(error) => Err(self.abandon(error).await),
        }
    }

    async fn take_up(&mut self) -> Result<Known, SyncError> {
        let Loaded { state, unfinished } = self.store.run(StateStore::load).await?;
        let mut state = state.unwrap_or_else(|| PairState::new(self.class.clone()));
        if state.class != self.class {
            return Err(SyncError::AnotherClass {
                wanted: self.class.data_type().to_owned(),
                found: state.class.data_type().to_owned(),
            });
        }
        let Some(broken) = unfinished else {
            return Ok(Known {
                state,
                doubt: None,
                broken: false,
            });
        };
        tracing::info!(
            committed = broken.committed,
            doubtful = broken.to_commit.is_some(),
            "an earlier sync broke off"
        );
        let mut doubt = None;
        match broken.to_commit {
            Some(true_now) if broken.committed => state = self.adopt(*true_now).await?,
            Some(doubtful) => {
                state.replacing |= broken.cleared;
                doubt = Some(doubtful);
            }
            None => {
                state.replacing |= broken.cleared;
                if let (Some(session), Some((batch, ids))) = (broken.session, &broken.broke_at) {
                    state.broke_at(session, *batch, ids);
                    state = self.adopt(state).await?;
                }
            }
        }
        Ok(Known {
            state,
            doubt,
            broken: true,
        })
    }

    /// Keeps a state that turned out to be true, and ends the journal that said so.
    async fn adopt(&mut self, mut state: PairState) -> Result<PairState, SyncError> {
        state.must_be_full();
        self.keep(state, Snapshot::Drop).await
    }

    async fn keep(&mut self, state: PairState, snapshot: Snapshot) -> Result<PairState, SyncError> {
        let kept = move |store: &mut S| store.commit(&state, snapshot).map(|()| state);
        self.store.run(kept).await
    }

    async fn open_computer(&mut self, id: SessionId, state: &PairState, full: bool) -> Result<Opened, SyncError> {
        let token = state.tokens.computer.as_deref();
        let request = OpenRequest::new(id).token(token).full(full || token.is_none());
        self.computer.open(request).await.map_err(|source| SyncError::Open {
            side: Side::Computer,
            source,
        })
    }

    /// Opens the device, which says whether a doubtful session was committed.
    async fn open_device(
        &mut self,
        id: SessionId,
        state: PairState,
        doubt: Option<Box<PairState>>,
        wanted: Extent,
    ) -> Result<(PairState, Opened, Option<Arc<PairState>>), SyncError> {
        let doubtful = doubt.as_ref().and_then(|doubt| doubt.tokens.device.as_deref());
        let request = OpenRequest::new(id)
            .token(state.tokens.device.as_deref())
            .doubtful(doubtful)
            .full(wanted == Extent::Everything);
        let mut opened = self.device.open(request).await.map_err(|source| SyncError::Open {
            side: Side::Device,
            source,
        })?;
        let mut lost = None;
        let state = match (opened.standing, doubt) {
            (Standing::Doubtful, Some(true_now)) => {
                opened.standing = Standing::Own;
                self.adopt(*true_now).await?
            }
            (_, None) => state,
            (_, Some(_)) if state.replacing => self.adopt(state).await?,
            (standing, Some(doubt)) => {
                self.store.run(StateStore::close).await?;
                lost = (standing == Standing::Foreign).then(|| Arc::from(doubt));
                state
            }
        };
        self.store
            .run(move |store| store.append(Entry::Begun { session: id, at: now() }))
            .await?;
        Ok((state, opened, lost))
    }

    /// What the session before made, and another computer left on the device, is known by its identifiers from now on.
    async fn take_over(
        &mut self,
        session: &Session,
        mut state: PairState,
        reports: Reports,
    ) -> Result<(PairState, Reports), SyncError> {
        let Some(lost) = session.lost.clone() else {
            return Ok((state, reports));
        };
        let (arrived, state, reports) =
            elsewhere(move || (state.take_over_arrived(&lost, &reports), state, reports)).await?;
        if arrived == 0 {
            return Ok((state, reports));
        }
        tracing::info!(
            arrived,
            "another computer committed since; what was made before is there"
        );
        // At once: the journal that knew of it is closed, and this session may end without a commit.
        let state = self.adopt(state).await?;
        let begun = Entry::Begun {
            session: session.id,
            at: session.now,
        };
        self.store.run(move |store| store.append(begun)).await?;
        Ok((state, reports))
    }

    /// Reads the device, plans, and carries the plan out if it may be.
    async fn merge(
        &mut self,
        request: &Request,
        session: &Session,
        state: PairState,
        mut reports: Reports,
        observer: Observer<'_>,
    ) -> Result<(Synced, Option<PairState>), SyncError> {
        let end = self.read_device(&mut reports, observer).await?;
        conclude(&mut reports, Side::Device, end);
        let (state, reports) = self.take_over(session, state, reports).await?;
        let mut inputs = Inputs::new(session.id);
        inputs.capabilities = self.capabilities();
        inputs.policy = request.policy.clone();
        inputs.choices = request.choices.clone();
        let planned = elsewhere(move || plan(state, reports, &inputs)).await?;
        observer(Progress::Planned(planned.plan()));
        let approval = Approval {
            session: session.id,
            hash: planned.plan().hash(),
        };
        let approved = request.approval == Some(approval);
        let stops = planned.plan().stops.iter();
        let stopped = stops.clone().any(|stop| !(approved && Stop::can_be_approved(stop)));
        if request.preview || stopped {
            let preview = Preview {
                plan: planned.plan().clone(),
                approval,
            };
            self.give_up("only a plan was wanted").await;
            let synced = match request.preview {
                true => Synced::Preview(preview),
                false => Synced::Stopped(preview),
            };
            return Ok((synced, None));
        }
        let hash = approval.hash;
        self.store
            .run(move |store| store.append(Entry::Planned { hash }))
            .await?;
        self.carry_out(request, session, planned, observer).await
    }

    async fn read_computer(&mut self, reports: &mut Reports, observer: Observer<'_>) -> Result<End, SyncError> {
        let side = Side::Computer;
        let mut records = 0_usize;
        loop {
            match self
                .computer
                .read()
                .await
                .map_err(|source| SyncError::Read { side, source })?
            {
                Heard::Batch(batch) => {
                    records = records.saturating_add(batch.len());
                    // Kept as the engine keeps it, which takes a fraction of the room.
                    let mut so_far = taken(reports);
                    *reports = elsewhere(move || {
                        so_far.add(side, batch);
                        so_far
                    })
                    .await?;
                    observer(Progress::Read { side, records });
                }
                Heard::End(end) => return Ok(end),
            }
        }
    }

    async fn read_device(&mut self, reports: &mut Reports, observer: Observer<'_>) -> Result<End, SyncError> {
        let side = Side::Device;
        let extent = reports.get(side).extent;
        let mut records = 0_usize;
        loop {
            match self
                .device
                .read()
                .await
                .map_err(|source| SyncError::Read { side, source })?
            {
                Heard::Batch(batch) => {
                    records = records.saturating_add(batch.len());
                    // Kept before it is acknowledged: the device forgets what it told.
                    let mut so_far = taken(reports);
                    let keep = move |store: &mut S| {
                        store.keep_told(side, extent, &batch)?;
                        so_far.add(side, batch);
                        Ok(so_far)
                    };
                    *reports = self.store.run(keep).await?;
                    observer(Progress::Read { side, records });
                }
                Heard::End(end) => return Ok(end),
            }
        }
    }

    fn capabilities(&self) -> Sides<crate::engine::Capabilities> {
        Sides {
            device: self.device.capabilities(),
            computer: self.computer.capabilities(),
        }
    }

    async fn carry_out(
        &mut self,
        request: &Request,
        session: &Session,
        planned: Planned,
        observer: Observer<'_>,
    ) -> Result<(Synced, Option<PairState>), SyncError> {
        let mut failures = Vec::new();
        let mut execution = Execution::new(planned);
        self.stage(&mut execution, &mut failures, observer).await?;
        self.push(&mut execution, &mut failures, observer).await?;
        let commits = request.policy.asks_the_device_to_commit();
        let execution = match commits {
            true => self.commit_device(session, execution, observer).await?,
            false => {
                let aborted = self.device.abort("nothing was to be written to the device").await;
                log_if_failed(aborted, Side::Device);
                execution
            }
        };
        observer(Progress::Committed);
        let committed = self.computer.commit().await.map_err(SyncError::ComputerBehind)?;
        let mut execution = execution;
        failures.extend(Failure::all(execution.plan(), Side::Computer, &committed.outcomes));
        execution.handle_outcomes(Side::Computer, committed.outcomes);
        let report = |plan, state: &PairState| Report {
            plan,
            failures,
            verification: Verification::NotWanted,
            pending: state.pending(),
            records: state.len(),
        };
        let now = session.now;
        let (mut state, plan) = elsewhere(move || execution.into_parts(now)).await?;
        state.tokens.computer = committed.token.or_else(|| session.computer.token.clone());
        if commits {
            state.tokens.device.clone_from(&session.device.token);
        }
        let report = report(plan, &state);
        let verify = !report.plan.actions.device.is_empty() && commits && request.policy.verifies(&state);
        let snapshot = match session.device.extent {
            Extent::Everything => Snapshot::Keep(request.policy.kept_snapshots()),
            Extent::Changes => Snapshot::Drop,
        };
        let state = self.keep(state, snapshot).await?;
        Ok((Synced::Done(report), verify.then_some(state)))
    }

    /// The computer's writes, to where nobody sees them yet: a full disk shows before the device is written to.
    async fn stage(
        &mut self,
        execution: &mut Execution,
        failures: &mut Vec<Failure>,
        observer: Observer<'_>,
    ) -> Result<(), SyncError> {
        let side = Side::Computer;
        let (mut done, of) = (0_usize, execution.plan().actions.computer.len());
        while let Some(batch) = execution.next_batch(side) {
            done = done.saturating_add(batch.writes.len());
            let outcomes = self.computer.write(batch).await;
            let outcomes = outcomes.map_err(|source| SyncError::Write { side, source })?;
            failures.extend(Failure::all(execution.plan(), side, &outcomes));
            execution.handle_outcomes(side, outcomes);
            observer(Progress::Written { side, done, of });
        }
        Ok(())
    }

    async fn push(
        &mut self,
        execution: &mut Execution,
        failures: &mut Vec<Failure>,
        observer: Observer<'_>,
    ) -> Result<(), SyncError> {
        let side = Side::Device;
        let failed = |source| SyncError::Write { side, source };
        if execution.plan().clear {
            self.store.run(|store| store.append(Entry::Clearing)).await?;
            self.device.clear().await.map_err(failed)?;
        }
        let (mut done, of) = (0_usize, execution.plan().actions.device.len());
        let mut number = 0_u32;
        while let Some(batch) = execution.next_batch(side) {
            done = done.saturating_add(batch.writes.len());
            let ids = batch.writes.iter().map(|write| write.engine).collect();
            let entry = Entry::Pushing { batch: number, ids };
            self.store.run(move |store| store.append(entry)).await?;
            number = number.saturating_add(1);
            let outcomes = self.device.write(batch).await.map_err(failed)?;
            failures.extend(Failure::all(execution.plan(), side, &outcomes));
            execution.handle_outcomes(side, outcomes);
            observer(Progress::Written { side, done, of });
        }
        Ok(())
    }

    /// Keeps what will be true, then asks the device to commit.
    async fn commit_device(
        &mut self,
        session: &Session,
        execution: Execution,
        observer: Observer<'_>,
    ) -> Result<Execution, SyncError> {
        let now = session.now;
        let (execution, mut state) = elsewhere(move || {
            let state = execution.doubtful_state(now);
            (execution, state)
        })
        .await?;
        state.tokens.device.clone_from(&session.device.token);
        state.tokens.computer = None;
        let entry = Entry::ToCommit { state: Box::new(state) };
        self.store.run(move |store| store.append(entry)).await?;
        observer(Progress::Committing);
        match self.device.commit().await {
            Ok(_) => {}
            Err(source @ ReplicaError::GaveUp { .. }) => {
                self.store.run(|store| store.append(Entry::NotCommitted)).await?;
                return Err(SyncError::NotCommitted(source));
            }
            Err(source) => return Err(SyncError::Doubtful(source)),
        }
        self.store.run(|store| store.append(Entry::Committed)).await?;
        Ok(execution)
    }

    /// Ends a session in which nothing was written. The journal stays: it says that the device was read.
    async fn give_up(&mut self, reason: &str) {
        log_if_failed(self.device.abort(reason).await, Side::Device);
        log_if_failed(self.computer.abort(reason).await, Side::Computer);
    }

    /// Ends a session that failed: what was staged goes, the journal stays for as long as it says something.
    async fn abandon(&mut self, error: SyncError) -> SyncError {
        let device_is_open = !matches!(
            error,
            SyncError::Doubtful(_) | SyncError::NotCommitted(_) | SyncError::ComputerBehind(_) | SyncError::Spent
        );
        if device_is_open && !matches!(error, SyncError::Open { .. }) {
            log_if_failed(
                self.device.abort("the computer gave the session up").await,
                Side::Device,
            );
        }
        log_if_failed(self.computer.abort("the session was given up").await, Side::Computer);
        error
    }

    /// A second session on the same connection that reads everything and writes nothing.
    pub(super) async fn verify(
        &mut self,
        request: &Request,
        state: PairState,
    ) -> Result<(Verification, usize), SyncError> {
        let id = fresh();
        let (state, device, lost) = self.open_device(id, state, None, Extent::Everything).await?;
        let session = Session {
            id,
            now: now(),
            device,
            computer: Opened::own().extent(Extent::Changes),
            lost,
        };
        match self.look(request, &session, state).await {
            Ok(seen) => Ok(seen),
            Err(error) => Err(self.abandon(error).await),
        }
    }

    async fn look(
        &mut self,
        request: &Request,
        session: &Session,
        state: PairState,
    ) -> Result<(Verification, usize), SyncError> {
        let counted = (state.sessions, state.build_sessions);
        let token = state.tokens.computer.clone();
        let mut reports = session.reports();
        let end = self.read_device(&mut reports, &mut |_| {}).await?;
        conclude(&mut reports, Side::Device, end);
        let mut inputs = Inputs::new(session.id);
        inputs.capabilities = self.capabilities();
        inputs.policy = request.policy.clone();
        inputs.directly_after = true;
        let planned = elsewhere(move || plan(state, reports, &inputs)).await?;
        let skipped = planned.skipped();
        let execution = self
            .commit_device(session, Execution::new(planned), &mut |_| {})
            .await?;
        let now = session.now;
        let mut state = elsewhere(move || execution.into_state(now)).await?;
        (state.sessions, state.build_sessions) = counted;
        state.tokens = Sides {
            device: session.device.token.clone(),
            computer: token,
        };
        let pending = state.pending();
        self.keep(state, Snapshot::Drop).await?;
        Ok((Verification::Done { skipped }, pending))
    }
}

impl Session {
    fn reports(&self) -> Reports {
        Reports::new(report(&self.device), report(&self.computer))
    }
}

/// What a side that was opened is going to tell, with nothing in it yet.
fn report(opened: &Opened) -> Told {
    Told::new(opened.extent, opened.standing).build(opened.build.clone())
}

/// In the place of the device's report until the device is open. Nothing follows from it.
fn unopened() -> Told {
    Told::new(Extent::Changes, Standing::Foreign).complete(false)
}

/// The reports, to add to them on a thread where that holds nobody up.
fn taken(reports: &mut Reports) -> Reports {
    std::mem::replace(reports, Reports::new(unopened(), unopened()))
}

/// What the end of a side's telling says about all of it.
fn conclude(reports: &mut Reports, side: Side, end: End) {
    let report = reports.get_mut(side);
    report.complete &= end.complete;
    report.undecodable.extend(end.unreadable);
}

fn log_if_failed(aborted: Result<(), ReplicaError>, side: Side) {
    if let Err(error) = aborted {
        tracing::debug!(%side, %error, "the session could not be ended in order; nothing of it is kept");
    }
}

/// Work for the processor, on a thread where it holds nobody up.
async fn elsewhere<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, SyncError> {
    spawn_blocking(work).await.map_err(|_| SyncError::Spent)
}

fn fresh() -> SessionId {
    SessionId(Uuid::new_v4().into_bytes())
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
