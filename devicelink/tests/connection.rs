//! The driver: sockets that stall, and callers that look up now and then.
#![expect(clippy::unwrap_used, reason = "test code")]

use std::time::Duration;

use cabled_devicelink::DeviceLinkError;
use cabled_devicelink::client::Connection;
use cabled_devicelink::machine::{Event, ExchangeOptions};
use cabled_devicelink::msg::{Message, Status};
use cabled_wire::{dict, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::{Instant, timeout};

async fn say(device: &mut DuplexStream, message: &Message) {
    device
        .write_all(&frame::encode(&message.encode()).unwrap())
        .await
        .unwrap();
}

async fn hear(device: &mut DuplexStream) {
    let length = device.read_u32().await.unwrap();
    let mut body = vec![0; usize::try_from(length).unwrap()];
    device.read_exact(&mut body).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_device_that_takes_no_answer_is_given_up_even_if_each_wait_is_short() {
    let (mut device, host) = tokio::io::duplex(4096);
    let device_side = async {
        say(&mut device, &Message::VersionExchange { major: 400, minor: 0 }).await;
        hear(&mut device).await;
        say(&mut device, &Message::DeviceReady).await;
        hear(&mut device).await;
        let hello = dict! { "MessageName" => "Response", "ErrorCode" => 0, "ProtocolVersion" => 2.1 };
        say(&mut device, &Message::ProcessMessage(hello)).await;
        hear(&mut device).await;
        say(&mut device, &Message::GetFreeDiskSpace).await;
    };
    let host_side = async {
        let mut connection = Connection::open(Box::new(host), ExchangeOptions::default())
            .await
            .unwrap();
        connection.request(dict! { "MessageName" => "Backup" }).unwrap();
        let event = connection.next().await.unwrap();
        assert!(matches!(event, Event::Asked(Message::GetFreeDiskSpace)), "{event:?}");
        connection
    };
    let ((), mut connection) = tokio::join!(device_side, host_side);
    connection.respond(Status::failed(-1, "x".repeat(10_000))).unwrap();
    let before = Instant::now();
    // As an exchange does it that asks its observer twice a second.
    let error = loop {
        match timeout(Duration::from_millis(500), connection.next()).await {
            Ok(Err(error)) => break error,
            Ok(Ok(event)) => panic!("{event:?}"),
            Err(_) => assert!(before.elapsed() < Duration::from_secs(700), "it waits for ever"),
        }
    };
    assert!(matches!(error, DeviceLinkError::TimedOut { .. }), "{error:?}");
    assert!(before.elapsed() >= Duration::from_secs(600));
    drop(device);
}
