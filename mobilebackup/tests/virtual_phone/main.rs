//! Whole runs, in one process, against a phone that shares nothing with us but message types.
#![cfg(all(feature = "live", feature = "archive"))]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    reason = "test code"
)]

mod backups;
mod broken;
mod passwords;
mod restores;

use std::collections::BTreeMap;
use std::io::{Read, sink};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use cabled_lockdown::{Lockdown, PairOptions, Paired, Trust};
use cabled_mobilebackup::archive::Archive;
use cabled_mobilebackup::folder::plain::PlainFolder;
use cabled_mobilebackup::live::{Backup, BackupError, BackupOptions, BackupReport, Notice, Observer, Progress};
use cabled_virtualdevice::fs::{Entry, Kind};
use cabled_virtualdevice::lockdown::identity::DeviceIdentity;
use cabled_virtualdevice::{Pairing, Phone, PhoneBuilder, Profile};
use cabled_wire::ids::SystemBuid;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

/// One key pair for all phones: keys are slow to make.
fn identity() -> DeviceIdentity {
    static IDENTITY: OnceLock<DeviceIdentity> = OnceLock::new();
    IDENTITY.get_or_init(|| DeviceIdentity::generate().unwrap()).clone()
}

fn builder(profile: Profile) -> PhoneBuilder {
    Phone::builder()
        .profile(profile)
        .identity(identity())
        .pairing(Pairing::AutoTrust)
}

/// A phone with a little of everything.
fn phone(profile: Profile) -> Phone {
    builder(profile).seed(5).build().unwrap()
}

/// A phone, paired, and a folder for its backups.
struct Bench {
    phone: Phone,
    paired: Paired,
    root: TempDir,
}

impl Bench {
    async fn new(phone: Phone) -> Self {
        let paired = pair(&phone).await;
        Self {
            phone,
            paired,
            root: tempfile::tempdir().unwrap(),
        }
    }

    fn folder(&self) -> PlainFolder {
        PlainFolder::new(self.root.path())
    }

    fn udid(&self) -> String {
        self.phone.udid().to_string()
    }

    fn device(&self) -> PathBuf {
        self.folder().device_path(&self.udid())
    }

    async fn backup(&self, options: BackupOptions) -> Result<BackupReport, BackupError> {
        self.watched_backup(options, &mut ()).await
    }

    async fn watched_backup(
        &self,
        options: BackupOptions,
        observer: &mut dyn Observer,
    ) -> Result<BackupReport, BackupError> {
        Backup::new(&self.paired)
            .run(options, &mut self.folder(), observer)
            .await
    }

    /// Every file that the phone backed up is in the folder, with the phone's own digest.
    fn verify(&self, password: Option<&str>) -> u64 {
        verify(&self.phone, &self.device(), password)
    }
}

async fn pair(phone: &Phone) -> Paired {
    let mut lockdown = Lockdown::connect(Arc::new(phone.clone()), "test").await.unwrap();
    let options = PairOptions::new(SystemBuid::random()).poll_every(Duration::from_millis(20));
    let record = lockdown
        .pair(options, &mut |_: Trust| ControlFlow::Continue(()))
        .await
        .unwrap();
    Paired::new(Arc::new(phone.clone()), record)
}

fn verify(phone: &Phone, folder: &Path, password: Option<&str>) -> u64 {
    let mut archive = Archive::open(folder).unwrap();
    if let Some(password) = password {
        archive.unlock(password).unwrap();
    }
    let report = phone.backup_state().last_backup().unwrap();
    let mut files = 0;
    for file in report.files() {
        let Some(wanted) = file.sha256().unwrap() else { continue };
        let (domain, path) = (&file.entry.domain, &file.entry.path);
        let entry = archive
            .entry_at(domain, path)
            .unwrap()
            .unwrap_or_else(|| panic!("{domain}/{path} is missing"));
        let mut hash = Sha256::new();
        let mut contents = Vec::new();
        archive.read(&entry).unwrap().read_to_end(&mut contents).unwrap();
        hash.update(&contents);
        assert_eq!(hash.finalize().as_slice(), wanted, "{domain}/{path}");
        files += 1;
    }
    assert!(files > 10, "only {files} files were compared");
    files
}

/// What a phone holds, by place: kind, and contents' digest.
fn contents(phone: &Phone) -> BTreeMap<(String, String), String> {
    let describe = |entry: &Entry| match &entry.kind {
        Kind::File(content) => format!("file {}", hex::encode(content.sha256().unwrap())),
        Kind::Directory => "directory".to_owned(),
        Kind::Symlink(target) => format!("link {target}"),
    };
    let entries = phone.fs().snapshot();
    entries
        .iter()
        .map(|entry| ((entry.domain.to_string(), entry.path.to_string()), describe(entry)))
        .collect()
}

/// Notes what it sees; breaks once so many bytes were moved.
#[derive(Clone, Default)]
struct Watcher {
    notices: Arc<Mutex<Vec<Notice>>>,
    last: Arc<Mutex<Progress>>,
    break_at: Option<u64>,
}

impl Observer for Watcher {
    fn on_progress(&mut self, progress: &Progress) -> ControlFlow<()> {
        *self.last.lock().unwrap() = progress.clone();
        match self.break_at {
            Some(bytes) if progress.run_bytes() >= bytes => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn on_notice(&mut self, notice: &Notice) {
        self.notices.lock().unwrap().push(notice.clone());
    }
}

/// Reads a file to its end, for its side effects only.
fn drain(mut reader: impl Read) -> u64 {
    std::io::copy(&mut reader, &mut sink()).unwrap()
}
