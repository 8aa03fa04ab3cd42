//! Streams: the best way there is when they are opened.

use cabled_usbmux::devices::{Devices, Way};
use cabled_wire::io::{Connect, ConnectError};

use crate::script::{Answer, OTHER, Script, UDID, cable, settle, udid, wifi};

fn gone<T>(result: &Result<T, ConnectError>) -> bool {
    matches!(result, Err(ConnectError::Gone))
}

#[tokio::test(start_paused = true)]
async fn a_connection_takes_the_best_way_there_is_at_that_moment() {
    let (usb, net) = (Script::new(), Script::new());
    net.attach(wifi(9, UDID, "10.0.0.1"));
    let devices = Devices::builder().source(usb.clone()).source(net.clone()).start();
    let phone = devices.find(&udid(UDID)).unwrap();
    assert!(phone.is_network());
    assert_eq!(phone.open(1).await.unwrap().1.way(), Way::Network);
    assert!(phone.is_network());

    usb.attach(cable(1, UDID));
    settle().await;
    // As the connection that there is goes by the network, that is still what holds for it.
    assert!(phone.is_network() && !devices.find(&udid(UDID)).unwrap().is_network());
    assert_eq!(phone.open(1).await.unwrap().1.way(), Way::Cable);
    assert!(!phone.is_network());
    assert_eq!(usb.tried(), [1]);

    // Pulled and plugged in again: another id, the same device.
    usb.detach(1);
    usb.attach(cable(2, UDID));
    settle().await;
    phone.connect(1).await.unwrap();
    assert_eq!((usb.tried(), net.tried()), (vec![2], vec![9]));
}

#[tokio::test(start_paused = true)]
async fn a_way_that_is_gone_makes_the_connection_take_the_next_one() {
    let (usb, net) = (Script::new(), Script::new());
    usb.attach(cable(1, UDID));
    net.attach(wifi(9, UDID, "10.0.0.1"));
    let devices = Devices::builder().source(usb.clone()).source(net.clone()).start();
    let phone = devices.find(&udid(UDID)).unwrap();
    usb.answer(1, Answer::Gone);
    assert_eq!(phone.open(5).await.unwrap().1.way(), Way::Network);
    assert!(phone.is_network());
    net.answer(9, Answer::Gone);
    assert!(gone(&phone.connect(5).await));
    assert_eq!((usb.tried(), net.tried()), (vec![1, 1], vec![9, 9]));

    // It may be there again under a new id before any event was read.
    usb.devices.lock().unwrap().clear();
    usb.devices.lock().unwrap().insert(cable(2, UDID).id, cable(2, UDID));
    assert_eq!(phone.open(5).await.unwrap().1.device.id, cable(2, UDID).id);
    assert_eq!(usb.tried(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn any_other_error_is_about_the_port_and_no_way_around_is_tried() {
    let (usb, net) = (Script::new(), Script::new());
    usb.attach(cable(1, UDID));
    net.attach(wifi(9, UDID, "10.0.0.1"));
    usb.answer(1, Answer::Refused);
    let devices = Devices::builder().source(usb.clone()).source(net.clone()).start();
    let phone = devices.find(&udid(UDID)).unwrap();
    assert!(matches!(phone.connect(5).await, Err(ConnectError::Refused { port: 5 })));
    assert_eq!(net.tried(), []);
}

#[tokio::test(start_paused = true)]
async fn a_device_held_to_one_way_never_takes_another() {
    let (usb, net) = (Script::new(), Script::new());
    usb.attach(cable(1, UDID));
    net.attach(wifi(9, UDID, "10.0.0.1"));
    let devices = Devices::builder().source(usb.clone()).source(net.clone()).start();
    let phone = devices.find(&udid(UDID)).unwrap();
    let (by_cable, by_network) = (phone.only(Way::Cable), phone.only(Way::Network));
    assert!(!by_cable.is_network() && by_network.is_network());
    by_network.connect(5).await.unwrap();
    assert_eq!((usb.tried(), net.tried()), (vec![], vec![9]));
    usb.detach(1);
    settle().await;
    assert!(gone(&by_cable.connect(5).await));
    assert_eq!(net.tried(), []);
    assert!(phone.connect(5).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_devices_are_all_gone_is_not_tried_for_ever() {
    let usb = Script::new();
    for id in 1..100 {
        usb.attach(cable(id, UDID));
        usb.answer(id, Answer::Gone);
    }
    usb.attach(cable(200, OTHER));
    let devices = Devices::builder().source(usb.clone()).start();
    let phone = devices.find(&udid(UDID)).unwrap();
    assert!(gone(&phone.connect(5).await));
    assert_eq!(usb.tried().len(), 8);
}
