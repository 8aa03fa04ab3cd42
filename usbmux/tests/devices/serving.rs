//! The view as a source of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use cabled_usbmux::devices::Devices;
use cabled_usbmux::server::{Server, bind_tcp};
use cabled_usbmux::store::PairRecordStore;
use cabled_usbmux::{AttachedDevice, Daemon, DeviceSource, SourceEvent};
use cabled_wire::ids::DeviceId;
use cabled_wire::io::ConnectError;

use crate::script::{Answer, OTHER, Script, UDID, cable, settle, wifi};

fn ids(devices: &Devices) -> Vec<u32> {
    DeviceSource::list(devices).iter().map(|device| device.id.0).collect()
}

#[tokio::test(start_paused = true)]
async fn clients_of_the_union_see_cable_and_network_under_ids_of_their_own() {
    let (usb, daemon, net) = (Script::new(), Script::new(), Script::new());
    let devices = Devices::builder()
        .source(usb.clone())
        .source(daemon.clone())
        .source(net.clone())
        .start();
    let mut events = DeviceSource::watch(&devices);
    usb.attach(cable(40, UDID));
    net.attach(wifi(50, UDID, "10.0.0.1"));
    settle().await;
    assert_eq!(ids(&devices), [1, 0x1000_0001]);
    // The same cable through another source is no second cable.
    daemon.attach(cable(60, UDID));
    settle().await;
    assert_eq!(ids(&devices), [1, 0x1000_0001]);
    usb.detach(40);
    settle().await;
    assert_eq!(ids(&devices), [1, 0x1000_0001]);
    daemon.detach(60);
    settle().await;
    assert_eq!(ids(&devices), [0x1000_0001]);
    usb.attach(cable(41, UDID));
    settle().await;
    assert_eq!(ids(&devices), [2, 0x1000_0001], "an id is never used again");

    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.push(match event {
            SourceEvent::Attached(device) => format!("+{}", device.id),
            SourceEvent::Changed(device) => format!("~{}", device.id),
            SourceEvent::Detached(id) => format!("-{id}"),
            other => panic!("{other:?}"),
        });
    }
    // Changed: another location, as the other source tells it.
    assert_eq!(told, ["+1", "+268435457", "~1", "-1", "+2"]);
}

#[tokio::test(start_paused = true)]
async fn an_id_means_one_way_and_the_best_source_of_it() {
    let (usb, daemon, net) = (Script::new(), Script::new(), Script::new());
    usb.attach(cable(40, UDID));
    daemon.attach(cable(60, UDID));
    net.attach(wifi(50, UDID, "10.0.0.1"));
    let devices = Devices::builder()
        .source(usb.clone())
        .source(daemon.clone())
        .source(net.clone())
        .start();
    let (by_cable, by_network) = (DeviceId(1), DeviceId(0x1000_0001));
    devices.connect(by_network, 5).await.unwrap();
    assert_eq!((usb.tried(), daemon.tried(), net.tried()), (vec![], vec![], vec![50]));
    devices.connect(by_cable, 5).await.unwrap();
    assert_eq!((usb.tried(), daemon.tried(), net.tried()), (vec![40], vec![], vec![]));
    usb.answer(40, Answer::Gone);
    devices.connect(by_cable, 5).await.unwrap();
    assert_eq!((usb.tried(), daemon.tried(), net.tried()), (vec![40], vec![60], vec![]));
    daemon.answer(60, Answer::Gone);
    assert!(matches!(devices.connect(by_cable, 5).await, Err(ConnectError::Gone)));
    assert_eq!(net.tried(), []);
    assert!(matches!(
        devices.connect(DeviceId(99), 5).await,
        Err(ConnectError::Gone)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_saved_pair_record_is_passed_on_under_the_ids_of_the_union() {
    let (usb, net) = (Script::with_room(16), Script::with_room(16));
    usb.attach(cable(40, UDID));
    usb.attach(cable(41, OTHER));
    net.attach(wifi(50, UDID, "10.0.0.1"));
    let devices = Devices::builder().source(usb.clone()).source(net.clone()).start();
    let mut events = DeviceSource::watch(&devices);
    for id in [40, 99] {
        usb.events.send(SourceEvent::Paired(DeviceId(id))).unwrap();
    }
    settle().await;
    assert_eq!(events.try_recv().unwrap(), SourceEvent::Paired(DeviceId(1)));
    assert_eq!(events.try_recv().unwrap(), SourceEvent::Paired(DeviceId(0x1000_0001)));
    assert!(events.try_recv().is_err());
}

#[tokio::test]
async fn a_server_offers_the_union_and_a_view_of_that_server_has_it_again() {
    let (usb, net) = (Script::with_room(16), Script::with_room(16));
    usb.attach(cable(40, UDID));
    net.attach(wifi(50, OTHER, "10.0.0.1"));
    let devices = Devices::builder().source(usb.clone()).source(net.clone()).start();
    let folder = tempfile::tempdir().unwrap();
    let server = Server::new(Arc::new(devices.clone()), PairRecordStore::new(folder.path()));
    let serving = server
        .serve_tcp(bind_tcp("127.0.0.1:0".parse().unwrap()).unwrap())
        .unwrap();
    let address = serving.address().unwrap().to_string();

    let far = Devices::builder().daemon(Daemon::new(address.parse().unwrap())).start();
    far.settled().await;
    let mut events = far.watch();
    let mut seen = BTreeMap::new();
    for _ in 0..2 {
        let cabled_usbmux::devices::DeviceEvent::Attached(device) = events.next().await else {
            panic!("attached")
        };
        seen.insert(device.udid().to_string(), device);
    }
    let phone = &seen[UDID];
    assert_eq!(phone.preferred().to_string(), format!("cable (daemon at {address})"));
    let (_stream, _) = phone.open(62078).await.unwrap();
    assert_eq!(usb.tried(), [40]);

    usb.detach(40);
    let cabled_usbmux::devices::DeviceEvent::Detached(device) = events.next().await else {
        panic!("detached")
    };
    assert_eq!(device.udid(), phone.udid());
    let listed: Vec<AttachedDevice> = DeviceSource::list(&far);
    assert_eq!(listed.len(), 1);
    serving.shutdown().await;
}
