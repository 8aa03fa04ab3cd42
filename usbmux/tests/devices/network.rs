//! Devices on the network, on scripted records and, where the machine has multicast, on real announcements.

use std::net::IpAddr;
use std::time::Duration;

use cabled_usbmux::devices::Devices;
use cabled_usbmux::network::{Announcement, KnownDevice, NetworkOptions, NetworkSource, SERVICE_TYPE};
use cabled_usbmux::store::{PairRecordId, PairRecordStore};
use cabled_usbmux::{ConnectionKind, DeviceSource, SourceEvent, Trouble};
use cabled_wire::io::ConnectError;
use mdns_sd::{IfKind, ServiceDaemon, ServiceInfo};
use proptest::prelude::*;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::script::{OTHER, UDID, udid};

const HOST_ID: &str = "B8034681-D435-ED02-6DDD-C165A334B16C";

fn heard(instance: &str) -> Announcement {
    Announcement::new(&format!("{instance}.{SERVICE_TYPE}")).unwrap()
}

#[test]
fn a_classic_device_is_told_by_its_wifi_address_whatever_follows_it() {
    let phone = KnownDevice::new(udid(UDID)).with_wifi_address("A4:5E:60:12:34:56");
    for name in [
        "a4:5e:60:12:34:56@fe80::a65e:60ff:fe12:3456",
        "A4:5E:60:12:34:56@fe80::a65e:60ff:fe12:3456-supportsRP-24",
        "a4:5e:60:12:34:56@",
        "a4:5e:60:12:34:56\\064fe80::1 (2)",
        "a4:5e:60:12:34:56\\@fe80::1",
    ] {
        assert!(phone.announced(&heard(name)), "{name}");
    }
    for name in [
        "a4:5e:60:12:34:57@fe80::1",
        "a4:5e:60:12:34:56",
        "@a4:5e:60:12:34:56",
        "\\",
        "x\\9",
    ] {
        assert!(!phone.announced(&heard(name)), "{name}");
    }
    assert!(!KnownDevice::new(udid(UDID)).announced(&heard("a4:5e:60:12:34:56@fe80::1")));
}

/// The tag was made with Python's `hmac` and `hashlib`, HKDF written out by RFC 5869.
#[test]
fn a_device_with_a_random_address_is_told_by_the_tag_it_makes_for_this_computer() {
    let phone = KnownDevice::new(udid(UDID)).with_host_id(HOST_ID);
    let named = || heard("1e:02:3c:44:55:66@fe80::1c02:3cff:fe44:5566").with_txt("identifier", b"0F53A5B2");
    assert!(phone.announced(&named().with_txt("authTag", b"I/hNFUsQMkk=")));
    // One for each computer it is paired with.
    let many = named()
        .with_txt("authTag", b"iHO7xE3JZVc=")
        .with_txt("authTag#2", b"no base64")
        .with_txt("AUTHTAG#3", b"I/hNFUsQMkk=");
    assert!(phone.announced(&many));
    for (key, tag) in [
        ("authTag", &b"iHO7xE3JZVc="[..]),
        ("authTag", b"I/hNFUsQMklh"),
        ("authTag", b""),
        ("authTags", b"I/hNFUsQMkk="),
    ] {
        assert!(!phone.announced(&named().with_txt(key, tag)), "{key} {tag:?}");
    }
    let other = KnownDevice::new(udid(OTHER)).with_host_id("DCFF9382-E37F-D0F8-9749-A3690037FF53");
    let tag = heard("x@y").with_txt("identifier", b"8f1d2c3b-0a9e-4d6c-b7a5-112233445566");
    assert!(other.announced(&tag.clone().with_txt("authTag", b"iHO7xE3JZVc=")));
    // Without an identifier a tag says nothing.
    assert!(!other.announced(&heard("x@y").with_txt("authTag", b"iHO7xE3JZVc=")));
}

#[test]
fn addresses_that_no_other_machine_has_are_left_out_and_the_rest_is_ordered() {
    let mut announcement = heard("a4:5e:60:12:34:56@fe80::1");
    for (ip, interface) in [
        ("fe80::1", 0),
        ("fe80::2", 3),
        ("127.0.0.1", 1),
        ("::1", 1),
        ("0.0.0.0", 2),
        ("0.1.2.3", 2),
        ("::", 2),
        ("224.0.0.251", 2),
        ("255.255.255.255", 2),
        ("ff02::fb", 2),
        ("::ffff:127.0.0.1", 2),
        ("2001:db8::7", 2),
        ("10.0.0.7", 2),
        ("::ffff:10.0.0.7", 2),
        ("169.254.3.4", 2),
    ] {
        announcement = announcement.with_address(ip.parse().unwrap(), interface);
    }
    let kept: Vec<_> = announcement.addresses().iter().map(ToString::to_string).collect();
    assert_eq!(kept, ["10.0.0.7", "169.254.3.4", "2001:db8::7", "fe80::2%3"]);
    assert_eq!(
        announcement.addresses()[3].socket_addr(7),
        "[fe80::2%3]:7".parse().unwrap()
    );
    assert_eq!(
        announcement.addresses()[2].socket_addr(7),
        "[2001:db8::7]:7".parse().unwrap()
    );
    // However many are announced.
    for n in 0..200_u8 {
        announcement = announcement.with_address(IpAddr::from([10, 1, 1, n]), 2);
    }
    assert_eq!(announcement.addresses().len(), 16);
    assert!(Announcement::new("").is_none() && Announcement::new(&"x".repeat(256)).is_none());
    assert!(Announcement::new("bell\u{7}@x").is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// Names and entries may hold anything that a stranger on the network likes.
    #[test]
    fn no_announcement_does_any_harm(
        name in any::<String>(),
        texts in proptest::collection::vec((any::<String>(), any::<Vec<u8>>()), 0..80),
        escapes in "[\\\\@0-9a-f:é]{0,24}",
    ) {
        let phone = KnownDevice::new(udid(UDID)).with_wifi_address("a4:5e:60:12:34:56").with_host_id(HOST_ID);
        for name in [name, escapes] {
            let Some(mut announcement) = Announcement::new(&name) else { continue };
            for (key, value) in &texts {
                announcement = announcement.with_txt(key, value).with_txt("authTag#", value).with_txt("identifier", value);
            }
            prop_assert!(announcement.name().len() <= 255);
            prop_assert!(!phone.announced(&announcement));
        }
    }

    #[test]
    fn no_record_does_any_harm(record in any::<Vec<u8>>()) {
        prop_assert_eq!(KnownDevice::from_record(udid(UDID), &record), None);
    }
}

fn record(wifi: &str) -> Vec<u8> {
    let dict = cabled_wire::dict! { "HostID" => HOST_ID, "WiFiMACAddress" => wifi };
    cabled_wire::plist::to_xml(&dict.into()).to_vec()
}

async fn save(store: &PairRecordStore, name: &str, record: Vec<u8>) {
    let id: PairRecordId = name.parse().unwrap();
    store.save(&id, &record.into()).await.unwrap();
}

#[tokio::test]
async fn without_readable_records_the_network_says_what_to_do() {
    let file = tempfile::NamedTempFile::new().unwrap();
    // A file where a folder should be.
    let options = NetworkOptions::default()
        .with_records(PairRecordStore::new(file.path()))
        .with_port(free_port())
        .with_settle(Duration::from_millis(1));
    let devices = Devices::builder().network(NetworkSource::start(options)).start();
    devices.settled().await;
    let troubles = devices.troubles();
    let reasons: String = troubles.iter().map(ToString::to_string).collect();
    assert!(matches!(troubles[0], Trouble::NoSource { .. }));
    assert!(reasons.contains(&file.path().display().to_string()), "{reasons}");
    assert!(reasons.contains("pair records"), "{reasons}");
}

fn free_port() -> u16 {
    std::net::UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// A phone that another thread announces on this machine's interfaces, under a port of its own for mDNS.
fn announce(port: u16, instance: &str, address: &str, txt: &[(&str, &str)]) -> (ServiceDaemon, String) {
    let daemon = ServiceDaemon::new_with_port(port).unwrap();
    daemon.set_service_name_len_max(30).unwrap();
    daemon.enable_interface(IfKind::LoopbackV4).unwrap();
    let info = ServiceInfo::new(SERVICE_TYPE, instance, "phone.local.", address, 32498, txt).unwrap();
    let name = info.get_fullname().to_owned();
    daemon.register(info).unwrap();
    (daemon, name)
}

#[tokio::test]
async fn an_announced_phone_is_listed_once_it_is_paired_and_reached_at_its_address() {
    let port = free_port();
    let folder = tempfile::tempdir().unwrap();
    let store = PairRecordStore::new(folder.path());
    let options = NetworkOptions::default()
        .with_records(store.clone())
        .with_port(port)
        .with_loopback();
    let source = NetworkSource::start(options);
    let mut events = source.watch();
    let (phone, name) = announce(port, "a4:5e:60:12:34:56@fe80::1", "127.0.0.1", &[]);

    let deadline = Duration::from_secs(30);
    let stranger = async {
        while source.strangers() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    if timeout(deadline, stranger).await.is_err() {
        // Some sandboxes and containers let no multicast through; the core's tests do not need it.
        assert!(
            std::env::var_os("CI").is_none(),
            "no announcement was heard on this machine"
        );
        eprintln!("no announcement was heard: this machine has no multicast");
        return;
    }
    // It is there and nobody's; then it is paired, by another program.
    assert_eq!(source.list(), []);
    save(&store, UDID, record("A4:5E:60:12:34:56")).await;
    let SourceEvent::Attached(device) = timeout(deadline, events.recv()).await.expect("silence").unwrap() else {
        panic!("attached")
    };
    assert_eq!((device.udid.clone(), source.strangers()), (udid(UDID), 0));
    let ConnectionKind::Network(network) = &device.connection else {
        panic!("{device:?}")
    };
    assert_eq!(
        network.address.socket_addr(1).unwrap().ip(),
        IpAddr::from([127, 0, 0, 1])
    );
    assert_eq!(network.service_name.as_deref(), Some(&*name));

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = listener.local_addr().unwrap().port();
    let mut stream = source.connect(device.id, at).await.unwrap();
    drop(listener.accept().await.unwrap());
    assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    drop(listener);
    assert!(matches!(
        source.connect(device.id, at).await,
        Err(ConnectError::Refused { .. })
    ));

    let goodbye = phone.unregister(&name).unwrap();
    let _ = goodbye.recv_async().await;
    let event = timeout(deadline, events.recv()).await.expect("silence").unwrap();
    assert_eq!(event, SourceEvent::Detached(device.id));
    assert_eq!(source.list(), []);
    assert!(matches!(source.connect(device.id, at).await, Err(ConnectError::Gone)));
    let _ = phone.shutdown();
}
