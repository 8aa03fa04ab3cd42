//! The daemon protocol against bytes that other programs made.
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "test code")]

use std::collections::BTreeMap;

use bytes::Bytes;
use cabled_golden::{GO_IOS, LIBIMOBILEDEVICE, PYMOBILEDEVICE3, Side, USBMUXD, captured, exchanges};
use cabled_usbmux::msg::{
    Call, ClientInfo, DeviceList, Event, Form, Header, Message, MessageDecoder, Refusal, Reply, Request, ResultCode,
};
use cabled_usbmux::{AttachedDevice, ConnectionKind, Network, NetworkAddress, SockaddrLayout, Usb};
use cabled_wire::WireError;
use cabled_wire::ids::DeviceId;
use cabled_wire::plist::{Dictionary, Limits, read_dict};
use cabled_wire::secret::SecretBytes;
use proptest::prelude::*;

const UDID: &str = "00008030-001A2B3C4D5E6F70";

/// Exactly one message.
fn one(bytes: &[u8]) -> (Header, Bytes) {
    let mut decoder = MessageDecoder::new(65_536);
    decoder.push(bytes);
    let message = decoder.next().unwrap().unwrap();
    assert!(decoder.is_empty());
    message
}

fn call(bytes: &[u8]) -> Result<Call, Refusal> {
    let (header, payload) = one(bytes);
    Request::decode(&header, &payload)
}

fn message(bytes: &[u8]) -> Message {
    let (header, payload) = one(bytes);
    Message::decode(&header, &payload).unwrap()
}

fn dict(payload: &[u8]) -> Dictionary {
    read_dict(payload, &Limits::default()).unwrap()
}

fn built() -> BTreeMap<String, Bytes> {
    cabled_golden::built("usbmux-client.jsonl")
}

/// The same message: equal headers but for the length, equal dictionaries.
fn assert_same(ours: &[u8], theirs: &[u8], name: &str) {
    let ((a, ours), (b, theirs)) = (one(ours), one(theirs));
    assert_eq!((a.version, a.message, a.tag), (b.version, b.message, b.tag), "{name}");
    if a.message == 8 {
        assert_eq!(dict(&ours), dict(&theirs), "{name}");
    } else {
        assert_eq!(ours, theirs, "{name}");
    }
}

fn example() -> ClientInfo {
    let mut client = ClientInfo::new("example");
    client.client_version = Some("example 0.1".into());
    client
}

fn usb_device() -> AttachedDevice {
    let usb = Usb {
        product_id: Some(0x12a8),
        location: Some(0x1420_0000),
        speed: Some(480_000_000),
    };
    let mut device = AttachedDevice::usb(DeviceId(3), UDID.parse().unwrap());
    device.connection = ConnectionKind::Usb(usb);
    device
}

fn network_device(layout: SockaddrLayout, ip: &str) -> AttachedDevice {
    let network = Network {
        address: NetworkAddress::with_layout(layout, ip.parse().unwrap(), 14),
        service_name: Some("a4:5e:60:12:34:56@fe80::a65e:60ff:fe12:3456._apple-mobdev2._tcp.local.".into()),
        interface: Some(14),
    };
    AttachedDevice::network(DeviceId(0x1000_0001), UDID.parse().unwrap(), network)
}

#[test]
fn every_built_request_is_read_and_written_again() {
    let built = built();
    let record = b"<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\">\n<dict>\n\t<key>HostID</key>\n\t<string>H</string>\n</dict>\n</plist>\n";
    let id = || UDID.to_owned();
    let device = DeviceId(3);
    let mut listener = example();
    listener.connection_type = Some(1);
    let expected = [
        ("listdevices-req", Request::ListDevices, example()),
        ("listen-req", Request::Listen, listener),
        ("listlisteners", Request::ListListeners, example()),
        ("connect-62078", Request::Connect { device, port: 62078 }, example()),
        ("connect-22", Request::Connect { device, port: 22 }, example()),
        ("readbuid", Request::ReadBuid, example()),
        ("readbuid-bare", Request::ReadBuid, ClientInfo::default()),
        ("readpairrecord", Request::ReadPairRecord { id: id() }, example()),
        ("deletepairrecord", Request::DeletePairRecord { id: id() }, example()),
        (
            "savepairrecord",
            Request::SavePairRecord {
                id: id(),
                data: SecretBytes::from(&record[..]),
                device: Some(device),
            },
            example(),
        ),
    ];
    for (name, request, client) in expected {
        let bytes = &built[name];
        let got = call(bytes).unwrap();
        assert_eq!((&got.request, &got.client), (&request, &client), "{name}");
        assert_same(&request.encode(&client, one(bytes).0.tag), bytes, name);
    }
    // The same bytes, not only the same content.
    assert_eq!(
        Request::Connect { device, port: 62078 }.encode(&example(), 3),
        built["connect-62078"]
    );
    assert_eq!(
        Request::Connect { device, port: 62078 }.encode_binary(2).unwrap(),
        built["v0-connect-62078"]
    );
    assert_eq!(
        call(&built["v0-connect-62078"]).unwrap().request,
        Request::Connect { device, port: 62078 }
    );
    assert_eq!(Request::Listen.encode_binary(1).unwrap(), built["v0-listen"]);
    assert_eq!(call(&built["v0-listen"]).unwrap().request, Request::Listen);
}

#[test]
fn a_port_sent_as_a_signed_number_is_the_port_modulo_65536() {
    let got = call(&built()["connect-signed-port"]).unwrap();
    assert_eq!(
        got.request,
        Request::Connect {
            device: DeviceId(3),
            port: 0xc1ff
        }
    );
}

#[test]
fn every_built_answer_is_read_and_written_again() {
    let built = built();
    let result = |code| Reply::Result(code);
    let net = network_device(SockaddrLayout::Bsd, "fe80::a65e:60ff:fe12:3456");
    for (name, reply) in [
        ("listdevices-empty", Reply::DeviceList(DeviceList::default())),
        (
            "listdevices-one",
            Reply::DeviceList(DeviceList {
                devices: vec![usb_device()],
                unreadable: 0,
            }),
        ),
        ("result-connrefused", result(ResultCode::ConnectionRefused)),
        ("result-badversion", result(ResultCode::BadVersion)),
        ("buid", Reply::Buid("3E2BC3B0-2D3A-4B9E-9B0A-111122223333".into())),
    ] {
        let bytes = &built[name];
        assert_eq!(message(bytes), Message::Reply(reply.clone()), "{name}");
        assert_same(&reply.encode(Form::Plist, one(bytes).0.tag).unwrap(), bytes, name);
    }
    for (name, event) in [
        ("attached", Event::Attached(usb_device())),
        ("detached", Event::Detached(DeviceId(3))),
        ("paired", Event::Paired(DeviceId(3))),
    ] {
        assert_eq!(message(&built[name]), Message::Event(event.clone()), "{name}");
        assert_eq!(event.encode(Form::Plist).unwrap(), built[name], "{name}");
    }
    for (name, event) in [
        ("v0-device-remove", Event::Detached(DeviceId(3))),
        ("v0-device-paired", Event::Paired(DeviceId(3))),
    ] {
        assert_eq!(message(&built[name]), Message::Event(event.clone()), "{name}");
        assert_eq!(event.encode(Form::Binary).unwrap(), built[name], "{name}");
    }
    for (name, code) in [
        ("v0-result-ok", ResultCode::Ok),
        ("v0-result-badversion", ResultCode::BadVersion),
    ] {
        assert_eq!(message(&built[name]), Message::Reply(result(code)), "{name}");
        assert_eq!(result(code).encode(Form::Binary, 1).unwrap(), built[name], "{name}");
    }
    let Message::Event(Event::Attached(added)) = message(&built["v0-device-add"]) else {
        panic!()
    };
    assert_eq!((added.id, added.udid.as_str()), (DeviceId(3), UDID));
    assert_eq!(
        Event::Attached(added).encode(Form::Binary).unwrap(),
        built["v0-device-add"]
    );
    assert_eq!(
        Event::Attached(net.clone()).encode(Form::Binary),
        None,
        "version 0 has no network devices"
    );

    let Message::Reply(Reply::DeviceList(list)) = message(&built["listdevices-usb+net"]) else {
        panic!()
    };
    assert_eq!(list.devices.len(), 2);
    assert_eq!(list.devices[0].udid, list.devices[1].udid);
    assert!(list.devices[0].is_usb() && !list.devices[1].is_usb());
    let Message::Reply(Reply::ListenerList(listeners)) = message(&built["listenerlist"]) else {
        panic!()
    };
    assert_eq!(listeners[0].id, "12-example");
    assert_same(
        &Reply::ListenerList(listeners).encode(Form::Plist, 8).unwrap(),
        &built["listenerlist"],
        "listenerlist",
    );
    let Message::Reply(Reply::PairRecordData(data)) = message(&built["pairrecorddata"]) else {
        panic!()
    };
    assert_same(
        &Reply::PairRecordData(data).encode(Form::Plist, 5).unwrap(),
        &built["pairrecorddata"],
        "record",
    );
}

#[test]
fn a_network_address_is_read_in_all_three_layouts() {
    let built = built();
    let address = |name: &str| match message(&built[name]) {
        Message::Event(Event::Attached(AttachedDevice {
            connection: ConnectionKind::Network(net),
            ..
        })) => net.address,
        Message::Reply(Reply::DeviceList(list)) => match &list.devices[1].connection {
            ConnectionKind::Network(net) => net.address.clone(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    for (name, layout) in [
        ("listdevices-usb+net", SockaddrLayout::Bsd),
        ("attached-net-linux", SockaddrLayout::Linux),
        ("attached-net-windows", SockaddrLayout::Windows),
    ] {
        let read = address(name).socket_addr(62078).unwrap();
        let std::net::SocketAddr::V6(v6) = read else {
            panic!("{name}: {read}")
        };
        assert_eq!((v6.port(), v6.scope_id()), (62078, 14), "{name}");
        assert_eq!(
            NetworkAddress::with_layout(layout, read.ip(), 14),
            address(name),
            "{name}"
        );
    }
}

#[test]
fn what_is_malformed_gets_the_code_of_the_table_or_ends_the_stream() {
    let built = built();
    let code = |name: &str| call(&built[name]).unwrap_err().code;
    assert_eq!(code("bplist-request"), ResultCode::BadCommand);
    assert_eq!(code("BAD-not-plist"), ResultCode::BadCommand);
    assert_eq!(code("BAD-version-7"), ResultCode::BadVersion);
    for (name, error) in [
        (
            "BAD-length-15",
            WireError::Invalid {
                what: "length",
                value: 15,
            },
        ),
        (
            "BAD-length-huge",
            WireError::TooLong {
                field: "length",
                declared: 0xffff_ffff,
                max: 65_536,
            },
        ),
    ] {
        let mut decoder = MessageDecoder::new(65_536);
        decoder.push(&built[name]);
        assert_eq!(decoder.next().unwrap_err(), error);
        decoder.push(&built["readbuid"]);
        assert_eq!(decoder.next().unwrap_err(), error, "the stream stays unusable");
    }
    let mut decoder = MessageDecoder::new(65_536);
    decoder.push(&built["BAD-short-header"]);
    assert_eq!(decoder.next().unwrap(), None);
}

#[test]
fn everything_real_clients_sent_is_read() {
    for client in [LIBIMOBILEDEVICE, PYMOBILEDEVICE3] {
        let captured = captured(client, "usbmux");
        assert!(captured.len() > 10, "{client}: {}", captured.len());
        for line in captured {
            let bytes = &line.bytes;
            if line.from == Side::Host {
                let Call { request, client } = call(bytes).unwrap();
                if let Request::Connect { port, .. } = request {
                    // Lockdown, or one of the stand-in's service ports, which count from 1 for the libraries.
                    let services = if line.file.contains("/library-") {
                        1..16
                    } else {
                        49_152..50_304
                    };
                    assert!(port == 62078 || services.contains(&port), "{}: {port}", line.file);
                }
                assert_same(&request.encode(&client, one(bytes).0.tag), bytes, request.name());
            } else {
                let listens = line.file.ends_with("/library-listen.jsonl");
                match message(bytes) {
                    Message::Reply(_) => {}
                    Message::Event(_) if listens => {}
                    other => panic!("{}: {other:?}", line.file),
                }
            }
        }
    }
}

#[test]
fn a_binary_pair_record_from_idevicepair_arrives_as_it_was_sent() {
    let all = captured(LIBIMOBILEDEVICE, "usbmux");
    let record = all.iter().find_map(|line| match call(&line.bytes).ok()?.request {
        Request::SavePairRecord { data, device, id } => Some((data, device, id)),
        _ => None,
    });
    let (data, device, id) = record.unwrap();
    assert!(data.expose().starts_with(b"bplist00"));
    assert_eq!((device, id.as_str()), (Some(DeviceId(1)), UDID));
    assert!(
        read_dict(data.expose(), &Limits::default())
            .unwrap()
            .contains_key("HostID")
    );
    assert!(
        !format!("{data:?}").contains("bplist"),
        "a record never shows its bytes"
    );
}

#[test]
fn the_request_and_the_odd_result_of_go_ios_are_read() {
    let read = |name: &str| cabled_golden::bytes(&format!("{GO_IOS}/{name}"));
    assert_eq!(call(&read("readdevices.bin")).unwrap().request, Request::ListDevices);
    let payload = read("usbmuxresponse.plist");
    let header = Header {
        length: 0,
        version: 1,
        message: 8,
        tag: 0,
    };
    let odd = Message::decode(&header, &payload).unwrap();
    assert_eq!(odd, Message::Unknown { number: 8, payload }, "kept whole");
}

#[test]
fn every_reply_of_usbmuxd_is_read() {
    let mut read = 0;
    for exchange in exchanges(&format!("{USBMUXD}/daemon-replies.jsonl")) {
        let mut decoder = MessageDecoder::new(65_536);
        decoder.push(&exchange.answered);
        while let Some((header, payload)) = decoder.next().unwrap() {
            let Message::Reply(reply) = Message::decode(&header, &payload).unwrap() else {
                panic!("{exchange:?}")
            };
            let form = if header.message == 8 { Form::Plist } else { Form::Binary };
            let again = reply.encode(form, header.tag).unwrap();
            assert_same(&again, &[&raw(&header)[..], &payload].concat(), "reply");
            read += 1;
        }
        assert!(decoder.is_empty());
    }
    assert!(read > 30, "{read}");
}

fn raw(header: &Header) -> Vec<u8> {
    [header.length, header.version, header.message, header.tag]
        .iter()
        .flat_map(|n| n.to_le_bytes())
        .collect()
}

#[test]
fn one_odd_entry_does_not_hide_the_other_devices() {
    let mut odd = usb_device();
    odd.connection = ConnectionKind::Other("Bluetooth".into());
    odd.extra.insert("USBSerialNumber".into(), "x".into());
    let list = DeviceList {
        devices: vec![odd, usb_device()],
        unreadable: 0,
    };
    let bytes = Reply::DeviceList(list.clone()).encode(Form::Plist, 1).unwrap();
    assert_eq!(
        message(&bytes),
        Message::Reply(Reply::DeviceList(list)),
        "what we do not know is kept"
    );

    let text = String::from_utf8(bytes[16..].to_vec())
        .unwrap()
        .replacen(UDID, "short", 1);
    let length = u32::try_from(text.len() + 16).unwrap().to_le_bytes();
    let bytes = [&length[..], &bytes[4..16], text.as_bytes()].concat();
    let Message::Reply(Reply::DeviceList(list)) = message(&bytes) else {
        panic!()
    };
    assert_eq!((list.devices.len(), list.unreadable), (1, 1));
}

fn any_request() -> impl Strategy<Value = Request> {
    let id = "[0-9A-Za-z-]{8,64}";
    prop_oneof![
        Just(Request::ListDevices),
        Just(Request::Listen),
        Just(Request::ListListeners),
        Just(Request::ReadBuid),
        (any::<u32>(), any::<u16>()).prop_map(|(id, port)| Request::Connect {
            device: DeviceId(id),
            port
        }),
        id.prop_map(|id| Request::ReadPairRecord { id }),
        id.prop_map(|id| Request::DeletePairRecord { id }),
        (
            id,
            proptest::collection::vec(any::<u8>(), 0..200),
            proptest::option::of(1_u32..)
        )
            .prop_map(|(id, data, device)| Request::SavePairRecord {
                id,
                data: SecretBytes::from(data),
                device: device.map(DeviceId)
            }),
    ]
}

proptest! {
    #[test]
    fn a_request_survives_a_round_trip(request in any_request(), tag: u32, program in "[ -~]{0,20}") {
        let client = ClientInfo::new(&program);
        let bytes = request.encode(&client, tag);
        prop_assert_eq!(one(&bytes).0.tag, tag);
        prop_assert_eq!(call(&bytes).unwrap(), Call { request: request.clone(), client });
        if let Some(bytes) = request.encode_binary(tag) {
            prop_assert_eq!(call(&bytes).unwrap().request, request);
        }
    }

    #[test]
    fn decode_never_panics(number in 0_u32..12, version in 0_u32..3, payload in proptest::collection::vec(any::<u8>(), 0..400)) {
        let header = Header { length: 0, version, message: number, tag: 0 };
        let payload = Bytes::from(payload);
        let _ = Request::decode(&header, &payload);
        let _ = Message::decode(&header, &payload);
        let mut decoder = MessageDecoder::new(1000);
        decoder.push(&payload);
        while let Ok(Some((header, payload))) = decoder.next() {
            let _ = Message::decode(&header, &payload);
        }
    }

    #[test]
    fn a_damaged_plist_never_panics(at in 0_usize..700, byte: u8) {
        let mut bytes = built()["listdevices-one"].to_vec();
        let at = 16 + at % (bytes.len() - 16);
        bytes[at] = byte;
        let (header, payload) = one(&bytes);
        let _ = Message::decode(&header, &payload);
        let _ = Request::decode(&header, &payload);
    }

    #[test]
    fn splitting_the_stream_anywhere_changes_nothing(requests in proptest::collection::vec(any_request(), 1..6), cuts in proptest::collection::vec(1_usize..64, 1..40)) {
        let client = ClientInfo::default();
        let whole: Vec<u8> = requests.iter().flat_map(|request| request.encode(&client, 9).to_vec()).collect();
        let mut decoder = MessageDecoder::new(65_536);
        let (mut rest, mut got, mut cuts) = (&whole[..], Vec::new(), cuts.into_iter().cycle());
        while !rest.is_empty() {
            let (piece, tail) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            decoder.push(piece);
            rest = tail;
            while let Some((header, payload)) = decoder.next().unwrap() {
                got.push(Request::decode(&header, &payload).unwrap().request);
            }
        }
        prop_assert_eq!(got, requests);
    }
}
