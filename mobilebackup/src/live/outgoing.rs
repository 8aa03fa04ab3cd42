//! A batch of files for the device, encoded as they are read. Runs on the folder's thread.

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::{BufMut, BytesMut};
use cabled_devicelink::msg::Status;
use cabled_devicelink::status::{self, FileFailure};
use cabled_devicelink::transfer;
use tokio::sync::mpsc;

use super::worker::{Answer, MAX_FAILURES, Piece, code, notice};
use crate::folder::{Access, FolderError, FolderErrorKind, FolderRun, Scope, ScopedPath};

/// How much of a download is encoded before it is handed over.
const PIECE: usize = 8 * transfer::DATA_LEN;

/// Encodes files into pieces of a size that is worth a task switch.
pub(super) struct Outgoing<'a> {
    pieces: &'a mpsc::Sender<Piece>,
    stop: &'a AtomicBool,
    exact_codes: bool,
    out: BytesMut,
    data: u64,
    files: u64,
    block: Vec<u8>,
}

impl<'a> Outgoing<'a> {
    pub(super) fn new(pieces: &'a mpsc::Sender<Piece>, stop: &'a AtomicBool, exact_codes: bool) -> Self {
        let (out, block) = (BytesMut::new(), Vec::new());
        Self {
            pieces,
            stop,
            exact_codes,
            out,
            data: 0,
            files: 0,
            block,
        }
    }

    /// Encodes the files in the given order, each whole or ended by its failure; the batch's end mark is not ours.
    pub(super) fn send(&mut self, paths: &[String], run: &mut dyn FolderRun, scope: &Scope) -> Answer {
        let (stop, outgoing) = (self.stop, self);
        let (mut failures, mut notices) = (Vec::new(), Vec::new());
        for path in paths {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let mut fail = |error: &FolderError| {
                if failures.len() < MAX_FAILURES {
                    failures.push(FileFailure {
                        path: path.clone(),
                        code: code(error),
                        text: error.reason(),
                    });
                    // Missing files are an everyday answer, above all at the start of a first backup.
                    if error.kind() != FolderErrorKind::NotFound {
                        notices.push(notice("DLMessageDownloadFiles", error));
                    }
                }
            };
            // A name that cannot travel would end the batch: only the status can speak of it.
            if transfer::put_name(&mut outgoing.out, path).is_err() {
                fail(&FolderError::Refused {
                    path: String::new(),
                    why: "a file name is empty or too long",
                });
                continue;
            }
            let opened = scope.admit(path, Access::Read).and_then(|path| {
                let file = run.download(&path)?;
                Ok((path, file))
            });
            let sent = opened.and_then(|(path, mut file)| outgoing.file(&path, file.as_mut()));
            if let Err(error) = sent {
                outgoing.failure(&error);
                fail(&error);
            }
        }
        outgoing.flush(0);
        let status = if stop.load(Ordering::Relaxed) {
            Status::failed(status::OTHER, "Cancelled")
        } else {
            Status::of_files(failures)
        };
        Answer { status, notices }
    }

    /// Sends blocks of what was really read, whatever the file's size was said to be: it may shrink or grow meanwhile.
    fn file(&mut self, path: &ScopedPath, file: &mut dyn Read) -> Result<(), FolderError> {
        loop {
            self.block.clear();
            let limit = u64::try_from(transfer::DATA_LEN).unwrap_or(u64::MAX);
            let read = Read::take(&mut *file, limit).read_to_end(&mut self.block);
            let read = read.map_err(FolderError::io("read", path.as_str()))?;
            if read == 0 {
                self.out.put_slice(&transfer::END_OK);
                self.files = self.files.saturating_add(1);
                self.flush(PIECE);
                return Ok(());
            }
            transfer::put_data(&mut self.out, &self.block);
            self.data = self.data.saturating_add(u64::try_from(read).unwrap_or(0));
            self.flush(PIECE);
            if self.stop.load(Ordering::Relaxed) {
                return Err(FolderError::Refused {
                    path: path.to_string(),
                    why: "the run was cancelled",
                });
            }
        }
    }

    fn failure(&mut self, error: &FolderError) {
        let exact = u8::try_from(code(error).unsigned_abs()).unwrap_or(transfer::CODE_NO_ENTRY);
        let byte = if self.exact_codes {
            exact
        } else {
            transfer::CODE_NO_ENTRY
        };
        transfer::put_failure(&mut self.out, byte, &error.reason());
        self.flush(PIECE);
    }

    /// Hands over what is encoded, once it is more than `above` bytes.
    fn flush(&mut self, above: usize) {
        if self.out.len() <= above {
            return;
        }
        let piece = Piece {
            encoded: self.out.split().freeze(),
            data: self.data,
            files: self.files,
        };
        (self.data, self.files) = (0, 0);
        if self.pieces.blocking_send(piece).is_err() {
            // Nobody takes the rest: the link is gone.
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}
