//! What the phone knows about backups between connections.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::format::keybag::{ClassKeys, Derivation, Key, Keybag};
use super::format::{FormatError, keychain};
use super::report::{BackupReport, Outcome, RestoreReport};
use super::restore::Staged;
use super::run::{Partial, StagedPayload};
use super::script::{Answer, Script};
use super::{FileId, KeychainItem};
use crate::fs::{Content, Entry, Fs, Kind, Meta};

/// Runs whose revisions are remembered: one per host directory that is backed up to in turn.
const REMEMBERED_RUNS: usize = 4;

/// When restored files appear on the phone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RestoreVisible {
    /// At the next restart, as on a real phone; until then a second restore ends with 102.
    #[default]
    AtRestart,
    /// At the end of the restore, restart or not.
    AtEnd,
}

/// The phone's side of backup and restore: password and keys, what was backed up, what waits for a restart, and the
/// switches that are not quirks of a generation. Clones share one state.
#[derive(Clone, Debug)]
pub struct State {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    device_key: Option<Key>,
    encryption: Option<Encryption>,
    plain_keys: Option<Protection>,
    runs: VecDeque<(String, Arc<Revisions>)>,
    last_outcome: Option<Outcome>,
    last_backup: Option<Arc<BackupReport>>,
    last_restore: Option<Arc<RestoreReport>>,
    partial: Partial,
    pending: Option<Staged>,
    keychain: Vec<KeychainItem>,
    keychain_file: Option<KeychainFile>,
    script: Script,
    answers: Vec<Answer>,
    visible: RestoreVisible,
    withholds_private_data: bool,
    keeps_snapshot_when_cut: bool,
    snapshot_left: bool,
    idle_limit: Duration,
}

/// The keychain's file as the last backup had it, so that an unchanged one is not sent again.
#[derive(Debug)]
struct KeychainFile {
    bag: [u8; 16],
    items: Vec<KeychainItem>,
    entry: Arc<Entry>,
}

/// The revision of every file at the time of a run.
pub(super) type Revisions = HashMap<FileId, u64>;

/// A password is set: the class keys it opens.
pub(super) type Encryption = Protection;

/// Keys and bag of a backup.
#[derive(Clone, Debug)]
pub(super) struct Protection {
    pub(super) keys: ClassKeys,
    pub(super) bag: Keybag,
}

impl State {
    /// A phone that was never backed up; its keychain is made from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let inner = Inner {
            device_key: None,
            encryption: None,
            plain_keys: None,
            runs: VecDeque::new(),
            last_outcome: None,
            last_backup: None,
            last_restore: None,
            partial: Partial::default(),
            pending: None,
            keychain: made_up_keychain(seed),
            keychain_file: None,
            script: Script::plain(),
            answers: Vec::new(),
            visible: RestoreVisible::default(),
            withholds_private_data: false,
            keeps_snapshot_when_cut: false,
            snapshot_left: false,
            idle_limit: Duration::from_secs(600),
        };
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    // Every change is made in one step, so a panic elsewhere leaves the state usable.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a backup password is set (`WillEncrypt`).
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.lock().encryption.is_some()
    }

    /// How the last request ended.
    #[must_use]
    pub fn last_outcome(&self) -> Option<Outcome> {
        self.lock().last_outcome.clone()
    }

    /// The last backup that ended well.
    #[must_use]
    pub fn last_backup(&self) -> Option<Arc<BackupReport>> {
        self.lock().last_backup.clone()
    }

    /// The last restore that ended well.
    #[must_use]
    pub fn last_restore(&self) -> Option<Arc<RestoreReport>> {
        self.lock().last_restore.clone()
    }

    /// Whether restored files wait for a restart; another restore ends with 102 until then.
    #[must_use]
    pub fn restart_pending(&self) -> bool {
        self.lock().pending.is_some()
    }

    /// Secrets in the phone's keychain; encrypted backups carry them.
    #[must_use]
    pub fn keychain(&self) -> Vec<KeychainItem> {
        self.lock().keychain.clone()
    }

    /// Replaces the keychain.
    pub fn set_keychain(&self, items: Vec<KeychainItem>) {
        self.lock().keychain = items;
    }

    /// What backups do besides the plain script. Stays until it is set again.
    pub fn set_script(&self, script: Script) {
        self.lock().script = script;
    }

    /// The script of the backups to come.
    #[must_use]
    pub fn script(&self) -> Script {
        self.lock().script.clone()
    }

    /// What the host said to the script's steps in the last backup.
    #[must_use]
    pub fn answers(&self) -> Vec<Answer> {
        self.lock().answers.clone()
    }

    /// When restored files appear. Default: at the restart.
    pub fn set_restore_visible(&self, visible: RestoreVisible) {
        self.lock().visible = visible;
    }

    /// Whether unencrypted backups leave out what phones put into encrypted ones only: Health, HomeKit, call history,
    /// Safari history, Wi-Fi networks (spec backup-format 12). Default false, so that every backup is complete.
    pub fn set_withholds_private_data(&self, withholds: bool) {
        self.lock().withholds_private_data = withholds;
    }

    /// Whether a backup that is cut off leaves a file-system snapshot behind, which makes the next one end with 3 until
    /// the phone restarts (spec mobilebackup2 14.11). Default false.
    pub fn set_keeps_snapshot_when_cut(&self, keeps: bool) {
        self.lock().keeps_snapshot_when_cut = keeps;
    }

    /// How long the host may stay silent, or not read, before the phone gives up. Default 10 minutes.
    pub fn set_idle_limit(&self, limit: Duration) {
        self.lock().idle_limit = limit;
    }

    /// The phone restarted: restored files move into place, snapshots are gone. Called by [`Phone`](crate::Phone).
    pub fn restarted(&self, fs: &Fs) {
        self.lock().snapshot_left = false;
        self.put_in_place(fs);
    }

    /// Moves what was restored into the phone's tree and keychain. Costs a step per entry, no reading.
    pub(super) fn put_in_place(&self, fs: &Fs) {
        let pending = {
            let mut inner = self.lock();
            let mut pending = inner.pending.take();
            if let Some(items) = pending.as_mut().and_then(|staged| staged.keychain.take()) {
                let restored = |old: &KeychainItem| {
                    items
                        .iter()
                        .any(|new| (&new.service, &new.account) == (&old.service, &old.account))
                };
                inner.keychain.retain(|old| !restored(old));
                inner.keychain.extend(items);
            }
            pending
        };
        if let Some(staged) = pending {
            staged.put_in_place(fs);
        }
    }

    pub(super) fn idle_limit(&self) -> Duration {
        self.lock().idle_limit
    }

    pub(super) fn visible(&self) -> RestoreVisible {
        self.lock().visible
    }

    pub(super) fn withholds_private_data(&self) -> bool {
        self.lock().withholds_private_data
    }

    pub(super) fn snapshot_left(&self) -> bool {
        self.lock().snapshot_left
    }

    /// A backup ended without a result.
    pub(super) fn was_cut(&self) {
        let mut inner = self.lock();
        inner.snapshot_left = inner.keeps_snapshot_when_cut;
    }

    pub(super) fn clear_answers(&self) {
        self.lock().answers.clear();
    }

    pub(super) fn add_answer(&self, answer: Answer) {
        self.lock().answers.push(answer);
    }

    pub(super) fn set_outcome(&self, outcome: Outcome) {
        self.lock().last_outcome = Some(outcome);
    }

    pub(super) fn set_backup(&self, report: BackupReport, revisions: Revisions) {
        let mut inner = self.lock();
        inner.runs.push_back((report.uuid.clone(), Arc::new(revisions)));
        if inner.runs.len() > REMEMBERED_RUNS {
            inner.runs.pop_front();
        }
        inner.partial = Partial::default();
        inner.last_backup = Some(Arc::new(report));
    }

    /// What the last run sent before it was cut off; forgotten by asking.
    pub(super) fn take_partial(&self) -> Partial {
        std::mem::take(&mut self.lock().partial)
    }

    pub(super) fn set_partial(&self, partial: Partial) {
        self.lock().partial = partial;
    }

    pub(super) fn add_partial(&self, payloads: Vec<(FileId, StagedPayload)>) {
        self.lock().partial.payloads.extend(payloads);
    }

    /// The revisions of the run with this `UUID`, if this phone made it not long ago.
    pub(super) fn revisions(&self, uuid: &str) -> Option<Arc<Revisions>> {
        let inner = self.lock();
        inner
            .runs
            .iter()
            .rev()
            .find(|(known, _)| known == uuid)
            .map(|(_, revisions)| Arc::clone(revisions))
    }

    pub(super) fn set_restore(&self, report: RestoreReport) {
        self.lock().last_restore = Some(Arc::new(report));
    }

    pub(super) fn set_pending(&self, staged: Staged) {
        self.lock().pending = Some(staged);
    }

    /// Stands for the key burnt into the phone's chip.
    pub(super) fn device_key(&self) -> Result<Key, FormatError> {
        let mut inner = self.lock();
        if let Some(key) = &inner.device_key {
            return Ok(key.clone());
        }
        let key = Key::random()?;
        inner.device_key = Some(key.clone());
        Ok(key)
    }

    pub(super) fn encryption(&self) -> Option<Encryption> {
        self.lock().encryption.clone()
    }

    pub(super) fn set_encryption(&self, encryption: Option<Encryption>) {
        self.lock().encryption = encryption;
    }

    /// What a backup has of the keychain: the root of its domain, then its file.
    pub(super) fn keychain_entries(
        &self,
        protection: &Protection,
        encrypted: bool,
    ) -> Result<[Arc<Entry>; 2], FormatError> {
        let device_key = self.device_key()?;
        let mut inner = self.lock();
        let bag = protection.keys.bag;
        let known = inner
            .keychain_file
            .as_ref()
            .filter(|file| file.bag == bag && file.items == inner.keychain);
        let entry = match known {
            Some(file) => Arc::clone(&file.entry),
            None => {
                let bytes = keychain::encode(&inner.keychain, &protection.keys, &device_key)?;
                let revision = inner.keychain_file.as_ref().map_or(0, |file| file.entry.revision);
                let kind = Kind::File(Content::bytes(bytes));
                let class = if encrypted { 4 } else { 3 };
                let meta = Meta::file().with_times(crate::fs::now()).with_protection_class(class);
                let entry = keychain_entry(keychain::PATH, kind, meta, revision.saturating_add(1));
                inner.keychain_file = Some(KeychainFile {
                    bag,
                    items: inner.keychain.clone(),
                    entry: Arc::clone(&entry),
                });
                entry
            }
        };
        let meta = Meta {
            inode: 2,
            ..Meta::directory()
        };
        Ok([keychain_entry("", Kind::Directory, meta, 0), entry])
    }

    /// Keys and bag of unencrypted backups: the bag opens with the empty password. Made once, costs a derivation.
    pub(super) fn plain_keys(&self) -> Result<Protection, FormatError> {
        if let Some(known) = self.lock().plain_keys.clone() {
            return Ok(known);
        }
        let keys = ClassKeys::fresh(false, &self.device_key()?)?;
        // One stage, as in the bag of a real unencrypted backup.
        let bag = keys.seal(b"", Derivation::fresh(None, 10_000)?)?;
        Ok(self.lock().plain_keys.get_or_insert(Protection { keys, bag }).clone())
    }
}

impl Default for State {
    fn default() -> Self {
        Self::new(0)
    }
}

fn keychain_entry(path: &str, kind: Kind, meta: Meta, revision: u64) -> Arc<Entry> {
    let type_bits = if path.is_empty() { 0o040_000 } else { 0o100_000 };
    let inode = if meta.inode == 0 { 0x4b43_0000_0001 } else { meta.inode };
    let meta = Meta {
        mode: type_bits | (meta.mode & 0o7777),
        inode,
        ..meta
    };
    Arc::new(Entry {
        domain: keychain::DOMAIN.into(),
        path: path.into(),
        kind,
        meta,
        revision,
    })
}

/// A few secrets of every class that an encrypted backup carries, and one of a class bound to the phone.
fn made_up_keychain(seed: u64) -> Vec<KeychainItem> {
    let item = |internet, class, account: &str, service: &str, group: &str| KeychainItem {
        internet,
        class,
        account: account.to_owned(),
        service: service.to_owned(),
        group: group.to_owned(),
        secret: format!("{service}/{account}/{seed:016x}").into_bytes(),
    };
    vec![
        item(false, 7, "Home network", "AirPort", "apple"),
        item(false, 8, "device", "com.apple.account.token", "apple"),
        item(true, 6, "jordan@example.com", "www.example.com", "com.apple.cfnetwork"),
        item(true, 6, "jordan", "shop.example.org", "com.apple.cfnetwork"),
        item(false, 9, "vault", "com.example.notes", "ABCDE12345.com.example.notes"),
    ]
}
