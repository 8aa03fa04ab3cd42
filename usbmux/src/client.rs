//! Talks to a running daemon.

mod device;
mod socket;
mod source;

use std::time::Duration;

use bytes::Bytes;
use cabled_wire::ids::{DeviceId, SystemBuid, Udid};
use cabled_wire::io::BoxStream;
use cabled_wire::secret::SecretBytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

pub use device::DaemonDevice;
pub use source::{DaemonSource, DaemonSourceOptions};

use crate::error::DaemonError;
use crate::msg::{
    ClientInfo, DeviceList, Event, Header, MAX_MESSAGE, Message, MessageDecoder, Reply, Request, ResultCode,
};
use crate::{AttachedDevice, DaemonAddr};
use socket::ReadAhead;

/// How long a daemon may take for anything but `Connect`.
pub const REPLY_DEADLINE: Duration = Duration::from_secs(5);
/// How long it may take for `Connect`.
pub const CONNECT_DEADLINE: Duration = Duration::from_secs(15);

/// The largest request we send, in bytes: the reference daemon closes on more.
const MAX_REQUEST: usize = 64 << 10;

/// A usbmux daemon: `usbmuxd`, Apple's service, or a [`crate::server::Server`] of ours.
///
/// Holds no connection: every call opens its own, as daemons close them after some requests and errors. Dropping the
/// future of any call is safe and closes that connection.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use cabled_usbmux::{Daemon, DaemonAddr};
///
/// let daemon = Daemon::new(DaemonAddr::from_env()?);
/// for device in daemon.list().await? {
///     println!("{}", device.udid);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Daemon {
    address: DaemonAddr,
    client: ClientInfo,
    reply_deadline: Duration,
    connect_deadline: Duration,
}

/// A connection in plist mode, before it turns into something else.
struct Conversation {
    stream: BoxStream,
    decoder: MessageDecoder,
}

impl Daemon {
    /// A daemon at an address; nothing is opened yet.
    #[must_use]
    pub fn new(address: DaemonAddr) -> Self {
        Self {
            address,
            client: ClientInfo::new("cabled"),
            reply_deadline: REPLY_DEADLINE,
            connect_deadline: CONNECT_DEADLINE,
        }
    }

    /// Sets how long any answer but that of `Connect` may take (default 5 s).
    #[must_use]
    pub fn reply_deadline(mut self, deadline: Duration) -> Self {
        self.reply_deadline = deadline;
        self
    }

    /// Sets how long the answer of `Connect` may take (default 15 s).
    #[must_use]
    pub fn connect_deadline(mut self, deadline: Duration) -> Self {
        self.connect_deadline = deadline;
        self
    }

    /// Sets what the daemon is told about this program (default: this library's name).
    #[must_use]
    pub fn client(mut self, client: ClientInfo) -> Self {
        self.client = client;
        self
    }

    /// Where the daemon listens.
    #[must_use]
    pub fn address(&self) -> &DaemonAddr {
        &self.address
    }

    /// All devices attached now. One UDID may come twice, by cable and by network.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub async fn list(&self) -> Result<Vec<AttachedDevice>, DaemonError> {
        match self.call(&Request::ListDevices).await? {
            Reply::DeviceList(DeviceList { devices, unreadable }) => {
                if unreadable > 0 {
                    tracing::warn!(unreadable, "the daemon lists entries that name no device");
                }
                Ok(devices)
            }
            other => Err(unexpected(&Request::ListDevices, &other)),
        }
    }

    /// The attachment of one device, the cable before the network, or `None` when it is not there.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub async fn find(&self, udid: &Udid) -> Result<Option<AttachedDevice>, DaemonError> {
        let devices = self.list().await?;
        Ok(devices
            .into_iter()
            .filter(|device| device.udid == *udid)
            .max_by_key(AttachedDevice::is_usb))
    }

    /// Starts listening; the first events are one [`Event::Attached`] per device that is there already.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub async fn listen(&self) -> Result<Listener, DaemonError> {
        let request = Request::Listen;
        let mut conversation = self.open().await?;
        match conversation.ask(&request, &self.client, self.reply_deadline).await? {
            Reply::Result(ResultCode::Ok) => Ok(Listener { conversation }),
            other => Err(unexpected(&request, &other)),
        }
    }

    /// A byte stream to a port of a device. 62078 is lockdown; other ports come from its `StartService`.
    ///
    /// There is no half-close anywhere in the chain: shutting down the writing side ends the stream in both directions,
    /// and what the device had not taken by then is lost. Read the last answer before closing.
    ///
    /// # Errors
    /// [`DaemonError::ConnectionRefused`] when nothing listens there, [`DaemonError::BadDevice`] for a device that is
    /// gone, [`DaemonError::TimedOut`] after 15 s.
    pub async fn connect(&self, device: DeviceId, port: u16) -> Result<BoxStream, DaemonError> {
        let request = Request::Connect { device, port };
        let mut conversation = self.open().await?;
        match conversation.ask(&request, &self.client, self.connect_deadline).await? {
            Reply::Result(ResultCode::Ok) => Ok(conversation.into_stream()),
            Reply::Result(ResultCode::ConnectionRefused) => Err(DaemonError::ConnectionRefused { port }),
            Reply::Result(ResultCode::BadDevice) => Err(DaemonError::BadDevice { id: device }),
            other => Err(unexpected(&request, &other)),
        }
    }

    /// This computer's system BUID, which goes into pair records.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub async fn read_buid(&self) -> Result<SystemBuid, DaemonError> {
        match self.call(&Request::ReadBuid).await? {
            Reply::Buid(buid) => Ok(buid.parse()?),
            other => Err(unexpected(&Request::ReadBuid, &other)),
        }
    }

    /// The pair record of a device, or `None` when the daemon has none. XML or binary property list, as stored.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub async fn read_pair_record(&self, udid: &Udid) -> Result<Option<SecretBytes>, DaemonError> {
        let request = Request::ReadPairRecord { id: udid.to_string() };
        match self.call(&request).await? {
            Reply::PairRecordData(data) => Ok(Some(data)),
            // 2 is ENOENT here, not "bad device".
            Reply::Result(ResultCode::BadDevice) => Ok(None),
            other => Err(unexpected(&request, &other)),
        }
    }

    /// Stores a pair record; with `device` given, all listeners are told that it is paired.
    ///
    /// # Errors
    /// [`DaemonError::RecordTooLarge`] before anything is sent; [`DaemonError`].
    pub async fn save_pair_record(
        &self,
        udid: &Udid,
        device: Option<DeviceId>,
        record: &[u8],
    ) -> Result<(), DaemonError> {
        let request = Request::SavePairRecord {
            id: udid.to_string(),
            data: SecretBytes::from(record),
            device,
        };
        self.done(&request).await
    }

    /// Removes a pair record. One that is not there counts as removed.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub async fn delete_pair_record(&self, udid: &Udid) -> Result<(), DaemonError> {
        match self.done(&Request::DeletePairRecord { id: udid.to_string() }).await {
            Err(DaemonError::Refused {
                code: ResultCode::BadDevice,
                ..
            }) => Ok(()),
            other => other,
        }
    }

    /// The device behind an attachment, as something that services are opened on.
    #[must_use]
    pub fn device(&self, device: &AttachedDevice) -> DaemonDevice {
        DaemonDevice::new(self.clone(), device.clone())
    }

    async fn open(&self) -> Result<Conversation, DaemonError> {
        let phase = "connecting to the daemon";
        let stream = timeout(REPLY_DEADLINE, socket::open(&self.address))
            .await
            .map_err(|_| DaemonError::TimedOut {
                phase,
                after: REPLY_DEADLINE,
            })??;
        Ok(Conversation {
            stream,
            decoder: MessageDecoder::new(MAX_MESSAGE),
        })
    }

    async fn call(&self, request: &Request) -> Result<Reply, DaemonError> {
        self.open().await?.ask(request, &self.client, self.reply_deadline).await
    }

    async fn done(&self, request: &Request) -> Result<(), DaemonError> {
        match self.call(request).await? {
            Reply::Result(ResultCode::Ok) => Ok(()),
            other => Err(unexpected(request, &other)),
        }
    }
}

impl Conversation {
    /// One request, one answer. The tag is not compared: answers come in order, and daemons differ.
    async fn ask(&mut self, request: &Request, client: &ClientInfo, within: Duration) -> Result<Reply, DaemonError> {
        let phase = phase_of(request);
        let bytes = request.encode(client, 1);
        if bytes.len() > MAX_REQUEST {
            return Err(DaemonError::RecordTooLarge { bytes: bytes.len() });
        }
        let exchange = async {
            self.stream
                .write_all(&bytes)
                .await
                .map_err(|source| DaemonError::Io { phase, source })?;
            self.stream
                .flush()
                .await
                .map_err(|source| DaemonError::Io { phase, source })?;
            self.next(phase).await
        };
        let answer = timeout(within, exchange)
            .await
            .map_err(|_| DaemonError::TimedOut { phase, after: within })??;
        let (header, payload) = answer.ok_or(DaemonError::Closed { phase })?;
        tracing::debug!(request = request.name(), header.tag, "answered");
        match Message::decode(&header, &payload)? {
            Message::Reply(reply) => Ok(reply),
            Message::Event(_) | Message::Unknown { .. } => Err(DaemonError::Unexpected {
                request: request.name(),
            }),
        }
    }

    /// The next message, or `None` when the daemon closed. Dropping the future loses nothing.
    async fn next(&mut self, phase: &'static str) -> Result<Option<(Header, Bytes)>, DaemonError> {
        loop {
            if let Some(message) = self.decoder.next()? {
                return Ok(Some(message));
            }
            let buffer = self.decoder.buffer_mut();
            buffer.reserve(4096);
            let read = self
                .stream
                .read_buf(buffer)
                .await
                .map_err(|source| DaemonError::Io { phase, source })?;
            if read == 0 {
                return if self.decoder.is_empty() {
                    Ok(None)
                } else {
                    Err(DaemonError::Closed { phase })
                };
            }
        }
    }

    /// What followed the answer in the same read is the start of the device's stream.
    fn into_stream(self) -> BoxStream {
        let ahead = self.decoder.into_remainder();
        if ahead.is_empty() {
            self.stream
        } else {
            Box::new(ReadAhead::new(ahead, self.stream))
        }
    }
}

fn phase_of(request: &Request) -> &'static str {
    match request {
        Request::ListDevices => "listing devices",
        Request::Listen => "starting to listen",
        Request::ListListeners => "listing listeners",
        Request::Connect { .. } => "connecting to the device",
        Request::ReadBuid => "reading the system BUID",
        Request::ReadPairRecord { .. } => "reading the pair record",
        Request::SavePairRecord { .. } => "saving the pair record",
        Request::DeletePairRecord { .. } => "deleting the pair record",
    }
}

fn unexpected(request: &Request, reply: &Reply) -> DaemonError {
    match reply {
        Reply::Result(ResultCode::BadVersion) => DaemonError::BadVersion,
        Reply::Result(ResultCode::Ok) => DaemonError::Unexpected {
            request: request.name(),
        },
        Reply::Result(code) => DaemonError::Refused {
            request: request.name(),
            code: *code,
        },
        _ => DaemonError::Unexpected {
            request: request.name(),
        },
    }
}

/// A connection that receives events.
pub struct Listener {
    conversation: Conversation,
}

impl Listener {
    /// The next event; waits without a deadline. `None` when the daemon closed, which it does when it exits.
    ///
    /// Dropping the future is safe: no event is lost.
    ///
    /// # Errors
    /// [`DaemonError::Wire`] and [`DaemonError::Io`]; the listener is unusable afterwards.
    pub async fn next(&mut self) -> Result<Option<Event>, DaemonError> {
        loop {
            let Some((header, payload)) = self.conversation.next("waiting for events").await? else {
                return Ok(None);
            };
            match Message::decode(&header, &payload)? {
                Message::Event(event) => return Ok(Some(event)),
                Message::Reply(_) | Message::Unknown { .. } => {
                    tracing::debug!(number = header.message, "not an event; ignored");
                }
            }
        }
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}
