use cabled_lockdown::Paired;

use super::error::BackupError;
use super::info_plist::Facts;
use super::options::BackupOptions;
use super::progress::Observer;
use super::request::Request;
use super::run::{Frame, Outcome, Prepare, Run};
use crate::folder::{BackupFolder, Purpose};

/// What a backup did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BackupReport {
    /// Counts, notices, time.
    pub outcome: Outcome,
    /// Was the backup encrypted? As the device says (`WillEncrypt`).
    pub encrypted: bool,
    /// The device's values of lockdown at the start.
    pub device_name: Option<String>,
}

/// Backs up a device.
#[derive(Clone, Debug)]
pub struct Backup<'a> {
    paired: &'a Paired,
}

impl<'a> Backup<'a> {
    /// Nothing is sent yet.
    #[must_use]
    pub fn new(paired: &'a Paired) -> Self {
        Self { paired }
    }

    /// Makes a backup into `folder`: the device's own folder is continued, or begun.
    ///
    /// Success means that the device said so, that Status.plist says `finished`, and that everything is flushed.
    /// Dropping the future cuts the link: the device may keep its sync screen for a while, the folder can be resumed or
    /// rolled back. To stop in an orderly way let the observer break.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn run(
        &self,
        options: BackupOptions,
        folder: &mut dyn BackupFolder,
        observer: &mut dyn Observer,
    ) -> Result<BackupReport, BackupError> {
        let source = options.source.as_deref();
        let run = Run::open(self.paired, folder, source, Purpose::Backup, &options.common, observer).await?;
        let (facts, encrypted) = match self.check(&run, source).await {
            Ok(facts) => facts,
            Err(error) => return run.abandon(error).await,
        };
        let frame = Frame {
            lock: true,
            prepare: Prepare::InfoPlist(&facts),
        };
        let outcome = run
            .exchange(
                &Request::Backup {
                    force_full: options.full,
                },
                frame,
            )
            .await?;
        let device_name = facts
            .values
            .get("DeviceName")
            .and_then(|name| name.as_string())
            .map(str::to_owned);
        Ok(BackupReport {
            outcome,
            encrypted,
            device_name,
        })
    }

    async fn check(&self, run: &Run<'_>, source: Option<&str>) -> Result<(Facts, bool), BackupError> {
        if let Some(source) = source.filter(|source| *source != run.scope.target())
            && super::run::status_of(&run.worker, source).await.is_none()
        {
            return Err(BackupError::NoBackup {
                device: source.to_owned(),
                why: "Status.plist is missing",
            });
        }
        Ok((
            Facts::ask(self.paired).await?,
            super::password::will_encrypt(self.paired).await?,
        ))
    }
}
