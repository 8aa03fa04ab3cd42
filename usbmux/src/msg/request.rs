//! What a client asks of the daemon.

use bytes::Bytes;
use bytes::{BufMut, BytesMut};
use cabled_wire::ids::DeviceId;
use cabled_wire::plist::{DictExt, Dictionary, Value};
use cabled_wire::secret::SecretBytes;
use cabled_wire::{Reader, WireError};

use super::{Form, Header, ResultCode, message, number, plist_message, plist_payload};

/// Everything a client can ask. Spec: usbmux, section 3.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// All devices attached now.
    ListDevices,
    /// Switches the connection to events, for good.
    Listen,
    /// The programs that listen.
    ListListeners,
    /// A byte stream to a port of a device; on success the connection becomes that stream.
    Connect {
        /// The device.
        device: DeviceId,
        /// The port in ordinary byte order; it travels swapped.
        port: u16,
    },
    /// This computer's system BUID.
    ReadBuid,
    /// The pair record of a device.
    ReadPairRecord {
        /// `PairRecordID`, a UDID; as spelled by the client and not checked here.
        id: String,
    },
    /// Stores a pair record.
    SavePairRecord {
        /// `PairRecordID`, a UDID; as spelled by the client and not checked here.
        id: String,
        /// The record, a serialised property list (XML or binary).
        data: SecretBytes,
        /// The attachment that was paired, for the event `Paired`.
        device: Option<DeviceId>,
    },
    /// Removes a pair record.
    DeletePairRecord {
        /// `PairRecordID`, a UDID; as spelled by the client and not checked here.
        id: String,
    },
}

/// What clients say about themselves beside the request; all of it optional.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientInfo {
    /// `ClientVersionString`: library name and version.
    pub client_version: Option<String>,
    /// `ProgName`.
    pub program: Option<String>,
    /// `BundleID`.
    pub bundle_id: Option<String>,
    /// `kLibUSBMuxVersion`; 3 since 2011.
    pub library_version: Option<i64>,
    /// `ProcessID`.
    pub process_id: Option<i64>,
    /// `ConnType`; 1 in `Listen` of Apple's clients.
    pub connection_type: Option<i64>,
}

impl ClientInfo {
    /// What this library says of a program that uses it.
    #[must_use]
    pub fn new(program: &str) -> Self {
        Self {
            client_version: Some(concat!("cabled ", env!("CARGO_PKG_VERSION")).to_owned()),
            program: Some(program.to_owned()),
            library_version: Some(3),
            ..Self::default()
        }
    }

    fn decode(dict: &Dictionary) -> Self {
        // A value of the wrong type is as good as none: nothing here decides anything.
        let text = |key| dict.opt_text(key).ok().flatten().map(str::to_owned);
        let integer = |key| dict.opt_integer(key).ok().flatten();
        Self {
            client_version: text("ClientVersionString"),
            program: text("ProgName"),
            bundle_id: text("BundleID"),
            library_version: integer("kLibUSBMuxVersion"),
            process_id: integer("ProcessID"),
            connection_type: integer("ConnType"),
        }
    }

    fn encode(&self, dict: &mut Dictionary) {
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                dict.insert(key.to_owned(), value);
            }
        };
        put("ClientVersionString", self.client_version.clone().map(Value::from));
        put("ProgName", self.program.clone().map(Value::from));
        put("BundleID", self.bundle_id.clone().map(Value::from));
        put("kLibUSBMuxVersion", self.library_version.map(Value::from));
        put("ProcessID", self.process_id.map(Value::from));
        put("ConnType", self.connection_type.map(Value::from));
    }
}

/// A request as the daemon received it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Who asks.
    pub client: ClientInfo,
}

/// A message that is no request, with the code a daemon answers it with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("answered with result {code}: {reason}")]
pub struct Refusal {
    /// The code for the client.
    pub code: ResultCode,
    /// What is wrong with the message.
    pub reason: WireError,
}

impl Refusal {
    fn new(code: ResultCode, reason: WireError) -> Self {
        Self { code, reason }
    }

    fn bad_command(reason: WireError) -> Self {
        Self::new(ResultCode::BadCommand, reason)
    }

    fn invalid(reason: WireError) -> Self {
        Self::new(ResultCode::InvalidArgument, reason)
    }
}

impl Request {
    /// The request in version 1, header included.
    ///
    /// The answer is [`super::Reply`] with the same tag.
    #[must_use]
    pub fn encode(&self, client: &ClientInfo, tag: u32) -> Bytes {
        let mut dict = Dictionary::new();
        let mut put = |key: &str, value: Value| {
            dict.insert(key.to_owned(), value);
        };
        put("MessageType", self.name().into());
        match self {
            Self::ListDevices | Self::Listen | Self::ListListeners | Self::ReadBuid => {}
            Self::Connect { device, port } => {
                put("DeviceID", device.0.into());
                put("PortNumber", port.swap_bytes().into());
            }
            Self::ReadPairRecord { id } | Self::DeletePairRecord { id } => put("PairRecordID", id.as_str().into()),
            Self::SavePairRecord { id, data, device } => {
                put("PairRecordID", id.as_str().into());
                put("PairRecordData", Value::Data(data.expose().to_vec()));
                if let Some(device) = device {
                    put("DeviceID", device.0.into());
                }
            }
        }
        client.encode(&mut dict);
        plist_message(tag, dict)
    }

    /// The request in version 0, which knows only `Connect` and `Listen`.
    #[must_use]
    pub fn encode_binary(&self, tag: u32) -> Option<Bytes> {
        match self {
            Self::Listen => Some(message(Form::Binary, number::LISTEN, tag, &[])),
            Self::Connect { device, port } => {
                let mut payload = BytesMut::with_capacity(8);
                payload.put_u32_le(device.0);
                payload.put_u16(*port);
                payload.put_u16(0);
                Some(message(Form::Binary, number::CONNECT, tag, &payload))
            }
            _ => None,
        }
    }

    /// `MessageType`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ListDevices => "ListDevices",
            Self::Listen => "Listen",
            Self::ListListeners => "ListListeners",
            Self::Connect { .. } => "Connect",
            Self::ReadBuid => "ReadBUID",
            Self::ReadPairRecord { .. } => "ReadPairRecord",
            Self::SavePairRecord { .. } => "SavePairRecord",
            Self::DeletePairRecord { .. } => "DeletePairRecord",
        }
    }

    /// Reads a request of either version, as tolerant as the daemons are.
    ///
    /// # Errors
    /// [`Refusal`] with the code of the table in usbmux, section 3. The connection stays usable. Property lists have to
    /// be XML: no daemon read so far answers a binary one, so a client must not get used to it.
    pub fn decode(header: &Header, payload: &[u8]) -> Result<Call, Refusal> {
        if header.version > 1 {
            let reason = WireError::Invalid {
                what: "version",
                value: header.version.into(),
            };
            return Err(Refusal::new(ResultCode::BadVersion, reason));
        }
        match header.message {
            number::CONNECT => Self::decode_connect(payload),
            number::LISTEN => Ok(Call {
                request: Self::Listen,
                client: ClientInfo::default(),
            }),
            number::PLIST => Self::decode_plist(payload),
            other => Err(Refusal::bad_command(WireError::Invalid {
                what: "message",
                value: other.into(),
            })),
        }
    }

    fn decode_connect(payload: &[u8]) -> Result<Call, Refusal> {
        let read = || -> Result<Self, WireError> {
            let mut r = Reader::new(payload);
            Ok(Self::Connect {
                device: DeviceId(r.u32_le("device id")?),
                port: r.u16_be("port")?,
            })
        };
        let request = read().map_err(Refusal::bad_command)?;
        Ok(Call {
            request,
            client: ClientInfo::default(),
        })
    }

    fn decode_plist(payload: &[u8]) -> Result<Call, Refusal> {
        if payload.starts_with(b"bplist") {
            let reason = WireError::Unexpected {
                what: "encoding",
                name: "binary property list".to_owned(),
            };
            return Err(Refusal::bad_command(reason));
        }
        let dict = plist_payload(payload).map_err(Refusal::bad_command)?;
        let client = ClientInfo::decode(&dict);
        let name = dict.text("MessageType").map_err(Refusal::bad_command)?;
        let id = || dict.text("PairRecordID").map(str::to_owned).map_err(Refusal::invalid);
        let request = match name {
            "ListDevices" => Self::ListDevices,
            "Listen" => Self::Listen,
            "ListListeners" => Self::ListListeners,
            "ReadBUID" => Self::ReadBuid,
            "Connect" => {
                let port = dict.integer("PortNumber").map_err(Refusal::bad_command)?;
                let device = device_id(&dict).map_err(|reason| Refusal::new(ResultCode::BadDevice, reason))?;
                Self::Connect {
                    device,
                    port: low_16(port).swap_bytes(),
                }
            }
            "ReadPairRecord" => Self::ReadPairRecord { id: id()? },
            "DeletePairRecord" => Self::DeletePairRecord { id: id()? },
            "SavePairRecord" => {
                let data = dict.data("PairRecordData").map_err(Refusal::invalid)?;
                // A wrong id costs the client its event, never the record.
                let device = device_id(&dict).ok().filter(|id| id.0 > 0);
                Self::SavePairRecord {
                    id: id()?,
                    data: SecretBytes::from(data),
                    device,
                }
            }
            other => {
                let name = WireError::excerpt(other);
                return Err(Refusal::bad_command(WireError::Unexpected {
                    what: "MessageType",
                    name,
                }));
            }
        };
        Ok(Call { request, client })
    }
}

/// Some clients send the swapped port as a signed 16-bit number: only its low 16 bits count.
fn low_16(port: i64) -> u16 {
    u16::try_from(port.rem_euclid(1 << 16)).unwrap_or_default()
}

pub(super) fn device_id(dict: &Dictionary) -> Result<DeviceId, WireError> {
    let id = dict.integer("DeviceID")?;
    u32::try_from(id).map(DeviceId).map_err(|_| WireError::Type {
        key: "DeviceID".to_owned(),
        expected: "a 32-bit number",
    })
}
