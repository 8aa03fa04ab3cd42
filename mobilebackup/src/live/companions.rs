//! What must stand beside the exchange for the whole run: notifications and the sync lock. Spec 12.

use cabled_afc::session::{Notifier, NotifierError, SyncSession};
use cabled_afc::{Afc, SyncLockOptions};
use cabled_lockdown::Paired;
use cabled_lockdown::services::notification_proxy::names;

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

/// Starts the notification service; its loss later on is not fatal.
pub(super) async fn notifier(paired: &Paired) -> Result<(Notifier, Notifications), BackupError> {
    Notifier::start(paired, &OBSERVED).await.map_err(|error| match error {
        NotifierError::Lockdown(error) => BackupError::Lockdown(error),
        NotifierError::Service(error) => BackupError::Service(error),
    })
}

/// Takes the sync lock in the order of spec 14.1.
pub(super) async fn lock(
    afc: &Afc,
    notifier: &Notifier,
    required: bool,
    observer: &mut dyn Observer,
) -> Result<SyncSession, BackupError> {
    let options = SyncLockOptions::default();
    if required {
        return SyncSession::begin(afc, notifier, &options)
            .await
            .map_err(BackupError::Lock);
    }
    let begun = SyncSession::begin_even_unlocked(afc, notifier, &options).await;
    let (session, missing) = begun.map_err(BackupError::Lock)?;
    if let Some(error) = missing {
        observer.on_notice(&Notice::NoLock {
            reason: error.to_string(),
        });
    }
    Ok(session)
}
