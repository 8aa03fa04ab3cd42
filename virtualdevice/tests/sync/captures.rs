//! What libimobiledevice 1.3.0 sent is answered with what it accepted.

use cabled_devicelink::msg::Message as LinkMessage;
use cabled_golden::{LIBIMOBILEDEVICE, Line, Side, lines};
use cabled_syncproto::DataClass;
use cabled_syncproto::msg::{Message, limits};
use cabled_virtualdevice::Phone;
use cabled_virtualdevice::sync::SyncFault;
use cabled_wire::frame::{FrameError, read_frame, write_frame};
use cabled_wire::io::BoxStream;
use tokio::io::AsyncWriteExt;

use super::{connect, phone};

const READY: &str = "SDMessageDeviceReadyToReceiveChanges";

/// Sends the computer's lines of a capture and compares the names of the answers, one by one.
async fn replay(phone: &Phone, run: &str) {
    let mut stream = connect(phone);
    let file = format!("{LIBIMOBILEDEVICE}/mobilesync-{run}.jsonl");
    let mut lines = lines(&file);
    lines.retain(|line| line.layer == "com.apple.mobilesync");
    assert!(lines.len() > 1, "{file}");
    for line in &lines {
        match line.from {
            Side::Host => stream.write_all(&line.bytes).await.unwrap(),
            Side::Device => hear(&mut stream, line).await,
        }
    }
    let end = read_frame(&mut stream, 1 << 20).await;
    assert!(
        matches!(end, Err(FrameError::Closed)),
        "{run}: the phone ends after the goodbye"
    );
}

/// A phone has more batches than the stand-in of the recording had: what is left is acknowledged on the way.
async fn hear(stream: &mut BoxStream, line: &Line) {
    loop {
        let ours = name(&read_frame(stream, 64 << 20).await.unwrap());
        let theirs = name(&line.body());
        if theirs == READY && ours == "SDMessageProcessChanges" {
            let class = DataClass::Contacts;
            write_frame(stream, &Message::Acknowledge { class }.encode())
                .await
                .unwrap();
            continue;
        }
        return assert_eq!(ours, theirs, "{}", line.place());
    }
}

fn name(body: &[u8]) -> String {
    match Message::decode(body, &limits()) {
        Ok(message) => message.name().to_owned(),
        Err(_) => LinkMessage::decode(body, &limits()).unwrap().name().to_owned(),
    }
}

#[tokio::test]
async fn recorded_computers_get_the_answers_they_got() {
    for run in ["two-way", "export", "replace", "refused-cancel"] {
        replay(&phone(), run).await;
    }
}

#[tokio::test]
async fn a_pull_after_a_clear_finds_nothing_and_one_of_an_empty_phone_neither() {
    let empty = Phone::builder().empty().build().unwrap();
    replay(&empty, "placeholders").await;
}

#[tokio::test]
async fn a_commit_that_fails_is_told_as_the_recording_has_it() {
    let phone = phone();
    phone.sync().push_fault(SyncFault::Cancel {
        request: "SDMessageFinishSessionOnDevice".into(),
        reason: "Couldn't commit changes on device".into(),
    });
    replay(&phone, "finish-refused").await;
    assert_eq!(phone.sync().pending_faults(), []);
}

#[tokio::test]
async fn a_link_that_is_too_new_for_a_computer_ends_politely() {
    let phone = phone();
    let mut options = phone.sync().options();
    options.link_version = (400, 100);
    phone.sync().set_options(options);
    replay(&phone, "version-too-new").await;
}
