use std::fmt;
use std::time::Duration;

use cabled_wire::plist::Limits;

use crate::msg::{self, Encoding};

/// What is going on, for errors and deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Phase {
    /// From the first byte to the answer to `Hello`.
    Handshake,
    /// The host has not sent its request yet.
    Request,
    /// The request is sent, nothing came back: scans and passcode prompts take minutes here.
    FirstMessage,
    /// The device owes its next message.
    Exchange,
    /// As [`Phase::Exchange`], after files went to the device: it verifies or prepares, which takes longest.
    AfterDownload,
    /// The device sends files.
    Upload,
    /// The host owes an answer.
    Answer,
    /// The result is there.
    Result,
    /// The connection is over.
    Closed,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "the handshake",
            Self::Request => "the request",
            Self::FirstMessage => "the wait for the device's first message",
            Self::Exchange => "the wait for the device's next message",
            Self::AfterDownload => "the device's work on the files it was sent",
            Self::Upload => "a file transfer from the device",
            Self::Answer => "an answer to the device",
            Self::Result => "the end",
            Self::Closed => "a closed connection",
        })
    }
}

/// How long nothing may come from the device, by phase, counted from the last byte in either direction (spec 17).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Deadlines {
    /// Handshake frames; default 30 s.
    pub handshake: Duration,
    /// First message after the request; default 10 min: 62 s were seen without a passcode, 3 min with.
    pub first_message: Duration,
    /// Any later message; default 10 min.
    pub exchange: Duration,
    /// The message after a download; default 20 min: verification of a large manifest.
    pub after_download: Duration,
    /// Bytes inside a transfer from the device; default 10 min: silence between and inside files is normal.
    pub upload: Duration,
    /// Our own bytes that the device does not take; default 10 min.
    pub write: Duration,
}

impl Default for Deadlines {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            handshake: Duration::from_secs(30),
            first_message: MINUTE.saturating_mul(10),
            exchange: MINUTE.saturating_mul(10),
            after_download: MINUTE.saturating_mul(20),
            upload: MINUTE.saturating_mul(10),
            write: MINUTE.saturating_mul(10),
        }
    }
}

impl Deadlines {
    /// Sets every wait but the handshake's to one length.
    #[must_use]
    pub fn with_idle(mut self, idle: Duration) -> Self {
        (self.first_message, self.exchange, self.after_download) = (idle, idle, idle);
        (self.upload, self.write) = (idle, idle);
        self
    }

    /// Sets the handshake's wait (default 30 s).
    #[must_use]
    pub fn with_handshake(mut self, idle: Duration) -> Self {
        self.handshake = idle;
        self
    }
}

/// How an [`Exchange`](crate::machine::Exchange) behaves.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExchangeOptions {
    /// How our frames are written; default binary.
    pub encoding: Encoding,
    /// Waits.
    pub deadlines: Deadlines,
    /// What the device's frames may look like at most; default [`msg::limits`].
    pub limits: Limits,
    /// Protocol versions offered in `Hello`; default 2.0 and 2.1.
    pub protocols: Vec<f64>,
}

impl Default for ExchangeOptions {
    fn default() -> Self {
        let (encoding, deadlines) = (Encoding::default(), Deadlines::default());
        Self {
            encoding,
            deadlines,
            limits: msg::limits(),
            protocols: vec![2.0, 2.1],
        }
    }
}

impl ExchangeOptions {
    /// Sets the waits.
    #[must_use]
    pub fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Sets how our frames are written (default binary).
    #[must_use]
    pub fn with_encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// Sets what the device's frames may look like at most.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}
