//! A device as a daemon lists it.

use cabled_wire::WireError;
use cabled_wire::ids::{DeviceId, Udid};
use cabled_wire::plist::{DictExt, Dictionary, Value};

use crate::netaddr::NetworkAddress;

/// One attachment of a device. Spec: usbmux, section 4.
///
/// The same [`Udid`] may be attached twice, by cable and by network, under two ids.
#[derive(Clone, Debug, PartialEq)]
pub struct AttachedDevice {
    /// The daemon's number for this attachment; a re-plug gives another.
    pub id: DeviceId,
    /// Which device it is.
    pub udid: Udid,
    /// How it is reached.
    pub connection: ConnectionKind,
    /// Properties this version does not know.
    pub extra: Dictionary,
}

/// How a device is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionKind {
    /// By cable.
    Usb(Usb),
    /// By Wi-Fi sync.
    Network(Network),
    /// A `ConnectionType` this version does not know, as spelled.
    Other(String),
}

/// What a daemon tells about a device on a cable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usb {
    /// USB product id; 0x12a8 for most iPhones.
    pub product_id: Option<u16>,
    /// Where it is plugged in; opaque.
    pub location: Option<u32>,
    /// Speed of the bus in bit/s; above 32 bits for USB 3.1.
    pub speed: Option<u64>,
}

/// What a daemon tells about a device on the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Where to reach it; not always usable, see [`NetworkAddress::socket_addr`].
    pub address: NetworkAddress,
    /// `EscapedFullServiceName`, the mDNS instance.
    pub service_name: Option<String>,
    /// `InterfaceIndex`, the scope of a link-local address.
    pub interface: Option<u32>,
}

impl AttachedDevice {
    /// A device on a cable, with the properties of an ordinary iPhone at a USB 2 port.
    #[must_use]
    pub fn usb(id: DeviceId, udid: Udid) -> Self {
        // As the Linux daemon forms it: bus and address. It has to fit 32 bits for Apple's Windows library.
        let location = (1 << 16) | (id.0 & 0xffff);
        let usb = Usb {
            product_id: Some(0x12a8),
            location: Some(location),
            speed: Some(480_000_000),
        };
        Self {
            id,
            udid,
            connection: ConnectionKind::Usb(usb),
            extra: Dictionary::new(),
        }
    }

    /// A device on the network.
    #[must_use]
    pub fn network(id: DeviceId, udid: Udid, network: Network) -> Self {
        Self {
            id,
            udid,
            connection: ConnectionKind::Network(network),
            extra: Dictionary::new(),
        }
    }

    /// Whether the device is on a cable; where both ways exist this one is to be preferred.
    #[must_use]
    pub fn is_usb(&self) -> bool {
        matches!(self.connection, ConnectionKind::Usb(_))
    }

    /// Reads an `Attached` record, which is also the form of entries in a `DeviceList`.
    ///
    /// # Errors
    /// [`WireError`] without a device id or a usable serial number. Everything else may be missing.
    pub(crate) fn from_plist(record: &Dictionary) -> Result<Self, WireError> {
        let mut extra = record.dict("Properties")?.clone();
        // Clients differ in which of the two they read, daemons in which they fill.
        let id = match record.opt_integer("DeviceID")? {
            Some(id) => id,
            None => extra.integer("DeviceID")?,
        };
        let id = u32::try_from(id).map_err(|_| WireError::Type {
            key: "DeviceID".into(),
            expected: "a 32-bit number",
        })?;
        let udid = Udid::from_usb_serial(extra.text("SerialNumber")?)?;
        let kind = extra.opt_text("ConnectionType")?.unwrap_or("USB").to_owned();
        let connection = match kind.as_str() {
            "USB" => ConnectionKind::Usb(Usb {
                product_id: integer(&extra, "ProductID"),
                location: extra.opt_integer("LocationID").ok().flatten().map(low_32),
                speed: integer(&extra, "ConnectionSpeed"),
            }),
            "Network" => ConnectionKind::Network(Network {
                address: NetworkAddress::from_raw(extra.opt_data("NetworkAddress")?.unwrap_or_default()),
                service_name: extra.opt_text("EscapedFullServiceName")?.map(str::to_owned),
                interface: integer(&extra, "InterfaceIndex"),
            }),
            _ => ConnectionKind::Other(kind),
        };
        for known in KNOWN {
            extra.remove(known);
        }
        Ok(Self {
            id: DeviceId(id),
            udid,
            connection,
            extra,
        })
    }

    /// The `Properties` of an `Attached` record.
    pub(crate) fn properties(&self) -> Dictionary {
        let mut dict = Dictionary::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                dict.insert(key.to_owned(), value);
            }
        };
        match &self.connection {
            ConnectionKind::Usb(usb) => {
                put("ConnectionSpeed", usb.speed.map(Value::from));
                put("ConnectionType", Some("USB".into()));
                put("DeviceID", Some(self.id.0.into()));
                put("LocationID", usb.location.map(Value::from));
                put("ProductID", usb.product_id.map(Value::from));
            }
            ConnectionKind::Network(network) => {
                put("ConnectionType", Some("Network".into()));
                put("DeviceID", Some(self.id.0.into()));
                put(
                    "EscapedFullServiceName",
                    network.service_name.as_deref().map(Value::from),
                );
                put("InterfaceIndex", network.interface.map(Value::from));
                put("NetworkAddress", Some(Value::Data(network.address.raw().to_vec())));
            }
            ConnectionKind::Other(kind) => {
                put("ConnectionType", Some(kind.as_str().into()));
                put("DeviceID", Some(self.id.0.into()));
            }
        }
        put("SerialNumber", Some(self.udid.as_str().into()));
        for (key, value) in &self.extra {
            put(key, Some(value.clone()));
        }
        dict
    }
}

const KNOWN: [&str; 9] = [
    "ConnectionType",
    "DeviceID",
    "SerialNumber",
    "ConnectionSpeed",
    "LocationID",
    "ProductID",
    "EscapedFullServiceName",
    "InterfaceIndex",
    "NetworkAddress",
];

/// Nice to know only: a value of the wrong type or size counts as missing.
fn integer<T: TryFrom<i64>>(dict: &Dictionary, key: &str) -> Option<T> {
    T::try_from(dict.opt_integer(key).ok().flatten()?).ok()
}

fn low_32(value: i64) -> u32 {
    u32::try_from(value.rem_euclid(1 << 32)).unwrap_or_default()
}
