//! Watching the view.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

use super::device::Device;
use super::picture::{Change, Picture};
use super::{Published, Shared};
use crate::source::Trouble;

/// What happens to the devices of a view.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum DeviceEvent {
    /// A device came: there is a way to it.
    Attached(Device),
    /// The ways to a device that stays changed: the cable was pulled and Wi-Fi remains, or the other way round.
    Changed(Device),
    /// No way to the device is left, or none that was there before: its streams have ended.
    Detached(Device),
    /// Something that a person has to know.
    Trouble(Trouble),
    /// It is over.
    Cleared(Trouble),
}

/// The events of a view, from [`Devices::watch`](super::Devices::watch).
///
/// However slow the reader is, what it has read so far leads to what is there: it is not a queue, but the difference
/// between what was told and what is. What came and went unread is left out, and a device that went and came back is
/// told as both.
pub struct DevicesEvents {
    shared: Arc<Shared>,
    published: watch::Receiver<Published>,
    told: Arc<Picture>,
    /// What leads from the picture before to `told`, as far as it was not read yet.
    unread: VecDeque<Change>,
}

impl DevicesEvents {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            published: shared.published.subscribe(),
            told: Arc::default(),
            unread: VecDeque::new(),
        }
    }

    /// The next event; waits without a deadline until there is one. Dropping the future is safe: no event is lost.
    pub async fn next(&mut self) -> DeviceEvent {
        loop {
            if let Some(event) = self.try_next() {
                return event;
            }
            if self.published.changed().await.is_err() {
                // The view holds the sender and `self` the view, so this does not happen; nor would anything else.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The next event if there is one now.
    pub fn try_next(&mut self) -> Option<DeviceEvent> {
        if self.unread.is_empty() {
            // All of one difference before the next: a device that flaps holds back no other.
            let now = Arc::clone(&self.published.borrow_and_update().picture);
            if !Arc::ptr_eq(&now, &self.told) {
                self.unread = self.told.changes(&now).into();
                self.told = now;
            }
        }
        let device = |known| Device::new(&self.shared, known);
        Some(match self.unread.pop_front()? {
            Change::Attached(known) => DeviceEvent::Attached(device(known)),
            Change::Changed(known) => DeviceEvent::Changed(device(known)),
            Change::Detached(known) => DeviceEvent::Detached(device(known)),
            Change::Trouble(trouble) => DeviceEvent::Trouble(trouble),
            Change::Cleared(trouble) => DeviceEvent::Cleared(trouble),
        })
    }
}

impl fmt::Debug for DevicesEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevicesEvents")
            .field("unread", &self.unread.len())
            .finish_non_exhaustive()
    }
}
