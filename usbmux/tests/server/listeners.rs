//! Clients that listen.

use std::time::Duration;

use cabled_usbmux::msg::{Event, Message, Reply, Request, ResultCode};
use cabled_usbmux::server::ServerOptions;
use cabled_usbmux::{AttachedDevice, Network, NetworkAddress};
use cabled_wire::ids::DeviceId;
use tokio::time::timeout;

use crate::{bed, phone, plist, udid};

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
