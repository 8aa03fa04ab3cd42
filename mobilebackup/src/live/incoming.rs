//! One batch of files from the device, stored as they come. Runs on the folder's thread.

use std::collections::{BTreeMap, BTreeSet};

use cabled_devicelink::msg::Status;
use cabled_devicelink::status::{self, FileFailure};
use cabled_devicelink::transfer::Event;

use super::progress::Notice;
use super::worker::{MAX_FAILURES, code, notice};
use crate::folder::{Access, CommitPoint, FolderError, FolderErrorKind, FolderRun, Scope, ScopedPath, Upload};

/// What became of a batch.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) status: Status,
    pub(super) notices: Vec<Notice>,
}

/// The batch under way. Whatever happens, it is read to its end: there is no way to stop a device in a batch.
#[derive(Default)]
pub(super) struct Incoming {
    file: File,
    device_path: String,
    failures: BTreeMap<String, (i64, String)>,
    notices: Vec<Notice>,
    /// Paths of this run that could not be stored, and were not stored later either; the first [`MAX_FAILURES`].
    outstanding: BTreeSet<String>,
    /// The disk is full: nothing more is tried in this batch.
    full: bool,
    /// Was the backup's own Status.plist stored in this run?
    pub(super) status_written: bool,
}

#[derive(Default)]
enum File {
    #[default]
    None,
    Open {
        path: String,
        upload: Box<dyn Upload>,
    },
    /// Not stored: its data is thrown away until it ends.
    Skipped,
}

impl Incoming {
    pub(super) fn take(&mut self, run: &mut dyn FolderRun, scope: &Scope, piece: Event) {
        match piece {
            Event::Name { device, path } => {
                self.device_path = device.unwrap_or_default();
                self.begin(run, scope, path);
            }
            Event::Data(data) => {
                if let File::Open { upload, .. } = &mut self.file
                    && let Err(error) = upload.write(&data)
                {
                    self.give_up(&error);
                }
            }
            Event::EndOk => {
                if let File::Open { path, upload } = std::mem::take(&mut self.file) {
                    match upload.finish() {
                        Ok(()) => self.stored(scope, &path),
                        Err(error) => self.fail(path, &error),
                    }
                }
            }
            Event::EndFailed { code, text } => {
                self.file = File::None;
                let device_path = std::mem::take(&mut self.device_path);
                tracing::warn!(code, "the device could not send a file");
                self.say(Notice::DeviceFile {
                    device_path,
                    code,
                    text,
                });
            }
            // An aborted batch leaves its last file incomplete: dropped, it leaves nothing.
            _ => self.file = File::None,
        }
    }

    pub(super) fn end(&mut self, run: &mut dyn FolderRun) -> Received {
        self.file = File::None;
        let flushed = run.commit(CommitPoint::Uploaded);
        let failures = std::mem::take(&mut self.failures);
        let status = match flushed {
            Err(error) => {
                self.say(notice("DLMessageUploadFiles", &error));
                self.lost("what was received");
                super::worker::failed(&error)
            }
            Ok(()) if !failures.is_empty() && failures.values().all(|(code, _)| *code == status::NO_SPACE) => {
                Status::failed(status::NO_SPACE, "No space left on device")
            }
            Ok(()) => Status::of_files(
                failures
                    .into_iter()
                    .map(|(path, (code, text))| FileFailure { path, code, text })
                    .collect(),
            ),
        };
        self.full = false;
        Received {
            status,
            notices: std::mem::take(&mut self.notices),
        }
    }

    /// How many files of this run are not stored, and the first of them.
    pub(super) fn outstanding(&self) -> Option<(u64, String)> {
        let first = self.outstanding.first()?.clone();
        Some((u64::try_from(self.outstanding.len()).unwrap_or(u64::MAX), first))
    }

    fn begin(&mut self, run: &mut dyn FolderRun, scope: &Scope, path: String) {
        if self.full {
            self.file = File::Skipped;
            self.record(path, status::NO_SPACE, "No space left on device".to_owned());
            return;
        }
        match scope.admit(&path, Access::Write).and_then(|scoped| run.upload(&scoped)) {
            Ok(upload) => self.file = File::Open { path, upload },
            Err(error) => self.fail(path, &error),
        }
    }

    fn give_up(&mut self, error: &FolderError) {
        if let File::Open { path, .. } = std::mem::replace(&mut self.file, File::Skipped) {
            self.fail(path, error);
        }
    }

    fn fail(&mut self, path: String, error: &FolderError) {
        self.full |= error.kind() == FolderErrorKind::Full;
        self.file = File::Skipped;
        self.say(notice("DLMessageUploadFiles", error));
        self.record(path, code(error), error.reason());
    }

    fn record(&mut self, path: String, code: i64, text: String) {
        self.lost(&path);
        if self.failures.len() < MAX_FAILURES {
            self.failures.insert(path, (code, text));
        }
    }

    /// Something that the device believes to be done was not: whatever it says in the end, this is no success.
    pub(super) fn lost(&mut self, path: &str) {
        if self.outstanding.len() < MAX_FAILURES {
            self.outstanding.insert(path.to_owned());
        }
    }

    pub(super) fn placed(&mut self, scope: &Scope, path: &ScopedPath) {
        self.status_written |= path.as_str().strip_prefix(scope.target()) == Some("/Status.plist");
    }

    fn stored(&mut self, scope: &Scope, path: &str) {
        if let Ok(scoped) = scope.admit(path, Access::Write) {
            self.placed(scope, &scoped);
        }
        self.repair(path);
    }

    /// A whole file makes good what failed under its name before.
    fn repair(&mut self, path: &str) {
        if !self.outstanding.is_empty() {
            self.failures.remove(path);
            self.outstanding.remove(path);
        }
    }

    fn say(&mut self, notice: Notice) {
        if self.notices.len() < MAX_FAILURES {
            self.notices.push(notice);
        }
    }
}
