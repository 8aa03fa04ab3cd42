//! A backup run, as in spec mobilebackup2 14.2, 14.4 and 19.2.

mod commit;
mod opening;
mod payload;
mod resume;
mod space;
mod torture;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use cabled_devicelink::msg::{Message, Status as Answer};
use cabled_wire::plist::Dictionary;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

pub(super) use self::opening::missing_or;
use self::payload::{PIPELINE, Worker};
pub(super) use self::payload::{Source, send_own};
pub(super) use self::resume::{Partial, Staged as StagedPayload};
use super::FileId;
use super::error::{LocalError, Outcome, ServeError, Stop, internal, refuse, refused_by_host};
use super::format::cipher::padded;
use super::format::database::Writer;
use super::format::plists::{SnapshotState, Status};
use super::plan::{self, Item, Work};
use super::report::BackedUp;
use super::scope;
use super::script::{Moment, Script};
use super::session::Session;
use super::state::Protection;
use crate::profile::{LeftoverSnapshot, PasscodePrompt};

/// Files in one batch at most, beside the profile's limit on bytes.
const BATCH_FILES: usize = 1000;
/// Entries of the plan in one batch at most, so that rows without payload do not hold the connection up for long.
const BATCH_ENTRIES: usize = 50_000;
/// Share of the run, in percent, that the payloads are.
const PAYLOAD_SHARE: f64 = 90.0;

/// A run under way.
#[derive(Debug)]
struct Run<'a> {
    session: &'a mut Session,
    script: Script,
    uuid: String,
    encrypted: bool,
    /// Folders made below `Snapshot`.
    folders: BTreeSet<u8>,
}

/// Backs up to the host of this session.
pub(super) async fn backup(session: &mut Session, force_full: bool) -> Outcome<()> {
    let codes = session.codes();
    session.setup_finished("backup")?;
    if session.state.snapshot_left() {
        return refuse(
            codes.snapshot_exists,
            "Failed to create snapshot: File exists (17) at path /private/var",
        );
    }
    if !session.can_read_protected_files() {
        return Err(session.locked());
    }
    let asks = session.profile().passcode_for_backup == PasscodePrompt::WhenSet;
    session.passcode(asks).await?;
    session.state.clear_answers();
    let script = session.state.script();
    let (protection, encrypted) = protection(session).await?;
    let uuid = uuid::Uuid::new_v4().to_string().to_uppercase();
    let mut run = Run {
        session,
        script,
        uuid,
        encrypted,
        folders: BTreeSet::new(),
    };
    run.session.link.backwards = run.script.has(&super::script::Torture::ProgressBackwards);
    let done = run.carry_out(protection, force_full).await;
    run.session.link.backwards = false;
    done
}

async fn protection(session: &mut Session) -> Outcome<(Protection, bool)> {
    if let Some(protection) = session.state.encryption() {
        return Ok((protection, true));
    }
    let state = session.state.clone();
    let made = spawn_blocking(move || state.plain_keys()).await;
    match made {
        Ok(Ok(protection)) => Ok((protection, false)),
        Ok(Err(error)) => Err(internal(session.codes().generic, &error)),
        Err(_) => Err(internal(session.codes().generic, &LocalError::Abandoned)),
    }
}

impl Run<'_> {
    async fn carry_out(&mut self, protection: Protection, force_full: bool) -> Outcome<()> {
        self.moment(Moment::First).await?;
        self.torture_early().await?;
        let folder = tempfile::tempdir().map_err(|error| self.local(&error.into()))?;
        let began = SystemTime::now();
        let opening = opening::read(self.session, folder.path(), &protection, self.encrypted, force_full).await?;
        let (used, full) = (opening.used, opening.base.is_none());
        let (items, base) = self.plan(opening.base, &protection).await?;
        let bag = self.encrypted.then_some(protection.keys.bag);
        let (items, staged) = resume::find(self.session, items, bag, opening.resumable).await?;
        let items = Arc::new(items);
        space::make_sure(self.session, self.upload_size(&items)).await?;
        let target = self.session.target.clone();
        self.create(&target, 0.0).await?;
        if opening.leftover {
            self.remove(vec![format!("{target}/Snapshot")], 0.0).await?;
        }
        self.create(&format!("{target}/Snapshot"), 0.0).await?;
        self.status(SnapshotState::Uploading, 0.0).await?;
        let stale: Vec<FileId> = base.as_ref().map(|base| vanished(base, &items)).unwrap_or_default();
        let known = base.is_some();
        let mut worker = self.worker(&items, base, &protection, folder.path())?;
        worker.staged = staged;
        worker = self.payloads(worker).await?;
        if worker.unreadable > 0 {
            return refuse(self.session.codes().files_failed, "Multiple errors uploading files");
        }
        let finished = commit::Finished {
            sent: std::mem::take(&mut worker.sent),
            failed: std::mem::take(&mut worker.failed),
            // Without a manifest only a listing tells what nobody needs any more.
            stale: known.then_some(stale).or_else(|| (!used).then(Vec::new)),
            items,
            began,
        };
        let writer = worker.writer;
        let report = self.commit(writer, &protection, folder.path(), finished, full).await?;
        let revisions = report
            .entries
            .iter()
            .map(|entry| (entry.id, entry.entry.revision))
            .collect();
        self.session.state.set_backup(report, revisions);
        Ok(())
    }

    fn local(&self, error: &LocalError) -> Stop {
        internal(self.session.codes().generic, error)
    }

    async fn plan(
        &mut self,
        base: Option<plan::Base>,
        protection: &Protection,
    ) -> Outcome<(Vec<Item>, Option<plan::Base>)> {
        let keychain = self.session.state.keychain_entries(protection, self.encrypted);
        let keychain = keychain.map_err(|error| internal(self.session.codes().generic, &error))?;
        let fs = self.session.phone.fs().clone();
        let keys = self.encrypted.then(|| protection.keys.clone());
        let withhold = self.session.state.withholds_private_data();
        let make = move || {
            let mut snapshot = fs.snapshot();
            snapshot.retain(|entry| scope::in_backup(entry));
            // The keychain's file is made for the backup; its domain may be on the phone already.
            let [root, file] = keychain;
            if fs.get(&root.domain, "").is_none() {
                snapshot.push(root);
            }
            snapshot.push(file);
            let items = plan::make(snapshot, base.as_ref(), keys.as_ref(), withhold)?;
            Ok((items, base))
        };
        let made = spawn_blocking(make).await.unwrap_or(Err(LocalError::Abandoned));
        made.map_err(|error| self.local(&error))
    }

    /// What the phone believes it will send.
    fn upload_size(&self, items: &[Item]) -> u64 {
        let profile = self.session.profile();
        let mut inodes = HashSet::new();
        let sending = items.iter().filter(|item| item.sends());
        let counted = sending.filter(|item| profile.counts_hard_links || inodes.insert(item.entry.meta.inode));
        let sum = counted.fold(0_u64, |sum, item| sum.saturating_add(self.stored_length(item)));
        sum.saturating_add(profile.upload_size_excess)
    }

    fn stored_length(&self, item: &Item) -> u64 {
        if self.encrypted {
            padded(item.entry.len())
        } else {
            item.entry.len()
        }
    }

    fn worker(
        &self,
        items: &Arc<Vec<Item>>,
        base: Option<plan::Base>,
        protection: &Protection,
        folder: &Path,
    ) -> Outcome<Worker> {
        let writer = Writer::create(&folder.join("Manifest.db")).map_err(|error| self.local(&error.into()))?;
        let mut worker = Worker::new(Arc::clone(items), writer, base, self.session.target.clone());
        worker.keys = self.encrypted.then(|| protection.keys.clone());
        worker.block = self.session.profile().upload_block;
        worker.script = self.script.clone();
        worker.remembers = self.session.profile().leftover_snapshot == LeftoverSnapshot::Resume;
        Ok(worker)
    }

    /// Uploads everything that has to be sent, batch by batch.
    async fn payloads(&mut self, mut worker: Worker) -> Outcome<Worker> {
        let items = Arc::clone(&worker.items);
        let total = items
            .iter()
            .filter(|item| item.sends())
            .fold(0_u64, |n, item| n.saturating_add(self.stored_length(item)));
        let (mut at, mut done, mut first) = (0_usize, 0_u64, true);
        while at < items.len() {
            let batch = self.next_batch(&items, at);
            done = done.saturating_add(batch.bytes);
            let percent = PAYLOAD_SHARE * share(done, total);
            if !batch.folders.is_empty() && !std::mem::take(&mut first) {
                self.moment(Moment::BetweenBatches).await?;
            }
            if !self.session.can_read_protected_files() {
                return Err(self.session.locked());
            }
            for folder in batch.folders.difference(&self.folders.clone()) {
                self.create(&format!("{}/Snapshot/{folder:02x}", self.session.target), percent)
                    .await?;
            }
            at = batch.range.end;
            self.folders.extend(&batch.folders);
            worker = self.send_batch(worker, batch, percent).await?;
        }
        Ok(worker)
    }

    fn next_batch(&self, items: &[Item], at: usize) -> Batch {
        let limit = self.session.profile().upload_batch.max(1);
        let mut batch = Batch {
            range: at..at,
            bytes: 0,
            folders: BTreeSet::new(),
        };
        let mut files = 0_usize;
        for item in items.iter().skip(at).take(BATCH_ENTRIES) {
            if item.sends() {
                if files >= BATCH_FILES || batch.bytes >= limit {
                    break;
                }
                files = files.saturating_add(1);
                batch.bytes = batch.bytes.saturating_add(self.stored_length(item));
                batch.folders.insert(item.id.folder());
            }
            batch.range.end = batch.range.end.saturating_add(1);
        }
        batch
    }

    async fn send_batch(&mut self, mut worker: Worker, batch: Batch, percent: f64) -> Outcome<Worker> {
        let Batch { range, bytes, folders } = batch;
        if folders.is_empty() {
            let work = spawn_blocking(move || worker.stretch(range, None).map(|()| worker));
            let done = work.await.unwrap_or(Err(LocalError::Abandoned));
            return done.map_err(|error| self.local(&error));
        }
        let (sender, mut receiver) = mpsc::channel(PIPELINE);
        let work = spawn_blocking(move || worker.stretch(range, Some(sender)).map(|()| worker));
        let answer = self.session.link.upload(percent, bytes, &mut receiver).await?;
        let done = work.await.unwrap_or(Err(LocalError::Abandoned));
        let (mut worker, answer) = whole(done, answer)?;
        self.accepted(&answer, "Multiple errors uploading files")?;
        self.session.state.add_partial(std::mem::take(&mut worker.fresh));
        Ok(worker)
    }

    /// Uploads files of the phone's own and tells what the host must have.
    async fn upload_own(
        &mut self,
        files: Vec<(String, String, Source)>,
        percent: f64,
    ) -> Outcome<Vec<([u8; 32], u64)>> {
        let (sender, mut receiver) = mpsc::channel(PIPELINE);
        let block = self.session.profile().upload_block;
        let work = spawn_blocking(move || send_own(files, sender, block));
        let answer = self.session.link.upload(percent, 0, &mut receiver).await?;
        let (done, answer) = whole(work.await.unwrap_or(Err(LocalError::Abandoned)), answer)?;
        self.accepted(&answer, "Multiple errors uploading files")?;
        Ok(done)
    }

    /// Uploads Status.plist with this state and returns its bytes.
    async fn status(&mut self, state: SnapshotState, percent: f64) -> Outcome<Vec<u8>> {
        let status = Status {
            uuid: self.uuid.clone(),
            date: SystemTime::now(),
            version: self.session.profile().status_version.clone(),
            state,
            is_full: false,
        };
        let bytes = status.encode();
        let device = format!("/var/tmp/tmp.{}", self.uuid.get(..8).unwrap_or_default().to_lowercase());
        let host = format!("{}/Status.plist", self.session.target);
        self.upload_own(vec![(device, host, Source::Bytes(bytes.clone()))], percent)
            .await?;
        Ok(bytes)
    }

    async fn create(&mut self, path: &str, percent: f64) -> Outcome<()> {
        let progress = self.session.link.progress(percent);
        let message = Message::CreateDirectory {
            path: path.to_owned(),
            options: Dictionary::new(),
            progress,
        };
        let answer = self.session.link.ask(&message, "a new directory").await?;
        self.accepted(&answer, "Error creating directory")
    }

    async fn remove(&mut self, paths: Vec<String>, percent: f64) -> Outcome<()> {
        let progress = self.session.link.progress(percent);
        let naming = self.naming();
        let message = Message::RemoveItems {
            paths,
            options: Dictionary::new(),
            progress,
            naming,
        };
        let answer = self.session.link.ask(&message, "a removal").await?;
        self.accepted(&answer, "Error removing snapshot directory")
    }

    /// A host that could not do what it was asked ends the run.
    fn accepted(&self, answer: &Answer, what: &str) -> Outcome<()> {
        if answer.is_ok() {
            return Ok(());
        }
        let codes = self.session.codes();
        // A host that is cancelled says -1 at the next message (open question 5).
        if answer.code == cabled_devicelink::status::OTHER
            && self.session.profile().status_cancels
            && answer.text.to_ascii_lowercase().contains("cancel")
        {
            return refuse(codes.generic, "Cancelled");
        }
        Err(refused_by_host(codes.files_failed, what, answer))
    }

    /// What the script does at this moment.
    async fn moment(&mut self, moment: Moment) -> Outcome<()> {
        if let Some(lasting) = self.script.silence(moment) {
            tokio::time::sleep(lasting).await;
        }
        if let Some(reason) = self.script.disconnect(moment) {
            let reason = Some(reason.to_owned());
            self.session.link.send(&Message::Disconnect { reason }).await?;
            return Err(ServeError::Script.into());
        }
        Ok(())
    }
}

/// What an upload was made of and what the host said to it. A maker that failed has left the stream in the middle of a
/// file: nothing can be said on it any more.
pub(super) fn whole<T>(made: Result<T, LocalError>, answer: Option<Answer>) -> Outcome<(T, Answer)> {
    let broken = |error: &LocalError| ServeError::Storage {
        reason: error.to_string(),
    };
    let made = made.map_err(|error| broken(&error))?;
    Ok((made, answer.ok_or_else(|| broken(&LocalError::Abandoned))?))
}

/// A stretch of the plan that goes into one upload.
#[derive(Debug)]
struct Batch {
    range: Range<usize>,
    /// Stored bytes of its payloads.
    bytes: u64,
    /// Folders its payloads go to; empty if it has none.
    folders: BTreeSet<u8>,
}

/// `part` of `whole`, from 0 to 1.
#[expect(clippy::cast_precision_loss, reason = "a progress value")]
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// Payloads of the last backup that the phone no longer has.
fn vanished(base: &plan::Base, items: &[Item]) -> Vec<FileId> {
    let now: HashSet<FileId> = items
        .iter()
        .filter(|item| item.work != Work::Row)
        .map(|item| item.id)
        .collect();
    let mut gone: Vec<FileId> = base.payloads().filter(|id| !now.contains(id)).collect();
    gone.sort();
    gone
}

/// Expected payloads after the run: those sent with their length, those kept by name.
fn expected(items: &[Item], sent: &[payload::Sent], failed: &HashSet<FileId>) -> HashMap<FileId, Option<u64>> {
    let kept = items
        .iter()
        .filter(|item| item.work != Work::Row && !failed.contains(&item.id));
    let mut expected: HashMap<FileId, Option<u64>> = kept.map(|item| (item.id, None)).collect();
    for sent in sent {
        expected.insert(sent.id, Some(sent.stored));
    }
    expected
}

fn backed_up(items: &[Item], failed: &HashSet<FileId>) -> Vec<BackedUp> {
    let whole = items.iter().filter(|item| !failed.contains(&item.id));
    whole
        .map(|item| BackedUp {
            entry: Arc::clone(&item.entry),
            id: item.id,
            sent: item.sends(),
        })
        .collect()
}
