//! The exchange itself: answers the device until it gives its result. Spec 4, 7 and 14.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cabled_devicelink::DeviceLinkError;
use cabled_devicelink::client::Connection;
use cabled_devicelink::machine::{Event, Phase as LinkPhase, Response};
use cabled_devicelink::msg::{Detail, Message, Status};
use cabled_devicelink::{status, transfer};
use cabled_lockdown::services::notification_proxy::names;
use cabled_wire::WireError;
use cabled_wire::plist::Dictionary;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::device_error::{DeviceError, SpaceWanted};
use super::error::BackupError;
use super::options::Common;
use super::progress::{HumanStep, Notice, Observer, Phase, Progress};
use super::worker::{MAX_FAILURES, Worker};

/// How often the observer hears of a silent device.
const TICK: Duration = Duration::from_millis(500);
/// How long a device gets to end a cancelled run on its own (spec 14.11).
const UNWIND: Duration = Duration::from_secs(10);
/// Pieces of an upload that go to the folder's thread at once.
const PIECES: usize = 1024;
/// What a device adds to the space it asks to be freed.
const PURGE_EXTRA: u64 = 2 << 30;

/// What the notification service told, or that it tells no more.
pub(super) type Notifications = mpsc::Receiver<Option<String>>;

/// The exchange of one run.
pub(super) struct Engine<'a> {
    pub(super) connection: Connection,
    pub(super) worker: &'a Worker,
    pub(super) notifications: Option<Notifications>,
    pub(super) observer: &'a mut dyn Observer,
    pub(super) progress: Progress,
    pub(super) common: &'a Common,
    pub(super) notices: Vec<Notice>,
    pub(super) state: State,
}

#[derive(Default)]
pub(super) struct State {
    cancelled: Option<Cancelled>,
    /// Free space as it was reported last.
    reported: Option<u64>,
    space: Option<SpaceWanted>,
}

struct Cancelled {
    by_device: bool,
    /// When the device has had its time; set once nothing of a transfer is left.
    give_up: Option<Instant>,
}

impl Engine<'_> {
    /// Sends the request and serves the device until its result.
    ///
    /// Not safe to drop half-way, as far as the device is concerned: it sees the link cut. The folder stays as a cut
    /// link leaves it.
    pub(super) async fn run(&mut self, request: Dictionary) -> Result<Response, BackupError> {
        self.phase(Phase::Waiting);
        let result = match self.state.cancelled {
            Some(_) => Err(BackupError::Cancelled), // nothing was asked for yet
            None => self.serve(request).await,
        };
        match (&self.state.cancelled, result) {
            (None, result) => result,
            // Too late: the device was done.
            (Some(_), Ok(response)) if response.is_success() => Ok(response),
            (Some(cancelled), _) if cancelled.by_device => Err(BackupError::CancelledOnDevice),
            (Some(_), _) => Err(BackupError::Cancelled),
        }
    }

    /// Turns a result that is no success into an error.
    pub(super) fn check(&self, response: Response) -> Result<Response, BackupError> {
        if response.is_success() {
            return Ok(response);
        }
        Err(DeviceError::new(response.code, response.description, self.state.space).into())
    }

    pub(super) fn phase(&mut self, phase: Phase) {
        self.progress.phase = if self.state.cancelled.is_some() {
            Phase::Cancelling
        } else {
            phase
        };
        self.tick();
    }

    pub(super) fn say(&mut self, notice: Notice) {
        self.observer.on_notice(&notice);
        if self.notices.len() < MAX_FAILURES {
            self.notices.push(notice);
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.state.cancelled.is_some()
    }

    async fn serve(&mut self, request: Dictionary) -> Result<Response, BackupError> {
        let sent = self.connection.request(request);
        sent.map_err(|error| self.broken(error))?;
        loop {
            match self.wait().await? {
                Event::Asked(message) => self.asked(message).await?,
                Event::Transfer(piece) => self.receive(piece).await?,
                Event::Response(response) => return Ok(response),
                event => {
                    let message = WireError::excerpt(&format!("{event:?}"));
                    return Err(self.broken(DeviceLinkError::Unexpected {
                        message,
                        phase: self.connection.phase(),
                    }));
                }
            }
        }
    }

    /// The device's next event; meanwhile notifications are heard and the observer is asked twice a second.
    async fn wait(&mut self) -> Result<Event, BackupError> {
        loop {
            // Before each event: a device that never stops asking gets no more time than a silent one.
            let give_up = self.state.cancelled.as_ref().and_then(|cancelled| cancelled.give_up);
            if give_up.is_some_and(|at| Instant::now() >= at) {
                return Err(BackupError::Cancelled);
            }
            tokio::select! {
                biased;
                event = self.connection.next() => return event.map_err(|error| self.broken(error)),
                notification = hear(&mut self.notifications) => self.notified(notification),
                () = tokio::time::sleep(TICK) => self.tick(),
            }
        }
    }

    async fn asked(&mut self, message: Message) -> Result<(), BackupError> {
        self.progress.target(message.progress());
        self.progress.message = WireError::excerpt(message.name());
        self.progress.file = None;
        (self.progress.batch_bytes, self.progress.batch_total) = (0, None);
        let cancelled = self.state.cancelled.is_some();
        let status = match message {
            Message::UploadFiles { total, .. } => {
                self.progress.batch_total = total.filter(|total| *total > 0);
                self.phase(Phase::Receiving);
                return Ok(()); // the answer follows the transfer
            }
            message @ Message::RemoveItems { .. } => self.by_folder(message).await?,
            _ if cancelled => Status::failed(status::OTHER, "Cancelled"),
            Message::DownloadFiles { paths, .. } => self.send(paths).await?,
            Message::GetFreeDiskSpace => self.free_space().await?,
            Message::PurgeDiskSpace { amount, urgency } => self.purge(amount, urgency).await,
            message @ (Message::ContentsOfDirectory { .. }
            | Message::CreateDirectory { .. }
            | Message::MoveItems { .. }
            | Message::CopyItem { .. }) => self.by_folder(message).await?,
            other => {
                self.say(Notice::UnknownMessage {
                    name: WireError::excerpt(other.name()),
                });
                Status::failed(status::OTHER, "Operation not supported")
            }
        };
        self.respond(status)
    }

    fn respond(&mut self, status: Status) -> Result<(), BackupError> {
        if !status.is_ok() {
            tracing::debug!(code = status.code, text = status.text, "answering with a failure");
        }
        self.connection.respond(status).map_err(|error| self.broken(error))?;
        if let Some(cancelled) = &mut self.state.cancelled {
            cancelled.give_up.get_or_insert_with(unwind);
        }
        self.phase(Phase::Waiting);
        Ok(())
    }

    async fn by_folder(&mut self, message: Message) -> Result<Status, BackupError> {
        let arranging = matches!(
            message,
            Message::MoveItems { .. } | Message::RemoveItems { .. } | Message::CopyItem { .. }
        );
        if arranging {
            self.phase(Phase::Arranging);
        }
        let answer = self.worker.answer(message).await?;
        answer.notices.into_iter().for_each(|notice| self.say(notice));
        Ok(answer.status)
    }

    async fn free_space(&mut self) -> Result<Status, BackupError> {
        let status = match self.common.free_space {
            Some(bytes) => Status::ok_with(Detail::Integer(bytes)),
            None => self.by_folder(Message::GetFreeDiskSpace).await?,
        };
        if let Detail::Integer(free) = status.detail {
            self.state.reported = Some(free);
            return Ok(status);
        }
        // Also a failure must carry a number here.
        Ok(Status {
            detail: Detail::Integer(0),
            ..status
        })
    }

    async fn purge(&mut self, amount: u64, urgency: i64) -> Status {
        let free = self.state.reported.unwrap_or(0);
        let needed = amount.saturating_add(free).saturating_sub(PURGE_EXTRA);
        self.state.space = Some(SpaceWanted { needed, free });
        self.say(Notice::PurgeWanted { amount, urgency });
        match self.observer.purge(amount, urgency).await {
            Some(bytes) => Status::ok_with(Detail::Integer(bytes)),
            None => Status {
                code: status::OTHER,
                text: "DLPurgeDiskSpace failed to purge".to_owned(),
                detail: Detail::Integer(0),
            },
        }
    }

    /// Sends files, encoded on the folder's thread. A cancelled one ends at the next block.
    async fn send(&mut self, paths: Vec<String>) -> Result<Status, BackupError> {
        self.phase(Phase::Sending);
        self.progress.file = paths.first().map(|path| WireError::excerpt(path));
        let stop = Arc::new(AtomicBool::new(false));
        let (mut pieces, answer) = self
            .worker
            .send(paths, Arc::clone(&stop), self.common.exact_codes)
            .await?;
        while let Some(piece) = pieces.recv().await {
            self.connection
                .send(&piece.encoded)
                .await
                .map_err(|error| self.broken(error))?;
            self.progress.batch_bytes = self.progress.batch_bytes.saturating_add(piece.data);
            self.progress.bytes_sent = self.progress.bytes_sent.saturating_add(piece.data);
            self.progress.files_sent = self.progress.files_sent.saturating_add(piece.files);
            self.tick();
            if self.state.cancelled.is_some() {
                stop.store(true, Ordering::Relaxed);
            }
        }
        let answer = answer.await.map_err(|_| BackupError::ShuttingDown)?;
        answer.notices.into_iter().for_each(|notice| self.say(notice));
        Ok(answer.status)
    }

    /// Takes everything of a transfer that is here already, and hands it to the folder's thread.
    async fn receive(&mut self, first: transfer::Event) -> Result<(), BackupError> {
        let mut pieces = vec![first];
        let mut over = false;
        loop {
            if let Some(piece) = pieces.last() {
                over = self.count(piece);
            }
            if over || pieces.len() >= PIECES {
                break;
            }
            match self.connection.try_next().map_err(|error| self.broken(error))? {
                Some(Event::Transfer(piece)) => pieces.push(piece),
                _ => break, // nothing but pieces comes inside a transfer
            }
        }
        self.worker.receive(pieces).await?;
        self.tick();
        if !over {
            return Ok(());
        }
        let received = self.worker.end_receive().await?;
        received.notices.into_iter().for_each(|notice| self.say(notice));
        self.progress.file = None;
        let status = match self.state.cancelled {
            Some(_) => Status::failed(status::OTHER, "Cancelled"),
            None => received.status,
        };
        self.respond(status)
    }

    /// Counts a piece; is it the last one?
    fn count(&mut self, piece: &transfer::Event) -> bool {
        let progress = &mut self.progress;
        match piece {
            transfer::Event::Name { device, path } => {
                progress.file = Some(WireError::excerpt(device.as_deref().unwrap_or(path)));
            }
            transfer::Event::Data(data) => {
                let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
                progress.batch_bytes = progress.batch_bytes.saturating_add(bytes);
                progress.bytes_received = progress.bytes_received.saturating_add(bytes);
            }
            transfer::Event::EndOk => progress.files_received = progress.files_received.saturating_add(1),
            transfer::Event::EndOfBatch | transfer::Event::Aborted => return true,
            _ => {}
        }
        false
    }

    /// Hears notifications and asks the observer.
    fn tick(&mut self) {
        while let Some(Ok(notification)) = self.notifications.as_mut().map(mpsc::Receiver::try_recv) {
            self.notified(Some(notification));
        }
        if self.state.cancelled.is_none() && self.observer.on_progress(&self.progress) == ControlFlow::Break(()) {
            self.cancel(false);
        }
    }

    fn notified(&mut self, notification: Option<Option<String>>) {
        let Some(Some(name)) = notification else {
            if self.notifications.take().is_some() {
                self.say(Notice::NotificationsLost);
            }
            return;
        };
        match name.as_str() {
            names::SYNC_CANCEL_REQUEST => {
                self.say(Notice::CancelledOnDevice);
                self.cancel(true);
            }
            names::PASSCODE_PRESENTED => self.say(Notice::Human(HumanStep::EnterPasscode)),
            names::PASSCODE_DISMISSED => self.say(Notice::Human(HumanStep::PasscodePromptGone)),
            names::BACKUP_DOMAIN_CHANGED => self.say(Notice::BackupDomainChanged),
            other => tracing::debug!(name = other, "notification"),
        }
    }

    fn cancel(&mut self, by_device: bool) {
        if self.state.cancelled.is_some() {
            return;
        }
        tracing::debug!(by_device, "cancelled");
        // Inside a transfer, and while an answer is owed, the device is not kept waiting for its answer first.
        let idle = matches!(
            self.connection.phase(),
            LinkPhase::FirstMessage | LinkPhase::Exchange | LinkPhase::AfterDownload
        );
        self.state.cancelled = Some(Cancelled {
            by_device,
            give_up: idle.then(unwind),
        });
        self.progress.phase = Phase::Cancelling;
    }

    fn broken(&self, source: DeviceLinkError) -> BackupError {
        BackupError::DeviceLink {
            file: self.progress.file.clone(),
            source,
        }
    }
}

fn unwind() -> Instant {
    let now = Instant::now();
    now.checked_add(UNWIND).unwrap_or(now)
}

/// The next notification; waits for ever where there is nothing to hear.
async fn hear(notifications: &mut Option<Notifications>) -> Option<Option<String>> {
    match notifications {
        Some(receiver) => receiver.recv().await,
        None => std::future::pending().await,
    }
}
