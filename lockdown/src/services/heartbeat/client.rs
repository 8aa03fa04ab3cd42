use std::time::Duration;

use cabled_wire::io::BoxStream;

use super::{Beat, Polo};
use crate::link::{LinkError, PlistLink};
use crate::services::REPLY_LIMIT;

/// How long the first beat may take.
const FIRST: Duration = Duration::from_secs(15);
/// How long a beat may be late.
const GRACE: Duration = Duration::from_secs(5);

/// The host's side of the heartbeat (spec: lockdown 10.4).
#[derive(Debug)]
pub struct Heartbeat {
    link: PlistLink,
    next_within: Duration,
}

/// Why a heartbeat ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// `SleepyTime`: the device goes to sleep. It may come back when it is woken or charged.
    DeviceSleeps,
    /// The device closed the connection, or the network did.
    Closed,
    /// No beat came when one was due.
    Silent,
    /// The device sent something that is no heartbeat.
    Malformed,
}

impl Heartbeat {
    /// On the stream of [`super::SERVICE`].
    #[must_use]
    pub fn new(stream: BoxStream) -> Self {
        Self {
            link: PlistLink::new(stream),
            next_within: FIRST,
        }
    }

    /// Waits for one beat and answers it; `Err` when there will be no more. Not safe to drop half-way.
    ///
    /// # Errors
    /// [`Ended`].
    pub async fn beat(&mut self) -> Result<(), Ended> {
        let phase = "waiting for the device's heartbeat";
        match self
            .link
            .hear::<Beat>(phase, self.next_within)
            .await
            .map_err(|error| ended(&error))?
        {
            Beat::Marco { interval, .. } => {
                if let Some(seconds) = interval {
                    self.next_within = Duration::from_secs(seconds).saturating_add(GRACE);
                }
                self.link
                    .say(&Polo, "answering the device's heartbeat", REPLY_LIMIT)
                    .await
                    .map_err(|error| ended(&error))
            }
            Beat::SleepyTime => Err(Ended::DeviceSleeps),
            Beat::Unknown(dict) => {
                tracing::warn!(keys = ?dict.keys().collect::<Vec<_>>(), "unknown heartbeat message");
                Ok(())
            }
        }
    }

    /// Answers until it ends. Safe to drop: that ends the heartbeat.
    pub async fn run(mut self) -> Ended {
        loop {
            if let Err(why) = self.beat().await {
                return why;
            }
        }
    }
}

fn ended(error: &LinkError) -> Ended {
    match error {
        LinkError::TimedOut { .. } => Ended::Silent,
        LinkError::Wire { .. } => Ended::Malformed,
        _ => Ended::Closed,
    }
}
