//! Property lists in frames over one stream, with deadlines that have names.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cabled_wire::WireError;
use cabled_wire::frame::{self, FrameDecoder};
use cabled_wire::io::BoxStream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::msg::{MAX_MESSAGE, Message};

/// How much is read at once, in bytes.
const READ_CHUNK: usize = 32 << 10;

/// The link to the device failed while something was waited for.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The device closed the stream between two messages.
    #[error("the device closed the connection while {phase}")]
    Closed {
        /// What was being done.
        phase: &'static str,
    },
    /// The device closed the stream inside a message.
    #[error("the device closed the connection in the middle of a message while {phase}")]
    Cut {
        /// What was being done.
        phase: &'static str,
    },
    /// Nothing came in time.
    #[error("no answer from the device while {phase} for {} seconds", after.as_secs_f32())]
    TimedOut {
        /// What was being done.
        phase: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// The stream broke.
    #[error("the link to the device broke while {phase}")]
    Io {
        /// What was being done.
        phase: &'static str,
        /// What the stream said.
        source: io::Error,
    },
    /// The device's bytes are no message.
    #[error("the device's answer while {phase} is malformed")]
    Wire {
        /// What was being done.
        phase: &'static str,
        /// Which field.
        source: WireError,
    },
    /// An earlier call was dropped half-way or failed; the stream is out of step.
    #[error("this connection is unusable after an earlier failure; open a new one")]
    Unusable,
}

impl LinkError {
    /// Whether the peer or the link went away, as opposed to staying silent or talking nonsense.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Closed { .. } | Self::Cut { .. } | Self::Io { .. } | Self::Unusable
        )
    }

    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Wire { .. } => "report this with a trace log; the device speaks an unknown dialect",
            Self::TimedOut { .. } => "wake and unlock the device, check the cable, and try again",
            _ => "check the cable and connect again",
        }
    }
}

/// Frames of property lists over a stream.
pub(crate) struct PlistLink {
    stream: BoxStream,
    decoder: FrameDecoder,
    unusable: bool,
}

impl std::fmt::Debug for PlistLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlistLink")
            .field("unusable", &self.unusable)
            .finish_non_exhaustive()
    }
}

impl PlistLink {
    pub(crate) fn new(stream: BoxStream) -> Self {
        Self {
            stream,
            decoder: FrameDecoder::new(MAX_MESSAGE),
            unusable: false,
        }
    }

    /// Sends one message. Dropping the future leaves the link unusable, and every later call says so.
    pub(crate) async fn send(&mut self, body: &[u8], phase: &'static str, limit: Duration) -> Result<(), LinkError> {
        if self.unusable {
            return Err(LinkError::Unusable);
        }
        let framed = frame::encode(body).map_err(|source| LinkError::Wire { phase, source })?;
        self.unusable = true;
        let write = async {
            self.stream.write_all(&framed).await?;
            self.stream.flush().await
        };
        match tokio::time::timeout(limit, write).await {
            Err(_) => return Err(LinkError::TimedOut { phase, after: limit }),
            Ok(Err(source)) => return Err(LinkError::Io { phase, source }),
            Ok(Ok(())) => {}
        }
        self.unusable = false;
        Ok(())
    }

    /// Receives one frame body. Safe to drop: what has arrived is kept for the next call. Empty frames are skipped.
    pub(crate) async fn receive(&mut self, phase: &'static str) -> Result<Bytes, LinkError> {
        if self.unusable {
            return Err(LinkError::Unusable);
        }
        let received = self.receive_frame(phase).await;
        self.unusable = received.is_err();
        received
    }

    async fn receive_frame(&mut self, phase: &'static str) -> Result<Bytes, LinkError> {
        let mut chunk = BytesMut::with_capacity(READ_CHUNK);
        loop {
            match self.decoder.next_frame() {
                Ok(Some(body)) if body.is_empty() => continue, // said to be sent as a keep-alive by some services
                Ok(Some(body)) => return Ok(body),
                Ok(None) => {}
                Err(source) => return Err(LinkError::Wire { phase, source }),
            }
            chunk.clear();
            match self.stream.read_buf(&mut chunk).await {
                Ok(0) if self.decoder.buffered() == 0 => return Err(LinkError::Closed { phase }),
                Ok(0) => return Err(LinkError::Cut { phase }),
                Ok(_) => self.decoder.push(&chunk),
                Err(source) => return Err(LinkError::Io { phase, source }),
            }
        }
    }

    /// Receives one frame body within a time limit; a link that was silent too long is out of step and unusable.
    pub(crate) async fn receive_within(&mut self, phase: &'static str, limit: Duration) -> Result<Bytes, LinkError> {
        match tokio::time::timeout(limit, self.receive(phase)).await {
            Ok(received) => received,
            Err(_) => {
                self.unusable = true;
                Err(LinkError::TimedOut { phase, after: limit })
            }
        }
    }

    /// Sends a message as XML.
    pub(crate) async fn say(
        &mut self,
        message: &impl Message,
        phase: &'static str,
        limit: Duration,
    ) -> Result<(), LinkError> {
        self.send(&message.encode(), phase, limit).await
    }

    /// Receives a message of a known type; one that is none leaves the link unusable.
    pub(crate) async fn hear<M: Message>(&mut self, phase: &'static str, limit: Duration) -> Result<M, LinkError> {
        let body = self.receive_within(phase, limit).await?;
        self.decode(&body, phase)
    }

    pub(crate) fn decode<M: Message>(&mut self, body: &[u8], phase: &'static str) -> Result<M, LinkError> {
        M::decode(body).map_err(|source| {
            self.unusable = true;
            LinkError::Wire { phase, source }
        })
    }

    /// Asks and waits for the answer. Dropping the future leaves the link unusable: the answer would meet the next question.
    pub(crate) async fn ask<M: Message>(
        &mut self,
        question: &impl Message,
        phase: &'static str,
        limit: Duration,
    ) -> Result<M, LinkError> {
        self.exchange(&question.encode(), phase, limit).await
    }

    /// The same with the question as a binary property list.
    pub(crate) async fn ask_binary<M: Message>(
        &mut self,
        question: &impl Message,
        phase: &'static str,
        limit: Duration,
    ) -> Result<M, LinkError> {
        self.exchange(&question.encode_binary(), phase, limit).await
    }

    async fn exchange<M: Message>(
        &mut self,
        body: &[u8],
        phase: &'static str,
        limit: Duration,
    ) -> Result<M, LinkError> {
        self.send(body, phase, limit).await?;
        self.unusable = true;
        let body = match tokio::time::timeout(limit, self.receive_frame(phase)).await {
            Ok(body) => body?,
            Err(_) => return Err(LinkError::TimedOut { phase, after: limit }),
        };
        let answer = M::decode(&body).map_err(|source| LinkError::Wire { phase, source })?;
        self.unusable = false;
        Ok(answer)
    }

    /// Makes every later call fail: the peer broke the protocol.
    pub(crate) fn give_up(&mut self) {
        self.unusable = true;
    }

    /// Hands the stream to the next protocol.
    ///
    /// # Errors
    /// [`LinkError::Wire`] if the peer already sent bytes that no message of ours asked for.
    pub(crate) fn into_stream(self, phase: &'static str) -> Result<BoxStream, LinkError> {
        if self.unusable {
            return Err(LinkError::Unusable);
        }
        let left = self.decoder.buffered();
        if left > 0 {
            let source = WireError::Trailing {
                what: "the answer",
                bytes: left as u64,
            };
            return Err(LinkError::Wire { phase, source });
        }
        Ok(self.stream)
    }

    /// Hands the stream to a protocol in which the device may speak first: what has arrived already comes out first.
    pub(crate) fn into_started_stream(self) -> Result<BoxStream, LinkError> {
        if self.unusable {
            return Err(LinkError::Unusable);
        }
        let rest = self.decoder.into_rest();
        if rest.is_empty() {
            return Ok(self.stream);
        }
        let (read, write) = tokio::io::split(self.stream);
        Ok(Box::new(tokio::io::join(io::Cursor::new(rest).chain(read), write)))
    }

    /// Ends the stream in an orderly way (for TLS, with close_notify), as far as the peer lets us.
    pub(crate) async fn close(mut self, limit: Duration) {
        if let Ok(Err(error)) = tokio::time::timeout(limit, self.stream.shutdown()).await {
            tracing::debug!(%error, "the device was already gone when we closed");
        }
    }
}
