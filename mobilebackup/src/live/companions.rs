//! What must stand beside the exchange for the whole run: notifications and the sync lock. Spec 12.

use cabled_afc::{Afc, SyncLock, SyncLockError, SyncLockOptions};
use cabled_lockdown::services::notification_proxy::{self, NotificationProxy, names};
use cabled_lockdown::{Escrow, Paired};
use tokio::sync::{mpsc, oneshot};

use super::engine::Notifications;
use super::error::BackupError;
use super::progress::{Notice, Observer};

/// What is observed for the whole run.
const OBSERVED: [&str; 6] = [
    names::SYNC_CANCEL_REQUEST,
    names::SYNC_SUSPEND_REQUEST,
    names::SYNC_RESUME_REQUEST,
    names::BACKUP_DOMAIN_CHANGED,
    names::PASSCODE_PRESENTED,
    names::PASSCODE_DISMISSED,
];

/// The notification service, worked by a task of its own so that nothing is missed while files travel.
#[derive(Debug)]
pub(super) struct Notifier {
    posts: mpsc::Sender<(&'static str, oneshot::Sender<()>)>,
}

impl Notifier {
    /// Starts the service and observes; its loss later on is not fatal.
    pub(super) async fn start(paired: &Paired) -> Result<(Self, Notifications), BackupError> {
        let stream = paired.start_service(notification_proxy::SERVICE, Escrow::Never).await?;
        let mut proxy = NotificationProxy::new(stream);
        for name in OBSERVED {
            proxy.observe(name).await?;
        }
        let (posts, wanted) = mpsc::channel(4);
        let (heard, notifications) = mpsc::channel(64);
        tokio::spawn(work(proxy, wanted, heard));
        Ok((Self { posts }, notifications))
    }

    /// Posts; a service that is gone is only worth a line in the log.
    pub(super) async fn post(&self, name: &'static str) {
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
                // A run that is busy for 64 notifications' length misses some; it must not be held up by them.
                drop(heard.try_send(name));
            }
        }
    }
    if announced {
        drop(proxy.post(names::SYNC_DID_FINISH).await);
    }
    drop(proxy.shutdown().await);
}

/// The sync lock and the notifications around it, in the order of spec 14.1.
#[derive(Debug)]
pub(super) struct Lock {
    lock: Option<SyncLock>,
    announced: bool,
}

impl Lock {
    pub(super) async fn take(
        afc: &Afc,
        notifier: &Notifier,
        required: bool,
        observer: &mut dyn Observer,
    ) -> Result<Self, BackupError> {
        notifier.post(names::SYNC_WILL_START).await;
        match Self::lock(afc, notifier).await {
            Ok(lock) => {
                notifier.post(names::SYNC_DID_START).await;
                Ok(Self {
                    lock: Some(lock),
                    announced: true,
                })
            }
            Err(error @ SyncLockError::Afc(_)) if !required => {
                observer.on_notice(&Notice::NoLock {
                    reason: error.to_string(),
                });
                Ok(Self {
                    lock: None,
                    announced: true,
                })
            }
            Err(error) => {
                notifier.post(names::SYNC_DID_FINISH).await;
                Err(BackupError::Lock(error))
            }
        }
    }

    async fn lock(afc: &Afc, notifier: &Notifier) -> Result<SyncLock, SyncLockError> {
        let file = SyncLock::open(afc).await?;
        notifier.post(names::SYNC_LOCK_REQUEST).await;
        file.lock(&SyncLockOptions::default()).await
    }

    /// Unlocks, closes and says that it is over.
    pub(super) async fn release(self, notifier: &Notifier) {
        if let Some(lock) = self.lock
            && let Err(error) = lock.release().await
        {
            // The device may restart at once after a restore.
            tracing::debug!(%error, "the sync lock went with its connection");
        }
        if self.announced {
            notifier.post(names::SYNC_DID_FINISH).await;
        }
    }
}
