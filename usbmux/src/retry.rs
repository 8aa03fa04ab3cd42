//! How long to wait before something is tried again.

use std::time::Duration;

/// Waits that double from the first to the last, and start over when something was good for longer than the last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Retry {
    pub(crate) fn new(first: Duration, last: Duration) -> Self {
        Self {
            first,
            last: last.max(first),
            next: first,
        }
    }

    /// The wait after an attempt that ended, which had lasted for so long. One that ends as soon as it began makes the
    /// waits longer, whatever it looked like.
    pub(crate) fn wait_after(&mut self, lasted: Duration) -> Duration {
        if lasted > self.last {
            self.next = self.first;
        }
        let wait = self.next;
        self.next = wait.saturating_mul(2).min(self.last);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_last_and_start_over_after_a_good_time() {
        let second = Duration::from_secs(1);
        let mut retry = Retry::new(second, 8 * second);
        let waits: Vec<_> = (0..6).map(|_| retry.wait_after(Duration::ZERO).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 8, 8]);
        // Not quite good enough, then good.
        assert_eq!(retry.wait_after(8 * second), 8 * second);
        assert_eq!(retry.wait_after(9 * second), second);
        assert_eq!(retry.wait_after(Duration::ZERO), 2 * second);
    }

    #[test]
    fn no_wait_overflows() {
        let mut retry = Retry::new(Duration::MAX, Duration::ZERO);
        assert_eq!(retry.wait_after(Duration::MAX), Duration::MAX);
        assert_eq!(retry.wait_after(Duration::ZERO), Duration::MAX);
    }
}
