//! How bytes reach the phone.

use std::time::Duration;

use cabled_wire::ids::Udid;
use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};

use super::{LOCKDOWN_PORT, Phone, locked};

/// Bytes that a connection holds in each direction.
const PIPE: usize = 256 << 10;

/// How a connection reached the phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    Usb,
    Network,
}

impl Phone {
    /// The same phone reached over Wi-Fi: it does not pair there, and wants a heartbeat.
    #[must_use]
    pub fn over_network(&self) -> NetworkPhone {
        NetworkPhone { phone: self.clone() }
    }

    fn open(&self, port: u16, transport: Transport) -> Result<BoxStream, ConnectError> {
        if !self.is_on() {
            return Err(ConnectError::Gone);
        }
        let no_runtime = |_| ConnectError::Io(std::io::Error::other("a virtual phone needs a tokio runtime"));
        let runtime = tokio::runtime::Handle::try_current().map_err(no_runtime)?;
        let service = if port == LOCKDOWN_PORT {
            None
        } else {
            let open = locked(&self.inner.ports)
                .take(port)
                .ok_or(ConnectError::Refused { port })?;
            if self.inner.faults.take_refused_connection(&open.service) {
                return Err(ConnectError::Refused { port });
            }
            Some(open)
        };
        let (near, far) = tokio::io::duplex(PIPE);
        let phone = self.clone();
        let mut power = phone.inner.power.subscribe();
        let boot = power.borrow_and_update().boot;
        runtime.spawn(async move {
            let far: BoxStream = Box::new(far);
            let work = async {
                match service {
                    None => crate::lockdown::serve(phone.clone(), far, transport).await,
                    Some(open) => crate::service::run(phone.clone(), open, far, transport).await,
                }
            };
            tokio::select! {
                () = work => {}
                // The phone went down: everything it was doing is gone with it.
                _ = power.wait_for(|now| now.boot != boot) => {}
            }
        });
        Ok(Box::new(near))
    }
}

impl Connect for Phone {
    /// Ready at once. Needs a tokio runtime: what serves the connection runs on it as a task of its own.
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move { self.open(port, Transport::Usb) })
    }

    fn udid(&self) -> Option<&Udid> {
        Some(&self.inner.udid)
    }
}

/// A [`Phone`] as a network sees it; made by [`Phone::over_network`].
#[derive(Clone, Debug)]
pub struct NetworkPhone {
    phone: Phone,
}

impl Connect for NetworkPhone {
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move { self.phone.open(port, Transport::Network) })
    }

    fn udid(&self) -> Option<&Udid> {
        Some(&self.phone.inner.udid)
    }

    fn is_network(&self) -> bool {
        true
    }
}

impl Transport {
    /// Over the network: ends when no heartbeat has run for the profile's grace. Over USB: never.
    pub(crate) async fn heartbeat_lost(self, phone: &Phone) {
        if self == Self::Usb {
            return std::future::pending().await;
        }
        let grace: Duration = phone.profile().heartbeat_grace;
        let mut alive = phone.inner.heartbeats.subscribe();
        loop {
            // Errors cannot happen while `phone` holds the sender.
            let _ = alive.wait_for(|n| *n == 0).await;
            if tokio::time::timeout(grace, alive.wait_for(|n| *n > 0)).await.is_err() {
                return;
            }
        }
    }
}
