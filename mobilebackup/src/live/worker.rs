//! The one thread that touches the folder during a run.
//!
//! The exchange hands it operations through a bounded queue, file data in pieces as they came off the wire, so that no
//! runtime thread ever blocks on a disk and 100 000 small files do not cost 100 000 task switches. Dropping the queue
//! ends the thread; a file that was being received leaves nothing behind.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use cabled_devicelink::msg::{Detail, Message, Status};
use cabled_devicelink::status::{self, FileType, ListedEntry};
use cabled_devicelink::transfer;
use tokio::sync::{mpsc, oneshot};

use super::error::BackupError;
use super::incoming::{Incoming, Received};
use super::outgoing::Outgoing;
use super::progress::Notice;
use crate::folder::{Access, BackupFolder, CommitPoint, EntryKind, FolderError, FolderErrorKind, FolderRun, Scope};

/// Operations in flight. Each holds at most what one read from the device brought.
const QUEUE: usize = 8;
/// Encoded pieces of a download in flight, each a little over a quarter of a megabyte.
const PIECES: usize = 2;
/// Paths that are named in one multi-status answer, and failures kept in a report.
pub(super) const MAX_FAILURES: usize = 4096;

/// What the thread is asked to do.
pub(super) enum Op {
    /// Pieces of an upload, as they came.
    Receive(Vec<transfer::Event>),
    /// The upload is over: what became of it?
    EndReceive(oneshot::Sender<Received>),
    /// Encode these files.
    Send {
        paths: Vec<String>,
        pieces: mpsc::Sender<Piece>,
        stop: Arc<AtomicBool>,
        exact_codes: bool,
        done: oneshot::Sender<Answer>,
    },
    /// Any other request of the device that the folder answers.
    Answer {
        message: Message,
        answer: oneshot::Sender<Answer>,
    },
    /// Read a file of our own into memory, up to a limit.
    Read {
        path: String,
        limit: usize,
        data: oneshot::Sender<Result<Vec<u8>, FolderError>>,
    },
    /// Write a file of our own.
    Write {
        path: String,
        data: Bytes,
        done: oneshot::Sender<Result<(), FolderError>>,
    },
    /// Was the backup's Status.plist written in this run?
    StatusWritten(oneshot::Sender<bool>),
    /// The end of a successful run: flush, and tell what is missing.
    Finish(oneshot::Sender<Result<Option<(u64, String)>, FolderError>>),
}

/// An answer for the device, and what the caller should hear.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: Status,
    pub(super) notices: Vec<Notice>,
}

/// A piece of a download, encoded.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) encoded: Bytes,
    /// Bytes of file contents in it.
    pub(super) data: u64,
    /// Files that end well in it.
    pub(super) files: u64,
}

/// The queue to the thread.
#[derive(Debug)]
pub(super) struct Worker {
    queue: mpsc::Sender<Op>,
    /// Closed when the thread has let go of the folder.
    ended: oneshot::Receiver<()>,
}

impl Worker {
    /// Opens the folder on a thread of its own, which ends when the `Worker` is dropped.
    pub(super) async fn spawn(folder: &dyn BackupFolder, scope: Scope) -> Result<Self, BackupError> {
        let opener = folder.opener(&scope);
        let (queue, ops) = mpsc::channel(QUEUE);
        let (opened, result) = oneshot::channel();
        let (ending, ended) = oneshot::channel::<()>();
        let work = move || {
            let _ending = ending; // dropped last, after the folder
            match opener() {
                Ok(run) => {
                    drop(opened.send(Ok(())));
                    Thread {
                        run,
                        scope,
                        incoming: Incoming::default(),
                        moved: false,
                    }
                    .work(ops);
                }
                Err(error) => drop(opened.send(Err(error))),
            }
        };
        // A thread of its own, not one of the runtime's pool: it lives for hours, and 64 devices would fill the pool.
        let spawned = std::thread::Builder::new().name("cabled-backup".to_owned()).spawn(work);
        spawned.map_err(FolderError::io("start a thread for", "the backup folder"))?;
        result.await.map_err(|_| BackupError::ShuttingDown)??;
        Ok(Self { queue, ended })
    }

    /// Waits until the thread has let go of the folder, so that the next run finds it free.
    pub(super) async fn close(self) {
        drop(self.queue);
        let _ = self.ended.await;
    }

    pub(super) async fn receive(&self, pieces: Vec<transfer::Event>) -> Result<(), BackupError> {
        self.put(Op::Receive(pieces)).await
    }

    pub(super) async fn end_receive(&self) -> Result<Received, BackupError> {
        self.ask(Op::EndReceive).await
    }

    pub(super) async fn answer(&self, message: Message) -> Result<Answer, BackupError> {
        self.ask(|answer| Op::Answer { message, answer }).await
    }

    /// Starts encoding; the answer comes when all pieces were taken or the receiver was dropped.
    pub(super) async fn send(
        &self,
        paths: Vec<String>,
        stop: Arc<AtomicBool>,
        exact_codes: bool,
    ) -> Result<(mpsc::Receiver<Piece>, oneshot::Receiver<Answer>), BackupError> {
        let (pieces, receiver) = mpsc::channel(PIECES);
        let (done, answer) = oneshot::channel();
        self.put(Op::Send {
            paths,
            pieces,
            stop,
            exact_codes,
            done,
        })
        .await?;
        Ok((receiver, answer))
    }

    pub(super) async fn read(&self, path: String, limit: usize) -> Result<Vec<u8>, BackupError> {
        Ok(self.ask(|data| Op::Read { path, limit, data }).await??)
    }

    pub(super) async fn write(&self, path: String, data: Bytes) -> Result<(), BackupError> {
        Ok(self.ask(|done| Op::Write { path, data, done }).await??)
    }

    pub(super) async fn status_written(&self) -> Result<bool, BackupError> {
        self.ask(Op::StatusWritten).await
    }

    pub(super) async fn finish(&self) -> Result<(), BackupError> {
        match self.ask(Op::Finish).await?? {
            Some((count, first)) => Err(BackupError::Incomplete { count, first }),
            None => Ok(()),
        }
    }

    async fn put(&self, op: Op) -> Result<(), BackupError> {
        self.queue.send(op).await.map_err(|_| BackupError::ShuttingDown)
    }

    async fn ask<T>(&self, op: impl FnOnce(oneshot::Sender<T>) -> Op) -> Result<T, BackupError> {
        let (sender, receiver) = oneshot::channel();
        self.put(op(sender)).await?;
        receiver.await.map_err(|_| BackupError::ShuttingDown)
    }
}

struct Thread {
    run: Box<dyn FolderRun>,
    scope: Scope,
    incoming: Incoming,
    /// Has this run moved anything yet? Before the first move the payload is flushed.
    moved: bool,
}

impl Thread {
    fn work(mut self, mut ops: mpsc::Receiver<Op>) {
        while let Some(op) = ops.blocking_recv() {
            // A caller that no longer listens has dropped its run; the queue ends then, too.
            match op {
                Op::Receive(pieces) => {
                    for piece in pieces {
                        self.incoming.take(self.run.as_mut(), &self.scope, piece);
                    }
                }
                Op::EndReceive(received) => {
                    let result = self.incoming.end(self.run.as_mut());
                    drop(received.send(result));
                }
                Op::Send {
                    paths,
                    pieces,
                    stop,
                    exact_codes,
                    done,
                } => {
                    let mut outgoing = Outgoing::new(&pieces, &stop, exact_codes);
                    drop(done.send(outgoing.send(&paths, self.run.as_mut(), &self.scope)));
                }
                Op::Answer { message, answer } => drop(answer.send(self.answer(message))),
                Op::Read { path, limit, data } => drop(data.send(self.read(&path, limit))),
                Op::Write { path, data, done } => drop(done.send(self.write(&path, &data))),
                Op::StatusWritten(answer) => drop(answer.send(self.incoming.status_written)),
                Op::Finish(done) => {
                    let outstanding = self.incoming.outstanding();
                    let flushed = if outstanding.is_none() {
                        self.run.commit(CommitPoint::Finished)
                    } else {
                        Ok(())
                    };
                    drop(done.send(flushed.map(|()| outstanding)));
                }
            }
        }
    }

    fn answer(&mut self, message: Message) -> Answer {
        let mut notices = Vec::new();
        let result = match &message {
            Message::ContentsOfDirectory { path, .. } => self.list(path),
            Message::CreateDirectory { path, .. } => self.create(path),
            Message::MoveItems { items, .. } => self.moves(items),
            Message::RemoveItems { paths, .. } => self.removes(paths, &mut notices),
            Message::CopyItem { from, to, .. } => self.copy(from, to),
            Message::GetFreeDiskSpace => self.run.free_space().map(|free| Status::ok_with(Detail::Integer(free))),
            _ => Ok(Status::failed(status::OTHER, "Operation not supported")),
        };
        let status = result.unwrap_or_else(|error| {
            notices.push(notice(message.name(), &error));
            failed(&error)
        });
        Answer { status, notices }
    }

    fn list(&mut self, path: &str) -> Result<Status, FolderError> {
        let path = self.scope.admit(path, Access::Read)?;
        let listed = match self.run.list(&path) {
            // Devices ask for folders before they exist and want to hear that they are empty.
            Err(error) if error.kind() == FolderErrorKind::NotFound => Vec::new(),
            other => other?,
        };
        let entry = |kind, size, modified| ListedEntry {
            file_type: kind,
            size,
            modified,
        };
        Ok(Status::ok_with(status::listing(listed.into_iter().map(|listed| {
            let kind = match listed.kind {
                EntryKind::File => FileType::Regular,
                EntryKind::Directory => FileType::Directory,
                EntryKind::Other => FileType::Unknown,
            };
            (listed.name, entry(kind, listed.size, listed.modified))
        }))))
    }

    fn create(&mut self, path: &str) -> Result<Status, FolderError> {
        let path = self.scope.admit(path, Access::CreateDir)?;
        self.run.create_dir(&path)?;
        Ok(Status::ok())
    }

    fn moves(&mut self, items: &[(String, String)]) -> Result<Status, FolderError> {
        if !self.moved {
            self.flush(CommitPoint::BeforeMoves)?;
            self.moved = true;
        }
        for (from, to) in items {
            let from = self.scope.admit(from, Access::Remove)?;
            let to = self.scope.admit(to, Access::Write)?;
            if let Err(error) = self.run.rename(&from, &to) {
                // A missing source is the device's own affair; some hosts pass over it.
                if error.kind() != FolderErrorKind::NotFound {
                    self.incoming.lost(to.as_str());
                }
                return Err(error);
            }
            self.incoming.placed(&self.scope, &to);
        }
        self.flush(CommitPoint::Arranged)?;
        Ok(Status::ok())
    }

    /// Flushes. A failure is told by the system once and is not to be forgotten, even if the device overlooks it.
    fn flush(&mut self, point: CommitPoint) -> Result<(), FolderError> {
        let flushed = self.run.commit(point);
        if flushed.is_err() {
            self.incoming.lost("what was received");
        }
        flushed
    }

    /// Tries all and reports the last failure (spec 4.8).
    fn removes(&mut self, paths: &[String], notices: &mut Vec<Notice>) -> Result<Status, FolderError> {
        let mut result = Ok(Status::ok());
        for path in paths {
            let removed = self
                .scope
                .admit(path, Access::Remove)
                .and_then(|path| self.run.remove(&path));
            let Err(error) = removed else { continue };
            if let Err(earlier) = std::mem::replace(&mut result, Err(error))
                && notices.len() < MAX_FAILURES
            {
                notices.push(notice("DLMessageRemoveItems", &earlier));
            }
        }
        self.flush(CommitPoint::Arranged)?;
        result
    }

    fn copy(&mut self, from: &str, to: &str) -> Result<Status, FolderError> {
        let from = self.scope.admit(from, Access::Read)?;
        let to = self.scope.admit(to, Access::CopyTo)?;
        self.run.copy(&from, &to)?;
        self.scope.adopt(&to);
        self.flush(CommitPoint::Arranged)?;
        Ok(Status::ok())
    }

    fn read(&mut self, path: &str, limit: usize) -> Result<Vec<u8>, FolderError> {
        let path = self.scope.admit(path, Access::Read)?;
        let mut data = Vec::new();
        let limit = u64::try_from(limit).unwrap_or(u64::MAX);
        let mut file = self.run.download(&path)?.take(limit);
        file.read_to_end(&mut data)
            .map_err(FolderError::io("read", path.as_str()))?;
        Ok(data)
    }

    fn write(&mut self, path: &str, data: &[u8]) -> Result<(), FolderError> {
        let path = self.scope.admit(path, Access::Write)?;
        let mut upload = self.run.upload(&path)?;
        upload.write(data)?;
        upload.finish()
    }
}

/// The DeviceLink code of a failure. Spec 5.1.
pub(super) fn code(error: &FolderError) -> i64 {
    match error.kind() {
        FolderErrorKind::NotFound => status::NO_ENTRY,
        FolderErrorKind::Exists => status::EXISTS,
        FolderErrorKind::NotADirectory => status::NOT_A_DIRECTORY,
        FolderErrorKind::IsADirectory => status::IS_A_DIRECTORY,
        FolderErrorKind::Link => status::LOOP,
        FolderErrorKind::Io => status::IO,
        FolderErrorKind::Full => status::NO_SPACE,
        FolderErrorKind::Permission | FolderErrorKind::Refused | FolderErrorKind::Busy | FolderErrorKind::Other => {
            status::OTHER
        }
    }
}

pub(super) fn failed(error: &FolderError) -> Status {
    Status::failed(code(error), error.reason())
}

pub(super) fn notice(message: &str, error: &FolderError) -> Notice {
    match error {
        FolderError::Refused { path, why } => {
            tracing::warn!(message, path, why, "refused a path of the device");
            Notice::RefusedPath {
                message: message.to_owned(),
                path: path.clone(),
                why,
            }
        }
        FolderError::Io { path, op, source } => {
            tracing::warn!(message, op, error = %source, "the backup folder failed");
            Notice::HostFile {
                path: path.clone(),
                reason: format!("cannot {op}: {source}"),
            }
        }
        FolderError::Busy { device } => Notice::HostFile {
            path: device.clone(),
            reason: error.to_string(),
        },
    }
}
