//! The phone's end of a DeviceLink connection: frames, questions and their answers, raw transfers.
//!
//! The raw transfer from the host is read here by its own few lines, not by the receiver that hosts use, so that each
//! checks the other.

use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use cabled_devicelink::msg::{Detail, Encoding, Message, Status};
use cabled_devicelink::transfer::{CODE_DATA, CODE_OK, MAX_NAME};
use cabled_wire::WireError;
use cabled_wire::frame;
use cabled_wire::io::BoxStream;
use cabled_wire::plist::{Dictionary, Limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::error::{Outcome, ServeError};

/// The largest frame from a host: a listing of a flat folder with a hundred thousand entries fits.
const MAX_FRAME: usize = 64 << 20;
/// Bytes asked from the stream at a time.
const READ: usize = 256 << 10;

/// The connection. All its futures must run to their end: dropped half-way, the stream is out of step.
pub(super) struct Link {
    stream: BoxStream,
    /// Read ahead of what was asked for.
    buffer: BytesMut,
    encoding: Encoding,
    idle: Duration,
    /// Largest block taken from the host.
    block_limit: Option<u64>,
    /// Progress of the run; scripts make it fall.
    pub(super) backwards: bool,
    flip: bool,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("buffered", &self.buffer.len())
            .finish_non_exhaustive()
    }
}

/// A piece of a raw transfer from the host.
#[derive(Debug)]
pub(super) enum Piece {
    /// A file begins: the path as we asked for it.
    Name(String),
    Data(Bytes),
    /// The file is complete.
    End,
    /// The file is not.
    Failed,
}

/// Where in a raw transfer we are.
#[derive(Debug)]
pub(super) struct Transfer {
    state: TransferState,
}

#[derive(Debug)]
enum TransferState {
    Name,
    Block,
    Data { left: u64 },
    Over,
}

impl Link {
    pub(super) fn new(stream: BoxStream, encoding: Encoding, idle: Duration, block_limit: Option<u64>) -> Self {
        let buffer = BytesMut::new();
        Self {
            stream,
            buffer,
            encoding,
            idle,
            block_limit,
            backwards: false,
            flip: false,
        }
    }

    pub(super) async fn send(&mut self, message: &Message) -> Result<(), ServeError> {
        let body = message.encode_as(self.encoding);
        let framed = frame::encode(&body)?;
        self.write(&framed, "the host to read").await?;
        self.flush().await
    }

    async fn write(&mut self, bytes: &[u8], phase: &'static str) -> Result<(), ServeError> {
        let after = self.idle;
        timeout(after, self.stream.write_all(bytes))
            .await
            .map_err(|_| ServeError::Silent { phase, after })??;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ServeError> {
        let (phase, after) = ("the host to read", self.idle);
        timeout(after, self.stream.flush())
            .await
            .map_err(|_| ServeError::Silent { phase, after })??;
        Ok(())
    }

    /// Reads until `wanted` bytes are buffered.
    async fn fill(&mut self, wanted: usize, phase: &'static str) -> Result<(), ServeError> {
        while self.buffer.len() < wanted {
            self.buffer
                .reserve(READ.max(wanted.saturating_sub(self.buffer.len()).min(READ)));
            let after = self.idle;
            let read = timeout(after, self.stream.read_buf(&mut self.buffer)).await;
            match read.map_err(|_| ServeError::Silent { phase, after })? {
                Ok(0) => return Err(ServeError::Closed { phase }),
                Ok(_) => {}
                // A TLS stream that ends without a goodbye has ended all the same.
                Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Err(ServeError::Closed { phase }),
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    async fn u32(&mut self, phase: &'static str) -> Result<u32, ServeError> {
        self.fill(4, phase).await?;
        Ok(self.buffer.get_u32())
    }

    /// The next message, whatever it is.
    pub(super) async fn receive(&mut self, phase: &'static str) -> Result<Message, ServeError> {
        let declared = self.u32(phase).await?;
        let length = usize::try_from(declared).unwrap_or(usize::MAX);
        if length == 0 || length > MAX_FRAME {
            let (field, max) = ("DeviceLink frame", MAX_FRAME as u64);
            return Err(WireError::TooLong {
                field,
                declared: u64::from(declared),
                max,
            }
            .into());
        }
        self.fill(length, phase).await?;
        let body = self.buffer.split_to(length);
        let limits = Limits::default()
            .with_bytes(MAX_FRAME)
            .with_depth(16)
            .with_nodes(2_000_000);
        Ok(Message::decode(&body, &limits)?)
    }

    /// The host's answer to a request of ours.
    pub(super) async fn status(&mut self, phase: &'static str) -> Result<Status, ServeError> {
        match self.receive(phase).await? {
            Message::StatusResponse(status) if status.detail != Detail::Absent => Ok(status),
            Message::StatusResponse(_) => Err(WireError::Missing {
                key: "fourth element of the status".into(),
            }
            .into()),
            Message::Disconnect { reason } => Err(ServeError::Disconnected { phase, reason }),
            other => Err(ServeError::Unexpected {
                phase,
                name: other.name().to_owned(),
            }),
        }
    }

    pub(super) async fn ask(&mut self, message: &Message, phase: &'static str) -> Result<Status, ServeError> {
        self.send(message).await?;
        self.status(phase).await
    }

    /// The value to send for this much of the run.
    pub(super) fn progress(&mut self, percent: f64) -> Option<f64> {
        self.flip = !self.flip;
        Some(if self.backwards && self.flip {
            percent / 2.0
        } else {
            percent
        })
    }

    /// Asks for files; the pieces come with [`Link::piece`], and after the last one the status.
    pub(super) async fn download(&mut self, paths: Vec<String>, percent: f64) -> Result<Transfer, ServeError> {
        let progress = self.progress(percent);
        self.send(&Message::DownloadFiles {
            paths,
            options: Dictionary::new(),
            progress,
        })
        .await?;
        Ok(Transfer {
            state: TransferState::Name,
        })
    }

    /// The next piece of a transfer; `None` at the end of the batch. Names are bounded, data comes as it arrives.
    pub(super) async fn piece(&mut self, transfer: &mut Transfer) -> Result<Option<Piece>, ServeError> {
        const PHASE: &str = "the files it asked for";
        loop {
            match transfer.state {
                TransferState::Over => return Ok(None),
                TransferState::Name => {
                    let length = usize::try_from(self.u32(PHASE).await?).unwrap_or(usize::MAX);
                    if length == 0 {
                        transfer.state = TransferState::Over;
                        return Ok(None);
                    }
                    if length > MAX_NAME {
                        return Err(ServeError::Transfer {
                            what: "a name is longer than 4096 bytes",
                        });
                    }
                    self.fill(length, PHASE).await?;
                    let name = String::from_utf8(self.buffer.split_to(length).into());
                    transfer.state = TransferState::Block;
                    let what = "a name is not UTF-8";
                    return name
                        .map(|name| Some(Piece::Name(name)))
                        .map_err(|_| ServeError::Transfer { what });
                }
                TransferState::Block => {
                    if let Some(end) = self.block(transfer, PHASE).await? {
                        return Ok(Some(end));
                    }
                }
                TransferState::Data { left: 0 } => transfer.state = TransferState::Block,
                TransferState::Data { left } => {
                    self.fill(1, PHASE).await?;
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
                    let data = self.buffer.split_to(take).freeze();
                    transfer.state = TransferState::Data {
                        left: left.saturating_sub(data.len() as u64),
                    };
                    return Ok(Some(Piece::Data(data)));
                }
            }
        }
    }

    async fn block(&mut self, transfer: &mut Transfer, phase: &'static str) -> Result<Option<Piece>, ServeError> {
        let length = u64::from(self.u32(phase).await?);
        if length == 0 {
            return Err(ServeError::Transfer {
                what: "a block has no length",
            });
        }
        let payload = length.saturating_sub(1);
        if self.block_limit.is_some_and(|limit| payload > limit) {
            return Err(ServeError::OutOfMemory { length: payload });
        }
        self.fill(1, phase).await?;
        let code = self.buffer.get_u8();
        if code == CODE_DATA {
            transfer.state = TransferState::Data { left: payload };
            return Ok(None);
        }
        // Whatever the code, its text is drained.
        let mut left = payload;
        while left > 0 {
            self.fill(1, phase).await?;
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            self.buffer.advance(take);
            left = left.saturating_sub(take as u64);
        }
        transfer.state = TransferState::Name;
        Ok(Some(if code == CODE_OK { Piece::End } else { Piece::Failed }))
    }

    /// Downloads one small file. `None` when the host has none.
    pub(super) async fn download_small(
        &mut self,
        path: &str,
        percent: f64,
        max: usize,
    ) -> Outcome<(Option<Vec<u8>>, Status)> {
        let mut transfer = self.download(vec![path.to_owned()], percent).await?;
        let (mut bytes, mut complete) = (Vec::new(), false);
        while let Some(piece) = self.piece(&mut transfer).await? {
            match piece {
                Piece::Name(_) => bytes.clear(),
                Piece::Data(data) => {
                    if bytes.len().saturating_add(data.len()) > max {
                        let (field, declared) = ("backup metadata", (max as u64).saturating_add(1));
                        return Err(ServeError::from(WireError::TooLong {
                            field,
                            declared,
                            max: max as u64,
                        })
                        .into());
                    }
                    bytes.extend_from_slice(&data);
                }
                Piece::End => complete = true,
                Piece::Failed => complete = false,
            }
        }
        let status = self.status("the answer to a download").await?;
        // The status says more than the blocks: a path it lists has failed.
        let listed = status.file_failures().iter().any(|failure| failure.path == path);
        Ok(((complete && !listed).then_some(bytes), status))
    }

    /// Sends an upload: the message, then `chunks` as they are, until their sender is gone; then the host's answer.
    pub(super) async fn upload(
        &mut self,
        percent: f64,
        total: u64,
        chunks: &mut mpsc::Receiver<Chunk>,
    ) -> Result<Option<Status>, ServeError> {
        let progress = self.progress(percent);
        let total = Some(total);
        self.send(&Message::UploadFiles {
            options: Dictionary::new(),
            progress,
            total,
        })
        .await?;
        let mut complete = false;
        while let Some(chunk) = chunks.recv().await {
            match chunk {
                Chunk::Bytes(bytes) => self.write(&bytes, "the host to read an upload").await?,
                Chunk::Pause(lasting) => {
                    self.flush().await?;
                    tokio::time::sleep(lasting).await;
                }
                Chunk::Complete => complete = true,
            }
        }
        if !complete {
            return Ok(None);
        }
        self.flush().await?;
        self.status("the answer to an upload").await.map(Some)
    }

    /// Drops the stream after a polite end.
    pub(super) async fn close(mut self) {
        let _ = timeout(Duration::from_secs(1), self.stream.shutdown()).await;
    }
}

/// What an upload is fed with.
#[derive(Debug)]
pub(super) enum Chunk {
    Bytes(Bytes),
    /// Say nothing for a while.
    Pause(Duration),
    /// The batch is whole; without this the maker has failed.
    Complete,
}
