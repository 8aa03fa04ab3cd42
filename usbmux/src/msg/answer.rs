//! What the daemon says.

use bytes::{BufMut, Bytes, BytesMut};
use cabled_wire::ids::{DeviceId, Udid};
use cabled_wire::plist::{DictExt, Dictionary, Value};
use cabled_wire::secret::SecretBytes;
use cabled_wire::{Reader, WireError};

use super::request::device_id;
use super::{Form, Header, ResultCode, message, number, plist_message, plist_payload};
use crate::device::{AttachedDevice, ConnectionKind, Usb};

/// Devices in `DeviceAdd` have their serial number in a field of this many bytes.
const SERIAL_FIELD: usize = 256;

/// The answer to one request. Spec: usbmux, section 3.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// Done, or not.
    Result(ResultCode),
    /// To `ListDevices`.
    DeviceList(DeviceList),
    /// To `ListListeners`.
    ListenerList(Vec<ListenerEntry>),
    /// To `ReadBUID`: this computer's system BUID, as the daemon spells it.
    Buid(String),
    /// To `ReadPairRecord`: a serialised property list, XML or binary.
    PairRecordData(SecretBytes),
}

/// The devices of a `DeviceList`, and how many entries could not be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeviceList {
    /// The attached devices, in the daemon's order. One UDID may be there twice: by USB and by network.
    pub devices: Vec<AttachedDevice>,
    /// Entries that name no device (no usable serial number, no device id).
    pub unreadable: usize,
}

/// One program that listens, in the answer to `ListListeners`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerEntry {
    /// `Blacklisted`.
    pub blacklisted: bool,
    /// `BundleID`.
    pub bundle_id: String,
    /// `ConnType`.
    pub connection_type: i64,
    /// `ID String`: number and program, joined by a hyphen.
    pub id: String,
    /// `ProgName`.
    pub program: String,
    /// `kLibUSBMuxVersion`.
    pub library_version: i64,
}

/// What happens to devices, sent to connections that listen.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A device is there (also sent for each device present when listening starts).
    Attached(AttachedDevice),
    /// It is gone; its id never comes back.
    Detached(DeviceId),
    /// A pair record was stored for it: read it again.
    Paired(DeviceId),
}

/// Anything a daemon sends.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Message {
    /// The answer to a request.
    Reply(Reply),
    /// News about a device.
    Event(Event),
    /// A message this version does not know, or an event about something that is no device; kept whole.
    Unknown {
        /// The message number.
        number: u32,
        /// What follows the header.
        payload: Bytes,
    },
}

impl Reply {
    /// The reply with its header, or `None` when `form` has no way to say it: version 0 knows only `Result`.
    #[must_use]
    pub fn encode(&self, form: Form, tag: u32) -> Option<Bytes> {
        let dict = match (self, form) {
            (Self::Result(code), Form::Binary) => {
                return Some(message(form, number::RESULT, tag, &u32::from(*code).to_le_bytes()));
            }
            (_, Form::Binary) => return None,
            (Self::Result(code), Form::Plist) => {
                let mut dict = typed("Result");
                dict.insert("Number".to_owned(), u32::from(*code).into());
                dict
            }
            // The data answers have no MessageType at top level: libusbmuxd takes them as data only then.
            (Self::DeviceList(list), Form::Plist) => {
                let entries = list
                    .devices
                    .iter()
                    .map(|device| Value::Dictionary(attached(device)))
                    .collect();
                one("DeviceList", Value::Array(entries))
            }
            (Self::ListenerList(list), Form::Plist) => one(
                "ListenerList",
                Value::Array(list.iter().map(ListenerEntry::encode).collect()),
            ),
            (Self::Buid(buid), Form::Plist) => one("BUID", buid.as_str().into()),
            (Self::PairRecordData(data), Form::Plist) => one("PairRecordData", Value::Data(data.expose().to_vec())),
        };
        Some(plist_message(tag, dict))
    }
}

impl ListenerEntry {
    fn encode(&self) -> Value {
        let mut dict = Dictionary::new();
        dict.insert("Blacklisted".to_owned(), self.blacklisted.into());
        dict.insert("BundleID".to_owned(), self.bundle_id.as_str().into());
        dict.insert("ConnType".to_owned(), self.connection_type.into());
        dict.insert("ID String".to_owned(), self.id.as_str().into());
        dict.insert("ProgName".to_owned(), self.program.as_str().into());
        dict.insert("kLibUSBMuxVersion".to_owned(), self.library_version.into());
        Value::Dictionary(dict)
    }

    fn decode(value: &Value) -> Self {
        let Some(dict) = value.as_dictionary() else {
            return Self::default();
        };
        let text = |key| dict.opt_text(key).ok().flatten().unwrap_or_default().to_owned();
        let integer = |key| dict.opt_integer(key).ok().flatten().unwrap_or_default();
        Self {
            blacklisted: dict.opt_boolean("Blacklisted").ok().flatten().unwrap_or_default(),
            bundle_id: text("BundleID"),
            connection_type: integer("ConnType"),
            id: text("ID String"),
            program: text("ProgName"),
            library_version: integer("kLibUSBMuxVersion"),
        }
    }
}

impl Event {
    /// The event with its header; tag 0, as the reference daemon does.
    ///
    /// `None` when `form` has no way to say it: version 0 cannot describe a network device.
    #[must_use]
    pub fn encode(&self, form: Form) -> Option<Bytes> {
        match (self, form) {
            (Self::Attached(device), Form::Plist) => Some(plist_message(0, attached(device))),
            (Self::Attached(device), Form::Binary) => {
                device_add(device).map(|payload| message(form, number::DEVICE_ADD, 0, &payload))
            }
            (Self::Detached(id), Form::Binary) => Some(message(form, number::DEVICE_REMOVE, 0, &id.0.to_le_bytes())),
            (Self::Paired(id), Form::Binary) => Some(message(form, number::DEVICE_PAIRED, 0, &id.0.to_le_bytes())),
            (Self::Detached(id), Form::Plist) => Some(plist_message(0, about("Detached", *id))),
            (Self::Paired(id), Form::Plist) => Some(plist_message(0, about("Paired", *id))),
        }
    }
}

impl Message {
    /// Reads anything a daemon sends, by its own message number: error answers may come in version 0 at any time.
    ///
    /// # Errors
    /// [`WireError`] when the message is one we know and its content is not. What we do not know is kept as
    /// [`Message::Unknown`].
    pub fn decode(header: &Header, payload: &Bytes) -> Result<Self, WireError> {
        let mut r = Reader::new(payload);
        Ok(match header.message {
            number::RESULT => Self::Reply(Reply::Result(r.u32_le("result")?.into())),
            number::DEVICE_ADD => match read_device_add(&mut r)? {
                Some(device) => Self::Event(Event::Attached(device)),
                None => Self::unknown(header, payload),
            },
            number::DEVICE_REMOVE => Self::Event(Event::Detached(DeviceId(r.u32_le("device id")?))),
            number::DEVICE_PAIRED => Self::Event(Event::Paired(DeviceId(r.u32_le("device id")?))),
            number::PLIST => {
                Self::from_plist(&plist_payload(payload)?)?.unwrap_or_else(|| Self::unknown(header, payload))
            }
            _ => Self::unknown(header, payload),
        })
    }

    fn unknown(header: &Header, payload: &Bytes) -> Self {
        Self::Unknown {
            number: header.message,
            payload: payload.clone(),
        }
    }

    fn from_plist(dict: &Dictionary) -> Result<Option<Self>, WireError> {
        let reply = match dict.opt_text("MessageType")? {
            Some("Result") => Reply::Result(result_code(dict.integer("Number")?)),
            Some("Attached") => {
                return Ok(AttachedDevice::from_plist(dict)
                    .ok()
                    .map(|device| Self::Event(Event::Attached(device))));
            }
            Some("Detached") => return Ok(Some(Self::Event(Event::Detached(device_id(dict)?)))),
            Some("Paired") => return Ok(Some(Self::Event(Event::Paired(device_id(dict)?)))),
            Some(_) => return Ok(None),
            None => {
                if let Some(list) = dict.opt_array("DeviceList")? {
                    Reply::DeviceList(DeviceList::decode(list))
                } else if let Some(list) = dict.opt_array("ListenerList")? {
                    Reply::ListenerList(list.iter().map(ListenerEntry::decode).collect())
                } else if let Some(buid) = dict.opt_text("BUID")? {
                    Reply::Buid(buid.to_owned())
                } else if let Some(data) = dict.opt_data("PairRecordData")? {
                    Reply::PairRecordData(SecretBytes::from(data))
                } else {
                    return Ok(None);
                }
            }
        };
        Ok(Some(Self::Reply(reply)))
    }
}

impl DeviceList {
    fn decode(entries: &[Value]) -> Self {
        let mut list = Self::default();
        for entry in entries {
            match entry.as_dictionary().map(AttachedDevice::from_plist) {
                Some(Ok(device)) => list.devices.push(device),
                // One odd entry must not hide the other devices.
                Some(Err(_)) | None => list.unreadable = list.unreadable.saturating_add(1),
            }
        }
        list
    }
}

/// A negative number is an errno of the daemon's; it is kept by its low 32 bits.
fn result_code(number: i64) -> ResultCode {
    u32::try_from(number.rem_euclid(1 << 32)).unwrap_or(u32::MAX).into()
}

fn typed(name: &str) -> Dictionary {
    one("MessageType", name.into())
}

fn one(key: &str, value: Value) -> Dictionary {
    let mut dict = Dictionary::new();
    dict.insert(key.to_owned(), value);
    dict
}

fn about(name: &str, id: DeviceId) -> Dictionary {
    let mut dict = typed(name);
    dict.insert("DeviceID".to_owned(), id.0.into());
    dict
}

fn attached(device: &AttachedDevice) -> Dictionary {
    let mut dict = about("Attached", device.id);
    dict.insert("Properties".to_owned(), Value::Dictionary(device.properties()));
    dict
}

fn device_add(device: &AttachedDevice) -> Option<BytesMut> {
    let ConnectionKind::Usb(usb) = &device.connection else {
        return None;
    };
    let mut payload = BytesMut::with_capacity(SERIAL_FIELD.saturating_add(12));
    payload.put_u32_le(device.id.0);
    payload.put_u16_le(usb.product_id.unwrap_or_default());
    let serial = device.udid.as_str().as_bytes();
    payload.put_slice(serial.get(..SERIAL_FIELD).unwrap_or(serial));
    payload.put_bytes(0, SERIAL_FIELD.saturating_sub(serial.len()));
    payload.put_u16_le(0);
    payload.put_u32_le(usb.location.unwrap_or_default());
    Some(payload)
}

fn read_device_add(r: &mut Reader<'_>) -> Result<Option<AttachedDevice>, WireError> {
    let id = DeviceId(r.u32_le("device id")?);
    let product_id = r.u16_le("product id")?;
    let serial = r.take("serial number", SERIAL_FIELD)?;
    r.take("padding", 2)?;
    let location = r.u32_le("location")?;
    let serial = serial.split(|byte| *byte == 0).next().unwrap_or_default();
    let udid = std::str::from_utf8(serial)
        .ok()
        .and_then(|serial| Udid::from_usb_serial(serial).ok());
    let usb = Usb {
        product_id: Some(product_id),
        location: Some(location),
        speed: None,
    };
    Ok(udid.map(|udid| AttachedDevice {
        id,
        udid,
        connection: ConnectionKind::Usb(usb),
        extra: Dictionary::new(),
    }))
}
