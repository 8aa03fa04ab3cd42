//! Which paired device an announcement is of.

use std::fmt;

use cabled_wire::ids::Udid;
use cabled_wire::plist::{DictExt, Limits, read_dict};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};

use super::announcement::Announcement;
use crate::store::{MAX_RECORD, PairRecordId, PairRecordStore, StoreError};

/// Records looked at; more are left out. Nobody has paired with as many devices.
const MAX_RECORDS: usize = 1024;

/// What of a pair record tells a device on the network. Spec: lockdown, section 10.2.
///
/// ```
/// use cabled_usbmux::network::{Announcement, KnownDevice};
///
/// let udid = "00008030-001A2B3C4D5E6F70".parse()?;
/// let phone = KnownDevice::new(udid).with_wifi_address("A4:5E:60:12:34:56");
/// let heard = Announcement::new("a4:5e:60:12:34:56@fe80::a65e:60ff:fe12:3456._apple-mobdev2._tcp.local.");
/// assert!(phone.announced(&heard.ok_or("a name")?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct KnownDevice {
    udid: Udid,
    wifi_address: Option<String>,
    tag_key: Option<[u8; 32]>,
}

impl KnownDevice {
    /// A device that nothing tells yet.
    #[must_use]
    pub fn new(udid: Udid) -> Self {
        Self {
            udid,
            wifi_address: None,
            tag_key: None,
        }
    }

    /// Sets `WiFiMACAddress`, which devices before iOS 26.4 announce.
    #[must_use]
    pub fn with_wifi_address(mut self, address: &str) -> Self {
        self.wifi_address = Some(address.to_ascii_lowercase());
        self
    }

    /// Sets `HostID`, from which devices since iOS 26.4 make a tag for each computer they know.
    #[must_use]
    pub fn with_host_id(mut self, host_id: &str) -> Self {
        let mut key = [0; 32];
        let made = Hkdf::<Sha512>::new(None, host_id.as_bytes()).expand(&[], &mut key);
        self.tag_key = made.is_ok().then_some(key);
        self
    }

    /// Reads what is needed of a stored pair record; `None` when it is none, or tells nothing.
    #[must_use]
    pub fn from_record(udid: Udid, record: &[u8]) -> Option<Self> {
        let record = read_dict(record, &Limits::default().with_bytes(MAX_RECORD)).ok()?;
        let mut known = Self::new(udid);
        if let Ok(Some(address)) = record.opt_text("WiFiMACAddress") {
            known = known.with_wifi_address(address);
        }
        if let Ok(Some(host_id)) = record.opt_text("HostID") {
            known = known.with_host_id(host_id);
        }
        (known.wifi_address.is_some() || known.tag_key.is_some()).then_some(known)
    }

    /// Which device.
    #[must_use]
    pub fn udid(&self) -> &Udid {
        &self.udid
    }

    /// Whether an announcement is of this device: it has its Wi-Fi address, or a tag that only it and this computer can
    /// make. The first can be announced by anybody; the second can be repeated by anybody who heard it.
    #[must_use]
    pub fn announced(&self, announcement: &Announcement) -> bool {
        let by_address = self.wifi_address.is_some() && self.wifi_address == announcement.wifi_address();
        by_address
            || self
                .tag(announcement)
                .is_some_and(|tag| announcement.tags().contains(&tag))
    }

    fn tag(&self, announcement: &Announcement) -> Option<[u8; 8]> {
        let identifier = announcement.identifier().filter(|_| !announcement.tags().is_empty())?;
        let mut mac = Hmac::<Sha256>::new_from_slice(self.tag_key.as_ref()?).ok()?;
        mac.update(identifier);
        mac.finalize().into_bytes().first_chunk().copied()
    }
}

impl fmt::Debug for KnownDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownDevice")
            .field("udid", &self.udid)
            .field("wifi_address", &self.wifi_address)
            .finish_non_exhaustive()
    }
}

/// All devices that a store has records of. A record that is no UDID's, or cannot be read, is left out.
///
/// # Errors
/// When the folder cannot be read, or every record in it is closed to this user.
pub(super) async fn read(store: &PairRecordStore) -> Result<Vec<KnownDevice>, StoreError> {
    let mut ids = store.list().await?;
    if ids.len() > MAX_RECORDS {
        tracing::warn!(records = ids.len(), "more pair records than are looked at");
        ids.truncate(MAX_RECORDS);
    }
    let mut known = Vec::new();
    let mut refused = None;
    for id in ids {
        let Ok(udid) = PairRecordId::as_str(&id).parse::<Udid>() else {
            continue;
        };
        match store.read(&id).await {
            Ok(Some(record)) => known.extend(KnownDevice::from_record(udid, record.expose())),
            Ok(None) => {} // removed since it was listed
            Err(error) => {
                tracing::debug!(%udid, %error, "a pair record cannot be read");
                refused = Some(error);
            }
        }
    }
    match refused {
        Some(error) if known.is_empty() => Err(error),
        _ => Ok(known),
    }
}
