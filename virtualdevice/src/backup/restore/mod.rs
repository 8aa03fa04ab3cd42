//! A restore, as in spec mobilebackup2 14.6 and 19.4.

mod apps;
mod read;
mod receive;
mod rows;
mod stage;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cabled_devicelink::msg::Message;
use cabled_wire::plist::{DictExt, Dictionary, Value};
use cabled_wire::secret::SecretString;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

pub(super) use self::read::{open as open_metadata, plists as metadata_plists};
use self::receive::{Arriving, Bad, Received, Wanted};
use self::rows::{FileRow, RowError, Scope, meta_of, read_rows, wanted};
use self::stage::RemoveOthers;
pub(super) use self::stage::{Staged, StagedEntry};
use super::error::{LocalError, Outcome, Stop, internal, refusal, refuse, refused_by_host};
use super::fetch::PIPELINE;
use super::format::keybag::ClassKeys;
use super::format::keychain;
use super::link::Piece;
use super::report::RestoreReport;
use super::session::Session;
use super::state::RestoreVisible;
use crate::fs::Kind;

/// Files asked for in one message at most.
const BATCH_FILES: usize = 256;
/// Recorded bytes in one message at most, unless a single file is larger.
const BATCH_BYTES: u64 = 64 << 20;

/// What the host wants. Absent keys mean what they mean to a phone: no system files, a restart, a copy first.
struct Options {
    system_files: bool,
    restart: bool,
    copy: bool,
    preserve_settings: bool,
    remove_others: bool,
    password: Option<SecretString>,
}

impl Options {
    fn read(request: &Dictionary) -> Self {
        let options = request.opt_dict("Options").ok().flatten();
        let flag = |key: &str| options.and_then(|options| options.opt_boolean(key).ok().flatten());
        let password = options.and_then(|options| options.opt_text("Password").ok().flatten());
        Self {
            system_files: flag("RestoreSystemFiles").unwrap_or(false),
            restart: flag("RestoreShouldReboot").unwrap_or(true),
            copy: !flag("RestoreDontCopyBackup").unwrap_or(false),
            preserve_settings: flag("RestorePreserveSettings").unwrap_or(true),
            remove_others: flag("RemoveItemsNotRestored").unwrap_or(false),
            password: password.map(|password| password.to_owned().into()),
        }
    }
}

/// A restore under way.
struct Restore<'a> {
    session: &'a mut Session,
    options: Options,
    staged: Staged,
    report: RestoreReport,
    keychain: Option<keychain::Opened>,
}

/// Restores from the host of this session.
pub(super) async fn restore(session: &mut Session, request: &Dictionary) -> Outcome<()> {
    let codes = session.codes();
    let options = Options::read(request);
    if session.state.restart_pending() {
        return refuse(
            codes.restart_first,
            "Error moving incomplete restore directory: /var/.backup.i exists",
        );
    }
    session.setup_finished("restore")?;
    if session.phone.find_my() {
        return refuse(codes.find_my, "Find My must be turned off before restoring");
    }
    if !session.can_read_protected_files() {
        return Err(session.locked());
    }
    let (staged, report) = (Staged::default(), RestoreReport::default());
    let mut restore = Restore {
        session,
        options,
        staged,
        report,
        keychain: None,
    };
    restore.carry_out().await
}

impl Restore<'_> {
    async fn carry_out(&mut self) -> Outcome<()> {
        let folder = tempfile::tempdir().map_err(|error| self.local(&error.into()))?;
        let password = self
            .options
            .password
            .as_ref()
            .map(|password| password.expose().as_bytes());
        let opened = read::open(self.session, folder.path(), password).await?;
        let info = format!("{}/Info.plist", self.session.source);
        // Real phones read it; nothing in it decides anything here.
        self.session
            .link
            .download_small(&info, 1.0, super::format::plists::MAX_PLIST)
            .await?;
        self.report.encrypted = opened.encrypted;
        self.empty_download().await?;
        if self.options.copy {
            self.copy().await?;
        }
        let files = self.rows(&opened).await?;
        let total = files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.size));
        if total > self.session.phone.fs().total_bytes() {
            return refuse(self.session.codes().generic, "Not enough free space on the device");
        }
        self.files(opened, files, total).await?;
        self.finish().await
    }

    fn local(&self, error: &LocalError) -> Stop {
        internal(self.session.codes().generic, error)
    }

    fn invalid(&self, text: &str) -> Stop {
        Stop::Refuse(refusal(self.session.codes().invalid_backup, text))
    }

    /// Phones ask for no files at all, once (spec mobilebackup2 4.1).
    async fn empty_download(&mut self) -> Outcome<()> {
        let mut transfer = self.session.link.download(Vec::new(), 2.0).await?;
        while self.session.link.piece(&mut transfer).await?.is_some() {}
        self.session.link.status("the answer to an empty download").await?;
        Ok(())
    }

    /// Asks the host to duplicate the backup. The copy is never read: libimobiledevice makes an unusable one.
    async fn copy(&mut self) -> Outcome<()> {
        let from = self.session.source.clone();
        let stamp = uuid::Uuid::new_v4().simple().to_string();
        let to = format!("{from}-{}", stamp.get(..8).unwrap_or("copy"));
        let message = if self.session.profile().copy_item_has_options {
            let elements = vec![from.into(), to.into(), Value::Dictionary(Dictionary::new()), 2.0.into()];
            Message::Unknown {
                name: "DLMessageCopyItem".to_owned(),
                elements,
            }
        } else {
            Message::CopyItem {
                from,
                to,
                progress: Some(2.0),
            }
        };
        let answer = self.session.link.ask(&message, "a copy of the backup").await?;
        if !answer.is_ok() {
            let code = self.session.codes().files_failed;
            return Err(refused_by_host(code, "Error copying backup", &answer));
        }
        self.report.copied = true;
        Ok(())
    }

    /// Reads the manifest: directories and links are staged at once, files are returned.
    async fn rows(&mut self, opened: &read::Opened) -> Outcome<Vec<FileRow>> {
        let scope = Scope {
            system_files: self.options.system_files,
            preserve_settings: self.options.preserve_settings,
            fs: self.session.phone.fs().clone(),
        };
        let place = opened.database.clone();
        let read = spawn_blocking(move || read_rows(&place, &scope)).await;
        let rows = match read.unwrap_or(Err(RowError::Local(LocalError::Abandoned))) {
            Ok(rows) => rows,
            Err(RowError::Local(error)) => {
                tracing::debug!(%error, "the manifest database cannot be read");
                return Err(self.invalid("Error reading backup database"));
            }
            Err(RowError::Invalid(text)) => return Err(self.invalid(text)),
        };
        self.staged.entries = rows.others;
        self.report.skipped = rows.skipped;
        for entry in &self.staged.entries {
            match entry.kind {
                Kind::Directory => self.report.directories = self.report.directories.saturating_add(1),
                _ => self.report.links = self.report.links.saturating_add(1),
            }
        }
        Ok(rows.files)
    }

    /// Fetches the files, batch by batch.
    async fn files(&mut self, opened: read::Opened, files: Vec<FileRow>, total: u64) -> Outcome<()> {
        let mut rest = files.as_slice();
        let mut done = 0_u64;
        let keys = opened.keys.map(Arc::new);
        let mut domains = HashMap::new();
        while !rest.is_empty() {
            let mut bytes = 0_u64;
            let count = rest.iter().take(BATCH_FILES).take_while(|file| {
                let fits = bytes == 0 || bytes.saturating_add(file.size) <= BATCH_BYTES;
                bytes = bytes.saturating_add(file.size);
                fits
            });
            let (batch, after) = rest.split_at_checked(count.count().max(1)).unwrap_or((rest, &[]));
            rest = after;
            done = batch.iter().fold(done, |sum, file| sum.saturating_add(file.size));
            let (place, rows, source) = (opened.database.clone(), batch.to_vec(), self.session.source.clone());
            let wanted = spawn_blocking(move || wanted(&place, &rows, &source, domains)).await;
            let (wanted, known) = wanted
                .unwrap_or(Err(LocalError::Abandoned))
                .map_err(|error| self.local(&error))?;
            domains = known;
            let percent = 98.0_f64.mul_add(super::run::share(done, total), 2.0);
            let received = self.fetch(wanted, keys.clone(), percent).await?;
            for file in received {
                self.take(file, keys.as_deref())?;
            }
        }
        Ok(())
    }

    async fn fetch(
        &mut self,
        wanted: Vec<Wanted>,
        keys: Option<Arc<ClassKeys>>,
        percent: f64,
    ) -> Outcome<Vec<Received>> {
        let paths = wanted.iter().map(|file| file.path.clone()).collect();
        let (sender, receiver) = mpsc::channel(PIPELINE);
        let fs = self.session.phone.fs().clone();
        let work = spawn_blocking(move || receive::batch(wanted, keys.as_deref(), &fs, receiver));
        let mut transfer = self.session.link.download(paths, percent).await?;
        while let Some(piece) = self.session.link.piece(&mut transfer).await? {
            let arriving = match piece {
                Piece::Name(path) => Arriving::Begin(path),
                Piece::Data(bytes) => Arriving::Data(bytes),
                Piece::End => Arriving::End,
                Piece::Failed => Arriving::Failed,
            };
            // A worker that is gone has failed, and says why when it is awaited.
            let _ = sender.send(arriving).await;
        }
        drop(sender);
        let answer = self.session.link.status("the answer to a download").await?;
        let codes = self.session.codes();
        match work.await.unwrap_or(Err(LocalError::Abandoned)) {
            Ok(Ok(received)) => Ok(received),
            Ok(Err((bad, path))) => {
                tracing::debug!(?bad, path, "a payload is not the one the manifest promises");
                let text = match bad {
                    Bad::Missing if !answer.is_ok() => {
                        return Err(refused_by_host(
                            codes.invalid_backup,
                            "Multiple errors downloading files",
                            &answer,
                        ));
                    }
                    Bad::Missing => "Multiple errors downloading files",
                    Bad::Digest => "Digest didn't match for some files",
                    Bad::Padding | Bad::Key => "Error decrypting some files",
                };
                Err(self.invalid(text))
            }
            Err(LocalError::Fs(crate::fs::FsError::NoSpace)) => {
                refuse(codes.generic, "Not enough free space on the device")
            }
            Err(error) => Err(self.local(&error)),
        }
    }

    /// Stages a file, or opens it if it is the keychain's.
    fn take(&mut self, file: Received, keys: Option<&ClassKeys>) -> Outcome<()> {
        let Received {
            wanted,
            content,
            checked,
        } = file;
        let report = &mut self.report;
        let count = |counter: &mut u64, yes: bool| *counter = counter.saturating_add(u64::from(yes));
        count(&mut report.digests_verified, checked.digest);
        count(&mut report.paddings_verified, checked.padding);
        count(&mut report.odd_sizes, checked.odd_size && !checked.missing);
        count(&mut report.missing_empty_files, checked.missing);
        count(&mut report.files, true);
        report.bytes = report.bytes.saturating_add(content.len());
        if &*wanted.domain == keychain::DOMAIN && wanted.record.path == keychain::PATH {
            let bytes = content
                .to_bytes(super::format::plists::MAX_PLIST as u64)
                .map_err(|e| self.local(&e.into()))?;
            return self.open_keychain(&bytes, keys);
        }
        let meta = meta_of(&wanted.record);
        let entry = StagedEntry {
            domain: wanted.domain,
            path: wanted.record.path,
            kind: Kind::File(content),
            meta,
        };
        self.staged.entries.push(entry);
        Ok(())
    }

    fn open_keychain(&mut self, bytes: &Bytes, keys: Option<&ClassKeys>) -> Outcome<()> {
        let Some(keys) = keys else { return Ok(()) };
        let device_key = self
            .session
            .state
            .device_key()
            .map_err(|error| self.local(&error.into()))?;
        let Ok(opened) = keychain::decode(bytes, keys, &device_key) else {
            return Err(self.invalid("Error restoring keychain"));
        };
        self.report.keychain_items = opened.items.len() as u64;
        self.report.keychain_closed = opened.closed as u64;
        self.keychain = Some(opened);
        Ok(())
    }

    /// Checks the tree as a whole, registers the apps, and leaves the rest to the restart.
    async fn finish(&mut self) -> Outcome<()> {
        let mut staged = std::mem::take(&mut self.staged);
        staged.keychain = self.keychain.take().map(|opened| opened.items);
        staged.remove_others = self.options.remove_others.then_some(RemoveOthers {
            system_files: self.options.system_files,
            settings: !self.options.preserve_settings,
        });
        let fs = self.session.phone.fs().clone();
        let arrange = spawn_blocking(move || {
            let arranged = staged.arrange();
            arranged.map(|()| {
                let removed = staged.others(&fs).len();
                (staged, removed)
            })
        });
        let arranged = arrange.await.map_err(|_| self.local(&LocalError::Abandoned))?;
        let (staged, removed) = arranged.map_err(|conflict| {
            tracing::debug!(
                domain = conflict.domain,
                path = conflict.path,
                "a row has no place in a tree"
            );
            self.invalid("File path is invalid")
        })?;
        self.report.removed = removed as u64;
        self.report.apps = apps::install(&self.session.phone);
        self.report.elapsed = self.session.started.elapsed();
        self.session.state.set_pending(staged);
        if self.session.state.visible() == RestoreVisible::AtEnd {
            let (state, fs) = (self.session.state.clone(), self.session.phone.fs().clone());
            // Nothing is lost if it panics: a restart would find nothing pending.
            let _ = spawn_blocking(move || state.put_in_place(&fs)).await;
        }
        self.session.state.set_restore(self.report.clone());
        self.session.restart = self.options.restart;
        Ok(())
    }
}
