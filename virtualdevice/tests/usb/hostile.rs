//! Hosts that send what no kernel sends.

use cabled_virtualdevice::usbip::{Served, UsbipError};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::timeout;

use super::usbip::{plug, submit};
use super::{LIMIT, built, usb};

fn header(fields: [u32; 10]) -> Vec<u8> {
    let mut bytes: Vec<u8> = fields.iter().flat_map(|field| field.to_be_bytes()).collect();
    bytes.extend([0x80, 6, 0, 1, 0, 0, 18, 0]);
    bytes
}

/// A read of the device descriptor, with one field changed.
fn changed(field: usize, value: u32) -> Vec<u8> {
    let mut fields = [1, 7, 0x0001_0002, 1, 0, 0x200, 18, 0, 0, 0];
    fields[field] = value;
    header(fields)
}

async fn ends_with(bytes: Vec<u8>) -> Result<Served, UsbipError> {
    let (mut kernel, _, serving) = plug(usb());
    // It may be over before all of it is read.
    let _ = kernel.stream.write_all(&bytes).await;
    let mut rest = Vec::new();
    let _ = timeout(LIMIT, kernel.stream.read_to_end(&mut rest)).await.unwrap();
    serving.await.unwrap().1
}

#[tokio::test]
async fn every_field_that_cannot_be_is_a_typed_error() {
    for command in [0, 3, 4, 5, 0x0100_0000, u32::MAX] {
        let ended = ends_with(changed(0, command)).await;
        assert!(
            matches!(ended, Err(UsbipError::Command { command: told }) if told == command),
            "{ended:?}"
        );
    }
    for (field, values) in [
        (3, [2, 3, 0x0100_0000, u32::MAX]),
        (4, [16, 0x85, 0x0100_0000, u32::MAX]),
        (6, [1 << 31, (1 << 31) + 1, 0xc000_0000, u32::MAX]),
    ] {
        for value in values {
            let ended = ends_with(changed(field, value)).await;
            assert!(
                matches!(ended, Err(UsbipError::Wire(_))),
                "field {field}, {value:x}: {ended:?}"
            );
        }
    }
    for packets in [1, 1000, i32::MAX as u32] {
        let ended = ends_with(changed(8, packets)).await;
        assert!(
            matches!(ended, Err(UsbipError::Isochronous { endpoint: 0 })),
            "{ended:?}"
        );
    }
}

#[tokio::test]
async fn fields_that_do_not_matter_do_not() {
    for (field, value) in [
        (1, 0),
        (1, u32::MAX),
        (2, 0),
        (2, u32::MAX),
        (5, u32::MAX),
        (7, u32::MAX),
        (8, u32::MAX),
        (9, u32::MAX),
    ] {
        let (mut kernel, ..) = plug(usb());
        kernel.stream.write_all(&changed(field, value)).await.unwrap();
        let mut answer = [0; 48 + 18];
        timeout(LIMIT, kernel.stream.read_exact(&mut answer))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(answer[48..50], [18, 1], "field {field}");
    }
}

#[tokio::test]
async fn room_without_end_costs_nothing() {
    let (mut kernel, ..) = plug(usb());
    kernel.stream.write_all(&changed(6, i32::MAX as u32)).await.unwrap();
    let mut answer = [0; 48 + 18];
    timeout(LIMIT, kernel.stream.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer[48..50], [18, 1]);
}

#[tokio::test]
async fn a_transfer_too_long_is_read_over_and_refused() {
    let (mut kernel, ..) = plug(usb());
    kernel.enumerate(4).await;
    let refused = kernel.bulk_out(4, &vec![0; (1 << 20) + 1]).await;
    assert_eq!((refused.status, refused.actual), (-90, 0));
    assert_eq!(
        kernel.bulk_out(4, &built("version-request")).await.status,
        0,
        "the conversation goes on"
    );
}

#[tokio::test]
async fn more_requests_than_anybody_needs_end_it() {
    let mut bytes = Vec::new();
    for sequence in 1..=1025 {
        // An interrupt endpoint, which never says anything.
        bytes.extend(submit(sequence, 3, true, 64, [0; 8], 0));
    }
    let (mut kernel, _, serving) = plug(usb());
    kernel.enumerate(4).await;
    let _ = kernel.stream.write_all(&bytes).await;
    let (_, served) = timeout(LIMIT, serving).await.unwrap().unwrap();
    assert!(
        matches!(served, Err(UsbipError::TooManyRequests { requests: 1025, .. })),
        "{served:?}"
    );
}

#[tokio::test]
async fn a_host_that_leaves_in_the_middle_of_a_header_has_left() {
    for len in [0, 1, 47, 48, 60] {
        let (kernel, _, serving) = plug(usb());
        let mut stream = kernel.stream;
        let mut bytes = submit(1, 4, false, 20, [0; 8], 0);
        bytes.extend(built("version-request"));
        stream.write_all(&bytes[..len]).await.unwrap();
        drop(stream);
        assert_eq!(serving.await.unwrap().1.unwrap(), Served::HostLeft, "{len}");
    }
}

/// A conversation whose answers do not depend on time: everything waits for its own answer in the phone.
fn conversation() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut ask = |sequence, setup: [u8; 8]| {
        let length = usize::from(u16::from_le_bytes([setup[6], setup[7]]));
        bytes.extend(submit(sequence, 0, setup[0] & 0x80 != 0, length, setup, 0));
    };
    ask(1, [0x80, 6, 0, 1, 0, 0, 18, 0]);
    ask(2, [0x80, 6, 3, 2, 0, 0, 255, 0]);
    ask(3, [0x80, 6, 3, 3, 9, 4, 255, 0]);
    ask(4, [0, 9, 4, 0, 0, 0, 0, 0]);
    ask(5, [0xc0, 0x45, 0, 0, 0, 0, 4, 0]);
    bytes.extend(submit(6, 4, false, 2000, [0; 8], 0));
    bytes.extend([0; 2000]);
    bytes.extend(submit(7, 2, false, 3, [0; 8], 0));
    bytes.extend([1, 2, 3]);
    bytes.extend(submit(8, 4, false, (1 << 20) + 5, [0; 8], 0));
    bytes.extend(vec![9; (1 << 20) + 5]);
    bytes.extend(submit(9, 9, true, 64, [0; 8], 0));
    bytes
}

/// All answers to the conversation, sent in pieces of these sizes.
fn answers(pieces: &[usize]) -> Vec<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (theirs, ours) = duplex(4 << 20);
        let mut phone = usb();
        let serving = tokio::spawn(async move { cabled_virtualdevice::usbip::serve(ours, &mut phone).await });
        let (mut read, mut write) = tokio::io::split(theirs);
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            read.read_to_end(&mut all).await.unwrap();
            all
        });
        let bytes = conversation();
        let mut rest = &bytes[..];
        for size in pieces.iter().cycle() {
            let (piece, tail) = rest.split_at((*size).min(rest.len()));
            write.write_all(piece).await.unwrap();
            // The phone sees this piece before the next one.
            tokio::task::yield_now().await;
            rest = tail;
            if rest.is_empty() {
                break;
            }
        }
        write.shutdown().await.unwrap();
        assert_eq!(serving.await.unwrap().unwrap(), Served::HostLeft);
        reading.await.unwrap()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn splitting_the_stream_anywhere_changes_nothing(
        pieces in proptest::collection::vec(prop_oneof![1_usize..100, 1000_usize..200_000], 1..12),
    ) {
        prop_assert!(pieces.iter().sum::<usize>() > 0);
        prop_assert_eq!(answers(&pieces), answers(&[usize::MAX]));
    }

    #[test]
    fn any_bytes_end_the_conversation_or_wait_for_more(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (kernel, _, serving) = plug(usb());
            let mut stream = kernel.stream;
            let _ = stream.write_all(&bytes).await;
            drop(stream);
            let _ = timeout(LIMIT, serving).await.unwrap().unwrap();
        });
    }
}
