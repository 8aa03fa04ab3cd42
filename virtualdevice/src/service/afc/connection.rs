//! One connection: packets off the stream, answers onto it.

use std::io;

use bytes::Bytes;
use cabled_afc::msg::{Header, Operation, Packet, PacketError, Status};
use cabled_wire::io::BoxStream;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};

use super::session::{Answer, Session};
use super::write::carries_bulk;
use super::{AfcQuirks, ReplyOrder, Root};
use crate::phone::Phone;
use crate::service::{IDLE, MESSAGE, ServeError};

/// The longest fixed part taken, in bytes; two paths are the most a host has to say there.
const MAX_FIELDS: u64 = 64 << 10;
/// File data is moved in pieces of at most this many bytes, so memory does not grow with a request.
const PIECE: usize = 1 << 20;
/// How long [`ReplyOrder::Reversed`] waits for one more request.
const HOLD: std::time::Duration = std::time::Duration::from_millis(20);

pub(super) struct Connection {
    stream: BufReader<BoxStream>,
    session: Session,
    service: &'static str,
    /// Answers held back to be sent in another order.
    held: Vec<(u64, Answer)>,
    /// For file data in both directions; grows to one piece and stays.
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) fn new(phone: Phone, root: Root, stream: BoxStream) -> Self {
        let service = root.service();
        let (held, buffer) = (Vec::new(), Vec::new());
        Self {
            stream: BufReader::new(stream),
            session: Session::new(phone, root),
            service,
            held,
            buffer,
        }
    }

    pub(super) async fn run(mut self) -> Result<(), ServeError> {
        let prepared = self.session.root.prepare(self.session.phone.fs());
        prepared.map_err(|error| self.failed(&error))?;
        loop {
            self.release_held().await?;
            let Some(header) = self.read_header().await? else {
                return Ok(());
            };
            let quirks = self.session.phone.afc().quirks();
            let answer = if carries_bulk(header.operation) {
                self.take_write(&header, &quirks).await?
            } else {
                self.take_request(&header, &quirks).await?
            };
            if !quirks.delay.is_zero() {
                tokio::time::sleep(quirks.delay).await;
            }
            match quirks.reply_order {
                ReplyOrder::InOrder => self.send(header.packet_num, answer, &quirks).await?,
                ReplyOrder::Reversed(most) => {
                    self.held.push((header.packet_num, answer));
                    if self.held.len() >= most {
                        self.send_held(&quirks).await?;
                    }
                }
            }
            if self.stream.buffer().is_empty() {
                self.stream.flush().await?;
            }
        }
    }

    /// The next header; `None` at the end of the stream.
    async fn read_header(&mut self) -> Result<Option<Header>, ServeError> {
        let started = tokio::time::timeout(IDLE, self.stream.fill_buf())
            .await
            .map_err(|_| timed_out())?;
        match started {
            Ok(bytes) if !bytes.is_empty() => {}
            Ok(_) => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; Header::LEN];
        within(self.stream.read_exact(&mut bytes)).await?;
        let header = Header::decode(&bytes, u64::MAX).map_err(|error| self.failed(&error))?;
        let bulk = if carries_bulk(header.operation) {
            0
        } else {
            header.payload_len()
        };
        let small = header.fields_len().saturating_add(bulk);
        if small > MAX_FIELDS {
            return Err(self.failed(&PacketError::TooLong {
                entire: small,
                limit: MAX_FIELDS,
            }));
        }
        Ok(Some(header))
    }

    async fn take_request(&mut self, header: &Header, quirks: &AfcQuirks) -> Result<Answer, ServeError> {
        let fields = self.read_bytes(header.fields_len()).await?;
        let payload = self.read_bytes(header.payload_len()).await?;
        match Packet::from_parts(header, &fields, payload) {
            Ok(packet) => {
                self.record(&packet, 0);
                Ok(self.session.answer(&packet, quirks))
            }
            Err(error) => Ok(self.malformed(header.operation, &error)),
        }
    }

    /// A write: its bytes are taken off the stream even when they have nowhere to go.
    async fn take_write(&mut self, header: &Header, quirks: &AfcQuirks) -> Result<Answer, ServeError> {
        let fields = self.read_bytes(header.fields_len()).await?;
        let mut left = header.payload_len();
        let mut sink = match Packet::from_parts(header, &fields, Bytes::new()) {
            Ok(packet) => {
                self.record(&packet, left);
                self.session.begin_write(&packet, left, quirks)
            }
            Err(error) => {
                self.malformed(header.operation, &error);
                Err(Status::InvalidArgument)
            }
        };
        while left > 0 {
            let take = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            self.make_room(take);
            let piece = self.buffer.get_mut(..take).unwrap_or_default();
            within(self.stream.read_exact(piece)).await?;
            if let Ok(to) = &mut sink
                && let Err(status) = self.session.write_piece(to, piece)
            {
                sink = Err(status);
            }
            left = left.saturating_sub(take as u64);
        }
        let written = sink.and_then(|sink| self.session.end_write(sink));
        Ok(Answer::Packet(Packet::Status(written.err().unwrap_or(Status::Success))))
    }

    async fn read_bytes(&mut self, len: u64) -> Result<Bytes, ServeError> {
        // At most MAX_FIELDS, which the header was held against.
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        within(self.stream.read_exact(&mut bytes)).await?;
        Ok(bytes.into())
    }

    /// Sends what is held back, unless another request comes at once.
    async fn release_held(&mut self) -> Result<(), ServeError> {
        if self.held.is_empty() {
            return Ok(());
        }
        let more = tokio::time::timeout(HOLD, self.stream.fill_buf()).await;
        if !matches!(more, Ok(Ok(bytes)) if !bytes.is_empty()) {
            let quirks = self.session.phone.afc().quirks();
            self.send_held(&quirks).await?;
            self.stream.flush().await?;
        }
        Ok(())
    }

    async fn send_held(&mut self, quirks: &AfcQuirks) -> Result<(), ServeError> {
        while let Some((packet_num, answer)) = self.held.pop() {
            self.send(packet_num, answer, quirks).await?;
        }
        Ok(())
    }

    async fn send(&mut self, packet_num: u64, answer: Answer, quirks: &AfcQuirks) -> Result<(), ServeError> {
        match answer {
            Answer::Packet(Packet::Status(Status::Success)) if quirks.data_for_status => {
                self.send_packet(packet_num, &Packet::Data(Bytes::new())).await
            }
            Answer::Packet(packet) => self.send_packet(packet_num, &packet).await,
            Answer::Content { content, offset, len } => {
                let header = Header::new(
                    Operation::Data,
                    packet_num,
                    0,
                    usize::try_from(len).unwrap_or(usize::MAX),
                );
                let cut = self.session.phone.afc().take_cut(len);
                let (mut sent, end) = (0, cut.unwrap_or(len));
                // The header goes out with the first piece, in one write.
                let mut head = Header::LEN;
                loop {
                    let take = usize::try_from(end.saturating_sub(sent)).unwrap_or(PIECE).min(PIECE);
                    let until = head.saturating_add(take);
                    self.make_room(until);
                    let out = self.buffer.get_mut(..until).unwrap_or_default();
                    let (start, piece) = out.split_at_mut(head.min(until));
                    let got = content.read_at(offset.saturating_add(sent), piece);
                    if head > 0 {
                        if got.is_err() {
                            return self.send_packet(packet_num, &Packet::Status(Status::IoError)).await;
                        }
                        start.copy_from_slice(&header.encode());
                    }
                    if got? != take {
                        // The header has promised more: only the end of the connection is honest.
                        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                    }
                    self.stream.write_all(out).await?;
                    sent = sent.saturating_add(take as u64);
                    head = 0;
                    if sent >= end {
                        break;
                    }
                }
                self.end_if(cut.is_some()).await
            }
        }
    }

    async fn send_packet(&mut self, packet_num: u64, packet: &Packet) -> Result<(), ServeError> {
        let bytes = packet.encode(packet_num);
        let payload_len = packet.payload().len();
        let cut = self.session.phone.afc().take_cut(payload_len as u64);
        let dropped = cut.map_or(0, |after| (payload_len as u64).saturating_sub(after));
        let end = bytes
            .len()
            .saturating_sub(usize::try_from(dropped).unwrap_or(usize::MAX));
        self.stream.write_all(bytes.get(..end).unwrap_or_default()).await?;
        self.end_if(cut.is_some()).await
    }

    /// Ends the connection where a script wants it cut.
    async fn end_if(&mut self, cut: bool) -> Result<(), ServeError> {
        if cut {
            self.stream.flush().await?;
            return Err(io::Error::other("cut by a script").into());
        }
        Ok(())
    }

    fn make_room(&mut self, len: usize) {
        if self.buffer.len() < len {
            self.buffer.resize(len, 0);
        }
    }

    fn record(&self, packet: &Packet, bulk: u64) {
        let detail = match packet {
            Packet::FileRead { handle, len } => format!("{handle} {len}"),
            Packet::FileWrite { handle, .. } => format!("{handle} {bulk}"),
            Packet::FileSeek { handle, whence, offset } => format!("{handle} {whence} {offset}"),
            Packet::FileLock { handle, op } => format!("{handle} {op}"),
            Packet::FileSetSize { handle, len } => format!("{handle} {len}"),
            Packet::FileTell { handle } | Packet::FileClose { handle } => handle.to_string(),
            Packet::FileOpen { mode, path } => format!("{path} ({mode})"),
            Packet::RenamePath { from, to } => format!("{from} -> {to}"),
            Packet::MakeLink { target, link, .. } => format!("{link} -> {target}"),
            Packet::ReadDir { path }
            | Packet::FileInfo { path }
            | Packet::Truncate { path, .. }
            | Packet::RemovePath { path }
            | Packet::RemovePathAndContents { path }
            | Packet::MakeDir { path }
            | Packet::SetModTime { path, .. }
            | Packet::FileHash { path } => path.to_string(),
            _ => String::new(),
        };
        self.session
            .phone
            .log()
            .record(self.service, &packet.operation().to_string(), detail);
    }

    fn malformed(&self, operation: Operation, error: &PacketError) -> Answer {
        tracing::debug!(service = self.service, %operation, %error, "malformed request");
        Answer::Packet(Packet::Status(Status::InvalidArgument))
    }

    fn failed(&self, error: &dyn std::error::Error) -> ServeError {
        ServeError::Service {
            service: self.service.to_owned(),
            message: error.to_string(),
        }
    }
}

/// A part of a request that has begun must follow soon.
async fn within<T>(part: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    tokio::time::timeout(MESSAGE, part).await.map_err(|_| timed_out())?
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the host fell silent")
}
