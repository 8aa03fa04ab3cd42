//! Keeps other programs away from a device while it is synced, and hears what is pressed on its screen (feature `device`).
//!
//! # Example
//! A sync that ends when somebody presses cancel on the device:
//! ```no_run
//! use cabled_lockdown::Paired;
//! use cabled_syncproto::guard::{GuardOptions, SyncGuard};
//!
//! # async fn sync_everything() {}
//! # async fn run(paired: Paired) -> Result<(), Box<dyn std::error::Error>> {
//! let guard = SyncGuard::begin(&paired, &GuardOptions::default()).await?;
//! tokio::select! {
//!     () = sync_everything() => {}
//!     () = guard.cancelled() => println!("cancelled on the device"),
//! }
//! guard.close().await;
//! # Ok(())
//! # }
//! ```
//! # How it fits together
//! [`SyncGuard::begin`] does what desktop programs do around a sync, in their order: it observes the device's buttons,
//! announces the sync, opens the lock file, asks for the lock, takes it, and says that the sync has started. Backups take
//! the same lock by the same means (`cabled_afc::session`), so a sync waits for a backup and the other way round. The sync
//! service itself does not look at the lock. Spec: mobilesync, section 10.
//!
//! # Limits
//! A guard that is dropped gives the lock back in the background and needs the runtime for it; [`SyncGuard::close`] waits
//! until it is done. A device that is gone needs neither.

use std::future::pending;

use cabled_afc::session::{Notifications, Notifier, NotifierError, SyncSession};
use cabled_afc::{Afc, SyncLockError, SyncLockOptions};
use cabled_lockdown::services::ServiceError;
use cabled_lockdown::services::notification_proxy::names;
use cabled_lockdown::{Escrow, Paired};
use tokio::sync::watch;

/// The service whose root holds the lock file.
const AFC: &str = "com.apple.afc";
/// What is observed.
const OBSERVED: [&str; 3] = [
    names::SYNC_CANCEL_REQUEST,
    names::SYNC_SUSPEND_REQUEST,
    names::SYNC_RESUME_REQUEST,
];

/// How the lock is taken.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GuardOptions {
    /// How long another sync or backup is waited for: 50 tries, 200 ms apart, unless set.
    pub lock: SyncLockOptions,
}

impl GuardOptions {
    /// Sets how long another sync or backup is waited for (default: 50 tries, 200 ms apart).
    #[must_use]
    pub fn with_lock(self, lock: SyncLockOptions) -> Self {
        Self { lock }
    }
}

/// Why a sync may not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// The services that a sync needs around it could not be started.
    #[error("the device's services could not be started")]
    Lockdown(#[from] cabled_lockdown::Error),
    /// The notification service was lost at once.
    #[error("the device's notification service failed")]
    Service(#[from] ServiceError),
    /// The lock could not be had: another program syncs or backs up.
    #[error("the sync lock of the device could not be taken")]
    Lock(#[from] SyncLockError),
}

/// What was pressed on the device last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    GoOn,
    Suspend,
    Cancel,
}

/// A sync under way, which other programs know of. Best ended by [`SyncGuard::close`].
#[derive(Debug)]
pub struct SyncGuard {
    // In the order in which they are let go.
    session: SyncSession,
    afc: Afc,
    notifier: Notifier,
    asked: watch::Receiver<Asked>,
}

impl SyncGuard {
    /// Observes, announces, locks, and says that the sync has started.
    ///
    /// Dropping the future gives back what was got, and others are told that the sync is over.
    ///
    /// # Errors
    /// [`GuardError`]; others have been told that the sync did not start.
    pub async fn begin(paired: &Paired, options: &GuardOptions) -> Result<Self, GuardError> {
        let started = Notifier::start(paired, &OBSERVED).await;
        let (notifier, heard) = started.map_err(|error| match error {
            NotifierError::Lockdown(error) => GuardError::Lockdown(error),
            NotifierError::Service(error) => GuardError::Service(error),
        })?;
        let (tell, asked) = watch::channel(Asked::GoOn);
        tokio::spawn(listen(heard, tell));
        let afc = Afc::new(paired.start_service(AFC, Escrow::IfNeeded).await?);
        let session = SyncSession::begin(&afc, &notifier, &options.lock).await?;
        Ok(Self {
            session,
            afc,
            notifier,
            asked,
        })
    }

    /// Waits until somebody presses cancel on the device, for ever if nobody does. It stays pressed.
    ///
    /// Dropping the future is safe.
    pub async fn cancelled(&self) {
        let mut asked = self.asked.clone();
        if asked.wait_for(|asked| *asked == Asked::Cancel).await.is_err() {
            // The notification service is gone: nothing will be heard any more.
            pending::<()>().await;
        }
    }

    /// Whether cancel was pressed on the device.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        *self.asked.borrow() == Asked::Cancel
    }

    /// Whether the device asks for a pause.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        *self.asked.borrow() == Asked::Suspend
    }

    /// Waits while the device asks for a pause; ends when it asks to go on, when cancel is pressed, and when the
    /// notification service is gone. Call it between batches.
    ///
    /// Dropping the future is safe.
    pub async fn resumed(&self) {
        let mut asked = self.asked.clone();
        // A service that is gone cannot ask for a pause.
        drop(asked.wait_for(|asked| *asked != Asked::Suspend).await);
    }

    /// The device's media, for as long as the sync takes. Not for bulk: the lock lives on this connection.
    #[must_use]
    pub const fn afc(&self) -> &Afc {
        &self.afc
    }

    /// Unlocks, closes the lock file, and says that the sync is over.
    ///
    /// When the future is dropped the same happens in the background.
    pub async fn close(self) {
        let Self {
            session,
            afc,
            notifier,
            asked: _,
        } = self;
        session.release(&notifier).await;
        drop((afc, notifier));
    }
}

/// Remembers what was pressed, until the service is gone.
async fn listen(mut heard: Notifications, tell: watch::Sender<Asked>) {
    while let Some(Some(name)) = heard.recv().await {
        let asks = match name.as_str() {
            names::SYNC_CANCEL_REQUEST => Asked::Cancel,
            names::SYNC_SUSPEND_REQUEST => Asked::Suspend,
            names::SYNC_RESUME_REQUEST => Asked::GoOn,
            _ => continue,
        };
        tracing::debug!(?asks, "asked on the device");
        tell.send_if_modified(|asked| {
            let changes = *asked != Asked::Cancel && *asked != asks;
            if changes {
                *asked = asks;
            }
            changes
        });
    }
    // Nobody can ask to go on any more.
    tell.send_if_modified(|asked| {
        let waits = *asked == Asked::Suspend;
        if waits {
            *asked = Asked::GoOn;
        }
        waits
    });
}
