//! notification_proxy: post notifications on the device and hear those it posts.

mod client;
mod msg;

pub use client::NotificationProxy;
pub use msg::{Command, Event};

/// The service, behind a session.
pub const SERVICE: &str = "com.apple.mobile.notification_proxy";
/// The same for unpaired hosts: the one service that needs no session.
pub const INSECURE_SERVICE: &str = "com.apple.mobile.insecure_notification_proxy";

/// Names of notifications that matter to backup, sync and pairing (spec: lockdown 12.1, mobilebackup2 12.1).
pub mod names {
    /// Post before opening the lock file.
    pub const SYNC_WILL_START: &str = "com.apple.itunes-mobdev.syncWillStart";
    /// Post when the lock file is open and about to be locked.
    pub const SYNC_LOCK_REQUEST: &str = "com.apple.itunes-mobdev.syncLockRequest";
    /// Post when the lock is held.
    pub const SYNC_DID_START: &str = "com.apple.itunes-mobdev.syncDidStart";
    /// Post in place of it when the lock could not be had.
    pub const SYNC_FAILED_TO_START: &str = "com.apple.itunes-mobdev.syncFailedToStart";
    /// Post after unlocking, if `syncWillStart` was posted.
    pub const SYNC_DID_FINISH: &str = "com.apple.itunes-mobdev.syncDidFinish";
    /// Observe: the user pressed cancel on the device.
    pub const SYNC_CANCEL_REQUEST: &str = "com.apple.itunes-client.syncCancelRequest";
    /// Observe: the device asks to pause.
    pub const SYNC_SUSPEND_REQUEST: &str = "com.apple.itunes-client.syncSuspendRequest";
    /// Observe: the device asks to go on.
    pub const SYNC_RESUME_REQUEST: &str = "com.apple.itunes-client.syncResumeRequest";
    /// Observe: `WillEncrypt` and its kin changed.
    pub const BACKUP_DOMAIN_CHANGED: &str = "com.apple.mobile.backup.domain_changed";
    /// Observe: the passcode prompt is on the screen.
    pub const PASSCODE_PRESENTED: &str = "com.apple.LocalAuthentication.ui.presented";
    /// Observe: the passcode prompt is gone, answered or not.
    pub const PASSCODE_DISMISSED: &str = "com.apple.LocalAuthentication.ui.dismissed";
    /// Observe while unpaired: the user answered the trust dialogue.
    pub const REQUEST_PAIR: &str = "com.apple.mobile.lockdown.request_pair";
    /// Observe while unpaired: the device wants `UntrustedHostBUID` set.
    pub const REQUEST_HOST_BUID: &str = "com.apple.mobile.lockdown.request_host_buid";
    /// Observe: the device has a new name.
    pub const DEVICE_NAME_CHANGED: &str = "com.apple.mobile.lockdown.device_name_changed";
    /// Observe: an app was installed.
    pub const APPLICATION_INSTALLED: &str = "com.apple.mobile.application_installed";
    /// Observe: an app was removed.
    pub const APPLICATION_UNINSTALLED: &str = "com.apple.mobile.application_uninstalled";
    /// Observe: the language was changed.
    pub const LANGUAGE_CHANGED: &str = "com.apple.language.changed";
}
