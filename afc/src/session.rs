//! What stands beside a sync or a backup for as long as it runs: the notification service, and the sync lock with the
//! announcements around it (feature `session`).
//!
//! # Example
//! Keep every other program away from a device while something is done:
//! ```no_run
//! use cabled_afc::session::{Notifier, SyncSession};
//! use cabled_afc::{Afc, SyncLockOptions};
//! use cabled_lockdown::services::notification_proxy::names;
//! use cabled_lockdown::{Escrow, Paired};
//!
//! # async fn run(paired: Paired) -> Result<(), Box<dyn std::error::Error>> {
//! let (notifier, mut heard) = Notifier::start(&paired, &[names::SYNC_CANCEL_REQUEST]).await?;
//! let afc = Afc::new(paired.start_service("com.apple.afc", Escrow::IfNeeded).await?);
//! let session = SyncSession::begin(&afc, &notifier, &SyncLockOptions::default()).await?;
//! // Sync or back up; `heard` tells when somebody presses cancel on the device.
//! # drop(heard.recv().await);
//! session.release(&notifier).await;
//! # Ok(())
//! # }
//! ```
//! # How it fits together
//! A [`Notifier`] works one connection to the notification service on a task of its own: nothing is missed while files or
//! records travel. A [`SyncSession`] is the lock ([`SyncLock`]) with what programs say to each other and to the screen
//! around it: announced before the lock file is opened, requested when it is open, started when it is locked, finished when
//! it is released. Spec: mobilesync, section 10; mobilebackup2, sections 12 and 14.1.
//!
//! # Limits
//! A listener that is busy for 64 notifications' length misses what comes then.

use cabled_lockdown::services::ServiceError;
use cabled_lockdown::services::notification_proxy::{self, NotificationProxy, names};
use cabled_lockdown::{Escrow, Paired};
use tokio::sync::{mpsc, oneshot};

use crate::{Afc, SyncLock, SyncLockError, SyncLockOptions};

/// Notifications that wait to be heard at most.
const HEARD: usize = 64;

/// What the notification service told: names, then `None` once when it tells no more.
pub type Notifications = mpsc::Receiver<Option<String>>;

/// The notification service of a device, worked by a task of its own.
///
/// The task ends when this is dropped. A sync that was announced and not ended is ended by it then, whatever became of the
/// future that announced it.
#[derive(Debug)]
pub struct Notifier {
    posts: mpsc::Sender<(&'static str, oneshot::Sender<()>)>,
}

/// The notification service could not be started.
#[derive(Debug, thiserror::Error)]
pub enum NotifierError {
    /// Lockdown did not start it.
    #[error(transparent)]
    Lockdown(#[from] cabled_lockdown::Error),
    /// It was lost before it was told what to relay.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl Notifier {
    /// Starts the service and observes notifications by name; its loss later on is told as `None`.
    ///
    /// Dropping the future drops the connection.
    ///
    /// # Errors
    /// [`NotifierError`].
    pub async fn start(paired: &Paired, observed: &[&str]) -> Result<(Self, Notifications), NotifierError> {
        let stream = paired.start_service(notification_proxy::SERVICE, Escrow::Never).await?;
        let mut proxy = NotificationProxy::new(stream);
        for name in observed {
            proxy.observe(name).await?;
        }
        let (posts, wanted) = mpsc::channel(4);
        let (heard, notifications) = mpsc::channel(HEARD);
        tokio::spawn(work(proxy, wanted, heard));
        Ok((Self { posts }, notifications))
    }

    /// Posts; a service that is gone is only worth a line in the log.
    ///
    /// Dropping the future is safe; the notification may be posted nevertheless.
    pub async fn post(&self, name: &'static str) {
        let (done, posted) = oneshot::channel();
        if self.posts.send((name, done)).await.is_err() || posted.await.is_err() {
            tracing::warn!(name, "the notification could not be posted");
        }
    }
}

/// Posts what is wanted and relays what is heard, until the run is over. A sync that was announced is always ended,
/// even if the run's future was dropped.
async fn work(
    mut proxy: NotificationProxy,
    mut wanted: mpsc::Receiver<(&'static str, oneshot::Sender<()>)>,
    heard: mpsc::Sender<Option<String>>,
) {
    let mut announced = false;
    let mut listening = true;
    loop {
        tokio::select! {
            post = wanted.recv() => {
                let Some((name, done)) = post else { break };
                announced = match name {
                    names::SYNC_WILL_START => true,
                    names::SYNC_DID_FINISH => false,
                    _ => announced,
                };
                if let Err(error) = proxy.post(name).await {
                    tracing::warn!(%error, "the notification service is gone");
                    return;
                }
                let _ = done.send(());
            }
            name = proxy.next(), if listening => {
                let name = name.unwrap_or_else(|error| {
                    tracing::warn!(%error, "the notification service failed");
                    None
                });
                listening = name.is_some();
                // A run that is busy for so long must not be held up by notifications.
                drop(heard.try_send(name));
            }
        }
    }
    if announced {
        drop(proxy.post(names::SYNC_DID_FINISH).await);
    }
    drop(proxy.shutdown().await);
}

/// A sync or backup that others were told of, with the lock that keeps them away.
///
/// [`SyncSession::release`] ends it. When it is dropped, the lock is given back in the background, and the end is told
/// when its [`Notifier`] is dropped.
#[derive(Debug)]
pub struct SyncSession {
    lock: Option<SyncLock>,
}

impl SyncSession {
    /// Announces the sync, opens the lock file, asks for the lock, takes it, and says that the sync has started. When that
    /// fails others are told, and nothing stays locked.
    ///
    /// Dropping the future gives back what was got.
    ///
    /// # Errors
    /// [`SyncLockError`].
    pub async fn begin(afc: &Afc, notifier: &Notifier, options: &SyncLockOptions) -> Result<Self, SyncLockError> {
        match Self::announce(afc, notifier, options).await {
            Ok(lock) => Ok(Self { lock: Some(lock) }),
            Err(error) => Err(Self::failed(notifier, error).await),
        }
    }

    /// As [`SyncSession::begin`], but without the lock where its file cannot be opened or locked, and with the reason. A
    /// lock that somebody else holds is an error all the same.
    ///
    /// # Errors
    /// [`SyncLockError::Held`].
    pub async fn begin_even_unlocked(
        afc: &Afc,
        notifier: &Notifier,
        options: &SyncLockOptions,
    ) -> Result<(Self, Option<SyncLockError>), SyncLockError> {
        match Self::announce(afc, notifier, options).await {
            Ok(lock) => Ok((Self { lock: Some(lock) }, None)),
            Err(error @ SyncLockError::Afc(_)) => Ok((Self { lock: None }, Some(error))),
            Err(error) => Err(Self::failed(notifier, error).await),
        }
    }

    async fn announce(afc: &Afc, notifier: &Notifier, options: &SyncLockOptions) -> Result<SyncLock, SyncLockError> {
        notifier.post(names::SYNC_WILL_START).await;
        let file = SyncLock::open(afc).await?;
        notifier.post(names::SYNC_LOCK_REQUEST).await;
        let lock = file.lock(options).await?;
        notifier.post(names::SYNC_DID_START).await;
        Ok(lock)
    }

    async fn failed(notifier: &Notifier, error: SyncLockError) -> SyncLockError {
        notifier.post(names::SYNC_FAILED_TO_START).await;
        notifier.post(names::SYNC_DID_FINISH).await;
        error
    }

    /// Unlocks, closes, and says that it is over. A device that is gone needs none of it: that is no error.
    ///
    /// When the future is dropped the lock is given back in the background.
    pub async fn release(mut self, notifier: &Notifier) {
        if let Some(lock) = self.lock.take()
            && let Err(error) = lock.release().await
        {
            // The device may restart at once after a restore.
            tracing::debug!(%error, "the sync lock went with its connection");
        }
        notifier.post(names::SYNC_DID_FINISH).await;
    }
}
