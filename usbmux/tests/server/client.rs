//! Our client, against our server and against daemons that do less.

use std::time::Duration;

use cabled_usbmux::msg::{Form, Reply, ResultCode};
use cabled_usbmux::server::{ServerOptions, bind_tcp};
use cabled_usbmux::{AttachedDevice, Daemon, DaemonError, Network, NetworkAddress};
use cabled_wire::ids::DeviceId;
use cabled_wire::io::{Connect, ConnectError};
use cabled_wire::plist::{Limits, read_dict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{bed, phone, udid};

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
