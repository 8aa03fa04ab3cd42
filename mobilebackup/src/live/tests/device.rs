//! A device that says what a test wants it to say.

use bytes::{Bytes, BytesMut};
use cabled_devicelink::msg::{Message, Status, limits};
use cabled_devicelink::transfer::{self, Direction, Event, Receiver};
use cabled_wire::plist::{DictExt, Dictionary};
use cabled_wire::{dict, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub(in crate::live) struct Device {
    stream: DuplexStream,
    inbox: BytesMut,
}

/// One file of an upload.
pub(in crate::live) struct File<'a> {
    pub(in crate::live) path: &'a str,
    pub(in crate::live) blocks: Vec<&'a [u8]>,
    /// A failure's code and text in place of the good end.
    pub(in crate::live) failure: Option<(u8, &'a str)>,
}

pub(in crate::live) fn file<'a>(path: &'a str, data: &'a [u8]) -> File<'a> {
    let blocks = if data.is_empty() { vec![] } else { vec![data] };
    File {
        path,
        blocks,
        failure: None,
    }
}

pub(in crate::live) fn pair() -> (Device, DuplexStream) {
    let (device, host) = tokio::io::duplex(64 << 10);
    (
        Device {
            stream: device,
            inbox: BytesMut::new(),
        },
        host,
    )
}

/// A file that was downloaded: contents, or how it ended.
pub(in crate::live) type Downloaded = (String, Result<Vec<u8>, (u8, String)>);

impl Device {
    /// Up to the host's request, which is returned.
    pub(in crate::live) async fn handshake(&mut self) -> Dictionary {
        self.shake_hands().await;
        let Message::ProcessMessage(request) = self.receive().await else {
            panic!("a request")
        };
        request
    }

    pub(in crate::live) async fn shake_hands(&mut self) {
        self.send(&Message::VersionExchange { major: 400, minor: 0 }).await;
        assert_eq!(self.receive().await, Message::VersionsOk { major: 400 });
        self.send(&Message::DeviceReady).await;
        let Message::ProcessMessage(hello) = self.receive().await else {
            panic!("Hello")
        };
        assert_eq!(hello.text("MessageName"), Ok("Hello"));
        let response = dict! { "MessageName" => "Response", "ErrorCode" => 0, "ProtocolVersion" => 2.1 };
        self.send(&Message::ProcessMessage(response)).await;
    }

    pub(in crate::live) async fn send(&mut self, message: &Message) {
        self.raw(&frame::encode(&message.encode()).unwrap()).await;
    }

    pub(in crate::live) async fn raw(&mut self, bytes: &[u8]) {
        self.try_raw(bytes).await.unwrap();
    }

    pub(in crate::live) async fn try_raw(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await
    }

    pub(in crate::live) async fn receive(&mut self) -> Message {
        self.try_receive().await.expect("the host closed")
    }

    pub(in crate::live) async fn try_receive(&mut self) -> Option<Message> {
        while self.inbox.len() < 4 {
            self.more().await?;
        }
        let len = usize::try_from(u32::from_be_bytes(self.inbox[..4].try_into().unwrap())).unwrap();
        while self.inbox.len() < len + 4 {
            self.more().await?;
        }
        let body = self.inbox.split_to(len + 4);
        Some(Message::decode(&body[4..], &limits()).unwrap())
    }

    async fn more(&mut self) -> Option<()> {
        (self.stream.read_buf(&mut self.inbox).await.unwrap_or(0) > 0).then_some(())
    }

    pub(in crate::live) async fn status(&mut self) -> Status {
        match self.receive().await {
            Message::StatusResponse(status) => status,
            other => panic!("{other:?} in place of a status"),
        }
    }

    pub(in crate::live) async fn ask(&mut self, message: Message) -> Status {
        self.send(&message).await;
        self.status().await
    }

    pub(in crate::live) async fn begin_upload(&mut self, total: u64) {
        let options = dict! { "DLDeviceIOCallbacks" => 4_955_806_704_u64 };
        self.send(&Message::UploadFiles {
            options,
            progress: Some(13.06),
            total: Some(total),
        })
        .await;
    }

    pub(in crate::live) async fn upload(&mut self, files: &[File<'_>]) -> Status {
        self.begin_upload(0).await;
        let mut out = BytesMut::new();
        for file in files {
            encode(&mut out, file);
            if out.len() > 32 << 10 {
                self.raw(&out.split()).await;
            }
        }
        out.extend_from_slice(&transfer::END_OF_BATCH);
        self.raw(&out).await;
        self.status().await
    }

    pub(in crate::live) async fn download(&mut self, paths: &[&str]) -> (Vec<Downloaded>, Status) {
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        self.send(&Message::DownloadFiles {
            paths,
            options: Dictionary::new(),
            progress: Some(1.0),
        })
        .await;
        self.resume_download().await
    }

    /// The answer to a download that was asked for already.
    pub(in crate::live) async fn resume_download(&mut self) -> (Vec<Downloaded>, Status) {
        let mut receiver = Receiver::new(Direction::Download);
        let mut files: Vec<Downloaded> = Vec::new();
        while !receiver.is_finished() {
            if self.inbox.is_empty() {
                self.more().await.expect("the host closed inside a transfer");
            }
            let mut chunk: Bytes = self.inbox.split().freeze();
            while let Some(event) = receiver.feed(&mut chunk).unwrap() {
                match event {
                    Event::Name { path, .. } => files.push((path, Ok(Vec::new()))),
                    Event::Data(data) => files.last_mut().unwrap().1.as_mut().unwrap().extend_from_slice(&data),
                    Event::EndFailed { code, text } => files.last_mut().unwrap().1 = Err((code, text)),
                    Event::EndOk => {}
                    Event::EndOfBatch => break,
                    other => panic!("{other:?}"),
                }
            }
            self.inbox = BytesMut::from(&chunk[..]);
        }
        let status = self.status().await;
        (files, status)
    }

    pub(in crate::live) async fn respond(&mut self, code: i64, text: Option<&str>) {
        let mut response = dict! { "MessageName" => "Response", "ErrorCode" => code };
        if let Some(text) = text {
            response.insert("ErrorDescription".to_owned(), text.into());
        }
        self.send(&Message::ProcessMessage(response)).await;
    }

    /// The end: nothing but a goodbye comes.
    pub(in crate::live) async fn goodbye(&mut self) {
        assert_eq!(self.receive().await, Message::Disconnect { reason: None });
        assert_eq!(self.try_receive().await, None);
    }
}

pub(in crate::live) fn encode(out: &mut BytesMut, file: &File<'_>) {
    transfer::put_name(out, &format!("/.ba/{}", file.path)).unwrap();
    match transfer::put_name(out, file.path) {
        Ok(()) => {}
        Err(error) => panic!("{error}: {}", file.path),
    }
    for block in &file.blocks {
        match transfer::data_header(block.len()) {
            Some(header) => out.extend_from_slice(&header),
            None => out.extend_from_slice(&[0, 0, 0, 1, transfer::CODE_DATA]), // a block of no data
        }
        out.extend_from_slice(block);
    }
    match file.failure {
        None => out.extend_from_slice(&transfer::END_OK),
        Some((code, text)) => transfer::put_failure(out, code, text),
    }
}
