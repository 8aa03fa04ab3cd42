//! What a session may be told to do otherwise.

use std::fmt;
use std::time::Duration;

use cabled_wire::plist::Limits;

use crate::msg;

/// What is being waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// The device speaks first: its link version.
    LinkVersion,
    /// The device is ready. It waits up to a minute for a running data migration.
    LinkReady,
    /// The class is open. The device waits up to 30 s for a lock.
    Opening,
    /// A batch of records.
    Pulling,
    /// The promise to clear the class.
    Clearing,
    /// The device's identifiers for a batch of ours.
    Pushing,
    /// The commit.
    Finishing,
    /// Nothing: it is the computer's turn.
    Idle,
    /// Nothing: the connection is over.
    Closed,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LinkVersion => "the link's version exchange",
            Self::LinkReady => "the wait for the device to be ready",
            Self::Opening => "the opening of the class",
            Self::Pulling => "the reading of records",
            Self::Clearing => "the clearing of the class",
            Self::Pushing => "the writing of records",
            Self::Finishing => "the commit",
            Self::Idle => "the computer's turn",
            Self::Closed => "the end",
        })
    }
}

/// How a session behaves; the defaults suit every device. Spec: mobilesync, sections 3 and 12.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct SessionOptions {
    /// The newest link version that is accepted; it had to be raised twice in the protocol's life.
    pub max_link_version: (u64, u64),
    /// How long an ordinary answer may take.
    pub answer: Duration,
    /// How long the device may take to be ready.
    pub ready: Duration,
    /// How long it may take to open a class.
    pub opening: Duration,
    /// How long a batch of records may take, and a commit.
    pub batch: Duration,
    /// How long the device may take nothing of what is written.
    pub write: Duration,
    /// What a message may look like at most.
    pub limits: Limits,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            max_link_version: (400, 100),
            answer: Duration::from_secs(30),
            ready: Duration::from_secs(70),
            opening: Duration::from_secs(60),
            batch: Duration::from_secs(300),
            write: Duration::from_secs(60),
            limits: msg::limits(),
        }
    }
}

impl SessionOptions {
    /// Sets the newest link version that is accepted (default 400.100).
    #[must_use]
    pub fn with_max_link_version(mut self, major: u64, minor: u64) -> Self {
        self.max_link_version = (major, minor);
        self
    }

    /// Sets how long an ordinary answer may take (default 30 s).
    #[must_use]
    pub fn with_answer_limit(mut self, limit: Duration) -> Self {
        self.answer = limit;
        self
    }

    /// Sets how long a batch of records or a commit may take (default 300 s).
    #[must_use]
    pub fn with_batch_limit(mut self, limit: Duration) -> Self {
        self.batch = limit;
        self
    }

    /// Sets what a message may look like at most (default [`msg::limits`]).
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How long the phase may take; `None` while the device owes nothing.
    pub(super) fn limit(&self, phase: Phase) -> Option<Duration> {
        match phase {
            Phase::LinkVersion | Phase::Clearing => Some(self.answer),
            Phase::LinkReady => Some(self.ready),
            Phase::Opening => Some(self.opening),
            Phase::Pulling | Phase::Pushing | Phase::Finishing => Some(self.batch),
            Phase::Idle | Phase::Closed => None,
        }
    }
}
