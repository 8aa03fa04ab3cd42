//! One device of many attachments, and what is told of it.

use std::sync::Arc;

use cabled_usbmux::devices::{DeviceEvent, Devices, DevicesEvents, Origin, Way};
use cabled_usbmux::{Trouble, UnattachedDevice};
use cabled_wire::ids::DeviceId;

use crate::script::{OTHER, Script, UDID, cable, settle, udid, ways, wifi};

/// What a watcher is told until it is up to date, in short.
pub(crate) fn told(events: &mut DevicesEvents) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(event) = events.try_next() {
        told.push(match event {
            DeviceEvent::Attached(device) => format!("+ {}: {}", device.udid(), ways(&device).join(", ")),
            DeviceEvent::Changed(device) => format!("~ {}: {}", device.udid(), ways(&device).join(", ")),
            DeviceEvent::Detached(device) => format!("- {}", device.udid()),
            DeviceEvent::Trouble(trouble) => format!("! {trouble}"),
            DeviceEvent::Cleared(trouble) => format!("ok {trouble}"),
            other => panic!("{other:?}"),
        });
    }
    told
}

#[tokio::test(start_paused = true)]
async fn one_phone_on_cable_and_network_is_one_device_and_the_cable_comes_first() {
    let (usb, net) = (Script::new(), Script::new());
    // Spelled as the USB string descriptor has it.
    net.attach(wifi(7, "00008030001a2b3c4d5e6f70", "192.168.1.7"));
    usb.attach(cable(1, UDID));
    let devices = Devices::builder().source(net.clone()).source(usb.clone()).start();
    devices.settled().await;
    let [phone] = &devices.list()[..] else { panic!("one") };
    assert_eq!(ways(phone), ["cable (own source)", "network (own source)"]);
    assert_eq!(phone.preferred().way(), Way::Cable);
    assert_eq!(phone.preferred().origin, Origin::Own);
    assert_eq!(phone.preferred().device.id, DeviceId(1));
    assert_eq!(
        devices.find(&udid(&UDID.to_lowercase().replace('-', ""))),
        Some(phone.clone())
    );
    assert_eq!(devices.find(&udid(OTHER)), None);
}

#[tokio::test(start_paused = true)]
async fn a_pulled_cable_is_a_change_while_the_network_remains() {
    let (usb, net) = (Script::new(), Script::new());
    let devices = Devices::builder().source(usb.clone()).source(net.clone()).start();
    let mut events = devices.watch();
    usb.attach(cable(1, UDID));
    settle().await;
    assert_eq!(told(&mut events), [format!("+ {UDID}: cable (own source)")]);
    net.attach(wifi(1, UDID, "10.0.0.1"));
    settle().await;
    assert_eq!(
        told(&mut events),
        [format!("~ {UDID}: cable (own source), network (own source)")]
    );
    usb.detach(1);
    settle().await;
    assert_eq!(told(&mut events), [format!("~ {UDID}: network (own source)")]);
    net.attach(wifi(1, UDID, "10.0.0.2"));
    settle().await;
    assert_eq!(told(&mut events), [format!("~ {UDID}: network (own source)")]);
    net.detach(1);
    settle().await;
    assert_eq!(told(&mut events), [format!("- {UDID}")]);
    assert_eq!(devices.list(), []);
}

#[tokio::test(start_paused = true)]
async fn a_watcher_begins_with_what_is_there_and_a_slow_one_is_told_the_difference_only() {
    let usb = Script::new();
    usb.attach(cable(1, UDID));
    let devices = Devices::builder().source(usb.clone()).start();
    let mut early = devices.watch();
    assert!(matches!(early.next().await, DeviceEvent::Attached(device) if *device.udid() == udid(UDID)));
    for id in 2..500 {
        usb.attach(cable(id, OTHER));
        settle().await;
        usb.detach(id);
        settle().await;
    }
    usb.attach(cable(500, OTHER));
    settle().await;
    assert_eq!(told(&mut early), [format!("+ {OTHER}: cable (own source)")]);
    let mut late = devices.watch();
    assert_eq!(told(&mut late).len(), 2);
    assert!(told(&mut late).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_device_that_was_plugged_in_again_unseen_is_told_as_gone_and_come() {
    let usb = Script::new();
    usb.attach(cable(1, UDID));
    let devices = Devices::builder().source(usb.clone()).start();
    let mut events = devices.watch();
    assert_eq!(told(&mut events).len(), 1);
    // No time for the view in between.
    usb.detach(1);
    usb.attach(cable(2, UDID));
    settle().await;
    assert_eq!(
        told(&mut events),
        [format!("- {UDID}"), format!("+ {UDID}: cable (own source)")]
    );
}

#[tokio::test(start_paused = true)]
async fn one_flapping_device_holds_back_no_other() {
    let (usb, net) = (Script::new(), Script::new());
    usb.attach(cable(1, UDID));
    let devices = Devices::builder().source(usb.clone()).source(net.clone()).start();
    let mut events = devices.watch();
    net.attach(wifi(1, OTHER, "10.0.0.1"));
    settle().await;
    let mut others = 0;
    for id in 2..20 {
        usb.detach(id - 1);
        usb.attach(cable(id, UDID));
        settle().await;
        if matches!(events.next().await, DeviceEvent::Attached(device) if *device.udid() == udid(OTHER)) {
            others += 1;
        }
    }
    assert_eq!(others, 1);
}

fn busy(of: Option<&str>) -> Trouble {
    let device = UnattachedDevice::new("iPhone at bus 3, address 7");
    let device = match of {
        Some(udid) => device.with_udid(udid.parse().unwrap()),
        None => device,
    };
    Trouble::Busy { device, owner: None }
}

fn down(origin: &str) -> Trouble {
    Trouble::NoSource {
        origin: origin.to_owned(),
        reason: "closed".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_device_that_another_source_has_is_no_trouble_for_a_person() {
    let (usb, daemon) = (Script::new(), Script::new());
    let devices = Devices::builder().source(usb.clone()).source(daemon.clone()).start();
    let mut events = devices.watch();
    usb.trouble(busy(Some(UDID)));
    settle().await;
    // Nobody else has it.
    assert_eq!(devices.troubles(), [busy(Some(UDID))]);
    assert_eq!(told(&mut events), [format!("! {}", busy(Some(UDID)))]);
    daemon.attach(cable(3, UDID));
    settle().await;
    assert_eq!(devices.troubles(), []);
    assert_eq!(
        told(&mut events),
        [
            format!("ok {}", busy(Some(UDID))),
            format!("+ {UDID}: cable (own source)")
        ]
    );
    // Each source still says what it says.
    assert_eq!(devices.sources()[0].troubles, [busy(Some(UDID))]);
    assert_eq!(devices.sources()[1].devices, 1);
    // Another phone, or one that is not known: a person has to act.
    usb.trouble(busy(Some(OTHER)));
    usb.trouble(busy(None));
    settle().await;
    assert_eq!(devices.troubles(), [busy(Some(OTHER)), busy(None)]);
    usb.clear();
    settle().await;
    assert_eq!(devices.troubles(), []);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_down_is_no_trouble_while_another_one_serves() {
    let (usb, daemon) = (Script::new(), Script::new());
    let devices = Devices::builder().source(usb.clone()).source(daemon.clone()).start();
    daemon.trouble(down("the daemon"));
    settle().await;
    assert_eq!(devices.troubles(), []);
    usb.trouble(down("USB"));
    settle().await;
    assert_eq!(devices.troubles(), [down("USB"), down("the daemon")]);
    daemon.clear();
    settle().await;
    assert_eq!(devices.troubles(), []);
}

#[tokio::test(start_paused = true)]
async fn no_trouble_is_told_before_every_source_has_looked_once() {
    let (usb, (daemon, looked)) = (Script::new(), Script::unsettled());
    usb.trouble(busy(Some(UDID)));
    let devices = Devices::builder().source(usb.clone()).source(daemon.clone()).start();
    let mut events = devices.watch();
    settle().await;
    assert_eq!((told(&mut events), devices.troubles()), (Vec::new(), Vec::new()));
    let waiting = tokio::spawn({
        let devices = devices.clone();
        async move { devices.settled().await }
    });
    settle().await;
    assert!(!waiting.is_finished());
    daemon.attach(cable(1, UDID));
    looked.notify_one();
    waiting.await.unwrap();
    assert_eq!(told(&mut events), [format!("+ {UDID}: cable (own source)")]);
    assert_eq!(devices.troubles(), []);
}

#[tokio::test(start_paused = true)]
async fn a_source_with_too_many_devices_is_cut_and_that_is_said() {
    let usb = Script::new();
    for id in 1..=5 {
        usb.attach(cable(id, &format!("00008030-{id:016X}")));
    }
    let devices = Devices::builder().source(usb.clone()).device_limit(3).start();
    devices.settled().await;
    assert_eq!(devices.list().len(), 3);
    let [Trouble::TooManyDevices { limit: 3, .. }] = devices.troubles()[..] else {
        panic!("{:?}", devices.troubles())
    };
    usb.detach(1);
    usb.detach(2);
    settle().await;
    assert_eq!((devices.list().len(), devices.troubles()), (3, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn two_devices_that_both_have_no_name_are_two() {
    let usb = Script::new();
    usb.attach(cable(1, &"f".repeat(40)));
    usb.attach(cable(2, &"F".repeat(40)));
    let devices = Devices::builder().source(usb).start();
    let names: Vec<_> = devices.list().iter().map(|device| device.udid().to_string()).collect();
    assert_eq!(
        names,
        [
            format!("{}00000001", "f".repeat(32)),
            format!("{}00000002", "f".repeat(32))
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn the_view_follows_nobody_once_it_is_dropped() {
    let usb = Script::new();
    usb.attach(cable(1, UDID));
    let devices = Devices::builder().source(usb.clone()).start();
    let (phone, events) = (devices.list().remove(0), devices.watch());
    drop((devices, events));
    settle().await;
    usb.detach(1);
    settle().await;
    // A device keeps its view going.
    assert_eq!(phone.now(), None);
    drop(phone);
    settle().await;
    assert_eq!((Arc::strong_count(&usb), usb.events.receiver_count()), (1, 0));
}
