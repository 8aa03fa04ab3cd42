//! What goes wrong, seen from a host that looks closely.

use std::time::Duration;

use cabled_virtualdevice::Direction;
use cabled_virtualdevice::usb::{
    BulkIn, BulkOutcome, ControlOutcome, Departure, Setup, UsbFault, UsbOptions, UsbPhone,
};
use tokio::time::{Instant, timeout};

use super::{LIMIT, built, configured, usb};

const OUT: u8 = 0x04;
const IN: u8 = 0x85;

async fn ready() -> UsbPhone {
    configured(UsbOptions::default()).await
}

async fn says(usb: &mut UsbPhone, frame: &str) -> BulkOutcome {
    timeout(LIMIT, usb.bulk_out(OUT, built(frame))).await.unwrap()
}

async fn hears(usb: &mut UsbPhone) -> BulkIn {
    timeout(LIMIT, usb.bulk_in(IN, 16_384)).await.unwrap()
}

fn version() -> BulkIn {
    BulkIn::Data(built("version-reply-2").into())
}

#[tokio::test]
async fn a_stall_towards_the_host_loses_nothing_once_it_is_cleared() {
    let mut usb = ready().await;
    usb.faults().push(UsbFault::stall(Direction::ToHost, 19));
    assert_eq!(says(&mut usb, "version-request").await, BulkOutcome::Taken(20));
    assert_eq!(hears(&mut usb).await, BulkIn::Stall);
    assert_eq!(usb.faults().pending(), []);
    assert_eq!(hears(&mut usb).await, BulkIn::Stall, "until it is cleared");
    assert_eq!(usb.control(Setup::clear_halt(IN), &[]).await, ControlOutcome::Done);
    assert_eq!(hears(&mut usb).await, version());
}

#[tokio::test]
async fn a_stall_towards_the_phone_takes_nothing_of_that_transfer() {
    let mut usb = ready().await;
    usb.faults().push(UsbFault::stall(Direction::FromHost, 25));
    assert_eq!(
        says(&mut usb, "version-request").await,
        BulkOutcome::Taken(20),
        "bytes 0 to 19"
    );
    assert_eq!(hears(&mut usb).await, version());
    assert_eq!(says(&mut usb, "setup").await, BulkOutcome::Stall);
    assert_eq!(usb.control(Setup::clear_halt(OUT), &[]).await, ControlOutcome::Done);
    assert_eq!(says(&mut usb, "setup").await, BulkOutcome::Taken(17));
    assert_eq!(says(&mut usb, "syn").await, BulkOutcome::Taken(36));
    assert!(matches!(hears(&mut usb).await, BulkIn::Data(frame) if frame.len() == 36));
}

#[tokio::test]
async fn a_short_write_takes_whole_packets_only() {
    let mut usb = ready().await;
    usb.faults().push(UsbFault::ShortWrite { after: 1300 });
    assert_eq!(usb.bulk_out(OUT, vec![0; 2000]).await, BulkOutcome::Taken(1024));
    assert_eq!(usb.stats().messages_from_host, 0, "the message has no end");
}

#[tokio::test]
async fn a_cable_pulled_in_a_transfer_ends_everything() {
    for direction in [Direction::FromHost, Direction::ToHost] {
        let mut usb = ready().await;
        usb.faults().push(UsbFault::unplug(direction, 10));
        let outcome = says(&mut usb, "version-request").await;
        match direction {
            Direction::FromHost => assert_eq!(outcome, BulkOutcome::Gone),
            Direction::ToHost => assert_eq!(hears(&mut usb).await, BulkIn::Gone),
        }
        assert_eq!(usb.departure(), Some(Departure::Unplugged));
        assert_eq!(usb.control(Setup::get_mode(), &[]).await, ControlOutcome::Gone);
        usb.replug();
        assert_eq!((usb.departure(), usb.configuration()), (None, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn silence_lasts_as_long_as_it_was_told_to() {
    let mut usb = ready().await;
    let lasting = Some(Duration::from_secs(7));
    usb.faults().push(UsbFault::Silence {
        direction: Direction::FromHost,
        after: 0,
        lasting,
    });
    let started = Instant::now();
    assert_eq!(says(&mut usb, "version-request").await, BulkOutcome::Taken(20));
    assert!(started.elapsed() >= Duration::from_secs(7));
    assert_eq!(hears(&mut usb).await, version());
}

#[tokio::test]
async fn silence_without_an_end_lasts_until_it_is_healed() {
    let mut usb = ready().await;
    let faults = usb.faults();
    faults.push(UsbFault::silence(Direction::ToHost, 0));
    assert_eq!(says(&mut usb, "version-request").await, BulkOutcome::Taken(20));
    let healer = tokio::spawn(async move {
        while !faults.pending().is_empty() {
            tokio::task::yield_now().await;
        }
        faults.heal();
    });
    assert_eq!(hears(&mut usb).await, version());
    healer.await.unwrap();
}

#[tokio::test]
async fn a_cable_pulled_in_silence_is_noticed() {
    let mut usb = ready().await;
    let faults = usb.faults();
    faults.push(UsbFault::silence(Direction::FromHost, 0));
    let puller = tokio::spawn(async move {
        while !faults.pending().is_empty() {
            tokio::task::yield_now().await;
        }
        faults.unplug();
    });
    assert_eq!(says(&mut usb, "version-request").await, BulkOutcome::Gone);
    puller.await.unwrap();
}

#[tokio::test]
async fn a_swallowed_end_glues_two_frames() {
    let mut usb = ready().await;
    usb.faults().push(UsbFault::SwallowEnd { packets: 1 });
    let mut frame = built("zlp-boundary-512");
    assert_eq!(frame.len(), 512);
    assert_eq!(usb.bulk_out(OUT, frame.clone()).await, BulkOutcome::Taken(512));
    assert_eq!(usb.bulk_out(OUT, vec![]).await, BulkOutcome::Taken(0));
    frame.truncate(100);
    usb.bulk_out(OUT, frame).await;
    let stats = usb.stats();
    assert_eq!((stats.messages_from_host, stats.glued_frames), (1, 1));
}

#[tokio::test]
async fn so_many_control_requests_are_refused_and_no_more() {
    let mut usb = usb();
    usb.faults().push(UsbFault::RefuseControl {
        request: Some(9),
        times: 2,
    });
    assert!(matches!(
        usb.control(Setup::get_mode(), &[]).await,
        ControlOutcome::Data(_)
    ));
    for expected in [ControlOutcome::Stall, ControlOutcome::Stall, ControlOutcome::Done] {
        assert_eq!(usb.control(Setup::set_configuration(4), &[]).await, expected);
    }
    usb.faults().push(UsbFault::refuse_control(1));
    assert_eq!(usb.control(Setup::get_mode(), &[]).await, ControlOutcome::Stall);
    assert_eq!(usb.stats().refused_requests, 3);
}

#[tokio::test(start_paused = true)]
async fn somebody_else_takes_the_configuration_away_while_the_host_waits() {
    let mut usb = usb();
    usb.faults().push(UsbFault::Deconfigure {
        after: Duration::from_millis(300),
    });
    assert_eq!(
        usb.control(Setup::set_configuration(4), &[]).await,
        ControlOutcome::Done
    );
    assert_eq!(says(&mut usb, "version-request").await, BulkOutcome::Taken(20));
    assert_eq!(hears(&mut usb).await, version());
    assert_eq!(hears(&mut usb).await, BulkIn::NoEndpoint, "the wait ends");
    assert_eq!(usb.configuration(), 0);
    // Once only.
    assert_eq!(
        usb.control(Setup::set_configuration(4), &[]).await,
        ControlOutcome::Done
    );
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(says(&mut usb, "version-request").await, BulkOutcome::Taken(20));
}
