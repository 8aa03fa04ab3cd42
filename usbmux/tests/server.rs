//! The server against recorded answers of a real daemon, and our client against the server.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    reason = "test code"
)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cabled_golden::{USBMUXD, exchanges};
use cabled_usbmux::msg::{ClientInfo, Event, Form, Header, Message, MessageDecoder, Reply, Request, ResultCode};
use cabled_usbmux::server::{DeviceSource, Server, ServerOptions, Serving, SourceEvent, bind_tcp};
use cabled_usbmux::store::PairRecordStore;
use cabled_usbmux::{AttachedDevice, Daemon, DaemonAddr, DaemonError, Network, NetworkAddress};
use cabled_wire::ids::{DeviceId, Udid};
use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};
use cabled_wire::plist::{Limits, read_dict};
use cabled_wire::secret::SecretBytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc};
use tokio::time::timeout;

const UDID: &str = "00008030-001A2B3C4D5E6F70";

/// A bus whose devices are streams in memory.
struct Bus {
    devices: Mutex<Vec<AttachedDevice>>,
    events: broadcast::Sender<SourceEvent>,
    /// The device's ends of the streams that were opened, with port.
    opened: mpsc::UnboundedSender<(u16, DuplexStream)>,
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
    fn plug(&self, device: AttachedDevice) {
        self.devices.lock().unwrap().push(device.clone());
        let _ = self.events.send(SourceEvent::Attached(device));
    }

    fn unplug(&self, id: DeviceId) {
        self.devices.lock().unwrap().retain(|device| device.id != id);
        let _ = self.events.send(SourceEvent::Detached(id));
    }
}

struct Bed {
    bus: Arc<Bus>,
    opened: mpsc::UnboundedReceiver<(u16, DuplexStream)>,
    server: Server,
    serving: Serving,
    daemon: Daemon,
    _folder: tempfile::TempDir,
}

fn udid() -> Udid {
    UDID.parse().unwrap()
}

fn phone(id: u32) -> AttachedDevice {
    AttachedDevice::usb(DeviceId(id), udid())
}

fn bed(options: ServerOptions) -> Bed {
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
    async fn raw(&self) -> Raw {
        let stream = TcpStream::connect(self.serving.address().unwrap()).await.unwrap();
        Raw {
            stream,
            decoder: MessageDecoder::new(1 << 20),
        }
    }
}

/// A client that says whatever it likes.
struct Raw {
    stream: TcpStream,
    decoder: MessageDecoder,
}

impl Raw {
    async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next message, or `None` when the server closed.
    async fn message(&mut self) -> Option<(Header, Bytes)> {
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

    async fn code(&mut self) -> Option<(u32, ResultCode)> {
        let (header, payload) = self.message().await?;
        match Message::decode(&header, &payload).unwrap() {
            Message::Reply(Reply::Result(code)) => Some((header.message, code)),
            other => panic!("{other:?}"),
        }
    }

    async fn closed(&mut self) -> bool {
        self.message().await.is_none()
    }
}

fn plist(request: &Request) -> Bytes {
    request.encode(&ClientInfo::new("test"), 77)
}

/// The three requests to which that daemon says nothing, and ours says result 1.
fn silent_there(name: &str) -> bool {
    matches!(name, "bplist-request" | "BAD-not-plist" | "nomt")
}

#[tokio::test]
async fn every_recorded_request_gets_the_answer_that_usbmuxd_gave() {
    let bed = bed(ServerOptions::default());
    let exchanges = exchanges(&format!("{USBMUXD}/daemon-replies.jsonl"));
    let mut at = 0;
    let mut compared = 0;
    while at < exchanges.len() {
        // Exchanges of one connection follow one another; `+` joins the names of its requests.
        let connection = &exchanges[at].connection;
        let requests = connection.split('+').count();
        let mut client = bed.raw().await;
        for exchange in &exchanges[at..at + requests] {
            assert_eq!(&exchange.connection, connection);
            let name = &exchange.request;
            client.send(&exchange.sent).await;
            let mut theirs = MessageDecoder::new(1 << 20);
            theirs.push(&exchange.answered);
            if silent_there(name) {
                assert_eq!(client.code().await.unwrap().1, ResultCode::BadCommand, "{name}");
                assert!(theirs.is_empty(), "{name}");
            }
            while let Some((header, payload)) = theirs.next().unwrap() {
                let (our_header, ours) = client.message().await.unwrap_or_else(|| panic!("{name}: closed"));
                let key = |header: &Header| (header.version, header.message, header.tag);
                assert_eq!(key(&our_header), key(&header), "{name} of {connection}");
                if header.message != 8 {
                    assert_eq!(ours, payload, "{name}");
                } else {
                    let dict = |bytes: &[u8]| read_dict(bytes, &Limits::default()).unwrap();
                    let (mut ours, mut payload) = (dict(&ours), dict(&payload));
                    if payload.contains_key("BUID") {
                        // Every computer has its own.
                        assert!(ours.remove("BUID").is_some() && payload.remove("BUID").is_some());
                    }
                    assert_eq!(ours, payload, "{name} of {connection}");
                }
                compared += 1;
            }
            if exchange.closed {
                assert!(client.closed().await, "{name} of {connection}");
            }
        }
        at += requests;
    }
    assert!(compared > 30, "{compared}");
}

#[tokio::test]
async fn what_the_specification_adds_to_the_recording_holds() {
    let bed = bed(ServerOptions::default());
    let mut client = bed.raw().await;
    let built = cabled_golden::built("usbmux-client.jsonl");
    // Version 0 is answered in version 0, until the first property list.
    client
        .send(
            &Request::Connect {
                device: DeviceId(9),
                port: 5,
            }
            .encode_binary(3)
            .unwrap(),
        )
        .await;
    assert_eq!(client.code().await, Some((1, ResultCode::BadDevice)));
    client.send(&built["BAD-version-7"]).await;
    assert_eq!(client.code().await, Some((1, ResultCode::BadVersion)));
    client.send(&built["bplist-request"]).await;
    assert_eq!(client.code().await, Some((8, ResultCode::BadCommand)));
    client
        .send(
            &Request::Connect {
                device: DeviceId(9),
                port: 5,
            }
            .encode_binary(3)
            .unwrap(),
        )
        .await;
    assert_eq!(client.code().await, Some((8, ResultCode::BadDevice)));
    client.send(&built["BAD-version-7"]).await;
    assert_eq!(client.code().await, Some((8, ResultCode::BadVersion)));
    // A record id that would leave the folder, or be its configuration.
    for id in ["../../../../etc/passwd", "SystemConfiguration", "a"] {
        let id = id.to_owned();
        for request in [
            Request::ReadPairRecord { id: id.clone() },
            Request::DeletePairRecord { id: id.clone() },
            Request::SavePairRecord {
                id,
                data: SecretBytes::from(&b"<plist><dict/></plist>"[..]),
                device: None,
            },
        ] {
            client.send(&plist(&request)).await;
            assert_eq!(
                client.code().await,
                Some((8, ResultCode::InvalidArgument)),
                "{request:?}"
            );
        }
    }
    // A device id that is text, and one request in many small pieces.
    let connect = plist(&Request::Connect {
        device: DeviceId(1),
        port: 5,
    });
    let text = String::from_utf8(connect[16..].to_vec())
        .unwrap()
        .replace("<integer>1</integer>", "<string>1</string>");
    let length = u32::try_from(text.len() + 16).unwrap().to_le_bytes();
    for piece in [&length[..], &connect[4..16], text.as_bytes()].concat().chunks(7) {
        client.send(piece).await;
        client.stream.flush().await.unwrap();
    }
    assert_eq!(client.code().await, Some((8, ResultCode::BadDevice)));
}

#[tokio::test]
async fn our_client_does_everything_against_our_server() {
    let mut bed = bed(ServerOptions::default());
    let daemon = bed.daemon.clone();
    assert_eq!(daemon.list().await.unwrap(), []);
    bed.bus.plug(phone(4));
    assert_eq!(daemon.list().await.unwrap(), [phone(4)]);
    assert_eq!(daemon.find(&udid()).await.unwrap(), Some(phone(4)));
    assert_eq!(daemon.read_buid().await.unwrap(), daemon.read_buid().await.unwrap());

    let record = cabled_wire::plist::to_binary(&cabled_wire::dict! { "HostID" => "H" }.into());
    assert_eq!(daemon.read_pair_record(&udid()).await.unwrap(), None);
    daemon.delete_pair_record(&udid()).await.unwrap();
    daemon
        .save_pair_record(&udid(), Some(DeviceId(4)), &record)
        .await
        .unwrap();
    let read = daemon.read_pair_record(&udid()).await.unwrap().unwrap();
    assert_eq!(
        read_dict(read.expose(), &Limits::default()).unwrap(),
        read_dict(&record, &Limits::default()).unwrap()
    );
    daemon.delete_pair_record(&udid()).await.unwrap();
    assert_eq!(daemon.read_pair_record(&udid()).await.unwrap(), None);
    let refused = daemon.save_pair_record(&udid(), None, b"no property list").await;
    assert!(
        matches!(
            refused,
            Err(DaemonError::Refused {
                code: ResultCode::InvalidArgument,
                ..
            })
        ),
        "{refused:?}"
    );
    let large = daemon.save_pair_record(&udid(), None, &vec![0; 70_000]).await;
    assert!(matches!(large, Err(DaemonError::RecordTooLarge { .. })), "{large:?}");

    let device = daemon.device(&phone(4));
    assert!(matches!(
        device.connect(1).await,
        Err(ConnectError::Refused { port: 1 })
    ));
    assert!(matches!(
        daemon.connect(DeviceId(9), 7).await,
        Err(DaemonError::BadDevice { id: DeviceId(9) })
    ));
    let mut stream = device.connect(62078).await.unwrap();
    let (port, mut far) = bed.opened.recv().await.unwrap();
    assert_eq!(port, 62078);
    stream.write_all(b"ping").await.unwrap();
    let mut got = [0; 4];
    far.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"ping");
    far.write_all(b"last words").await.unwrap();
    drop(far);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"last words");
    bed.serving.shutdown().await;
    assert!(matches!(daemon.list().await, Err(DaemonError::NoDaemon { .. })));
}

#[tokio::test]
async fn a_listener_hears_of_every_device_once_and_of_pairing() {
    let bed = bed(ServerOptions::default());
    bed.bus.plug(phone(1));
    let mut listener = bed.daemon.listen().await.unwrap();
    let mut old = bed.raw().await;
    old.send(&Request::Listen.encode_binary(5).unwrap()).await;
    assert_eq!(old.code().await, Some((1, ResultCode::Ok)));
    assert_eq!(listener.next().await.unwrap(), Some(Event::Attached(phone(1))));
    let network = Network {
        address: NetworkAddress::native("127.0.0.1".parse().unwrap(), 0),
        service_name: None,
        interface: None,
    };
    bed.bus
        .plug(AttachedDevice::network(DeviceId(2), udid(), network.clone()));
    let second = listener.next().await.unwrap();
    assert_eq!(
        second,
        Some(Event::Attached(AttachedDevice::network(DeviceId(2), udid(), network)))
    );

    let record = cabled_wire::plist::to_xml(&cabled_wire::dict! { "HostID" => "H" }.into());
    bed.daemon
        .save_pair_record(&udid(), Some(DeviceId(77)), &record)
        .await
        .unwrap(); // no such device: no event
    bed.daemon.save_pair_record(&udid(), None, &record).await.unwrap();
    bed.daemon
        .save_pair_record(&udid(), Some(DeviceId(1)), &record)
        .await
        .unwrap();
    assert_eq!(listener.next().await.unwrap(), Some(Event::Paired(DeviceId(1))));
    bed.bus.unplug(DeviceId(1));
    assert_eq!(listener.next().await.unwrap(), Some(Event::Detached(DeviceId(1))));
    bed.bus.unplug(DeviceId(2));
    bed.bus.plug(phone(3));
    assert_eq!(listener.next().await.unwrap(), Some(Event::Detached(DeviceId(2))));
    assert_eq!(listener.next().await.unwrap(), Some(Event::Attached(phone(3))));

    // The old client was told the same but for the network device, which its version cannot describe.
    let mut heard = Vec::new();
    for _ in 0..4 {
        let (header, payload) = old.message().await.unwrap();
        assert_eq!((header.version, header.tag), (0, 0));
        heard.push(match Message::decode(&header, &payload).unwrap() {
            Message::Event(Event::Attached(device)) => ("attached", device.id.0),
            Message::Event(Event::Paired(id)) => ("paired", id.0),
            Message::Event(Event::Detached(id)) => ("detached", id.0),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(
        heard,
        [("attached", 1), ("paired", 1), ("detached", 1), ("attached", 3)]
    );

    let mut asker = bed.raw().await;
    asker.send(&plist(&Request::ListListeners)).await;
    let (header, payload) = asker.message().await.unwrap();
    let Message::Reply(Reply::ListenerList(list)) = Message::decode(&header, &payload).unwrap() else {
        panic!()
    };
    let mut programs: Vec<_> = list.iter().map(|entry| entry.program.as_str()).collect();
    programs.sort_unstable();
    assert_eq!(programs, ["", "cabled"]);
    // Any command to a listening connection ends it.
    old.send(&plist(&Request::ListDevices)).await;
    assert!(old.closed().await);
}

#[tokio::test]
async fn a_listener_that_fell_behind_is_brought_up_to_date() {
    let bed = bed(ServerOptions::default());
    let mut listener = bed.daemon.listen().await.unwrap();
    // More than the channel holds, without letting the server's task run.
    for id in 1..=100 {
        bed.bus.plug(phone(id));
        if id % 2 == 0 {
            bed.bus.unplug(DeviceId(id));
        }
    }
    let mut present = std::collections::BTreeSet::new();
    let wanted: std::collections::BTreeSet<u32> = (1..=100).filter(|id| id % 2 == 1).collect();
    while present != wanted {
        match timeout(Duration::from_secs(5), listener.next())
            .await
            .expect("silence")
            .unwrap()
            .unwrap()
        {
            Event::Attached(device) => assert!(present.insert(device.id.0), "told twice"),
            Event::Detached(id) => assert!(present.remove(&id.0), "never told"),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_connect_is_answered_in_time_whatever_the_device_does() {
    assert_eq!(
        ServerOptions::default().connect_limit,
        Duration::from_secs(4),
        "libusbmuxd waits for five"
    );
    let bed = bed(ServerOptions::default().with_connect_limit(Duration::from_millis(150)));
    bed.bus.plug(phone(1));
    let started = std::time::Instant::now();
    let refused = bed.daemon.connect(DeviceId(1), 2).await.map(|_| ());
    assert!(
        matches!(refused, Err(DaemonError::ConnectionRefused { port: 2 })),
        "{refused:?}"
    );
    assert!(started.elapsed() >= Duration::from_millis(150) && started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_client_that_speaks_before_the_answer_or_leaves_is_dropped() {
    let bed = bed(ServerOptions::default());
    bed.bus.plug(phone(1));
    let connect = plist(&Request::Connect {
        device: DeviceId(1),
        port: 2,
    });
    let mut hasty = bed.raw().await;
    hasty.send(&connect).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    hasty.send(b"x").await;
    assert!(hasty.closed().await);
    let mut together = bed.raw().await;
    together.send(&[&connect[..], b"x"].concat()).await;
    assert!(together.closed().await);
    // A refused connection leaves the client in command mode.
    let mut client = bed.raw().await;
    client
        .send(&plist(&Request::Connect {
            device: DeviceId(1),
            port: 1,
        }))
        .await;
    assert_eq!(client.code().await, Some((8, ResultCode::ConnectionRefused)));
    client.send(&plist(&Request::ReadBuid)).await;
    assert!(client.message().await.is_some());
}

#[tokio::test]
async fn a_tunnel_delivers_what_it_holds_before_it_closes() {
    let mut bed = bed(ServerOptions::default());
    bed.bus.plug(phone(1));
    let data: Vec<u8> = (0..3_000_000_u32)
        .map(|n| n.to_le_bytes()[usize::from(n % 2 == 0)])
        .collect();
    // Device to client: the device writes and is gone at once, the client reads slowly and has said something unread.
    let mut stream = bed.daemon.connect(DeviceId(1), 9).await.unwrap();
    let (_, mut far) = bed.opened.recv().await.unwrap();
    let sent = data.clone();
    let device = tokio::spawn(async move {
        far.write_all(&sent).await.unwrap();
    });
    stream.write_all(&[1; 5000]).await.unwrap();
    let mut got = Vec::new();
    tokio::time::sleep(Duration::from_millis(50)).await;
    stream.read_to_end(&mut got).await.unwrap();
    assert!(got == data);
    device.await.unwrap();
    // Client to device: the client writes and closes at once.
    let mut stream = bed.daemon.connect(DeviceId(1), 9).await.unwrap();
    let (_, mut far) = bed.opened.recv().await.unwrap();
    let sent = data.clone();
    let client = tokio::spawn(async move {
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    far.read_to_end(&mut got).await.unwrap();
    assert!(got == data);
    client.await.unwrap();
}

#[tokio::test]
async fn half_a_message_does_not_hold_a_place_for_ever() {
    let bed = bed(ServerOptions::default()
        .with_message_limit(Duration::from_millis(100))
        .with_max_clients(1));
    let mut slow = bed.raw().await;
    slow.send(&plist(&Request::ListDevices)[..20]).await;
    assert!(slow.closed().await);
    assert_eq!(bed.daemon.list().await.unwrap(), [], "the only place is free again");
}

#[tokio::test]
async fn many_clients_at_once_all_get_their_answers() {
    let mut bed = bed(ServerOptions::default());
    bed.bus.plug(phone(1));
    let echo = tokio::spawn(async move {
        while let Some((_, far)) = bed.opened.recv().await {
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(far);
                tokio::io::copy(&mut read, &mut write).await.unwrap();
            });
        }
    });
    let clients: Vec<_> = (0..200_u16)
        .map(|n| {
            let daemon = bed.daemon.clone();
            tokio::spawn(async move {
                assert_eq!(daemon.list().await.unwrap().len(), 1);
                let mut stream = daemon.connect(DeviceId(1), 1000 + n).await.unwrap();
                stream.write_all(&n.to_be_bytes()).await.unwrap();
                let mut back = [0; 2];
                stream.read_exact(&mut back).await.unwrap();
                assert_eq!(back, n.to_be_bytes());
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    bed.serving.shutdown().await;
    drop((bed.server, bed.bus, bed.daemon));
    echo.abort();
}

#[cfg(unix)]
#[tokio::test]
async fn a_unix_socket_is_open_to_all_and_never_taken_from_another_daemon() {
    use std::os::unix::fs::PermissionsExt;

    use cabled_usbmux::server::bind_unix;

    let bed = bed(ServerOptions::default());
    bed.bus.plug(phone(1));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usbmuxd");
    let socket = bind_unix(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o666);
    let serving = bed.server.serve_unix(socket);
    let daemon = Daemon::new(DaemonAddr::Unix(path.clone()));
    assert_eq!(daemon.list().await.unwrap().len(), 1);
    assert_eq!(bind_unix(&path).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    // Also when it is somebody else's, who knows nothing of our lock.
    let other = folder.path().join("other");
    let theirs = std::os::unix::net::UnixListener::bind(&other).unwrap();
    assert_eq!(bind_unix(&other).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    drop(theirs); // leaves its file behind
    assert!(other.exists());
    drop(bind_unix(&other).unwrap());
    assert!(!other.exists());
    std::fs::write(&other, "data").unwrap();
    assert_eq!(bind_unix(&other).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read(&other).unwrap(), b"data");

    serving.shutdown().await;
    assert!(!path.exists());
    assert!(matches!(daemon.list().await, Err(DaemonError::NoDaemon { .. })));
}

/// A daemon that answers Connect and goes on in the same write.
#[tokio::test]
async fn bytes_behind_the_answer_to_connect_reach_the_stream() {
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = vec![0; 2000];
        let _ = socket.read(&mut request).await.unwrap();
        let answer = Reply::Result(ResultCode::Ok).encode(Form::Plist, 1).unwrap();
        socket.write_all(&[&answer[..], b"early bird"].concat()).await.unwrap();
        socket.write_all(b" and the rest").await.unwrap();
    });
    let daemon = Daemon::new(address.to_string().parse().unwrap());
    let mut stream = daemon.connect(DeviceId(1), 5).await.unwrap();
    let mut got = String::new();
    stream.read_to_string(&mut got).await.unwrap();
    assert_eq!(got, "early bird and the rest");
}

/// libimobiledevice's way to a network device: straight to its address.
#[tokio::test]
async fn a_network_device_that_the_daemon_does_not_connect_to_is_reached_directly() {
    let bed = bed(ServerOptions::default());
    let far = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = far.local_addr().unwrap().port();
    let network = Network {
        address: NetworkAddress::native("127.0.0.1".parse().unwrap(), 0),
        service_name: None,
        interface: None,
    };
    let device = AttachedDevice::network(DeviceId(5), udid(), network);
    // The daemon lists it to others; to us it says "no such device".
    let device = bed.daemon.device(&device);
    assert!(device.is_network());
    let mut stream = device.connect(port).await.unwrap();
    let (mut socket, _) = far.accept().await.unwrap();
    socket.write_all(b"hello").await.unwrap();
    let mut got = [0; 5];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello");
    drop(far);
    let again = device.connect(port).await;
    assert!(matches!(again, Err(ConnectError::Refused { .. })));
    // A device on a cable is never looked for on the network.
    assert!(matches!(
        bed.daemon.device(&phone(5)).connect(port).await,
        Err(ConnectError::Gone)
    ));
}

#[tokio::test]
async fn a_silent_daemon_is_given_up_with_the_phase_named() {
    let listener = bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let (reply, connect) = (Duration::from_millis(50), Duration::from_millis(80));
    let daemon = Daemon::new(listener.local_addr().unwrap().to_string().parse().unwrap());
    let daemon = daemon.reply_deadline(reply).connect_deadline(connect);
    let error = daemon.read_buid().await.unwrap_err();
    let DaemonError::TimedOut { phase, after } = error else {
        panic!("{error:?}")
    };
    assert_eq!((phase, after), ("reading the system BUID", reply));
    let error = daemon.connect(DeviceId(1), 1).await.map(|_| ()).unwrap_err();
    let DaemonError::TimedOut { phase, after } = error else {
        panic!("{error:?}")
    };
    assert_eq!((phase, after), ("connecting to the device", connect));
    drop(listener);
}
