//! Source ports, and how long they rest after use.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Frames of the previous connection may be in the pipe for this long.
const REST: Duration = Duration::from_secs(10);

/// Hands out ports 1 to 65535; one that was in use rests for ten seconds. Spec: usbmux, section 9.
#[derive(Debug, Default)]
pub(super) struct Ports {
    last: u16,
    used: HashSet<u16>,
    resting: VecDeque<(Instant, u16)>,
}

impl Ports {
    /// A port that nobody uses, or `None` when all are taken or resting.
    pub(super) fn take(&mut self, now: Instant) -> Option<u16> {
        while let Some((since, port)) = self.resting.front().copied() {
            if now.saturating_duration_since(since) < REST {
                break;
            }
            self.resting.pop_front();
            self.used.remove(&port);
        }
        for _ in 0..u16::MAX {
            self.last = self.last.checked_add(1).unwrap_or(1);
            if self.used.insert(self.last) {
                return Some(self.last);
            }
        }
        None
    }

    /// The connection is over.
    pub(super) fn rest(&mut self, now: Instant, port: u16) {
        self.resting.push_back((now, port));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_rests_for_ten_seconds_and_zero_is_never_given_out() {
        let mut ports = Ports::default();
        let start = Instant::now();
        let all: HashSet<u16> = (0..65_535).map(|_| ports.take(start).unwrap()).collect();
        assert!(!all.contains(&0));
        assert_eq!(all.len(), 65_535);
        assert_eq!(ports.take(start), None);
        ports.rest(start, 7);
        ports.rest(start + Duration::from_secs(1), 9);
        assert_eq!(ports.take(start + Duration::from_millis(9_999)), None);
        assert_eq!(ports.take(start + Duration::from_secs(10)), Some(7));
        assert_eq!(ports.take(start + Duration::from_secs(10)), None);
        assert_eq!(ports.take(start + Duration::from_secs(11)), Some(9));
    }
}
