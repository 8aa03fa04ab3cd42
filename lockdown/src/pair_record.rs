//! Pair records: what a host keeps of a pairing, and the part of it that a device may see.

use std::fmt;

use cabled_wire::WireError;
use cabled_wire::ids::{HostId, SystemBuid};
use cabled_wire::plist::{self, Dictionary, Limits, Value};
use cabled_wire::secret::SecretBytes;

use crate::msg::fields::{Builder, Fields};

/// The largest pair record that is read, in bytes; real ones have 8 to 16 KiB.
pub const MAX_PAIR_RECORD: usize = 1 << 20;

/// The keys that must never leave the host, whoever put them there.
const PRIVATE: [&str; 2] = ["HostPrivateKey", "RootPrivateKey"];

/// Everything a host keeps of one pairing (spec: lockdown 6), as stored in `<UDID>.plist` or by a daemon.
///
/// Certificates and keys stay PEM as found: foreign records differ in line ends and key format, and what is written
/// back must be what was read. Keys not named here are kept in [`Self::extra`]. `Debug` shows no secret.
#[derive(Clone, PartialEq)]
pub struct PairRecord {
    /// `HostID`: what the device knows this pairing by.
    pub host_id: HostId,
    /// `SystemBUID`: what the device knows this computer by.
    pub system_buid: SystemBuid,
    /// `DeviceCertificate`, PEM: what the device presents in TLS.
    pub device_certificate: Vec<u8>,
    /// `HostCertificate`, PEM: what we present.
    pub host_certificate: Vec<u8>,
    /// `RootCertificate`, PEM: signed the other two.
    pub root_certificate: Vec<u8>,
    /// `HostPrivateKey`, PEM (PKCS#8, or PKCS#1 in foreign records). Never sent.
    pub host_private_key: SecretBytes,
    /// `RootPrivateKey`, PEM. Never sent; some foreign records lack it.
    pub root_private_key: Option<SecretBytes>,
    /// `EscrowBag`: opens data protection on a locked device (after its first unlock).
    pub escrow_bag: Option<SecretBytes>,
    /// `WiFiMACAddress`: finds the device on the network.
    pub wifi_mac_address: Option<String>,
    /// Keys not known here (`UDID`, `DevicePublicKey` and whatever other programs keep).
    pub extra: Dictionary,
}

impl PairRecord {
    /// Reads a stored record, XML or binary.
    ///
    /// The certificates are not looked at yet: a damaged one shows when a session is started, as
    /// [`crate::Error::PairRecord`].
    ///
    /// # Errors
    /// [`WireError::Missing`] names the first key that is not there; otherwise those of [`plist::read`].
    pub fn parse(bytes: &[u8]) -> Result<Self, WireError> {
        Self::from_plist(plist::read(bytes, &Limits::default().with_bytes(MAX_PAIR_RECORD))?)
    }

    /// Reads a record that is already a property list.
    ///
    /// # Errors
    /// [`WireError::Missing`] or [`WireError::Type`] with the key.
    pub fn from_plist(value: Value) -> Result<Self, WireError> {
        let mut f = Fields::of(value, "pair record")?;
        Ok(Self {
            host_id: f.text("HostID")?.parse()?,
            system_buid: f.text("SystemBUID")?.parse()?,
            device_certificate: required(f.opt_data("DeviceCertificate")?, "DeviceCertificate")?,
            host_certificate: required(f.opt_data("HostCertificate")?, "HostCertificate")?,
            root_certificate: required(f.opt_data("RootCertificate")?, "RootCertificate")?,
            host_private_key: required(f.opt_secret("HostPrivateKey")?, "HostPrivateKey")?,
            root_private_key: f.opt_secret("RootPrivateKey")?,
            escrow_bag: f.opt_secret("EscrowBag")?,
            wifi_mac_address: f.opt_text("WiFiMACAddress")?,
            extra: f.rest(),
        })
    }

    /// The whole record, private keys included, as XML for a pair-record store. Spec: lockdown 6.
    #[must_use]
    pub fn to_plist_xml(&self) -> SecretBytes {
        let value = Builder::on(&self.extra)
            .set("HostID", self.host_id.as_str())
            .set("SystemBUID", self.system_buid.as_str())
            .opt_data("DeviceCertificate", Some(&self.device_certificate))
            .opt_data("HostCertificate", Some(&self.host_certificate))
            .opt_data("RootCertificate", Some(&self.root_certificate))
            .opt_secret("HostPrivateKey", Some(&self.host_private_key))
            .opt_secret("RootPrivateKey", self.root_private_key.as_ref())
            .opt_secret("EscrowBag", self.escrow_bag.as_ref())
            .opt("WiFiMACAddress", self.wifi_mac_address.as_deref())
            .build();
        plist::to_xml(&value).into()
    }

    /// The part a device may see: ids and certificates. Private keys cannot be in it, the escrow bag is not.
    #[must_use]
    pub fn for_device(&self) -> DeviceSide {
        DeviceSide {
            host_id: Some(self.host_id.clone()),
            system_buid: Some(self.system_buid.clone()),
            device_certificate: Some(self.device_certificate.clone()),
            host_certificate: Some(self.host_certificate.clone()),
            root_certificate: Some(self.root_certificate.clone()),
            ..DeviceSide::default()
        }
    }
}

fn required<T>(value: Option<T>, key: &'static str) -> Result<T, WireError> {
    value.ok_or_else(|| WireError::Missing { key: key.to_owned() })
}

impl fmt::Debug for PairRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PairRecord")
            .field("host_id", &self.host_id)
            .field("system_buid", &self.system_buid)
            .field("host_private_key", &self.host_private_key)
            .field("root_private_key", &self.root_private_key)
            .field("escrow_bag", &self.escrow_bag)
            .field("wifi_mac_address", &self.wifi_mac_address)
            .field("extra", &KeysOf(&self.extra))
            .finish_non_exhaustive()
    }
}

/// Shows the names of unknown keys and not their values, which may be secrets of another program.
struct KeysOf<'a>(&'a Dictionary);

impl fmt::Debug for KeysOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// `PairRecord` of a `Pair`, `ValidatePair` or `Unpair` request: what travels to the device.
///
/// Every field may be absent, since clients differ (one unpairs by `HostID` alone). A private key has no place here:
/// decoding drops those that other clients send and only notes that they did.
#[derive(Clone, Default, PartialEq)]
pub struct DeviceSide {
    /// `HostID`.
    pub host_id: Option<HostId>,
    /// `SystemBUID`.
    pub system_buid: Option<SystemBuid>,
    /// `DeviceCertificate`, PEM.
    pub device_certificate: Option<Vec<u8>>,
    /// `HostCertificate`, PEM.
    pub host_certificate: Option<Vec<u8>>,
    /// `RootCertificate`, PEM.
    pub root_certificate: Option<Vec<u8>>,
    /// `EscrowBag`: some clients send it with `ValidatePair` and `Unpair`. We do not.
    pub escrow_bag: Option<SecretBytes>,
    /// `WiFiMACAddress`.
    pub wifi_mac_address: Option<String>,
    private_keys_dropped: bool,
    extra: Dictionary,
}

impl DeviceSide {
    /// Whether the peer sent a private key, as pymobiledevice3 and idevice do. It is not kept.
    #[must_use]
    pub fn private_keys_dropped(&self) -> bool {
        self.private_keys_dropped
    }

    /// Keys not known here.
    #[must_use]
    pub fn extra(&self) -> &Dictionary {
        &self.extra
    }

    /// Reads the dictionary under `PairRecord`.
    ///
    /// # Errors
    /// [`WireError::Type`] or [`WireError::Id`] with the key.
    pub fn from_dict(mut dict: Dictionary) -> Result<Self, WireError> {
        let mut private_keys_dropped = false;
        for key in PRIVATE {
            private_keys_dropped |= dict.remove(key).is_some();
        }
        let mut f = Fields::from_dict(dict);
        Ok(Self {
            host_id: f.opt_text("HostID")?.map(|id| id.parse()).transpose()?,
            system_buid: f.opt_text("SystemBUID")?.map(|id| id.parse()).transpose()?,
            device_certificate: f.opt_data("DeviceCertificate")?,
            host_certificate: f.opt_data("HostCertificate")?,
            root_certificate: f.opt_data("RootCertificate")?,
            escrow_bag: f.opt_secret("EscrowBag")?,
            wifi_mac_address: f.opt_text("WiFiMACAddress")?,
            private_keys_dropped,
            extra: f.rest(),
        })
    }

    /// The dictionary to put under `PairRecord`.
    #[must_use]
    pub fn to_plist(&self) -> Value {
        Builder::on(&self.extra)
            .opt("HostID", self.host_id.as_ref().map(HostId::as_str))
            .opt("SystemBUID", self.system_buid.as_ref().map(SystemBuid::as_str))
            .opt_data("DeviceCertificate", self.device_certificate.as_deref())
            .opt_data("HostCertificate", self.host_certificate.as_deref())
            .opt_data("RootCertificate", self.root_certificate.as_deref())
            .opt_secret("EscrowBag", self.escrow_bag.as_ref())
            .opt("WiFiMACAddress", self.wifi_mac_address.as_deref())
            .build()
    }
}

impl fmt::Debug for DeviceSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeviceSide")
            .field("host_id", &self.host_id)
            .field("system_buid", &self.system_buid)
            .field("escrow_bag", &self.escrow_bag)
            .field("wifi_mac_address", &self.wifi_mac_address)
            .field("private_keys_dropped", &self.private_keys_dropped)
            .field("extra", &KeysOf(&self.extra))
            .finish_non_exhaustive()
    }
}
