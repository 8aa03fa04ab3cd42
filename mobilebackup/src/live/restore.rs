use cabled_lockdown::Paired;
use cabled_wire::plist::{self, DictExt, Dictionary, Limits, Value};

use super::error::BackupError;
use super::options::RestoreOptions;
use super::progress::Observer;
use super::request::Request;
use super::run::{Frame, Outcome, Prepare, Run, status_of};
use super::worker::Worker;
use crate::folder::plain::SnapshotState;
use crate::folder::{BackupFolder, Purpose};

/// The largest Info.plist or Manifest.plist that is read: icons make the former large.
const MAX_PLIST: usize = 64 << 20;

/// What a restore did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RestoreReport {
    /// Counts, notices, time.
    pub outcome: Outcome,
    /// Was the backup encrypted?
    pub encrypted: bool,
    /// How many apps the device was told to install again.
    pub applications: usize,
}

/// Restores a backup onto a device.
#[derive(Clone, Debug)]
pub struct Restore<'a> {
    paired: &'a Paired,
}

impl<'a> Restore<'a> {
    /// Nothing is sent yet.
    #[must_use]
    pub fn new(paired: &'a Paired) -> Self {
        Self { paired }
    }

    /// Restores the backup that `folder` holds of this device, or of [`RestoreOptions::source`].
    ///
    /// Everything that can be known before is checked first: the backup is finished and has its manifest, a password is
    /// there if it is needed, the device's system is not older than the backup's, Find My is off. With
    /// [`RestoreOptions::reboot`] the device restarts afterwards, and only then is the restored data in place.
    ///
    /// Dropping the future cuts the link.
    ///
    /// # Errors
    /// [`BackupError`].
    pub async fn run(
        &self,
        mut options: RestoreOptions,
        folder: &mut dyn BackupFolder,
        observer: &mut dyn Observer,
    ) -> Result<RestoreReport, BackupError> {
        let common = options.common.clone();
        let run = Run::open(
            self.paired,
            folder,
            options.source.as_deref(),
            Purpose::Restore,
            &common,
            observer,
        )
        .await?;
        let checked = match self.check(&mut options, &run).await {
            Ok(checked) => checked,
            Err(error) => return run.abandon(error).await,
        };
        let Checked { encrypted, list } = checked;
        let applications = list.as_ref().and_then(Value::as_dictionary).map_or(0, Dictionary::len);
        let frame = Frame {
            lock: true,
            prepare: Prepare::Applications(list),
        };
        let outcome = run.exchange(&Request::Restore { options: &options }, frame).await?;
        Ok(RestoreReport {
            outcome,
            encrypted,
            applications,
        })
    }

    /// Everything that can be known before the device is asked.
    async fn check(&self, options: &mut RestoreOptions, run: &Run<'_>) -> Result<Checked, BackupError> {
        let source = run.scope.source();
        let manifest = manifest_of(&run.worker, source).await?;
        let info = dictionary(&run.worker, format!("{source}/Info.plist"))
            .await?
            .unwrap_or_default();
        let encrypted = manifest.opt_boolean("IsEncrypted").ok().flatten().unwrap_or(false);
        match (&options.password, encrypted) {
            (None, true) => return Err(BackupError::PasswordNeeded),
            (Some(password), true) if password.expose().is_empty() => return Err(BackupError::EmptyPassword),
            (Some(_), false) => options.password = None,
            _ => {}
        }
        self.check_device(options, &manifest, &info).await?;
        let list = info
            .get("Applications")
            .filter(|list| list.as_dictionary().is_some_and(|list| !list.is_empty()));
        let list = list.filter(|_| options.applications).cloned();
        Ok(Checked { encrypted, list })
    }

    async fn check_device(
        &self,
        options: &RestoreOptions,
        manifest: &Dictionary,
        info: &Dictionary,
    ) -> Result<(), BackupError> {
        let mut session = self.paired.session().await?;
        let find_my = session.get_value(Some("com.apple.fmip"), Some("IsAssociated")).await;
        let version = session.get_value(None, Some("ProductVersion")).await;
        session.stop().await;
        // Not every system lets it be read; the device checks again.
        if matches!(find_my, Ok(Some(Value::Boolean(true)))) {
            return Err(BackupError::FindMyOn);
        }
        let device = version?.and_then(Value::into_string);
        let lockdown = manifest.opt_dict("Lockdown").ok().flatten();
        let recorded = lockdown
            .and_then(|lockdown| lockdown.get("ProductVersion"))
            .or_else(|| info.get("Product Version"));
        if let (Some(device), Some(backup)) = (device, recorded.and_then(Value::as_string))
            && !options.allow_newer
            && is_newer(backup, &device)
        {
            return Err(BackupError::NewerBackup {
                backup: backup.to_owned(),
                device,
            });
        }
        Ok(())
    }
}

/// What the checks before a restore found out.
struct Checked {
    encrypted: bool,
    /// `Applications` of Info.plist, if there are any and they are wanted.
    list: Option<Value>,
}

/// Is the backup one that can be restored? Spec 9.2.
async fn manifest_of(worker: &Worker, source: &str) -> Result<Dictionary, BackupError> {
    let no_backup = |why| BackupError::NoBackup {
        device: source.to_owned(),
        why,
    };
    match status_of(worker, source).await {
        Some(SnapshotState::Finished) => {}
        Some(_) => return Err(no_backup("its last run did not finish")),
        None => return Err(no_backup("Status.plist is missing or damaged")),
    }
    let manifest = dictionary(worker, format!("{source}/Manifest.plist")).await?;
    let manifest = manifest.ok_or_else(|| no_backup("Manifest.plist is missing or damaged"))?;
    for index in ["Manifest.db", "Manifest.mbdb"] {
        if worker
            .read(format!("{source}/{index}"), 1)
            .await
            .is_ok_and(|first| !first.is_empty())
        {
            return Ok(manifest);
        }
    }
    Err(no_backup("the index of its files is missing or empty"))
}

/// A plist of the folder; `None` if it is missing, too large or no dictionary.
async fn dictionary(worker: &Worker, path: String) -> Result<Option<Dictionary>, BackupError> {
    match worker.read(path, MAX_PLIST).await {
        Ok(bytes) => Ok(plist::read_dict(&bytes, &Limits::default()).ok()),
        Err(BackupError::Folder(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Compares versions such as `17.7.1` number by number.
fn is_newer(backup: &str, device: &str) -> bool {
    let numbers = |version: &str| -> Vec<u32> { version.split('.').map_while(|part| part.parse().ok()).collect() };
    let (mut backup, mut device) = (numbers(backup), numbers(device));
    let longest = backup.len().max(device.len());
    backup.resize(longest, 0);
    device.resize(longest, 0);
    !device.iter().all(|number| *number == 0) && backup > device
}

#[cfg(test)]
mod tests {
    use super::is_newer;

    #[test]
    fn versions_are_compared_number_by_number() {
        for (backup, device, newer) in [
            ("17.7", "17.7.0", false),
            ("17.7.1", "17.7", true),
            ("9.3.5", "17.7", false),
            ("18.0", "17.10", true),
            ("17.10", "17.9", true),
            ("17.7", "unknown", false),
        ] {
            assert_eq!(is_newer(backup, device), newer, "{backup} on {device}");
        }
    }
}
