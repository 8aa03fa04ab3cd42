//! A host with its files in memory, as strict as the two clients of spec mobilebackup2 19.5 together: what breaks either
//! of them is a failed test here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Buf, Bytes, BytesMut};
use cabled_devicelink::msg::{Detail, Encoding, Message, Naming, Status, limits};
use cabled_devicelink::status::{self, FileFailure, FileType, ListedEntry};
use cabled_devicelink::transfer::{self, Direction, Event, Receiver};
use cabled_wire::dict;
use cabled_wire::frame;
use cabled_wire::io::BoxStream;
use cabled_wire::plist::{Dictionary, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::Phone;
use crate::backup::{self, ServeError};

/// What a request came to.
#[derive(Debug)]
pub(super) struct Ended {
    /// `ErrorCode`, or `None` when the phone ended the connection without a result.
    pub(super) code: Option<i64>,
    pub(super) text: String,
    pub(super) content: Option<String>,
    pub(super) served: Result<(), ServeError>,
}

impl Ended {
    #[track_caller]
    pub(super) fn ok(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }
}

/// The host. Paths are relative to the backup root.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) files: BTreeMap<String, Arc<Vec<u8>>>,
    pub(super) directories: BTreeSet<String>,
    pub(super) free: Vec<u64>,
    pub(super) purge: Status,
    pub(super) encoding: Encoding,
    /// Upload total in bytes, host paths of uploads, messages by name.
    pub(super) uploaded: Vec<String>,
    pub(super) messages: Vec<String>,
    pub(super) progress: Vec<f64>,
    /// Answers every request of this name with a failure.
    pub(super) fails: Option<(&'static str, Status)>,
    /// Like our own host: hostile paths are refused, not a failed test.
    pub(super) hardened: bool,
    /// Drops the connection when this message has been seen so often.
    pub(super) cut_at: Option<(&'static str, usize)>,
    /// Names of uploads whose file ended in a failure block.
    pub(super) failed_uploads: Vec<String>,
}

struct Wire {
    stream: BoxStream,
    buffer: BytesMut,
}

impl Wire {
    async fn fill(&mut self, wanted: usize) -> bool {
        while self.buffer.len() < wanted {
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) | Err(_) => return false,
                Ok(_) => {}
            }
        }
        true
    }

    async fn receive(&mut self) -> Option<Message> {
        self.fill(4).await.then_some(())?;
        let length = self.buffer.get_u32() as usize;
        self.fill(length).await.then_some(())?;
        let body = self.buffer.split_to(length);
        Some(Message::decode(&body, &limits()).unwrap())
    }

    async fn send(&mut self, message: &Message, encoding: Encoding) {
        let _ = self
            .stream
            .write_all(&frame::encode(&message.encode_as(encoding)).unwrap())
            .await;
    }
}

impl Host {
    pub(super) fn new() -> Self {
        Self {
            files: BTreeMap::new(),
            directories: BTreeSet::new(),
            free: vec![1 << 50],
            purge: Status {
                code: -1,
                text: "no".into(),
                detail: Detail::Integer(0),
            },
            encoding: Encoding::Binary,
            uploaded: Vec::new(),
            messages: Vec::new(),
            progress: Vec::new(),
            fails: None,
            hardened: false,
            cut_at: None,
            failed_uploads: Vec::new(),
        }
    }

    pub(super) async fn backup(&mut self, phone: &Phone) -> Ended {
        self.request(phone, dict! { "MessageName" => "Backup" }).await
    }

    pub(super) async fn restore(&mut self, phone: &Phone, source: &str, options: Dictionary) -> Ended {
        let request = dict! { "MessageName" => "Restore", "SourceIdentifier" => source, "Options" => options };
        self.request(phone, request).await
    }

    pub(super) async fn password(&mut self, phone: &Phone, old: Option<&str>, new: Option<&str>) -> Ended {
        let mut request = dict! { "MessageName" => "ChangePassword" };
        request.extend(old.map(|old| ("OldPassword".to_owned(), Value::from(old))));
        request.extend(new.map(|new| ("NewPassword".to_owned(), Value::from(new))));
        self.request(phone, request).await
    }

    /// One connection with one request; the target is the phone.
    pub(super) async fn request(&mut self, phone: &Phone, request: Dictionary) -> Ended {
        self.request_with(phone, request, None).await
    }

    pub(super) async fn request_with(&mut self, phone: &Phone, mut request: Dictionary, bag: Option<Bytes>) -> Ended {
        request.insert("TargetIdentifier".into(), phone.udid().to_string().into());
        self.uploaded.clear();
        self.messages.clear();
        self.progress.clear();
        self.failed_uploads.clear();
        let (near, far) = tokio::io::duplex(256 << 10);
        let server = tokio::spawn(backup::serve(phone.clone(), Box::new(far), bag));
        let mut wire = Wire {
            stream: Box::new(near),
            buffer: BytesMut::new(),
        };
        let result = self.talk(&mut wire, request).await;
        drop(wire);
        let served = server.await.unwrap();
        let (code, text, content) = match result {
            Some(response) => {
                let text = |key: &str| response.get(key).and_then(Value::as_string).map(str::to_owned);
                let code = response["ErrorCode"].as_signed_integer();
                (code, text("ErrorDescription").unwrap_or_default(), text("Content"))
            }
            None => (None, String::new(), None),
        };
        Ended {
            code,
            text,
            content,
            served,
        }
    }

    async fn talk(&mut self, wire: &mut Wire, request: Dictionary) -> Option<Dictionary> {
        let Message::VersionExchange { major, .. } = wire.receive().await? else {
            panic!("no version")
        };
        wire.send(&Message::VersionsOk { major }, self.encoding).await;
        assert_eq!(wire.receive().await?, Message::DeviceReady);
        let versions = Value::Array(vec![Value::Real(2.0), Value::Real(f64::from(2.1_f32))]);
        let hello = dict! { "MessageName" => "Hello", "SupportedProtocolVersions" => versions };
        wire.send(&Message::ProcessMessage(hello), self.encoding).await;
        let Message::ProcessMessage(reply) = wire.receive().await? else {
            panic!("no Hello")
        };
        assert_eq!(reply["ProtocolVersion"].as_real(), Some(2.1));
        wire.send(&Message::ProcessMessage(request), self.encoding).await;
        loop {
            let message = wire.receive().await?;
            let name = message.name().to_owned();
            self.messages.push(name.clone());
            self.progress.extend(message.progress());
            if let Some((cut, times)) = self.cut_at
                && self.messages.iter().filter(|seen| *seen == cut).count() >= times
            {
                return None;
            }
            let mut answer = match message {
                Message::ProcessMessage(result) => {
                    wire.send(&Message::Disconnect { reason: None }, self.encoding).await;
                    return Some(result);
                }
                Message::Disconnect { .. } => return None,
                Message::DownloadFiles { paths, .. } => self.send_files(wire, &paths).await,
                Message::UploadFiles { .. } => self.receive_files(wire).await?,
                other => self.answer(other),
            };
            if let Some((fails, status)) = &self.fails
                && *fails == name
            {
                answer = status.clone();
            }
            wire.send(&Message::StatusResponse(answer), self.encoding).await;
        }
    }

    fn answer(&mut self, message: Message) -> Status {
        match message {
            Message::GetFreeDiskSpace => {
                let free = if self.free.len() > 1 {
                    self.free.remove(0)
                } else {
                    self.free[0]
                };
                Status::ok_with(Detail::Integer(free))
            }
            Message::PurgeDiskSpace { .. } => self.purge.clone(),
            Message::CreateDirectory { path, .. } => self.create(&path),
            Message::ContentsOfDirectory { path, .. } => self.list(&path),
            Message::MoveItems { items, naming, .. } => {
                assert!(
                    naming == Naming::Items || self.hardened,
                    "pymobiledevice3 knows no MoveFiles"
                );
                assert!(items.len() <= 128);
                items.iter().fold(Status::ok(), |status, (from, to)| {
                    if status.is_ok() {
                        self.move_item(from, to)
                    } else {
                        status
                    }
                })
            }
            Message::RemoveItems { paths, .. } => {
                let mut status = Status::ok();
                for path in paths {
                    match self.clean(&path) {
                        Ok(path) => self.remove(&path),
                        Err(refused) => status = refused,
                    }
                }
                status
            }
            Message::CopyItem { from, to, .. } => self.copy(&from, &to),
            _ if self.hardened => Status::failed(-1, "Operation not supported"),
            other => panic!("clients do not know {}", other.name()),
        }
    }

    /// Applies the rules of spec 8; a host that is not hardened takes a hostile path for a bug of the phone.
    fn clean(&self, path: &str) -> Result<String, Status> {
        let parts: Vec<&str> = path
            .split('/')
            .filter(|part| !part.is_empty() && *part != ".")
            .collect();
        let bad = parts.len() < 2 && !self.directories.contains(&parts.concat())
            || parts.contains(&"..")
            || path.contains('\0')
            || path.len() > 4096
            || path.starts_with('/');
        let own = parts
            .first()
            .is_some_and(|first| first.len() >= 25 || *first == "_unback_");
        if self.hardened && (bad || !own) {
            return Err(Status::failed(-1, "path refused"));
        }
        assert!(
            own && !parts.contains(&"..") && !path.starts_with('/'),
            "hostile path {path:?}"
        );
        Ok(parts.join("/"))
    }

    fn create(&mut self, path: &str) -> Status {
        // The device's own directory is the one path of a single component.
        let mut path = match self.clean(path) {
            Err(refused) if path.contains('/') || path.len() < 25 || path.len() > 40 => return refused,
            Err(_) => path.to_owned(),
            Ok(path) => path,
        };
        loop {
            self.directories.insert(path.clone());
            match path.rsplit_once('/') {
                Some((parent, _)) => path = parent.to_owned(),
                None => return Status::ok(),
            }
        }
    }

    fn list(&mut self, path: &str) -> Status {
        let path = match self.clean(path) {
            Ok(path) => path,
            Err(refused) => return refused,
        };
        if !self.directories.contains(&path) {
            assert!(
                self.hardened,
                "pymobiledevice3 dies on listing {path}, which does not exist"
            );
            return Status::ok();
        }
        let inside = |name: &String| {
            name.strip_prefix(&format!("{path}/"))
                .filter(|rest| !rest.contains('/'))
                .map(str::to_owned)
        };
        let entry = |file_type, size| ListedEntry {
            file_type,
            size,
            modified: SystemTime::UNIX_EPOCH,
        };
        let files = self.files.iter();
        let files = files.filter_map(|(name, data)| Some((inside(name)?, entry(FileType::Regular, data.len() as u64))));
        let directories = self.directories.iter();
        let directories = directories.filter_map(|name| Some((inside(name)?, entry(FileType::Directory, 0))));
        Status::ok_with(status::listing(files.chain(directories)))
    }

    fn parent_exists(&self, path: &str) -> bool {
        path.rsplit_once('/')
            .is_some_and(|(parent, _)| self.directories.contains(parent))
    }

    fn move_item(&mut self, from: &str, to: &str) -> Status {
        let (from, to) = match (self.clean(from), self.clean(to)) {
            (Ok(from), Ok(to)) => (from, to),
            _ => return Status::failed(-1, "path refused"),
        };
        assert!(self.parent_exists(&to), "libimobiledevice makes no parents: {to}");
        match self.files.remove(&from) {
            Some(data) => {
                self.files.insert(to, data);
                Status::ok()
            }
            None => {
                assert!(self.hardened, "{from} does not exist");
                Status::failed(-6, "No such file or directory")
            }
        }
    }

    fn remove(&mut self, path: &str) {
        let below = |name: &String| name == path || name.starts_with(&format!("{path}/"));
        self.files.retain(|name, _| !below(name));
        self.directories.retain(|name| !below(name));
    }

    fn copy(&mut self, from: &str, to: &str) -> Status {
        let Ok(from) = self.clean(from) else {
            return Status::failed(-1, "path refused");
        };
        if to.contains("..") || to.starts_with('/') || to.len() < 25 || to.len() > 4000 || to.contains('\0') {
            return Status::failed(-1, "path refused");
        }
        let moved = |name: &String| {
            name.strip_prefix(&format!("{from}/"))
                .map(|rest| format!("{to}/{rest}"))
        };
        let files: Vec<_> = self
            .files
            .iter()
            .filter_map(|(name, data)| Some((moved(name)?, Arc::clone(data))))
            .collect();
        let directories: Vec<_> = self.directories.iter().filter_map(moved).collect();
        self.files.extend(files);
        self.directories.extend(directories);
        self.directories.insert(to.to_owned());
        Status::ok()
    }

    async fn send_files(&mut self, wire: &mut Wire, paths: &[String]) -> Status {
        let mut failures = Vec::new();
        for path in paths {
            let mut out = BytesMut::new();
            let data = self.clean(path).ok().and_then(|path| self.files.get(&path).cloned());
            if transfer::put_name(&mut out, path).is_err() {
                // A name that cannot be sent can only be listed as failed.
                failures.push(FileFailure {
                    path: path.clone(),
                    code: -6,
                    text: "No such file or directory".into(),
                });
                continue;
            }
            match data {
                Some(data) => {
                    transfer::put_data(&mut out, &data);
                    out.extend_from_slice(&transfer::END_OK);
                }
                None => {
                    let text = "No such file or directory";
                    transfer::put_failure(&mut out, transfer::CODE_NO_ENTRY, text);
                    failures.push(FileFailure {
                        path: path.clone(),
                        code: -6,
                        text: text.into(),
                    });
                }
            }
            let _ = wire.stream.write_all(&out).await;
        }
        let _ = wire.stream.write_all(&transfer::END_OF_BATCH).await;
        Status::of_files(failures)
    }

    async fn receive_files(&mut self, wire: &mut Wire) -> Option<Status> {
        let mut receiver = Receiver::new(Direction::Upload);
        let mut status = Status::ok();
        let mut open: Option<(String, Vec<u8>)> = None;
        loop {
            wire.fill(1).await.then_some(())?;
            let mut chunk = wire.buffer.split().freeze();
            while let Some(event) = receiver.feed(&mut chunk).unwrap() {
                match event {
                    Event::Name { device, path } => {
                        assert!(device.unwrap().starts_with('/'));
                        open = match self.clean(&path) {
                            Ok(path) => {
                                assert!(self.parent_exists(&path), "nobody makes parents for uploads: {path}");
                                self.uploaded.push(path.clone());
                                Some((path, Vec::new()))
                            }
                            Err(refused) => {
                                status = refused;
                                None
                            }
                        };
                    }
                    Event::Data(data) => {
                        if let Some((_, bytes)) = &mut open {
                            bytes.extend_from_slice(&data);
                        }
                    }
                    Event::EndOk => {
                        if let Some((path, bytes)) = open.take() {
                            self.files.insert(path, Arc::new(bytes));
                        }
                    }
                    Event::EndFailed { .. } => self.failed_uploads.extend(open.take().map(|(path, _)| path)),
                    Event::EndOfBatch => {
                        wire.buffer = BytesMut::from(chunk.as_ref());
                        return Some(status);
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    /// The bytes of a file in a device's directory.
    pub(super) fn file(&self, directory: &str, name: &str) -> &[u8] {
        self.files
            .get(&format!("{directory}/{name}"))
            .unwrap_or_else(|| panic!("no {name}"))
    }

    /// How many messages of this name came.
    pub(super) fn count(&self, name: &str) -> usize {
        self.messages.iter().filter(|seen| *seen == name).count()
    }

    /// Payloads uploaded in the last run.
    pub(super) fn payloads_uploaded(&self) -> usize {
        self.uploaded
            .iter()
            .filter(|path| path.contains("/Snapshot/") && !path.contains("/Manifest."))
            .count()
    }
}
