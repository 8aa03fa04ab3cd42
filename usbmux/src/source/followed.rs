//! What a source that follows something else has beside its core: a lock, those who watch, and a task.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;

use super::SourceEvent;

/// Events a follower may lag behind before it is told to list again.
const EVENTS: usize = 256;

/// The core of a source, which says what came of each change.
pub(crate) trait Core {
    fn poll_event(&mut self) -> Option<SourceEvent>;
}

/// A core that a task feeds and others look at.
pub(crate) struct Followed<C> {
    state: Mutex<C>,
    events: broadcast::Sender<SourceEvent>,
    settled: watch::Sender<bool>,
}

impl<C: Core> Followed<C> {
    pub(crate) fn new(state: C) -> Self {
        Self {
            state: Mutex::new(state),
            events: broadcast::Sender::new(EVENTS),
            settled: watch::Sender::new(false),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, C> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and tells what came of it, in that order and under one lock: no list is behind its events.
    pub(crate) fn update(&self, change: impl FnOnce(&mut C)) {
        let mut state = self.state();
        change(&mut state);
        while let Some(event) = state.poll_event() {
            // An error says that nobody listens.
            let _ = self.events.send(event);
        }
    }

    pub(crate) fn watch(&self) -> broadcast::Receiver<SourceEvent> {
        self.events.subscribe()
    }

    /// From now on, what there is has been looked at once.
    pub(crate) fn settle(&self) {
        self.settled.send_replace(true);
    }

    #[cfg(feature = "network")]
    pub(crate) fn is_settled(&self) -> bool {
        *self.settled.borrow()
    }

    /// Waits for [`settle`](Self::settle). The future may be dropped at any time.
    pub(crate) async fn settled(&self) {
        let mut settled = self.settled.subscribe();
        // An error would say that the sender is gone, which `self` holds.
        let _ = settled.wait_for(|settled| *settled).await;
    }
}

/// The task that feeds the core; ends with the last clone of the source.
#[derive(Debug)]
pub(crate) struct Follower(JoinHandle<()>);

impl Follower {
    /// Starts it in the current tokio runtime.
    pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.0.abort();
    }
}
