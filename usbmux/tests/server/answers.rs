//! Every request and its answer.

use std::time::Duration;

use cabled_golden::{USBMUXD, exchanges};
use cabled_usbmux::msg::{Header, MessageDecoder, Request, ResultCode};
use cabled_usbmux::server::ServerOptions;
use cabled_usbmux::{Daemon, DaemonAddr, DaemonError};
use cabled_wire::ids::DeviceId;
use cabled_wire::plist::{Limits, read_dict};
use cabled_wire::secret::SecretBytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{bed, phone, plist};

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
    let nowhere = Request::Connect {
        device: DeviceId(9),
        port: 5,
    };
    // Version 0 is answered in version 0, until the first property list.
    client.send(&nowhere.encode_binary(3).unwrap()).await;
    assert_eq!(client.code().await, Some((1, ResultCode::BadDevice)));
    client.send(&built["BAD-version-7"]).await;
    assert_eq!(client.code().await, Some((1, ResultCode::BadVersion)));
    client.send(&built["bplist-request"]).await;
    assert_eq!(client.code().await, Some((8, ResultCode::BadCommand)));
    client.send(&nowhere.encode_binary(3).unwrap()).await;
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

#[tokio::test]
async fn a_client_that_never_reads_loses_its_place() {
    let options = ServerOptions::default()
        .with_send_limit(Duration::from_millis(200))
        .with_max_clients(1);
    let bed = bed(options);
    for id in 1..=200 {
        bed.bus.plug(phone(id));
    }
    // One that asks and asks: some 80 kB an answer, until the system holds no more of them.
    let mut deaf = bed.raw().await;
    let request = plist(&Request::ListDevices);
    let asking = async { while deaf.stream.write_all(&request).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(30), asking)
        .await
        .expect("it may ask for ever");
    assert_eq!(
        bed.daemon.list().await.unwrap().len(),
        200,
        "the only place is free again"
    );
    // One that listens, while devices come and go.
    let mut deaf = bed.raw().await;
    deaf.send(&plist(&Request::Listen)).await;
    assert_eq!(deaf.code().await.unwrap().1, ResultCode::Ok);
    let waiting = tokio::spawn({
        let daemon = bed.daemon.clone().reply_deadline(Duration::from_secs(60));
        async move { daemon.list().await.unwrap().len() }
    });
    let mut id = 1000;
    while !waiting.is_finished() {
        bed.bus.plug(phone(id));
        bed.bus.unplug(DeviceId(id));
        id += 1;
        tokio::task::yield_now().await;
    }
    assert_eq!(waiting.await.unwrap(), 200);
}

#[cfg(unix)]
#[tokio::test]
async fn two_sockets_share_the_places_and_neither_keeps_one_for_itself() {
    use cabled_usbmux::server::bind_unix;

    let bed = bed(ServerOptions::default().with_max_clients(1));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usbmuxd");
    let serving = bed.server.serve_unix(bind_unix(&path).unwrap());
    let other = Daemon::new(DaemonAddr::Unix(path));
    for _ in 0..3 {
        assert_eq!(bed.daemon.list().await.unwrap(), []);
        assert_eq!(other.list().await.unwrap(), []);
    }
    serving.shutdown().await;
}
