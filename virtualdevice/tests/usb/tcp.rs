//! Lists and imports over TCP, in the bytes of the kernel's public documentation.

use std::net::SocketAddr;

use cabled_virtualdevice::usb::{Speed, UsbOptions};
use cabled_virtualdevice::usbip::{UsbipError, UsbipServer, UsbipServing};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::usbip::Kernel;
use super::{LIMIT, usb, usb_with};

const LIST: [u8; 8] = [1, 0x11, 0x80, 5, 0, 0, 0, 0];

fn import(bus_id: &str) -> Vec<u8> {
    let mut bytes = vec![1, 0x11, 0x80, 3, 0, 0, 0, 0];
    bytes.extend(bus_id.as_bytes());
    bytes.resize(40, 0);
    bytes
}

async fn serving() -> (UsbipServing, SocketAddr) {
    let server = UsbipServer::new();
    assert_eq!(server.export(usb()), "1-1");
    assert_eq!(
        server.export(usb_with(
            UsbOptions::default()
                .with_speed(Speed::Super)
                .with_product(0x12ab, "iPad")
        )),
        "1-2"
    );
    let serving = server.serve_tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = serving.addr();
    (serving, address)
}

async fn ask(address: SocketAddr, bytes: &[u8], answer: usize) -> (TcpStream, Vec<u8>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut bytes = vec![0; answer];
    timeout(LIMIT, stream.read_exact(&mut bytes)).await.unwrap().unwrap();
    (stream, bytes)
}

#[tokio::test]
async fn a_list_names_every_phone_and_its_interfaces() {
    let (_serving, address) = serving().await;
    let (mut stream, list) = ask(address, &LIST, 12 + 2 * (312 + 4)).await;
    assert_eq!(list[..12], [1, 0x11, 0, 5, 0, 0, 0, 0, 0, 0, 0, 2]);
    for (device, bus_id, number, speed, product) in
        [(&list[12..], "1-1", 1, 3, 0xa8), (&list[328..], "1-2", 2, 5, 0xab)]
    {
        assert_eq!(device[255], 0, "the path ends");
        assert_eq!(&device[256..260], [bus_id.as_bytes(), &[0]].concat());
        assert_eq!(device[288..300], [0, 0, 0, 1, 0, 0, 0, number, 0, 0, 0, speed]);
        assert_eq!(device[300..306], [5, 0xac, 0x12, product, 0x17, 2]);
        // Classes of the device, configuration, configurations, interfaces; then the interface.
        assert_eq!(device[306..316], [0, 0, 0, 0, 4, 1, 6, 1, 1, 0]);
    }
    assert_eq!(
        timeout(LIMIT, stream.read(&mut [0])).await.unwrap().unwrap(),
        0,
        "that is all"
    );
}

#[tokio::test]
async fn a_host_imports_a_phone_and_has_it_alone() {
    let (_serving, address) = serving().await;
    let (stream, answer) = ask(address, &import("1-1"), 320).await;
    assert_eq!(answer[..8], [1, 0x11, 0, 3, 0, 0, 0, 0]);
    assert_eq!(answer[308..314], [5, 0xac, 0x12, 0xa8, 0x17, 2]);
    let mut kernel = Kernel::new(stream);
    kernel.enumerate(4).await;
    let (_, busy) = ask(address, &import("1-1"), 8).await;
    assert_eq!(busy[4..], [0, 0, 0, 2]);
    let (_, unknown) = ask(address, &import("9-9"), 8).await;
    assert_eq!(unknown[4..], [0, 0, 0, 4]);
    // Another mode takes the phone off this host, and shows in the next list.
    kernel.control([0xc0, 0x52, 0, 0, 3, 0, 1, 0]).await;
    assert_eq!(timeout(LIMIT, kernel.stream.read(&mut [0])).await.unwrap().unwrap(), 0);
    let configurations = async {
        loop {
            let (_, list) = ask(address, &LIST, 12 + 312).await;
            if list[12 + 310] == 5 {
                break;
            }
        }
    };
    timeout(LIMIT, configurations).await.unwrap();
    let (stream, answer) = ask(address, &import("1-1"), 320).await;
    assert_eq!(answer[4..8], [0; 4], "free again");
    Kernel::new(stream).enumerate(5).await;
}

#[tokio::test]
async fn other_versions_operations_and_half_requests_are_turned_away() {
    let server = UsbipServer::new();
    let _ = server.export(usb());
    for (bytes, expected) in [
        (vec![1, 0, 0x80, 5, 0, 0, 0, 0], "version 0100"),
        (vec![1, 0x11, 0x80, 9, 0, 0, 0, 0], "operation 8009"),
        (vec![1, 0x11, 0, 5, 0, 0, 0, 0], "operation 0005"),
    ] {
        let (mut theirs, ours) = duplex(1024);
        theirs.write_all(&bytes).await.unwrap();
        let error = server.serve(ours).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let (mut theirs, ours) = duplex(1024);
    theirs.write_all(&import("1-1")[..20]).await.unwrap();
    drop(theirs);
    assert!(matches!(server.serve(ours).await, Err(UsbipError::Io(_))));
    let (theirs, ours) = duplex(1024);
    drop(theirs);
    assert!(
        matches!(server.serve(ours).await, Ok(None)),
        "somebody who only looked whether the port is open"
    );
}

#[tokio::test(start_paused = true)]
async fn a_host_that_says_nothing_is_not_waited_for() {
    let server = UsbipServer::new();
    let (_theirs, ours) = duplex(1024);
    assert!(matches!(server.serve(ours).await, Err(UsbipError::Slow(_))));
}

#[tokio::test]
async fn bus_ids_of_any_bytes_name_no_phone() {
    let server = UsbipServer::new();
    let _ = server.export(usb());
    for id in [[0xff; 32], [b'1'; 32], [0; 32]] {
        let (mut theirs, ours) = duplex(1024);
        let mut bytes = vec![1, 0x11, 0x80, 3, 0, 0, 0, 0];
        bytes.extend(id);
        theirs.write_all(&bytes).await.unwrap();
        assert!(matches!(server.serve(ours).await, Ok(None)));
        let mut answer = [0; 8];
        theirs.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [1, 0x11, 0, 3, 0, 0, 0, 4]);
    }
}
