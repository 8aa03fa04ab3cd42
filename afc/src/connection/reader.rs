//! The task that receives.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::pending::close_orphan;
use super::table::Table;
use super::writer::Outgoing;
use crate::error::Broken;
use crate::msg::{Header, Packet, PacketError};

/// Room for small answers that come together.
const SMALL: usize = 64 << 10;
/// The largest piece of memory taken on the word of a length field; more follows as bytes really come.
const STEP: usize = 4 << 20;

/// Receives until the stream ends or breaks, or the writer has closed it.
pub(super) async fn run(
    stream: impl AsyncRead + Unpin,
    table: Arc<Table>,
    queue: mpsc::WeakUnboundedSender<Outgoing>,
    mut written: JoinHandle<()>,
) {
    let mut packets = Packets {
        stream,
        buffer: BytesMut::new(),
        header: None,
    };
    loop {
        let next = tokio::select! {
            biased;
            next = packets.next(&table) => next,
            _ = &mut written => Err(Broken::Closed),
        };
        let settled = next.and_then(|(packet_num, packet)| {
            tracing::trace!(packet_num, operation = %packet.operation(), "afc answer");
            table.settle(packet_num, packet)
        });
        match settled {
            Ok(None) => {}
            Ok(Some(orphan)) => close_orphan(&table, &queue, orphan),
            Err(cause) => return table.fail(cause),
        }
    }
}

/// Answers out of a stream of bytes, however it splits them.
struct Packets<R> {
    stream: R,
    buffer: BytesMut,
    header: Option<Header>,
}

impl<R: AsyncRead + Unpin> Packets<R> {
    /// The next answer. Dropping the future loses nothing: all state is in `self`.
    async fn next(&mut self, table: &Table) -> Result<(u64, Packet), Broken> {
        loop {
            let wanted = match self.header {
                None => Header::LEN,
                Some(header) => usize::try_from(header.body_len()).unwrap_or(usize::MAX),
            };
            if self.buffer.len() < wanted {
                self.fill(wanted, table).await?;
                continue;
            }
            match self.header.take() {
                None => self.header = Some(self.take_header(table)?),
                Some(header) => return self.take_body(&header, wanted),
            }
        }
    }

    fn take_header(&mut self, table: &Table) -> Result<Header, Broken> {
        let bytes = self.buffer.split_to(Header::LEN);
        let Some(bytes) = bytes.first_chunk() else {
            return Err(Broken::Closed);
        };
        let header = Header::decode(bytes, u64::MAX).map_err(Broken::Packet)?;
        // The limit is that of the question: what was not asked for is not waited for.
        let limit = table.max_body(header.packet_num, header.operation)?;
        if header.body_len() > limit.max(8) {
            let header_len = Header::LEN as u64;
            let (entire, limit) = (
                header.body_len().saturating_add(header_len),
                limit.saturating_add(header_len),
            );
            return Err(Broken::Packet(PacketError::TooLong { entire, limit }));
        }
        Ok(header)
    }

    fn take_body(&mut self, header: &Header, len: usize) -> Result<(u64, Packet), Broken> {
        let mut fields = self.buffer.split_to(len).freeze();
        let fields_len = usize::try_from(header.fields_len()).unwrap_or(usize::MAX);
        let payload = fields.split_off(fields_len.min(len));
        let packet = Packet::from_parts(header, &fields, payload).map_err(Broken::Packet)?;
        Ok((header.packet_num, packet))
    }

    /// Receives some bytes, at most a small buffer beyond `wanted`.
    async fn fill(&mut self, wanted: usize, table: &Table) -> Result<(), Broken> {
        let missing = wanted.saturating_sub(self.buffer.len());
        if self.buffer.capacity() < wanted.min(STEP) || self.buffer.capacity() == self.buffer.len() {
            self.buffer.reserve(missing.clamp(SMALL, STEP));
        }
        let received = self
            .stream
            .read_buf(&mut self.buffer)
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => self.end(),
                _ => Broken::Io(Arc::new(error)),
            })?;
        if received == 0 {
            return Err(self.end());
        }
        table.touch();
        Ok(())
    }

    fn end(&self) -> Broken {
        let header = if self.header.is_some() { Header::LEN } else { 0 };
        match self.buffer.len().saturating_add(header) {
            0 => Broken::Closed,
            received => Broken::Cut { received },
        }
    }
}
