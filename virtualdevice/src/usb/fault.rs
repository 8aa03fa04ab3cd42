//! What goes wrong on a cable.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::Setup;
use crate::fault::Direction;

/// Something that goes wrong on the bus. Those with a count of bytes strike once, in the transfer that would carry the
/// byte behind the `after` bytes of the multiplexer that pass from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UsbFault {
    /// The endpoint halts, until the host clears that. What the transfer from the phone would have carried comes after;
    /// what the host sent is taken up to the byte named.
    Stall {
        /// Which endpoint.
        direction: Direction,
        /// Bytes that pass before.
        after: u64,
    },
    /// A transfer to the phone ends early, as if it had all gone out; the rest of it never arrives.
    ShortWrite {
        /// Bytes that pass before.
        after: u64,
    },
    /// The phone is gone in the middle of a transfer.
    Unplug {
        /// Which way the counted bytes go.
        direction: Direction,
        /// Bytes that pass before.
        after: u64,
    },
    /// The phone answers nothing at all any more, on no endpoint.
    Silence {
        /// Which way the counted bytes go.
        direction: Direction,
        /// Bytes that pass before.
        after: u64,
        /// How long; `None` until [`UsbFaults::heal`].
        lasting: Option<Duration>,
    },
    /// The zero-length packet behind so many of the phone's messages never comes: the host's transfer goes on.
    WithholdEnd {
        /// How many messages that need one.
        messages: u32,
    },
    /// So many zero-length packets of the host never arrive, though its transfers succeed.
    SwallowEnd {
        /// How many.
        packets: u32,
    },
    /// From now on, transfers from the phone are cut at this many bytes, as some hypervisors do at 4096.
    Split {
        /// Bytes, a multiple of the packet size.
        bytes: usize,
    },
    /// Control requests are refused.
    RefuseControl {
        /// Only those with this `bRequest`; all when `None`.
        request: Option<u8>,
        /// How many.
        times: u32,
    },
    /// Somebody else sets configuration 0, as a distribution's udev rule does, so long after a configuration was set.
    /// For hosts that drive the device themselves: a kernel would go on believing what it set last.
    Deconfigure {
        /// How long after.
        after: Duration,
    },
}

impl UsbFault {
    /// The endpoint halts after so many bytes.
    #[must_use]
    pub const fn stall(direction: Direction, after: u64) -> Self {
        Self::Stall { direction, after }
    }

    /// The phone is gone after so many bytes.
    #[must_use]
    pub const fn unplug(direction: Direction, after: u64) -> Self {
        Self::Unplug { direction, after }
    }

    /// The phone says nothing any more after so many bytes, until [`UsbFaults::heal`].
    #[must_use]
    pub const fn silence(direction: Direction, after: u64) -> Self {
        Self::Silence {
            direction,
            after,
            lasting: None,
        }
    }

    /// So many control requests of any kind are refused.
    #[must_use]
    pub const fn refuse_control(times: u32) -> Self {
        Self::RefuseControl { request: None, times }
    }

    /// Which bytes it counts.
    fn counts(&mut self) -> Option<(Direction, &mut u64)> {
        match self {
            Self::Stall { direction, after }
            | Self::Unplug { direction, after }
            | Self::Silence { direction, after, .. } => Some((*direction, after)),
            Self::ShortWrite { after } => Some((Direction::FromHost, after)),
            _ => None,
        }
    }
}

/// What a transfer has to do with a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strike {
    Stall,
    Short,
    Unplug,
    Silence,
}

#[derive(Debug, Default)]
struct State {
    armed: Vec<UsbFault>,
    split: Option<usize>,
    unplugged: bool,
    silent: Option<Silent>,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Silent {
    UntilHealed,
    Until(Instant),
}

/// The faults of one phone's cable, and the cable itself. Cheap to clone; all clones mean the same cable.
#[derive(Clone, Default)]
pub struct UsbFaults(Arc<Mutex<State>>);

impl UsbFaults {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(mut state: MutexGuard<'_, State>) {
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Arms a fault. Several are armed at once, and each strikes when its time has come.
    pub fn push(&self, fault: UsbFault) {
        let mut state = self.lock();
        match fault {
            UsbFault::Split { bytes } => state.split = Some(bytes.max(1)),
            other => state.armed.push(other),
        }
        Self::wake(state);
    }

    /// The faults that have not struck yet, with what is left of their counts.
    #[must_use]
    pub fn pending(&self) -> Vec<UsbFault> {
        self.lock().armed.clone()
    }

    /// Ends silence and splitting, and disarms what has not struck.
    pub fn heal(&self) {
        let mut state = self.lock();
        state.armed.clear();
        state.split = None;
        state.silent = None;
        Self::wake(state);
    }

    /// Pulls the cable: every request that waits ends, and so do all that come.
    pub fn unplug(&self) {
        let mut state = self.lock();
        state.unplugged = true;
        Self::wake(state);
    }

    /// Whether the cable is out.
    #[must_use]
    pub fn is_unplugged(&self) -> bool {
        self.lock().unplugged
    }

    /// Puts the cable in again.
    pub(super) fn plug(&self) {
        let mut state = self.lock();
        state.unplugged = false;
        state.silent = None;
    }

    /// Whom to wake when faults or the cable change.
    pub(super) fn register(&self, waker: &Waker) {
        let mut state = self.lock();
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
    }

    /// Whether the phone is silent: for ever, or until then.
    pub(super) fn silent(&self, now: Instant) -> Option<Option<Instant>> {
        let mut state = self.lock();
        match state.silent? {
            Silent::UntilHealed => Some(None),
            Silent::Until(end) if now < end => Some(Some(end)),
            Silent::Until(_) => {
                state.silent = None;
                None
            }
        }
    }

    pub(super) fn split(&self) -> Option<usize> {
        self.lock().split
    }

    /// A transfer of `len` bytes passes that way: whether a fault strikes in it, and after how many of its bytes.
    pub(super) fn pass(&self, way: Direction, len: usize, now: Instant) -> Option<(Strike, usize)> {
        let mut state = self.lock();
        let bytes = u64::try_from(len).unwrap_or(u64::MAX);
        let mut due = None;
        for (at, fault) in state.armed.iter_mut().enumerate() {
            let Some((_, after)) = fault.counts().filter(|(direction, _)| *direction == way) else {
                continue;
            };
            if *after < bytes && due.is_none() {
                due = Some((at, usize::try_from(*after).unwrap_or(len)));
            } else {
                *after = after.saturating_sub(bytes);
            }
        }
        let (at, passed) = due?;
        let strike = match state.armed.remove(at) {
            UsbFault::Stall { .. } => Strike::Stall,
            UsbFault::ShortWrite { .. } => Strike::Short,
            UsbFault::Silence { lasting, .. } => {
                let end = lasting.and_then(|lasting| now.checked_add(lasting));
                state.silent = Some(end.map_or(Silent::UntilHealed, Silent::Until));
                Strike::Silence
            }
            _ => {
                state.unplugged = true;
                Strike::Unplug
            }
        };
        Some((strike, passed))
    }

    /// Whether this zero-length packet is lost.
    pub(super) fn loses_end(&self, way: Direction) -> bool {
        self.count_down(|fault| match (fault, way) {
            (UsbFault::WithholdEnd { messages }, Direction::ToHost) => Some(messages),
            (UsbFault::SwallowEnd { packets }, Direction::FromHost) => Some(packets),
            _ => None,
        })
    }

    pub(super) fn refuses(&self, setup: Setup) -> bool {
        self.count_down(|fault| match fault {
            UsbFault::RefuseControl { request, times } if request.is_none_or(|wanted| wanted == setup.request) => {
                Some(times)
            }
            _ => None,
        })
    }

    fn count_down(&self, matching: impl Fn(&mut UsbFault) -> Option<&mut u32>) -> bool {
        let mut state = self.lock();
        let found = state.armed.iter_mut().enumerate().find_map(|(at, fault)| {
            let left = matching(fault)?;
            *left = left.saturating_sub(1);
            Some((at, *left == 0))
        });
        if let Some((at, true)) = found {
            state.armed.remove(at);
        }
        found.is_some()
    }

    /// A configuration was set: when somebody else takes it back.
    pub(super) fn deconfigures(&self) -> Option<Duration> {
        let mut state = self.lock();
        let at = state
            .armed
            .iter()
            .position(|fault| matches!(fault, UsbFault::Deconfigure { .. }))?;
        match state.armed.remove(at) {
            UsbFault::Deconfigure { after } => Some(after),
            _ => None,
        }
    }
}

impl fmt::Debug for UsbFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("UsbFaults").field(&self.pending()).finish()
    }
}
