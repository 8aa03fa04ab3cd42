use cabled_wire::io::BoxStream;

use super::{Command, Event};
use crate::link::PlistLink;
use crate::services::{REPLY_LIMIT, ServiceError};

/// A client of notification_proxy (spec: lockdown 12.1).
#[derive(Debug)]
pub struct NotificationProxy {
    link: PlistLink,
}

impl NotificationProxy {
    /// On the stream of [`super::SERVICE`] or [`super::INSECURE_SERVICE`].
    #[must_use]
    pub fn new(stream: BoxStream) -> Self {
        Self {
            link: PlistLink::new(stream),
        }
    }

    /// Posts a notification. The device does not acknowledge it. Not safe to drop half-way.
    ///
    /// # Errors
    /// [`ServiceError::Link`].
    pub async fn post(&mut self, name: &str) -> Result<(), ServiceError> {
        let command = Command::Post { name: name.to_owned() };
        Ok(self.link.say(&command, "posting a notification", REPLY_LIMIT).await?)
    }

    /// Asks for a notification to be relayed from now on. Not acknowledged either. Not safe to drop half-way.
    ///
    /// # Errors
    /// [`ServiceError::Link`].
    pub async fn observe(&mut self, name: &str) -> Result<(), ServiceError> {
        let command = Command::Observe { name: name.to_owned() };
        Ok(self.link.say(&command, "observing a notification", REPLY_LIMIT).await?)
    }

    /// The name of the next observed notification; `None` when the service has ended.
    ///
    /// Waits as long as it takes, for notifications come when they come: put it into a `select!` or a timeout, since
    /// it is safe to drop.
    ///
    /// # Errors
    /// [`ServiceError::Link`].
    pub async fn next(&mut self) -> Result<Option<String>, ServiceError> {
        let phase = "waiting for a notification";
        loop {
            let body = match self.link.receive(phase).await {
                Err(crate::LinkError::Closed { .. }) => return Ok(None),
                other => other?,
            };
            match self.link.decode(&body, phase)? {
                Event::Relay { name } => return Ok(Some(name)),
                Event::ProxyDeath => return Ok(None),
                Event::Unknown(dict) => {
                    tracing::warn!(keys = ?dict.keys().collect::<Vec<_>>(), "unknown notification_proxy message");
                }
            }
        }
    }

    /// Ends the service: `Shutdown`, then waits for `ProxyDeath`. Notifications still on their way are dropped.
    ///
    /// # Errors
    /// [`ServiceError::Link`] if the device does not end it within [`REPLY_LIMIT`].
    pub async fn shutdown(mut self) -> Result<(), ServiceError> {
        let phase = "ending notification_proxy";
        self.link.say(&Command::Shutdown, phase, REPLY_LIMIT).await?;
        let ended = async {
            while self.next().await?.is_some() {}
            Ok::<(), ServiceError>(())
        };
        match tokio::time::timeout(REPLY_LIMIT, ended).await {
            Ok(ended) => ended,
            Err(_) => Err(crate::LinkError::TimedOut {
                phase,
                after: REPLY_LIMIT,
            }
            .into()),
        }
    }
}
