//! `Debug` of messages without what must not reach a log: passwords, and the opaque addresses inside `options`.

use std::fmt;

use cabled_wire::plist::{Dictionary, Value};

use crate::msg::Message;

const SECRET: [&str; 4] = ["Password", "OldPassword", "NewPassword", "DLDeviceIOCallbacks"];

struct Redacted<'a>(&'a Value);
struct RedactedDict<'a>(&'a Dictionary);

impl fmt::Debug for Redacted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Dictionary(dict) => RedactedDict(dict).fmt(f),
            Value::Array(array) => f.debug_list().entries(array.iter().map(Redacted)).finish(),
            Value::Data(data) => write!(f, "<{} bytes>", data.len()),
            other => other.fmt(f),
        }
    }
}

impl fmt::Debug for RedactedDict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (key, value) in self.0 {
            if SECRET.contains(&key.as_str()) {
                map.entry(key, &format_args!("<redacted>"));
            } else {
                map.entry(key, &Redacted(value));
            }
        }
        map.finish()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::VersionExchange { major, minor } => write!(f, "VersionExchange({major}, {minor})"),
            Self::VersionsOk { major } => write!(f, "VersionsOk({major})"),
            Self::DeviceReady => f.write_str("DeviceReady"),
            Self::ProcessMessage(dict) => f.debug_tuple("ProcessMessage").field(&RedactedDict(dict)).finish(),
            Self::Ping(text) => f.debug_tuple("Ping").field(text).finish(),
            Self::DownloadFiles { paths, progress, .. } => f
                .debug_struct("DownloadFiles")
                .field("paths", paths)
                .field("progress", progress)
                .finish_non_exhaustive(),
            Self::UploadFiles { progress, total, .. } => f
                .debug_struct("UploadFiles")
                .field("progress", progress)
                .field("total", total)
                .finish_non_exhaustive(),
            Self::GetFreeDiskSpace => f.write_str("GetFreeDiskSpace"),
            Self::PurgeDiskSpace { amount, urgency } => f
                .debug_struct("PurgeDiskSpace")
                .field("amount", amount)
                .field("urgency", urgency)
                .finish(),
            Self::ContentsOfDirectory { path, .. } => f.debug_tuple("ContentsOfDirectory").field(path).finish(),
            Self::CreateDirectory { path, progress, .. } => f
                .debug_struct("CreateDirectory")
                .field("path", path)
                .field("progress", progress)
                .finish_non_exhaustive(),
            Self::MoveItems {
                items,
                progress,
                naming,
                ..
            } => f
                .debug_struct("MoveItems")
                .field("items", items)
                .field("progress", progress)
                .field("naming", naming)
                .finish_non_exhaustive(),
            Self::RemoveItems {
                paths,
                progress,
                naming,
                ..
            } => f
                .debug_struct("RemoveItems")
                .field("paths", paths)
                .field("progress", progress)
                .field("naming", naming)
                .finish_non_exhaustive(),
            Self::CopyItem { from, to, progress } => f
                .debug_struct("CopyItem")
                .field("from", from)
                .field("to", to)
                .field("progress", progress)
                .finish(),
            Self::StatusResponse(status) => f.debug_tuple("StatusResponse").field(status).finish(),
            Self::Disconnect { reason } => f.debug_struct("Disconnect").field("reason", reason).finish(),
            Self::Unknown { name, elements } => f
                .debug_struct("Unknown")
                .field("name", name)
                .field("elements", &Redacted(&Value::Array(elements.clone())))
                .finish(),
        }
    }
}
