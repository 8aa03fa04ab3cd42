//! The exchange against scripted devices, recorded ones, and folders that fail.

#![expect(clippy::arithmetic_side_effects, reason = "test code")]

mod device;
mod endings;
mod faults;
mod recorded;

mod scripted;

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use cabled_devicelink::client::Connection;
use cabled_devicelink::machine::{ExchangeOptions, Response};
use cabled_wire::io::BoxFuture;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

use super::engine::{Engine, Notifications, State};
use super::error::BackupError;
use super::options::Common;
use super::progress::{Notice, Observer, Progress};
use super::request::Request;
use super::worker::Worker;
use crate::folder::{BackupFolder, Purpose, Scope};

pub(super) const U: &str = "00008030-001A2B3C4D5E6F70";

/// What the host's side of a test is made of.
pub(super) struct Host {
    pub(super) common: Common,
    pub(super) scope: Scope,
    pub(super) notifications: Option<Notifications>,
    pub(super) observer: Watcher,
}

/// Notes everything; stops the run when told to.
#[derive(Clone, Default)]
pub(super) struct Watcher {
    pub(super) seen: Arc<Mutex<Seen>>,
    /// Break once this many bytes were moved.
    pub(super) break_at: Option<u64>,
    /// Break at this call.
    pub(super) break_call: Option<usize>,
    pub(super) purges: Option<u64>,
}

#[derive(Default)]
pub(super) struct Seen {
    pub(super) notices: Vec<Notice>,
    pub(super) progress: Vec<Progress>,
}

impl Observer for Watcher {
    fn on_progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        let mut seen = self.seen.lock().unwrap();
        seen.progress.push(progress.clone());
        let bytes = self.break_at.is_some_and(|bytes| progress.run_bytes() >= bytes);
        if bytes || self.break_call == Some(seen.progress.len()) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn on_notice(&mut self, notice: &Notice) {
        self.seen.lock().unwrap().notices.push(notice.clone());
    }

    fn purge(&mut self, _amount: u64, _urgency: i64) -> BoxFuture<'_, Option<u64>> {
        Box::pin(std::future::ready(self.purges))
    }
}

impl Watcher {
    pub(super) fn notices(&self) -> Vec<Notice> {
        self.seen.lock().unwrap().notices.clone()
    }
}

impl Host {
    pub(super) fn new(purpose: Purpose) -> Self {
        Self {
            common: Common::default(),
            scope: Scope::new(U, U, purpose).unwrap(),
            notifications: None,
            observer: Watcher::default(),
        }
    }

    pub(super) fn notified(mut self) -> (Self, mpsc::Sender<Option<String>>) {
        let (sender, receiver) = mpsc::channel(8);
        self.notifications = Some(receiver);
        (self, sender)
    }

    /// The host's whole side: handshake, request, exchange, goodbye.
    pub(super) async fn run(
        self,
        stream: DuplexStream,
        folder: &dyn BackupFolder,
        request: Request<'_>,
    ) -> Result<Response, BackupError> {
        let Self {
            common,
            scope,
            notifications,
            mut observer,
        } = self;
        let options = ExchangeOptions::default().with_deadlines(common.deadlines);
        let connection = Connection::open(Box::new(stream), options);
        let connection = connection
            .await
            .map_err(|source| BackupError::DeviceLink { file: None, source })?;
        let worker = Worker::spawn(folder, scope.clone()).await?;
        let (progress, notices, state) = (Progress::default(), Vec::new(), State::default());
        let (observer, common) = (&mut observer, &common);
        let owned = worker;
        let worker = &owned;
        let mut engine = Engine {
            connection,
            worker,
            notifications,
            observer,
            progress,
            common,
            notices,
            state,
        };
        let result = engine.run(request.to_dictionary(scope.target(), scope.source())).await;
        let result = result.and_then(|response| engine.check(response));
        let finished = match &result {
            Ok(_) if scope.purpose() == Purpose::Backup => engine.worker.finish().await,
            _ => Ok(()),
        };
        engine.connection.disconnect(None).await;
        owned.close().await;
        finished.and(result)
    }
}
