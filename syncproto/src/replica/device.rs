//! A class of records on a device, over the sync service.

mod anchors;
mod outgoing;

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::{Committed, End, OpenRequest, Opened, Replica, ReplicaError, Told};
use crate::DataClass;
use crate::engine::{Batch, Capabilities, EngineId, Outcome};
use crate::msg::PushInfo;
use crate::record::RecordId;
use crate::session::machine::{Opening, Wanted};
use crate::session::{self, OpenOutcome, Pull, Pulled, Push, RefusalKind, SessionError, StepError, SyncLink};
use anchors::{Anchors, Stance};
use outgoing::{Parcel, Pictures, Sent};

/// The version of a class that is said to a device which finds the usual one too old. Devices take any number that is not
/// smaller than theirs.
const LARGER_VERSION: i64 = 999;

/// A class of records on a device, as one side of a sync. Spec: mobilesync, sections 4 to 7.
///
/// ```no_run
/// use cabled_syncproto::DataClass;
/// use cabled_syncproto::replica::{Device, Replica};
/// use cabled_syncproto::session::{SessionOptions, SyncLink};
///
/// # async fn run(stream: cabled_wire::io::BoxStream) -> Result<(), Box<dyn std::error::Error>> {
/// // A stream to `com.apple.mobilesync`, which the device's lockdown starts.
/// let link = SyncLink::connect(stream, SessionOptions::default()).await?;
/// let contacts = Device::new(link, DataClass::Contacts).with_build("18.1 (22B83)");
/// // Bring it together with a folder, then go on with the next class on the same connection:
/// if let Some(link) = contacts.into_link() {
///     let bookmarks = Device::new(link, DataClass::Bookmarks);
/// #   drop(bookmarks);
/// }
/// # Ok(())
/// # }
/// ```
///
/// The connection outlives a session: after a commit, an abort, a refusal and a session that the device gave up, the class
/// can be opened again, or another one after [`Device::into_link`]. A future that is dropped takes the connection with it,
/// and the device then keeps nothing of a session that was not committed; [`Device::is_connected`] is `false` from then on.
///
/// A device tells changes only when it says that it can, and when the last computer that committed was this one with the
/// state at hand; else it tells everything. Mail accounts are never told, so nothing follows from their absence.
///
/// # Limits
/// A message to the device has at most 500 records and stays below 1 MiB. Pictures of more than 768,000 bytes are not
/// sent; the device keeps the one it has. Nothing tells whether an update or a deletion was taken: the engine looks in a
/// later report.
#[derive(Debug)]
pub struct Device {
    class: DataClass,
    version: i64,
    build: Option<String>,
    stage: Stage,
    session: Option<Session>,
}

/// Where the connection is.
#[derive(Debug)]
enum Stage {
    /// No class is open.
    Idle(SyncLink),
    /// Nothing was read yet.
    Open(session::Opened, Wanted),
    Pulling(Pull),
    Pushing(Push),
    /// It broke, or a future was dropped, or [`Device::take_link`] took it.
    Gone,
}

/// What is known of the open class.
#[derive(Debug)]
struct Session {
    opening: Opening,
    pictures: Pictures,
    /// New records whose identifiers the device has not told yet.
    unmapped: BTreeMap<RecordId, Sent>,
    /// People or groups were sent, and not that these were all.
    owes_completion: bool,
}

/// There is no connection any more: it broke, it was taken, or a future was dropped in the middle of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no connection to the device's sync service any more; open a new one")]
#[non_exhaustive]
pub struct NoConnection;

impl Device {
    /// A class on the device at the other end of a connection.
    #[must_use]
    pub fn new(link: SyncLink, class: DataClass) -> Self {
        Self {
            version: class.version(),
            class,
            build: None,
            stage: Stage::Idle(link),
            session: None,
        }
    }

    /// Sets what is known of the device's software, such as its version and build (default: nothing). When it changes,
    /// the engine checks identifiers before it uses them.
    #[must_use]
    pub fn with_build(self, build: impl Into<String>) -> Self {
        Self {
            build: Some(build.into()),
            ..self
        }
    }

    /// Sets the version of the class that the device is told (default [`DataClass::version`]). A device that finds it too
    /// old is asked once more, with a larger number.
    #[must_use]
    pub fn with_version(self, version: i64) -> Self {
        Self { version, ..self }
    }

    /// The class.
    #[must_use]
    pub fn class(&self) -> &DataClass {
        &self.class
    }

    /// Whether there is a connection that the next call can use.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        !matches!(self.stage, Stage::Gone)
    }

    /// What the device answered when the class was opened; `None` while it is not open.
    #[must_use]
    pub fn opening(&self) -> Option<&Opening> {
        self.session.as_ref().map(|session| &session.opening)
    }

    /// The connection, for another class; `None` while a class is open, which has to be committed or given up first, and
    /// when the connection is gone.
    #[must_use]
    pub fn take_link(&mut self) -> Option<SyncLink> {
        match std::mem::replace(&mut self.stage, Stage::Gone) {
            Stage::Idle(link) => Some(link),
            stage => {
                self.stage = stage;
                None
            }
        }
    }

    /// As [`Device::take_link`], at the end. `None` closes the connection.
    #[must_use]
    pub fn into_link(mut self) -> Option<SyncLink> {
        self.take_link()
    }

    /// Opens the class on the wire; a device that wants a larger version number is asked once more.
    async fn start(
        &mut self,
        mut link: SyncLink,
        anchor: Option<&str>,
        computer: &str,
    ) -> Result<(session::Opened, i64), ReplicaError> {
        let mut version = self.version;
        loop {
            let opened = link.open(
                self.class.clone(),
                anchor.map(str::to_owned),
                computer.to_owned(),
                version,
            );
            match opened.await.map_err(|error| self.step(error))? {
                OpenOutcome::Opened(opened) => return Ok((opened, version)),
                OpenOutcome::Refused(refusal, back)
                    if refusal.kind == RefusalKind::VersionTooOld && version < LARGER_VERSION =>
                {
                    tracing::warn!(
                        class = %self.class,
                        version,
                        "the device finds this version of the class too old; asking once more with {LARGER_VERSION}"
                    );
                    (link, version) = (back, LARGER_VERSION);
                }
                OpenOutcome::Refused(refusal, link) => {
                    self.stage = Stage::Idle(link);
                    return Err(ReplicaError::Refused {
                        class: self.class.to_string(),
                        reason: refusal.to_string(),
                        source: Some(Box::new(refusal)),
                    });
                }
            }
        }
    }

    /// What a step's failure means here; the connection is kept where it can go on.
    fn step(&mut self, error: StepError) -> ReplicaError {
        self.session = None;
        match error {
            StepError::Cancelled(ended) => {
                self.stage = Stage::Idle(ended.link);
                ReplicaError::GaveUp {
                    reason: ended.cancellation.to_string(),
                }
            }
            StepError::Link(error) => self.broke(error),
        }
    }

    fn broke(&mut self, error: SessionError) -> ReplicaError {
        self.session = None;
        self.stage = Stage::Gone;
        ReplicaError::Broken(Box::new(error))
    }

    /// A call that does not fit: the connection stays as it is.
    fn misplaced(&mut self, call: &'static str, stage: Stage) -> ReplicaError {
        let gone = matches!(stage, Stage::Gone);
        self.stage = stage;
        match gone {
            true => ReplicaError::Broken(Box::new(NoConnection)),
            false => ReplicaError::OutOfTurn { call },
        }
    }

    /// The stage, which is put back when the call ends well: a future that is dropped takes the connection with it.
    fn take(&mut self) -> Stage {
        std::mem::replace(&mut self.stage, Stage::Gone)
    }

    fn build(&self, opening: &Opening) -> Option<String> {
        let class = opening.version.map(|version| format!("{} {version}", self.class));
        match (class, &self.build) {
            (Some(class), Some(build)) => Some(format!("{build}, {class}")),
            (class, build) => class.or_else(|| build.clone()),
        }
    }

    /// Sends one message and says what became of its records.
    async fn send(
        &mut self,
        push: Push,
        parcel: Parcel,
        more: bool,
        all_sent: bool,
        outcomes: &mut Vec<(EngineId, Outcome)>,
    ) -> Result<Push, ReplicaError> {
        let info = PushInfo::new(parcel.entities.iter().map(String::as_str), all_sent);
        let (given, push) = match push.send(parcel.changes, more, info).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.step(error)),
        };
        if let Some(session) = &mut self.session {
            session.settle(&self.class, parcel.sent, given, all_sent, outcomes);
        }
        Ok(push)
    }
}

impl Session {
    fn new(opening: Opening, said: i64) -> Self {
        Self {
            pictures: Pictures::of(said, opening.version),
            opening,
            unmapped: BTreeMap::new(),
            owes_completion: false,
        }
    }

    /// What follows from the device's answer to one message.
    fn settle(
        &mut self,
        class: &DataClass,
        sent: Vec<Sent>,
        mut given: BTreeMap<RecordId, RecordId>,
        all_sent: bool,
        outcomes: &mut Vec<(EngineId, Outcome)>,
    ) {
        let people = sent.iter().any(|sent| sent.joins) || sent.is_empty();
        if people {
            self.owes_completion = *class == DataClass::Contacts && !all_sent;
        }
        for sent in sent {
            let native = given.remove(&sent.id);
            match (native, sent.new) {
                // An update of a record that was gone makes a new one, too.
                (Some(native), _) => outcomes.push((sent.engine, Outcome::Done { native: Some(native) })),
                (None, true) if keeps_identifiers(class) => {
                    outcomes.push((sent.engine, Outcome::Done { native: Some(sent.id) }));
                }
                (None, true) => drop(self.unmapped.insert(sent.id.clone(), sent)),
                (None, false) => outcomes.push((sent.engine, Outcome::Done { native: None })),
            }
        }
        // Of an earlier message: people get their identifiers when all have come.
        for (id, native) in given {
            if let Some(sent) = self.unmapped.remove(&id) {
                outcomes.push((sent.engine, Outcome::Done { native: Some(native) }));
            }
        }
        // What the device has not named by now it dropped without a word.
        let waits = self.owes_completion;
        self.unmapped.retain(|_, sent| {
            let stays = sent.joins && waits;
            if !stays {
                outcomes.push((sent.engine, Outcome::NotAccepted));
            }
            stays
        });
    }
}

/// Classes whose records keep the computer's identifiers; the device reports none.
fn keeps_identifiers(class: &DataClass) -> bool {
    matches!(class, DataClass::Bookmarks | DataClass::MailAccounts)
}

impl Replica for Device {
    fn capabilities(&self) -> Capabilities {
        Capabilities::of_devices().ids_are_reused(!keeps_identifiers(&self.class))
    }

    /// Opens the class and keeps to itself how it will be read. Dropping the future closes the connection.
    ///
    /// [`OpenRequest::token`] and [`OpenRequest::doubtful`] are texts of this type; others count as none, and everything
    /// is read.
    async fn open(&mut self, request: OpenRequest<'_>) -> Result<Opened, ReplicaError> {
        let link = match self.take() {
            Stage::Idle(link) => link,
            stage => return Err(self.misplaced("open", stage)),
        };
        let committed = request.token.and_then(Anchors::from_token);
        if committed.is_none() && request.token.is_some() {
            tracing::warn!(class = %self.class, "the anchors of the last session cannot be read; everything is compared");
        }
        let doubtful = request.doubtful.and_then(Anchors::from_token);
        let computer = anchors::computer_anchor(SystemTime::now(), request.session);
        let device = committed.as_ref().and_then(|anchors| anchors.device.as_deref());
        let (opened, version) = self.start(link, device, &computer).await?;
        let opening = opened.opening().clone();
        let Stance {
            standing,
            extent,
            wanted,
        } = anchors::stance(
            &self.class,
            &opening,
            committed.as_ref().map(|anchors| anchors.computer.as_str()),
            doubtful.as_ref().map(|anchors| anchors.computer.as_str()),
            request.full,
        );
        tracing::debug!(class = %self.class, sync_type = opening.sync_type.as_str(), ?standing, ?extent, "open");
        let answer = Opened {
            standing,
            extent,
            token: Some(Anchors::of(computer, &opening).to_token()),
            build: self.build(&opening),
        };
        self.stage = Stage::Open(opened, wanted);
        self.session = Some(Session::new(opening, version));
        Ok(answer)
    }

    /// Dropping the future closes the connection.
    async fn read(&mut self) -> Result<Told, ReplicaError> {
        let pull = match self.take() {
            Stage::Open(opened, wanted) => match opened.pull(wanted) {
                Ok(pull) => pull,
                Err(error) => return Err(self.broke(error)),
            },
            Stage::Pulling(pull) => pull,
            stage => return Err(self.misplaced("read", stage)),
        };
        match pull.next().await {
            Ok(Pulled::Batch(changes, pull)) => {
                self.stage = Stage::Pulling(pull);
                Ok(Told::Batch(changes))
            }
            Ok(Pulled::End(push)) => {
                let complete = push.is_complete();
                self.stage = Stage::Pushing(push);
                Ok(Told::End(End {
                    complete,
                    unreadable: Vec::new(),
                    notes: Vec::new(),
                }))
            }
            Err(error) => Err(self.step(error)),
        }
    }

    /// Dropping the future closes the connection.
    async fn clear(&mut self) -> Result<(), ReplicaError> {
        let cleared = match self.take() {
            Stage::Open(opened, wanted) => opened.clear().await.map(|opened| Stage::Open(opened, wanted)),
            Stage::Pushing(push) => push.clear().await.map(Stage::Pushing),
            stage => return Err(self.misplaced("clear", stage)),
        };
        self.stage = cleared.map_err(|error| self.step(error))?;
        Ok(())
    }

    /// Sends the batch in one message, or several when it is large. Dropping the future closes the connection.
    ///
    /// New people and groups get their identifiers when the last of them came, so their outcomes come with that batch. A
    /// new record that the device then gives none is [`Outcome::NotAccepted`].
    async fn write(&mut self, batch: Batch) -> Result<Vec<(EngineId, Outcome)>, ReplicaError> {
        let mut push = match self.take() {
            Stage::Pushing(push) => push,
            stage => return Err(self.misplaced("write", stage)),
        };
        let (more, completes) = (batch.more, batch.completes || !batch.more);
        let pictures = self
            .session
            .as_ref()
            .map_or(Pictures::Whole, |session| session.pictures);
        let (parcels, mut outcomes) = outgoing::parcels(batch, pictures);
        let people = parcels.iter().flat_map(|parcel| &parcel.sent).any(|sent| sent.joins);
        let owed = self.session.as_ref().is_some_and(|session| session.owes_completion);
        if owed && !people {
            push = self.send(push, Parcel::all_people(), true, true, &mut outcomes).await?;
        }
        let count = parcels.len();
        for (at, parcel) in parcels.into_iter().enumerate() {
            let last = at.saturating_add(1) == count;
            push = self
                .send(push, parcel, more || !last, completes && last, &mut outcomes)
                .await?;
        }
        self.stage = Stage::Pushing(push);
        Ok(outcomes)
    }

    /// Dropping the future closes the connection, and nobody knows whether the device committed.
    async fn commit(&mut self) -> Result<Committed, ReplicaError> {
        let mut committed = Committed::default();
        let done = match self.take() {
            Stage::Pushing(mut push) => {
                if self.session.as_ref().is_some_and(|session| session.owes_completion) {
                    push = self
                        .send(push, Parcel::all_people(), false, true, &mut committed.outcomes)
                        .await?;
                }
                push.finish().await
            }
            Stage::Open(opened, _) => opened.finish().await,
            stage => return Err(self.misplaced("commit", stage)),
        };
        let done = done.map_err(|error| self.step(error))?;
        self.stage = Stage::Idle(done.link);
        self.session = None;
        Ok(committed)
    }

    /// Tells the device, which does not answer; the connection stays usable. Dropping the future closes it, with the same
    /// effect.
    async fn abort(&mut self, reason: &str) -> Result<(), ReplicaError> {
        self.session = None;
        let link = match self.take() {
            Stage::Open(opened, _) => opened.cancel(reason).await,
            Stage::Pulling(pull) => pull.cancel(reason).await,
            Stage::Pushing(push) => push.cancel(reason).await,
            Stage::Idle(link) => Ok(link),
            // A device that lost its computer keeps nothing.
            Stage::Gone => return Ok(()),
        };
        self.stage = Stage::Idle(link.map_err(|error| self.broke(error))?);
        Ok(())
    }
}
