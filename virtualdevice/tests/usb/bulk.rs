//! The multiplexer's endpoints: messages, halts, and what drops the link.

use cabled_virtualdevice::mux::DeviceMuxOptions;
use cabled_virtualdevice::usb::{BulkIn, BulkOutcome, ControlOutcome, Setup, Speed, UsbOptions, UsbPhone};
use tokio::time::timeout;

use super::{LIMIT, built, configured, from_phone, set_configuration, usb};

const OUT: u8 = 0x04;
const IN: u8 = 0x85;
const ROOM: usize = 16_384;

async fn says(usb: &mut UsbPhone, frame: &[u8]) {
    let outcome = timeout(LIMIT, usb.bulk_out(OUT, frame.to_vec())).await.unwrap();
    assert_eq!(outcome, BulkOutcome::Taken(frame.len()));
}

async fn hears(usb: &mut UsbPhone) -> Vec<u8> {
    match timeout(LIMIT, usb.bulk_in(IN, ROOM)).await.unwrap() {
        BulkIn::Data(data) => data.to_vec(),
        other => panic!("{other:?}"),
    }
}

/// Version exchange, setup and a connection, all in the bytes of the specification.
async fn connect(usb: &mut UsbPhone) {
    says(usb, &built("version-request")).await;
    assert_eq!(hears(usb).await, built("version-reply-2"));
    says(usb, &built("setup")).await;
    says(usb, &built("syn")).await;
    assert_eq!(hears(usb).await, from_phone("syn-ack"));
    says(usb, &built("ack")).await;
}

/// A frame with that many bytes in all, behind [`connect`].
fn data(len: usize, tx_seq: u16, seq: u32) -> Vec<u8> {
    let mut frame = built("ack");
    frame[4..8].copy_from_slice(&(len as u32).to_be_bytes());
    frame[12..14].copy_from_slice(&tx_seq.to_be_bytes());
    frame[20..24].copy_from_slice(&seq.to_be_bytes());
    frame.extend((36..len).map(super::byte_at));
    frame
}

#[tokio::test]
async fn a_host_in_bytes_gets_through_the_handshake_of_the_specification() {
    let mut usb = configured(UsbOptions::default()).await;
    connect(&mut usb).await;
    says(&mut usb, &built("data-4")).await;
    // The echo: first the acknowledgment or the bytes, whichever was sooner; the bytes in the end.
    let mut payload = Vec::new();
    while payload.is_empty() {
        let frame = hears(&mut usb).await;
        assert_eq!(
            usize::try_from(u32::from_be_bytes(frame[4..8].try_into().unwrap())).unwrap(),
            frame.len()
        );
        payload.extend_from_slice(&frame[36..]);
    }
    assert_eq!(payload, [0, 0, 1, 0x1c]);
    let stats = usb.mux_stats().unwrap();
    assert_eq!(
        (stats.handshakes, stats.dials, stats.sequence_gaps, stats.bad_frames),
        (1, 1, 0, 0)
    );
    assert_eq!(usb.stats().glued_frames, 0);
}

#[tokio::test]
async fn a_refused_port_says_so_with_reset_and_acknowledgment() {
    let mut usb = configured(UsbOptions::default()).await;
    says(&mut usb, &built("version-request")).await;
    hears(&mut usb).await;
    says(&mut usb, &built("setup")).await;
    let mut syn = built("syn");
    syn[18..20].copy_from_slice(&9999_u16.to_be_bytes());
    says(&mut usb, &syn).await;
    assert_eq!(hears(&mut usb).await[29], 0x14);
}

#[tokio::test]
async fn a_frame_of_whole_packets_waits_for_its_zero_length_packet() {
    let mut usb = configured(UsbOptions::default()).await;
    connect(&mut usb).await;
    says(&mut usb, &data(512, 3, 1)).await;
    assert_eq!(usb.stats().messages_from_host, 4, "version, setup, SYN, ACK");
    says(&mut usb, &[]).await;
    assert_eq!(usb.stats().messages_from_host, 5);
    // Without it the next frame is glued on: a real phone hangs, this one counts.
    says(&mut usb, &data(512, 4, 477)).await;
    says(&mut usb, &data(40, 5, 953)).await;
    assert_eq!(usb.stats().glued_frames, 1);
}

#[tokio::test]
async fn a_message_that_never_ends_is_complained_about_and_halts_the_endpoint() {
    let mut usb = configured(UsbOptions::default()).await;
    connect(&mut usb).await;
    let outcome = usb.bulk_out(OUT, data(65_536, 3, 1)).await;
    assert_eq!(outcome, BulkOutcome::Stall);
    let complaint = hears(&mut usb).await;
    assert_eq!((complaint[3], complaint[16]), (1, 3), "CONTROL, error");
    let text = String::from_utf8_lossy(&complaint[17..]).into_owned();
    assert!(text.contains("65536 bytes, max 65535"), "{text}");
    assert_eq!(usb.bulk_out(OUT, built("ack")).await, BulkOutcome::Stall);
    assert_eq!(usb.stats().overruns, 1);
    // The host clears the halt and starts anew.
    assert_eq!(usb.control(Setup::clear_halt(OUT), &[]).await, ControlOutcome::Done);
    connect(&mut usb).await;
}

#[tokio::test]
async fn setting_a_configuration_or_the_interface_drops_the_link() {
    let mut usb = usb();
    assert_eq!(
        usb.bulk_out(OUT, built("version-request")).await,
        BulkOutcome::NoEndpoint
    );
    assert_eq!(usb.bulk_in(IN, ROOM).await, BulkIn::NoEndpoint);
    set_configuration(&mut usb, 4).await;
    connect(&mut usb).await;
    // The interface beside it is none of its business.
    assert_eq!(usb.control(Setup::set_interface(2, 1), &[]).await, ControlOutcome::Done);
    assert_eq!(usb.mux_stats().unwrap().dials, 1);
    assert_eq!(usb.control(Setup::set_interface(1, 0), &[]).await, ControlOutcome::Done);
    assert_eq!(usb.mux_stats().unwrap().dials, 0);
    connect(&mut usb).await;
    set_configuration(&mut usb, 4).await;
    assert_eq!(usb.mux_stats().unwrap().dials, 0);
    set_configuration(&mut usb, 0).await;
    assert!(usb.mux_stats().is_none());
    assert_eq!(usb.bulk_in(IN, ROOM).await, BulkIn::NoEndpoint);
    assert_eq!(usb.stats().links, 3);
}

#[tokio::test]
async fn another_version_resets_the_multiplexer() {
    let mut usb = configured(UsbOptions::default()).await;
    connect(&mut usb).await;
    connect(&mut usb).await;
    assert_eq!(usb.mux_stats().unwrap().handshakes, 2);
    let mut old = configured(UsbOptions::default().with_mux(DeviceMuxOptions::default().with_version(1))).await;
    says(&mut old, &built("version-request")).await;
    assert_eq!(hears(&mut old).await, built("version-reply-1"));
}

#[tokio::test]
async fn what_does_not_work_refuses_and_interrupt_endpoints_say_nothing() {
    let mut usb = configured(UsbOptions::default()).await;
    assert_eq!(usb.bulk_out(0x02, vec![1]).await, BulkOutcome::Stall);
    for endpoint in [0x81, 0x83] {
        let nothing = tokio::select! {
            biased;
            outcome = usb.bulk_in(endpoint, 64) => Some(outcome),
            () = tokio::task::yield_now() => None,
        };
        assert_eq!(nothing, None);
    }
    assert_eq!(
        usb.bulk_in(0x86, 64).await,
        BulkIn::NoEndpoint,
        "only in alternate setting 1"
    );
}

#[tokio::test]
async fn packets_of_every_speed_end_messages() {
    for speed in [Speed::Full, Speed::High, Speed::Super] {
        let mut usb = configured(UsbOptions::default().with_speed(speed)).await;
        connect(&mut usb).await;
        let packet = usize::from(speed.bulk_packet());
        says(&mut usb, &data(packet * 3, 3, 1)).await;
        assert_eq!(usb.stats().messages_from_host, 4);
        says(&mut usb, &[]).await;
        assert_eq!(usb.stats().messages_from_host, 5);
    }
}
