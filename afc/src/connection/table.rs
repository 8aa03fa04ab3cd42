//! Who waits for which answer. Bookkeeping only: no stream, no task.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use super::HandlePermit;
use crate::error::Broken;
use crate::msg::{FileHandle, Operation, Packet};

/// Requests without an answer before the device counts as deaf. Far above what any caller keeps in flight.
const MAX_UNANSWERED: usize = 4096;

/// What comes back to a caller.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) packet: Packet,
    pub(super) permit: Option<HandlePermit>,
}

/// A caller's claim to an answer.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) packet_num: u64,
    pub(super) reply: oneshot::Receiver<Result<Reply, Broken>>,
}

/// An answer that came for nobody and must be undone: its file is open on the device.
#[derive(Debug)]
pub(super) struct Orphan {
    pub(super) close: Packet,
    pub(super) permit: Option<HandlePermit>,
}

#[derive(Debug)]
struct Waiter {
    /// `None` when the caller gave up.
    tell: Option<oneshot::Sender<Result<Reply, Broken>>>,
    permit: Option<HandlePermit>,
    max_body: u64,
}

#[derive(Debug)]
struct Inner {
    next: u64,
    waiters: HashMap<u64, Waiter>,
    broken: Option<Broken>,
    last_activity: Instant,
}

#[derive(Debug)]
pub(super) struct Table {
    inner: Mutex<Inner>,
    /// Rings when the connection breaks, and when nobody waits any more.
    changed: Notify,
}

impl Default for Table {
    fn default() -> Self {
        // Other clients start at 0 or at 1; devices only repeat the number (afc 2).
        let inner = Inner {
            next: 1,
            waiters: HashMap::new(),
            broken: None,
            last_activity: Instant::now(),
        };
        Self {
            inner: Mutex::new(inner),
            changed: Notify::new(),
        }
    }
}

impl Table {
    /// Gives out the next number and has the packet queued under the same lock, so that numbers go out in order.
    pub(super) fn register(
        &self,
        max_body: u64,
        permit: Option<HandlePermit>,
        send: impl FnOnce(u64) -> Result<(), Broken>,
    ) -> Result<Ticket, Broken> {
        let mut inner = self.lock();
        if let Some(broken) = &inner.broken {
            return Err(broken.clone());
        }
        if inner.waiters.len() >= MAX_UNANSWERED {
            return Err(Broken::Unanswered {
                count: inner.waiters.len(),
            });
        }
        let packet_num = inner.next;
        send(packet_num)?;
        inner.next = packet_num.wrapping_add(1);
        let (tell, reply) = oneshot::channel();
        inner.waiters.insert(
            packet_num,
            Waiter {
                tell: Some(tell),
                permit,
                max_body,
            },
        );
        Ok(Ticket { packet_num, reply })
    }

    /// How long the body of this answer may be; an error if nobody asked.
    pub(super) fn max_body(&self, packet_num: u64, operation: Operation) -> Result<u64, Broken> {
        let inner = self.lock();
        match inner.waiters.get(&packet_num) {
            Some(waiter) => Ok(waiter.max_body),
            None => Err(Broken::Unasked { packet_num, operation }),
        }
    }

    /// Hands an answer to its caller. If the caller gave up and the answer opened a file, says how to close it.
    pub(super) fn settle(&self, packet_num: u64, packet: Packet) -> Result<Option<Orphan>, Broken> {
        let mut inner = self.lock();
        let operation = packet.operation();
        let waiter = inner
            .waiters
            .remove(&packet_num)
            .ok_or(Broken::Unasked { packet_num, operation })?;
        let idle = inner.waiters.is_empty();
        drop(inner);
        if idle {
            self.changed.notify_waiters();
        }
        let reply = Reply {
            packet,
            permit: waiter.permit,
        };
        let refused = match waiter.tell {
            Some(tell) => tell.send(Ok(reply)).err().and_then(Result::ok),
            None => Some(reply),
        };
        Ok(refused.and_then(Reply::orphan))
    }

    /// The caller gave up: the answer, when it comes, is for nobody.
    pub(super) fn abandon(&self, packet_num: u64) {
        if let Some(waiter) = self.lock().waiters.get_mut(&packet_num) {
            waiter.tell = None;
        }
    }

    /// Breaks the connection for good and tells everybody who waits. The first cause stays.
    pub(super) fn fail(&self, cause: Broken) {
        let mut inner = self.lock();
        let cause = inner.broken.get_or_insert(cause).clone();
        let waiters = std::mem::take(&mut inner.waiters);
        drop(inner);
        for tell in waiters.into_values().filter_map(|waiter| waiter.tell) {
            // A caller that is gone need not be told.
            let _ = tell.send(Err(cause.clone()));
        }
        self.changed.notify_waiters();
    }

    /// Bytes moved in either direction.
    pub(super) fn touch(&self) {
        self.lock().last_activity = Instant::now();
    }

    pub(super) fn last_activity(&self) -> Instant {
        self.lock().last_activity
    }

    pub(super) fn in_flight(&self) -> usize {
        self.lock().waiters.len()
    }

    /// Waits until the connection is broken. Dropping the future is safe.
    pub(super) async fn until_broken(&self) {
        self.until(|inner| inner.broken.is_some()).await;
    }

    /// Waits until no answer is owed, or none can come. Dropping the future is safe.
    pub(super) async fn until_idle(&self) {
        self.until(|inner| inner.waiters.is_empty() || inner.broken.is_some())
            .await;
    }

    async fn until(&self, reached: impl Fn(&Inner) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Listen before looking, or a change in between is missed.
            changed.as_mut().enable();
            if reached(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reply {
    pub(super) fn orphan(self) -> Option<Orphan> {
        let closing = |handle: FileHandle| (handle.number() != 0).then_some(handle);
        let close = match self.packet {
            Packet::FileOpenResult { handle } => Packet::FileClose {
                handle: closing(handle)?,
            },
            Packet::DirOpenResult { handle } => Packet::DirClose {
                handle: closing(handle)?,
            },
            _ => return None,
        };
        Some(Orphan {
            close,
            permit: self.permit,
        })
    }
}
