//! Clients of ours against phones that are served through both ends of the multiplexer.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::sync::Arc;
use std::time::Duration;

use cabled_usbmux::msg::Event;
use cabled_usbmux::mux::MuxOptions;
use cabled_usbmux::{ConnectionKind, Daemon, DaemonError};
use cabled_virtualdevice::front::{Front, FrontError, FrontHandle, Plug};
use cabled_virtualdevice::mux::{DeviceMuxOptions, WindowStyle};
use cabled_wire::ids::{DeviceId, Udid};
use cabled_wire::io::{BoxFuture, BoxStream, Connect, ConnectError};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;

const ECHO: u16 = 7;
const SOURCE: u16 = 19;
const BANNER: u16 = 21;
const DEAF: u16 = 9;

/// What [`SOURCE`] sends.
const AMOUNT: usize = 9_000_000;

/// A phone with services of old.
#[derive(Debug)]
struct Toy {
    udid: Option<Udid>,
    network: bool,
}

fn byte_at(n: usize) -> u8 {
    (n ^ (n >> 8) ^ (n >> 16)).to_le_bytes()[0]
}

impl Connect for Toy {
    fn connect(&self, port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
        Box::pin(async move {
            let (ours, theirs) = duplex(16 << 10);
            let (mut read, mut write) = tokio::io::split(theirs);
            match port {
                ECHO => tokio::spawn(async move {
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                }),
                SOURCE => tokio::spawn(async move {
                    let data: Vec<u8> = (0..AMOUNT).map(byte_at).collect();
                    let _ = write.write_all(&data).await;
                }),
                BANNER => tokio::spawn(async move {
                    let _ = write.write_all(b"220 ready").await;
                }),
                DEAF => tokio::spawn(async move {
                    let _kept = (read, write);
                    std::future::pending().await
                }),
                port => return Err(ConnectError::Refused { port }),
            };
            Ok(Box::new(ours) as BoxStream)
        })
    }

    fn udid(&self) -> Option<&Udid> {
        self.udid.as_ref()
    }

    fn is_network(&self) -> bool {
        self.network
    }
}

fn toy() -> Arc<dyn Connect> {
    Arc::new(Toy {
        udid: Some("00008030-001A2B3C4D5E6F70".parse().unwrap()),
        network: false,
    })
}

fn front() -> (tempfile::TempDir, Front, FrontHandle, Daemon) {
    let folder = tempfile::tempdir().unwrap();
    let front = Front::new(folder.path());
    let handle = front.serve_tcp("127.0.0.1:0".parse().unwrap()).unwrap();
    let daemon = Daemon::new(handle.addr().unwrap().to_string().parse().unwrap());
    (folder, front, handle, daemon)
}

/// Every way a phone may be plugged in.
fn plugs() -> Vec<(&'static str, Plug)> {
    let device = DeviceMuxOptions::default;
    let host = MuxOptions::default;
    let plug = |device, host| Plug::new(toy()).mux(device, host);
    vec![
        ("direct", Plug::new(toy()).direct()),
        ("version 2", plug(device(), host())),
        ("version 1", plug(device().with_version(1), host())),
        (
            "late acknowledgments",
            plug(device().with_window_style(WindowStyle::LateAcknowledgment), host()),
        ),
        (
            "small buffers",
            plug(device().with_receive_buffer(1024), host().with_receive_buffer(1024)),
        ),
        (
            "small frames",
            plug(device().with_max_frame(100), host().with_max_frame(64)),
        ),
        ("sequence wrap", {
            plug(
                device().with_initial_sequence(0xffff_f000),
                host().with_initial_sequence(0xffff_fff0),
            )
        }),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_travel_both_ways_however_the_phone_is_plugged_in() {
    for (name, plug) in plugs() {
        let (_folder, front, handle, daemon) = front();
        let id = front.add(plug).await.unwrap();
        let device = daemon.device(&daemon.list().await.unwrap()[0]);
        assert_eq!(device.attached().id, id);

        let mut banner = String::new();
        device
            .connect(BANNER)
            .await
            .unwrap()
            .read_to_string(&mut banner)
            .await
            .unwrap();
        assert_eq!(banner, "220 ready", "{name}");

        let refused = device.connect(4000).await.map(|_| ());
        assert!(
            matches!(refused, Err(ConnectError::Refused { port: 4000 })),
            "{name}: {refused:?}"
        );

        let amount = if name.starts_with("small") { 300_000 } else { AMOUNT };
        let mut source = device.connect(SOURCE).await.unwrap();
        let mut got = vec![0; amount];
        timeout(Duration::from_secs(60), source.read_exact(&mut got))
            .await
            .expect(name)
            .unwrap();
        assert!(got.iter().enumerate().all(|(n, byte)| *byte == byte_at(n)), "{name}");
        drop(source);

        let (mut read, mut write) = tokio::io::split(device.connect(ECHO).await.unwrap());
        let sent = got.clone();
        let writer = tokio::spawn(async move {
            write.write_all(&sent).await.unwrap();
            write
        });
        let mut back = vec![0; got.len()];
        timeout(Duration::from_secs(60), read.read_exact(&mut back))
            .await
            .expect(name)
            .unwrap();
        assert!(back == got, "{name}");
        writer.await.unwrap();
        handle.shutdown().await;
    }
}

#[tokio::test]
async fn phones_come_and_go_and_ids_never_come_back() {
    let (_folder, front, _handle, daemon) = front();
    let mut listener = daemon.listen().await.unwrap();
    let first = front.add(toy()).await.unwrap();
    let Some(Event::Attached(attached)) = listener.next().await.unwrap() else {
        panic!()
    };
    assert_eq!(attached.id, first);
    let mut echo = daemon.connect(first, ECHO).await.unwrap();
    echo.write_all(b"hello").await.unwrap();
    let mut got = [0; 5];
    echo.read_exact(&mut got).await.unwrap();

    assert!(front.remove(first));
    assert!(!front.remove(first));
    assert_eq!(listener.next().await.unwrap(), Some(Event::Detached(first)));
    assert_eq!(echo.read(&mut got).await.unwrap(), 0, "streams end with the cable");
    assert!(matches!(
        daemon.connect(first, ECHO).await.map(|_| ()),
        Err(DaemonError::BadDevice { .. })
    ));

    let second = front.add(toy()).await.unwrap();
    assert_ne!(first, second);
    let Some(Event::Attached(attached)) = listener.next().await.unwrap() else {
        panic!()
    };
    assert_eq!(attached.id, second);
    // By network as well: a second attachment with a range of its own.
    let wireless: Arc<dyn Connect> = Arc::new(Toy {
        udid: toy().udid().cloned(),
        network: true,
    });
    let third = front.add(wireless).await.unwrap();
    assert!(third.0 > 0x1000_0000);
    let devices = daemon.list().await.unwrap();
    assert_eq!(devices.len(), 2);
    assert!(matches!(devices[1].connection, ConnectionKind::Network(_)));
    assert_eq!(
        daemon.find(&devices[0].udid).await.unwrap().unwrap().id,
        second,
        "the cable comes first"
    );
    daemon.connect(third, ECHO).await.unwrap();
}

#[tokio::test]
async fn a_service_that_does_not_read_holds_the_client_back() {
    let (_folder, front, _handle, _daemon) = front();
    let id = front.add(toy()).await.unwrap();
    let mut deaf = front.connect(id, DEAF).await.unwrap();
    let mut taken = 0;
    let block = vec![0; 64 << 10];
    while let Ok(written) = timeout(Duration::from_millis(200), deaf.write(&block)).await {
        taken += written.unwrap();
        assert!(taken < 4 << 20, "nothing holds back");
    }
    // Send buffer, the phone's window, and what the service's own pipe takes.
    assert!((256 << 10..1 << 20).contains(&taken), "{taken}");
    // Others go on meanwhile.
    let mut echo = front.connect(id, ECHO).await.unwrap();
    echo.write_all(b"x").await.unwrap();
    assert_eq!(echo.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_phone_back_and_loses_nothing() {
    let (_folder, front, _handle, _daemon) = front();
    let id = front.add(toy()).await.unwrap();
    let mut source = front.connect(id, SOURCE).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut echo = front.connect(id, ECHO).await.unwrap();
    echo.write_all(b"x").await.unwrap();
    assert_eq!(echo.read_u8().await.unwrap(), b'x');
    let mut got = Vec::new();
    source.read_to_end(&mut got).await.unwrap();
    assert_eq!(got.len(), AMOUNT);
    assert!(got.iter().enumerate().all(|(n, byte)| *byte == byte_at(n)));
}

#[tokio::test]
async fn what_was_written_before_a_close_arrives() {
    let (_folder, front, _handle, _daemon) = front();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    #[derive(Debug)]
    struct Slow(Udid, tokio::sync::mpsc::UnboundedSender<Vec<u8>>);
    impl Connect for Slow {
        fn connect(&self, _port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
            let (ours, mut theirs) = duplex(512);
            let sender = self.1.clone();
            tokio::spawn(async move {
                let mut got = Vec::new();
                tokio::time::sleep(Duration::from_millis(100)).await;
                theirs.read_to_end(&mut got).await.unwrap();
                sender.send(got).unwrap();
            });
            Box::pin(async move { Ok(Box::new(ours) as BoxStream) })
        }

        fn udid(&self) -> Option<&Udid> {
            Some(&self.0)
        }
    }
    let phone: Arc<dyn Connect> = Arc::new(Slow("00008030-001A2B3C4D5E6F70".parse().unwrap(), sender));
    let id = front.add(phone).await.unwrap();
    let data: Vec<u8> = (0..400_000).map(byte_at).collect();
    for shut_down in [true, false] {
        let mut stream = front.connect(id, 1).await.unwrap();
        stream.write_all(&data).await.unwrap();
        if shut_down {
            stream.shutdown().await.unwrap();
        }
        drop(stream);
        let got = timeout(Duration::from_secs(10), receiver.recv())
            .await
            .unwrap()
            .unwrap();
        assert!(got == data, "{shut_down}: {} of {}", got.len(), data.len());
    }
}

#[tokio::test]
async fn a_phone_of_an_unknown_version_is_an_error_and_one_without_name_too() {
    let (_folder, front, _handle, daemon) = front();
    let odd = Plug::new(toy()).mux(DeviceMuxOptions::default().with_version(9), MuxOptions::default());
    assert!(matches!(front.add(odd).await, Err(FrontError::Mux(_))));
    let nameless: Arc<dyn Connect> = Arc::new(Toy {
        udid: None,
        network: false,
    });
    assert!(matches!(front.add(nameless).await, Err(FrontError::NoUdid)));
    assert_eq!(daemon.list().await.unwrap(), []);
    assert!(!front.remove(DeviceId(1)));
}

#[tokio::test]
async fn hundreds_of_short_connections_leave_nothing_behind() {
    let (_folder, front, _handle, _daemon) = front();
    let id = front.add(toy()).await.unwrap();
    for round in 0..10 {
        let all: Vec<_> = (0..60_u8)
            .map(|n| {
                let front = front.clone();
                tokio::spawn(async move {
                    let mut echo = front.connect(id, ECHO).await.unwrap();
                    echo.write_all(&[n; 3000]).await.unwrap();
                    let mut back = [0; 3000];
                    echo.read_exact(&mut back).await.unwrap();
                    assert_eq!(back, [n; 3000]);
                })
            })
            .collect();
        for one in all {
            one.await.unwrap_or_else(|e| panic!("round {round}: {e}"));
        }
    }
}

/// Not a test of right or wrong: run it in an optimised build with `--ignored --nocapture` to see figures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures throughput; only an optimised build says anything"]
async fn throughput_is_several_hundred_megabytes_a_second() {
    /// Sends zeros for ever and takes whatever comes.
    #[derive(Debug)]
    struct Hose(Udid);
    impl Connect for Hose {
        fn connect(&self, _port: u16) -> BoxFuture<'_, Result<BoxStream, ConnectError>> {
            let (ours, theirs) = duplex(256 << 10);
            let (mut read, mut write) = tokio::io::split(theirs);
            tokio::spawn(async move {
                let block = vec![0; 256 << 10];
                while write.write_all(&block).await.is_ok() {}
            });
            tokio::spawn(async move {
                let mut block = vec![0; 256 << 10];
                while read.read(&mut block).await.is_ok_and(|read| read > 0) {}
            });
            Box::pin(async move { Ok(Box::new(ours) as BoxStream) })
        }

        fn udid(&self) -> Option<&Udid> {
            Some(&self.0)
        }
    }
    let (_folder, front, _handle, daemon) = front();
    let hose: Arc<dyn Connect> = Arc::new(Hose(toy().udid().unwrap().clone()));
    let id = front.add(hose).await.unwrap();
    let amount = 1_usize << 30;
    for name in ["multiplexer alone", "multiplexer and daemon over TCP"] {
        let open = async || match name {
            "multiplexer alone" => front.connect(id, 1).await.unwrap(),
            _ => daemon.connect(id, 1).await.unwrap(),
        };
        let mut block = vec![0; 256 << 10];
        let mut stream = open().await;
        let started = std::time::Instant::now();
        let mut moved = 0;
        while moved < amount {
            moved += stream.read(&mut block).await.unwrap();
        }
        let from_phone = moved as f64 / 1e6 / started.elapsed().as_secs_f64();
        drop(stream);
        let mut stream = open().await;
        let (started, mut moved) = (std::time::Instant::now(), 0);
        while moved < amount / 4 {
            // Its own bytes are not read meanwhile: the two directions do not depend on each other.
            moved += stream.write(&block).await.unwrap();
        }
        let to_phone = moved as f64 / 1e6 / started.elapsed().as_secs_f64();
        println!("{name}: {from_phone:.0} MB/s from the phone, {to_phone:.0} MB/s to it");
        assert!(from_phone > 200.0 && to_phone > 200.0);
    }
}
