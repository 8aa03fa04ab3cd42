//! The server against recorded answers of a real daemon, and our client against the server.
#![expect(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "test code")]

mod answers;
mod client;
mod listeners;
mod tunnels;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cabled_usbmux::msg::{ClientInfo, Header, Message, MessageDecoder, Reply, Request, ResultCode};
use cabled_usbmux::server::{Server, ServerOptions, Serving, bind_tcp};
use cabled_usbmux::store::PairRecordStore;
use cabled_usbmux::{AttachedDevice, Daemon, DeviceSource, SourceEvent};
use cabled_wire::ids::{DeviceId, Udid};
use cabled_wire::io::{BoxFuture, BoxStream, ConnectError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;

pub(crate) const UDID: &str = "00008030-001A2B3C4D5E6F70";

/// A bus whose devices are streams in memory.
pub(crate) struct Bus {
    pub(crate) devices: Mutex<Vec<AttachedDevice>>,
    pub(crate) events: broadcast::Sender<SourceEvent>,
    /// The device's ends of the streams that were opened, with port.
    pub(crate) opened: mpsc::UnboundedSender<(u16, DuplexStream)>,
}

impl DeviceSource for Bus {
    fn list(&self) -> Vec<AttachedDevice> {
        self.devices.lock().unwrap().clone()
    }

    fn watch(&self) -> broadcast::Receiver<SourceEvent> {
        self.events.subscribe()
    }

    fn connect(&self, _device: DeviceId, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move {
            match port {
                1 => Err(ConnectError::Refused { port }),
                2 => std::future::pending().await,
                port => {
                    let (ours, theirs) = duplex(64 << 10);
                    self.opened.send((port, theirs)).unwrap();
                    Ok(Box::new(ours) as BoxStream)
                }
            }
        })
    }
}

impl Bus {
    pub(crate) fn plug(&self, device: AttachedDevice) {
        self.devices.lock().unwrap().push(device.clone());
        let _ = self.events.send(SourceEvent::Attached(device));
    }

    pub(crate) fn unplug(&self, id: DeviceId) {
        self.devices.lock().unwrap().retain(|device| device.id != id);
        let _ = self.events.send(SourceEvent::Detached(id));
    }
}

pub(crate) struct Bed {
    pub(crate) bus: Arc<Bus>,
    pub(crate) opened: mpsc::UnboundedReceiver<(u16, DuplexStream)>,
    pub(crate) server: Server,
    pub(crate) serving: Serving,
    pub(crate) daemon: Daemon,
    pub(crate) _folder: tempfile::TempDir,
}

pub(crate) fn udid() -> Udid {
    UDID.parse().unwrap()
}

pub(crate) fn phone(id: u32) -> AttachedDevice {
    AttachedDevice::usb(DeviceId(id), udid())
}

pub(crate) fn bed(options: ServerOptions) -> Bed {
    let folder = tempfile::tempdir().unwrap();
    let (sender, opened) = mpsc::unbounded_channel();
    let bus = Arc::new(Bus {
        devices: Mutex::default(),
        events: broadcast::Sender::new(16),
        opened: sender,
    });
    let source: Arc<dyn DeviceSource> = Arc::clone(&bus) as Arc<dyn DeviceSource>;
    let server = Server::with_options(source, PairRecordStore::new(folder.path()), options);
    let serving = server
        .serve_tcp(bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap())
        .unwrap();
    let address = serving.address().unwrap().to_string().parse().unwrap();
    Bed {
        bus,
        opened,
        server,
        serving,
        daemon: Daemon::new(address),
        _folder: folder,
    }
}

impl Bed {
    pub(crate) async fn raw(&self) -> Raw {
        let stream = TcpStream::connect(self.serving.address().unwrap()).await.unwrap();
        Raw {
            stream,
            decoder: MessageDecoder::new(1 << 20),
        }
    }
}

/// A client that says whatever it likes.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    pub(crate) decoder: MessageDecoder,
}

impl Raw {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next message, or `None` when the server closed.
    pub(crate) async fn message(&mut self) -> Option<(Header, Bytes)> {
        let next = async {
            loop {
                if let Some(message) = self.decoder.next().unwrap() {
                    return Some(message);
                }
                // A reset is a close, too.
                match self.stream.read_buf(self.decoder.buffer_mut()).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        timeout(Duration::from_secs(8), next).await.expect("silence")
    }

    pub(crate) async fn code(&mut self) -> Option<(u32, ResultCode)> {
        let (header, payload) = self.message().await?;
        match Message::decode(&header, &payload).unwrap() {
            Message::Reply(Reply::Result(code)) => Some((header.message, code)),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn closed(&mut self) -> bool {
        self.message().await.is_none()
    }
}

pub(crate) fn plist(request: &Request) -> Bytes {
    request.encode(&ClientInfo::new("test"), 77)
}
