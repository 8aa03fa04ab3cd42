//! One device of the view.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use cabled_wire::ids::Udid;
use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};

use super::Shared;
use super::picture::Known;
use super::route::{Attachment, Way};

/// A device, with all ways to it as they were when it was listed.
///
/// Connections take the best way there is when they are opened, so a `Device` stays good when the cable is pulled and
/// Wi-Fi remains, and after a re-plug. Cheap to clone. Two are equal when they are the same stay of the same device with
/// the same ways to it.
#[derive(Clone)]
pub struct Device {
    shared: Arc<Shared>,
    known: Arc<Known>,
    only: Option<Way>,
    /// The way that the last connection took; clones share it.
    taken: Arc<AtomicU8>,
}

const NONE_YET: u8 = 0;
const NOT_NETWORK: u8 = 1;
const NETWORK: u8 = 2;

impl Device {
    pub(super) fn new(shared: &Arc<Shared>, known: Arc<Known>) -> Self {
        Self {
            shared: Arc::clone(shared),
            known,
            only: None,
            taken: Arc::new(AtomicU8::new(NONE_YET)),
        }
    }

    /// Which device it is.
    #[must_use]
    pub fn udid(&self) -> &Udid {
        &self.known.udid
    }

    /// The best way to it, as it was when the device was listed.
    #[must_use]
    pub fn preferred(&self) -> &Attachment {
        &self.known.preferred
    }

    /// All ways to it, the best first, as they were when the device was listed.
    pub fn attachments(&self) -> impl Iterator<Item = &Attachment> {
        self.known.attachments()
    }

    /// The device as it is now, or `None` when there is no way to it.
    #[must_use]
    pub fn now(&self) -> Option<Self> {
        let known = self.shared.picture().devices.get(self.udid()).cloned()?;
        Some(Self { known, ..self.clone() })
    }

    /// The same device, reached in one way only: a pairing needs the cable, and a long job may rather end with the cable
    /// than go on without heartbeat over Wi-Fi.
    #[must_use]
    pub fn only(&self, way: Way) -> Self {
        Self {
            only: Some(way),
            taken: Arc::new(AtomicU8::new(NONE_YET)),
            ..self.clone()
        }
    }

    /// As [`Connect::connect`], and says which way was taken. Dropping the future is safe.
    ///
    /// # Errors
    /// Those of the source whose way was taken. When it says [`ConnectError::Gone`] the next best way is tried; `Gone`
    /// means that none is left. Any other error is about the port or the link, and ends the attempt.
    pub async fn open(&self, port: u16) -> Result<(BoxStream, Attachment), ConnectError> {
        let (stream, way) = self.shared.open(self.udid(), self.only, port).await?;
        let taken = if way.way() == Way::Network {
            NETWORK
        } else {
            NOT_NETWORK
        };
        self.taken.store(taken, Ordering::Relaxed);
        Ok((stream, way))
    }
}

impl Connect for Device {
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move { self.open(port).await.map(|(stream, _)| stream) })
    }

    fn udid(&self) -> Option<&Udid> {
        Some(&self.known.udid)
    }

    /// Of the connection that was opened last through this device or a clone of it; before the first one, of the way that
    /// it would take now.
    fn is_network(&self) -> bool {
        match (self.taken.load(Ordering::Relaxed), self.only) {
            (NETWORK, _) | (NONE_YET, Some(Way::Network)) => true,
            (NOT_NETWORK, _) | (_, Some(_)) => false,
            _ => {
                let now = self.shared.picture().devices.get(&self.known.udid).cloned();
                now.as_ref().unwrap_or(&self.known).preferred.way() == Way::Network
            }
        }
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared) && self.known == other.known && self.only == other.only
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ways: Vec<_> = self.attachments().map(ToString::to_string).collect();
        f.debug_struct("Device")
            .field("udid", self.udid())
            .field("ways", &ways)
            .finish_non_exhaustive()
    }
}
