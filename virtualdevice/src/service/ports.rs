//! The ports StartService hands out.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

/// Ports that may wait for a connection at once.
const MAX_OPEN: usize = 1024;
/// The first port of those that are handed out.
const FIRST: u16 = 49_152;

/// A service that waits for its one connection.
#[derive(Debug)]
pub(crate) struct OpenPort {
    pub(crate) service: Arc<str>,
    /// The escrow bag that came with StartService.
    pub(crate) escrow_bag: Option<Bytes>,
    /// DER of the certificate to present; `None` is no TLS.
    pub(crate) tls: Option<Bytes>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    open: HashMap<u16, (Instant, OpenPort)>,
}

impl Ports {
    /// Opens a port at random for `lifetime`; `None` if too many are open or no random number was to be had.
    pub(crate) fn open(&mut self, port: OpenPort, lifetime: Duration) -> Option<u16> {
        let now = Instant::now();
        self.open.retain(|_, (expires, _)| *expires > now);
        if self.open.len() >= MAX_OPEN {
            return None;
        }
        let expires = now.checked_add(lifetime)?;
        // With at most 1024 of 16383 taken, 64 attempts that all fail do not happen.
        for _ in 0..64 {
            let mut random = [0; 2];
            getrandom::fill(&mut random).ok()?;
            let number = FIRST | u16::from_be_bytes(random);
            if number > FIRST && !self.open.contains_key(&number) {
                self.open.insert(number, (expires, port));
                return Some(number);
            }
        }
        None
    }

    /// The service behind a port, which is then closed.
    pub(crate) fn take(&mut self, port: u16) -> Option<OpenPort> {
        let (expires, open) = self.open.remove(&port)?;
        (expires > Instant::now()).then_some(open)
    }

    pub(crate) fn close_all(&mut self) {
        self.open.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port() -> OpenPort {
        OpenPort {
            service: "x".into(),
            escrow_bag: None,
            tls: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_serves_one_connection_and_not_for_ever() {
        let mut ports = Ports::default();
        let number = ports.open(port(), Duration::from_secs(60)).unwrap();
        assert!(number > 49_152);
        assert!(ports.take(number).is_some());
        assert!(ports.take(number).is_none());
        let number = ports.open(port(), Duration::from_secs(60)).unwrap();
        tokio::time::advance(Duration::from_secs(59)).await;
        assert!(ports.open.contains_key(&number));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(ports.take(number).is_none());
    }

    #[tokio::test]
    async fn ports_are_limited() {
        let mut ports = Ports::default();
        let opened = (0..MAX_OPEN)
            .filter(|_| ports.open(port(), Duration::from_secs(60)).is_some())
            .count();
        assert_eq!(opened, MAX_OPEN);
        assert!(ports.open(port(), Duration::from_secs(60)).is_none());
        ports.close_all();
        assert!(ports.open(port(), Duration::from_secs(60)).is_some());
    }
}
