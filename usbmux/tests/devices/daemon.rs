//! A daemon as a source: it comes, goes, starts over, and may be hostile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cabled_usbmux::devices::{DeviceEvent, Devices};
use cabled_usbmux::msg::{DeviceList, Event, Form, MessageDecoder, Reply, Request, ResultCode};
use cabled_usbmux::server::{Server, Serving, bind_tcp};
use cabled_usbmux::store::PairRecordStore;
use cabled_usbmux::{AttachedDevice, Daemon, DaemonSource, DaemonSourceOptions, DeviceSource, SourceEvent, Trouble};
use cabled_wire::ids::DeviceId;
use cabled_wire::io::ConnectError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

use crate::script::{OTHER, Script, UDID, cable, udid, wifi};

fn serve(source: &Arc<Script>, address: SocketAddr, folder: &tempfile::TempDir) -> Serving {
    let server = Server::new(source.clone(), PairRecordStore::new(folder.path()));
    server.serve_tcp(bind_tcp(address).unwrap()).unwrap()
}

fn quick() -> DaemonSourceOptions {
    DaemonSourceOptions::default().with_retry(Duration::from_millis(5), Duration::from_millis(20))
}

fn source_of(address: SocketAddr, options: DaemonSourceOptions) -> DaemonSource {
    DaemonSource::with_options(Daemon::new(address.to_string().parse().unwrap()), options)
}

async fn next(events: &mut Receiver<SourceEvent>) -> SourceEvent {
    timeout(Duration::from_secs(20), events.recv())
        .await
        .expect("silence")
        .unwrap()
}

#[tokio::test]
async fn a_daemon_that_goes_takes_its_devices_along_and_comes_back_with_new_ids() {
    let folder = tempfile::tempdir().unwrap();
    let bus = Script::with_room(16);
    bus.attach(cable(1, UDID));
    let serving = serve(&bus, ([127, 0, 0, 1], 0).into(), &folder);
    let address = serving.address().unwrap();
    let source = source_of(address, quick());
    source.settled().await;
    assert_eq!(source.list(), [cable(1, UDID)]);
    assert_eq!(source.troubles(), []);
    source.connect(DeviceId(1), 62078).await.unwrap();

    let mut events = source.watch();
    serving.shutdown().await;
    assert_eq!(next(&mut events).await, SourceEvent::Detached(DeviceId(1)));
    let SourceEvent::Trouble(trouble @ Trouble::NoSource { .. }) = next(&mut events).await else {
        panic!("a trouble")
    };
    assert!(trouble.to_string().contains(&address.to_string()), "{trouble}");
    assert_eq!(source.list(), []);
    assert!(matches!(
        source.connect(DeviceId(1), 62078).await,
        Err(ConnectError::Gone)
    ));

    // Its next life begins with the same number.
    let again = serve(&bus, address, &folder);
    loop {
        match next(&mut events).await {
            SourceEvent::Attached(device) => {
                assert_eq!(device.id, DeviceId(2));
                break;
            }
            SourceEvent::Trouble(_) | SourceEvent::Cleared(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(source.at_daemon(DeviceId(2)), Some(cable(1, UDID)));
    assert_eq!(source.troubles(), []);
    source.connect(DeviceId(2), 62078).await.unwrap();
    again.shutdown().await;
}

#[tokio::test]
async fn devices_that_come_and_go_at_the_daemon_do_so_at_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let bus = Script::with_room(16);
    let serving = serve(&bus, ([127, 0, 0, 1], 0).into(), &folder);
    let source = source_of(serving.address().unwrap(), quick());
    source.settled().await;
    let mut events = source.watch();
    bus.attach(cable(7, UDID));
    assert!(matches!(next(&mut events).await, SourceEvent::Attached(device) if device.udid == udid(UDID)));
    bus.attach(wifi(8, UDID, "127.0.0.1"));
    assert!(matches!(next(&mut events).await, SourceEvent::Attached(device) if !device.is_usb()));
    bus.events.send(SourceEvent::Paired(DeviceId(8))).unwrap();
    assert_eq!(next(&mut events).await, SourceEvent::Paired(DeviceId(2)));
    bus.detach(7);
    assert_eq!(next(&mut events).await, SourceEvent::Detached(DeviceId(1)));
    assert_eq!(source.list().len(), 1);
    serving.shutdown().await;
}

#[tokio::test]
async fn no_daemon_at_all_is_settled_at_once_and_a_trouble_while_nothing_else_serves() {
    // A port that was free a moment ago.
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let daemon = || Daemon::new(address.to_string().parse().unwrap());
    let alone = Devices::builder().daemon(daemon()).start();
    alone.settled().await;
    let [Trouble::NoSource { origin, reason }] = &alone.troubles()[..] else {
        panic!("{:?}", alone.troubles())
    };
    assert_eq!(*origin, format!("the daemon at {address}"));
    assert!(reason.contains("plug the device in"), "{reason}");

    let own = Script::new();
    let both = Devices::builder().daemon(daemon()).source(own).start();
    both.settled().await;
    assert_eq!(both.troubles(), []);
    assert_eq!(both.sources()[0].troubles.len(), 1);
}

/// A daemon that says what a test wants, one script a connection.
struct Rogue(TcpListener);

impl Rogue {
    async fn new() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (Self(listener), address)
    }

    /// The next client with its first request.
    async fn client(&self) -> (TcpStream, Request) {
        let (mut stream, _) = timeout(Duration::from_secs(20), self.0.accept())
            .await
            .expect("nobody")
            .unwrap();
        let mut decoder = MessageDecoder::new(1 << 20);
        loop {
            if let Some((header, payload)) = decoder.next().unwrap() {
                let call = Request::decode(&header, &payload).unwrap();
                return (stream, call.request);
            }
            assert_ne!(stream.read_buf(decoder.buffer_mut()).await.unwrap(), 0);
        }
    }
}

async fn say(stream: &mut TcpStream, bytes: Option<impl AsRef<[u8]>>) {
    stream.write_all(bytes.unwrap().as_ref()).await.unwrap();
}

fn ok() -> Reply {
    Reply::Result(ResultCode::Ok)
}

#[tokio::test]
async fn a_daemon_that_cannot_list_is_followed_by_its_events() {
    let (rogue, address) = Rogue::new().await;
    let source = source_of(address, quick());
    let (mut listening, request) = rogue.client().await;
    assert_eq!(request, Request::Listen);
    say(&mut listening, ok().encode(Form::Plist, 1)).await;
    say(&mut listening, Event::Attached(cable(3, UDID)).encode(Form::Plist)).await;
    let (mut asking, request) = rogue.client().await;
    assert_eq!(request, Request::ListDevices);
    say(
        &mut asking,
        Reply::Result(ResultCode::BadCommand).encode(Form::Plist, 1),
    )
    .await;
    source.settled().await;
    let known = AttachedDevice {
        id: DeviceId(1),
        ..cable(3, UDID)
    };
    assert_eq!(source.list(), [known]);
}

#[tokio::test]
async fn what_is_told_twice_or_replayed_is_one_device() {
    let (rogue, address) = Rogue::new().await;
    let source = source_of(address, quick());
    let mut events = source.watch();
    let (mut listening, _) = rogue.client().await;
    say(&mut listening, ok().encode(Form::Plist, 1)).await;
    // Gone before the list was made, come after `Listen`: all of it is told again.
    say(&mut listening, Event::Attached(cable(3, UDID)).encode(Form::Plist)).await;
    say(&mut listening, Event::Detached(DeviceId(3)).encode(Form::Plist)).await;
    say(&mut listening, Event::Attached(cable(4, UDID)).encode(Form::Plist)).await;
    say(&mut listening, Event::Detached(DeviceId(99)).encode(Form::Plist)).await;
    let (mut asking, _) = rogue.client().await;
    let list = DeviceList {
        devices: vec![cable(4, UDID)],
        unreadable: 0,
    };
    say(&mut asking, Reply::DeviceList(list).encode(Form::Plist, 1)).await;
    source.settled().await;
    say(&mut listening, Event::Attached(cable(5, OTHER)).encode(Form::Plist)).await;
    let mut udids = std::collections::BTreeMap::new();
    while !udids.values().any(|device: &AttachedDevice| device.udid == udid(OTHER)) {
        match next(&mut events).await {
            SourceEvent::Attached(device) => assert_eq!(udids.insert(device.id, device), None),
            SourceEvent::Detached(id) => assert!(udids.remove(&id).is_some()),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(udids.into_values().collect::<Vec<_>>(), source.list());
    assert_eq!(source.list().len(), 2);
}

#[tokio::test]
async fn a_daemon_with_endless_devices_is_cut_and_what_no_device_has_is_dropped() {
    let (rogue, address) = Rogue::new().await;
    let source = source_of(address, quick().with_device_limit(3));
    let (mut listening, _) = rogue.client().await;
    say(&mut listening, ok().encode(Form::Plist, 1)).await;
    let (mut asking, _) = rogue.client().await;
    let phone = |id: u32| {
        let mut device = cable(id, &format!("00008030-{id:016X}"));
        device.extra.insert("Ballast".to_owned(), "x".repeat(20_000).into());
        device
    };
    let devices = (1..=10).map(phone).collect();
    say(
        &mut asking,
        Reply::DeviceList(DeviceList { devices, unreadable: 0 }).encode(Form::Plist, 1),
    )
    .await;
    source.settled().await;
    assert_eq!(source.list().len(), 3);
    assert!(source.list().iter().all(|device| device.extra.is_empty()));
    assert!(matches!(
        source.troubles()[..],
        [Trouble::TooManyDevices { limit: 3, .. }]
    ));
    // A small stranger stays as it is.
    say(&mut listening, Event::Detached(DeviceId(1)).encode(Form::Plist)).await;
    let mut small = cable(77, UDID);
    small.extra.insert("USBSerialNumber".to_owned(), "F2LX".into());
    let mut events = source.watch();
    say(&mut listening, Event::Attached(small.clone()).encode(Form::Plist)).await;
    while !matches!(next(&mut events).await, SourceEvent::Attached(_)) {}
    assert!(source.list().iter().any(|device| device.extra == small.extra));
}

#[tokio::test]
async fn a_daemon_that_only_closes_is_a_trouble_and_asked_again() {
    let (rogue, address) = Rogue::new().await;
    let source = source_of(address, quick());
    for _ in 0..4 {
        let (stream, _) = rogue.0.accept().await.unwrap();
        drop(stream);
    }
    source.settled().await;
    assert!(matches!(source.troubles()[..], [Trouble::NoSource { .. }]));
}

#[tokio::test]
async fn a_view_follows_a_daemon_from_life_to_life() {
    let folder = tempfile::tempdir().unwrap();
    let bus = Script::with_room(16);
    bus.attach(cable(1, UDID));
    let serving = serve(&bus, ([127, 0, 0, 1], 0).into(), &folder);
    let address = serving.address().unwrap();
    let devices = Devices::builder().daemon_source(source_of(address, quick())).start();
    devices.settled().await;
    let phone = devices.find(&udid(UDID)).unwrap();
    let mut events = devices.watch();
    let mut next = async || timeout(Duration::from_secs(20), events.next()).await.expect("silence");
    assert!(matches!(next().await, DeviceEvent::Attached(_)));
    serving.shutdown().await;
    assert!(matches!(next().await, DeviceEvent::Detached(device) if device == phone));
    // No stream, and an error that says why.
    assert!(matches!(phone.open(62078).await, Err(ConnectError::Gone)));
    let again = serve(&bus, address, &folder);
    while !matches!(next().await, DeviceEvent::Attached(_)) {}
    // The same handle reaches the phone through the daemon's second life.
    assert!(phone.open(62078).await.is_ok());
    again.shutdown().await;
}
