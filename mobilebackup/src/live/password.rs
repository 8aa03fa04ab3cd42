use std::time::Duration;

use cabled_lockdown::Paired;
use cabled_wire::plist::Value;

use super::error::BackupError;
use super::options::{PasswordChange, RequestOptions};
use super::progress::Observer;
use super::request::Request;
use super::run::{Frame, Outcome, Prepare, Run};
use crate::folder::{BackupFolder, Purpose};

/// How often `WillEncrypt` is read after a change, a second apart: devices refuse connections for some seconds.
const VERIFY: u32 = 15;

/// Sets, changes or removes the password of a device's backups.
#[derive(Clone, Debug)]
pub struct ChangePassword<'a> {
    paired: &'a Paired,
}

/// Will the device encrypt its next backup? `WillEncrypt` of `com.apple.mobile.backup`; absent means no.
///
/// # Errors
/// [`BackupError::Lockdown`].
pub async fn will_encrypt(paired: &Paired) -> Result<bool, BackupError> {
    let value = paired
        .get_value(Some("com.apple.mobile.backup"), Some("WillEncrypt"))
        .await?;
    Ok(matches!(value, Some(Value::Boolean(true))))
}

impl<'a> ChangePassword<'a> {
    /// Nothing is sent yet.
    #[must_use]
    pub fn new(paired: &'a Paired) -> Self {
        Self { paired }
    }

    /// Makes the change. From iOS 13 on the device asks for its passcode first. The device may read the backup in
    /// `folder` meanwhile; nothing there changes.
    ///
    /// Success means that the device said so and that its `WillEncrypt` says what it should. Dropping the future cuts
    /// the link; whether the change was made shows in [`will_encrypt`].
    ///
    /// # Errors
    /// [`BackupError::AlreadyEncrypted`], [`BackupError::NotEncrypted`], [`BackupError::EmptyPassword`] before anything is
    /// sent; [`BackupError::Device`] with code 207 for a wrong old password; [`BackupError::PasswordNotApplied`].
    pub async fn run(
        &self,
        change: PasswordChange,
        options: RequestOptions,
        folder: &mut dyn BackupFolder,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, BackupError> {
        let (old, new) = match &change {
            PasswordChange::Enable { new } => (None, Some(new)),
            PasswordChange::Change { old, new } => (Some(old), Some(new)),
            PasswordChange::Disable { old } => (Some(old), None),
        };
        if [old, new]
            .into_iter()
            .flatten()
            .any(|password| password.expose().is_empty())
        {
            return Err(BackupError::EmptyPassword);
        }
        match (will_encrypt(self.paired).await?, old.is_some()) {
            (true, false) => return Err(BackupError::AlreadyEncrypted),
            (false, true) => return Err(BackupError::NotEncrypted),
            _ => {}
        }
        let wanted = new.is_some();
        let run = Run::open(self.paired, folder, None, Purpose::Other, &options.common, observer).await?;
        let frame = Frame {
            lock: false,
            prepare: Prepare::Nothing,
        };
        let outcome = run.exchange(&Request::ChangePassword { old, new }, frame).await?;
        self.verify(wanted).await?;
        Ok(outcome)
    }

    async fn verify(&self, wanted: bool) -> Result<(), BackupError> {
        let mut last = Ok(!wanted);
        for attempt in 0..VERIFY {
            if attempt > 0 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            last = will_encrypt(self.paired).await;
            if matches!(last, Ok(encrypts) if encrypts == wanted) {
                return Ok(());
            }
        }
        Err(BackupError::PasswordNotApplied { encrypts: last? })
    }
}
