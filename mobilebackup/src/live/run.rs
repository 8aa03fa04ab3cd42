//! The frame around every exchange: services, handshake, lock, and their end. Spec 14.1.

use std::time::{Duration, Instant};

use cabled_afc::Afc;
use cabled_devicelink::client::Connection;
use cabled_devicelink::machine::{ExchangeOptions, Hello, Response};
use cabled_lockdown::{Escrow, Paired};
use cabled_wire::plist::Value;

use super::companions;
use super::engine::{Engine, State};
use super::error::BackupError;
use super::options::Common;
use super::progress::{Notice, Observer, Phase, Progress};
use super::request::Request;
use super::worker::Worker;
use crate::folder::plain::SnapshotState;
use crate::folder::{BackupFolder, Purpose, Scope};

/// The service's name.
pub const SERVICE: &str = "com.apple.mobilebackup2";
/// The media service, whose root holds the sync lock.
const AFC: &str = "com.apple.afc";

/// What a run did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The folder of the connected device: its UDID as it spells it.
    pub target: String,
    /// What the handshake settled.
    pub hello: Option<Hello>,
    /// Files received whole, status and manifests included.
    pub files_received: u64,
    /// Bytes of file contents received.
    pub bytes_received: u64,
    /// Files sent whole.
    pub files_sent: u64,
    /// Bytes of file contents sent.
    pub bytes_sent: u64,
    /// What was worth telling, the first 4096.
    pub notices: Vec<Notice>,
    /// `Content` of the result: the text of `Info` and `List`.
    pub content: Option<String>,
    /// From the first connection to the last.
    pub elapsed: Duration,
}

impl Outcome {
    /// Files of the device that it could not read and that are not in the backup.
    pub fn unreadable_files(&self) -> impl Iterator<Item = &Notice> {
        self.notices
            .iter()
            .filter(|notice| matches!(notice, Notice::DeviceFile { .. }))
    }
}

/// One request to one device, with everything it needs.
pub(super) struct Run<'a> {
    pub(super) paired: &'a Paired,
    pub(super) common: &'a Common,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) scope: Scope,
    pub(super) worker: Worker,
    pub(super) started: Instant,
}

/// What a request does around the exchange.
pub(super) struct Frame<'f> {
    /// Take the sync lock: backup and restore only.
    pub(super) lock: bool,
    /// Works with the device before the request is sent.
    pub(super) prepare: Prepare<'f>,
}

pub(super) enum Prepare<'f> {
    Nothing,
    /// Writes Info.plist.
    InfoPlist(&'f super::info_plist::Facts),
    /// Writes the list of apps to install again.
    Applications(Option<Value>),
}

impl<'a> Run<'a> {
    /// Finds out who the device is and opens its folder.
    pub(super) async fn open(
        paired: &'a Paired,
        folder: &dyn BackupFolder,
        source: Option<&str>,
        purpose: Purpose,
        common: &'a Common,
        observer: &'a mut dyn Observer,
    ) -> Result<Self, BackupError> {
        let started = tokio::time::Instant::now().into_std();
        let target = identify(paired).await?;
        let scope = Scope::new(&target, source.unwrap_or(&target), purpose)?;
        let worker = Worker::spawn(folder, scope.clone()).await?;
        Ok(Self {
            paired,
            common,
            observer,
            scope,
            worker,
            started,
        })
    }

    /// Lets go of the folder before the request was made.
    pub(super) async fn abandon<T>(self, error: BackupError) -> Result<T, BackupError> {
        self.worker.close().await;
        Err(error)
    }

    /// Runs the request in its frame, and lets go of the folder.
    pub(super) async fn exchange(mut self, request: &Request<'_>, frame: Frame<'_>) -> Result<Outcome, BackupError> {
        let outcome = self.exchange_in(request, frame).await;
        self.worker.close().await;
        outcome
    }

    async fn exchange_in(&mut self, request: &Request<'_>, frame: Frame<'_>) -> Result<Outcome, BackupError> {
        let (paired, common) = (self.paired, self.common);
        let observer = &mut *self.observer;
        let progress = Progress {
            phase: Phase::Connecting,
            ..Progress::default()
        };
        let _ = observer.on_progress(&progress);
        let (notifier, notifications) = companions::notifier(paired).await?;
        let afc = match frame.lock {
            true => Some(Afc::new(paired.start_service(AFC, Escrow::IfNeeded).await?)),
            false => None,
        };
        let connection = connect(paired, common).await?;
        let hello = connection.hello();
        let lock = match &afc {
            Some(afc) => Some(companions::lock(afc, &notifier, common.require_lock, observer).await?),
            None => None,
        };
        let (notifications, notices, state) = (Some(notifications), Vec::new(), State::default());
        let mut engine = Engine {
            connection,
            worker: &self.worker,
            notifications,
            observer,
            progress,
            common,
            notices,
            state,
        };
        if let Some(hello) = hello.filter(|hello| hello.device_link.0 > 400) {
            engine.say(Notice::NewerDeviceLink {
                major: hello.device_link.0,
            });
        }
        let result = drive(&mut engine, paired, afc.as_ref(), &self.scope, request, frame.prepare).await;
        engine.phase(Phase::Finishing);
        // The device keeps everything open until here; LI releases before it says goodbye, and so do we.
        if let Some(lock) = lock {
            lock.release(&notifier).await;
        }
        let Engine {
            connection,
            progress,
            notices,
            ..
        } = engine;
        let was_cancelled = matches!(result, Err(BackupError::Cancelled | BackupError::CancelledOnDevice));
        let goodbye = was_cancelled.then(|| "Cancelled by user".to_owned());
        connection.disconnect(goodbye).await;
        drop((afc, notifier));
        let response = result?;
        Ok(Outcome {
            target: self.scope.target().to_owned(),
            hello,
            files_received: progress.files_received,
            bytes_received: progress.bytes_received,
            files_sent: progress.files_sent,
            bytes_sent: progress.bytes_sent,
            notices,
            content: response.content,
            elapsed: tokio::time::Instant::now()
                .into_std()
                .saturating_duration_since(self.started),
        })
    }
}

/// Starts the backup service and shakes hands with it.
async fn connect(paired: &Paired, common: &Common) -> Result<Connection, BackupError> {
    // With the escrow bag, whatever the device's state: it may lock in the middle of the run.
    let stream = paired.start_service(SERVICE, Escrow::Always).await?;
    let options = ExchangeOptions::default().with_deadlines(common.deadlines);
    Connection::open(stream, options)
        .await
        .map_err(|source| BackupError::DeviceLink { file: None, source })
}

/// Prepares, runs the exchange, and judges its end.
async fn drive(
    engine: &mut Engine<'_>,
    paired: &Paired,
    afc: Option<&Afc>,
    scope: &Scope,
    request: &Request<'_>,
    prepare: Prepare<'_>,
) -> Result<Response, BackupError> {
    engine.phase(Phase::Preparing);
    let mut applications = false;
    match (prepare, afc) {
        (Prepare::InfoPlist(facts), Some(afc)) => {
            let (info, notices) = super::info_plist::gather(paired, afc, scope.target(), facts).await;
            notices.into_iter().for_each(|notice| engine.say(notice));
            engine
                .worker
                .write(format!("{}/Info.plist", scope.target()), info.into())
                .await?;
        }
        (Prepare::Applications(Some(list)), Some(afc)) => {
            super::applications::write(afc, &list).await?;
            applications = true;
        }
        _ => {}
    }
    if engine.is_cancelled() {
        return Err(BackupError::Cancelled);
    }
    let result = match engine.run(request.to_dictionary(scope.target(), scope.source())).await {
        Ok(response) => engine.check(response),
        Err(error) => Err(error),
    };
    match (result, afc) {
        (Err(error), Some(afc)) if applications => {
            super::applications::remove(afc).await;
            Err(error)
        }
        (Ok(response), _) if matches!(request, Request::Backup { .. }) => {
            engine.phase(Phase::Finishing);
            finished(engine.worker, scope).await?;
            engine.progress.target(Some(100.0));
            Ok(response)
        }
        (result, _) => result,
    }
}

/// A backup is complete when its status says so and everything is on the disk, not when the device says so.
async fn finished(worker: &Worker, scope: &Scope) -> Result<(), BackupError> {
    match status_of(worker, scope.target()).await {
        // It said so before the run, too, unless this was the first.
        Some(SnapshotState::Finished) if !worker.status_written().await? => Err(BackupError::NothingWritten),
        Some(SnapshotState::Finished) => worker.finish().await,
        state => Err(BackupError::NotFinished { state }),
    }
}

/// What `Status.plist` of a folder says; `None` if it is missing or cannot be read.
pub(super) async fn status_of(worker: &Worker, device: &str) -> Option<SnapshotState> {
    let status = worker.read(format!("{device}/Status.plist"), 64 << 10).await.ok()?;
    SnapshotState::read(&status[..])
}

/// The UDID as the device spells it: its folder's name, and the prefix of every path it will ask for.
async fn identify(paired: &Paired) -> Result<String, BackupError> {
    if let Some(udid) = paired.udid() {
        return Ok(udid.to_string());
    }
    let value = paired.get_value(None, Some("UniqueDeviceID")).await?;
    value.and_then(Value::into_string).ok_or(BackupError::NoIdentifier)
}
