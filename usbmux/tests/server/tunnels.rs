//! Connections to a device.

use std::time::Duration;

use cabled_usbmux::DaemonError;
use cabled_usbmux::msg::{Request, ResultCode};
use cabled_usbmux::server::ServerOptions;
use cabled_wire::ids::DeviceId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{bed, phone, plist};

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

/// By a UNIX socket, where it shows at once; TCP tells of the end only behind the bytes, or after some minutes.
#[cfg(unix)]
#[tokio::test]
async fn a_client_that_is_gone_ends_its_tunnel_though_the_device_reads_nothing() {
    use cabled_usbmux::{Daemon, DaemonAddr, server::bind_unix};

    let mut bed = bed(ServerOptions::default().with_max_clients(1));
    bed.bus.plug(phone(1));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("usbmuxd");
    let _serving = bed.server.serve_unix(bind_unix(&path).unwrap());
    let local = Daemon::new(DaemonAddr::Unix(path));
    let mut stream = local.connect(DeviceId(1), 9).await.unwrap();
    let (_, far) = bed.opened.recv().await.unwrap();
    // More than all buffers on the way: the end of the client's stream is behind bytes that nobody takes.
    let writing = async {
        loop {
            if stream.write_all(&[1; 64 << 10]).await.is_err() {
                break;
            }
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_millis(500), writing).await.is_err(),
        "the device holds nothing back"
    );
    drop(stream);
    let daemon = bed.daemon.clone().reply_deadline(Duration::from_secs(30));
    assert_eq!(daemon.list().await.unwrap().len(), 1, "the only place is free again");
    drop(far);
}

#[tokio::test]
async fn unplugging_ends_the_tunnel_of_a_client_that_does_not_read() {
    let mut bed = bed(ServerOptions::default().with_max_clients(1));
    bed.bus.plug(phone(1));
    let stream = bed.daemon.connect(DeviceId(1), 9).await.unwrap();
    let (_, mut far) = bed.opened.recv().await.unwrap();
    let device = tokio::spawn(async move { while far.write_all(&[1; 64 << 10]).await.is_ok() {} });
    tokio::time::sleep(Duration::from_millis(200)).await;
    bed.bus.unplug(DeviceId(1));
    let daemon = bed.daemon.clone().reply_deadline(Duration::from_secs(30));
    assert_eq!(daemon.list().await.unwrap(), [], "the only place is free again");
    device.await.unwrap();
    drop(stream);
}
