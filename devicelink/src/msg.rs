//! Everything either side says on a DeviceLink connection, one enum, encoded and decoded in one place.
//!
//! A message is a property list whose top level is an array and whose element 0 is a string that starts with `DL`.
//! Elements are read by index: more of them than we know are ignored, missing ones at the end are `None`.
//! Spec: mobilebackup2, sections 1.2-1.4 and 2-5.

use cabled_wire::WireError;
use cabled_wire::plist::{self, Dictionary, Limits, Value};

pub use crate::status::{Detail, Status};

/// The literal that stands where a string argument is "nothing" (spec 1.3).
pub const PLACEHOLDER: &str = "___EmptyParameterString___";

/// What errors call element 0.
pub(crate) const NAME: &str = "DeviceLink message name";

/// The largest frame body we take unless told otherwise: `List` answers carry one line per file (spec 1.2).
pub const MAX_FRAME: usize = 256 << 20;

/// What DeviceLink frames may look like at most: 256 MiB, depth 64, four million expanded nodes (spec 1.2).
#[must_use]
pub fn limits() -> Limits {
    Limits::default()
        .with_bytes(MAX_FRAME)
        .with_depth(64)
        .with_nodes(4_000_000)
}

/// How a frame's property list is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// `bplist00`, as devices and most hosts write.
    #[default]
    Binary,
    /// XML, which real devices also take; pymobiledevice3 sends nothing else.
    Xml,
}

/// Which of the two names a move or remove goes by: they differ in nothing else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Naming {
    /// `DLMessageMoveItems`, `DLMessageRemoveItems`: iOS 6 and later.
    #[default]
    Items,
    /// `DLMessageMoveFiles`, `DLMessageRemoveFiles`: before iOS 6.
    Files,
}

/// Everything a DeviceLink peer can say. "Download" and "upload" are the *device's* words: a download goes from host
/// to device.
///
/// `options` is the device's own dictionary (often empty, sometimes with the opaque `DLDeviceIOCallbacks`); it means
/// nothing to a host and is never sent back. `progress` is a target in percent, reached *after* the step.
///
/// `Debug` leaves out passwords and the opaque options.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub enum Message {
    /// `["DLMessageVersionExchange", major, minor]`: the device speaks first.
    VersionExchange {
        /// 100 up to iOS 5, 300 to iOS 13, 400 since iOS 14.
        major: u64,
        /// 0 in every log seen.
        minor: u64,
    },
    /// `["DLMessageVersionExchange", "DLVersionsOk", major]`: the host's answer.
    VersionsOk {
        /// The version the host wants to speak.
        major: u64,
    },
    /// `["DLMessageDeviceReady"]`.
    DeviceReady,
    /// `["DLMessageProcessMessage", {…}]`: requests of the host, the final `Response` of the device.
    ProcessMessage(Dictionary),
    /// `["DLMessagePing", text]`; nobody is known to answer it.
    Ping(String),
    /// The device wants these files, in this order; the raw transfer and then a status follow.
    DownloadFiles {
        /// Paths relative to the backup root. Empty lists are legal.
        paths: Vec<String>,
        /// The device's own dictionary.
        options: Dictionary,
        /// Percent.
        progress: Option<f64>,
    },
    /// The device is about to send files in a raw transfer; then it wants a status.
    UploadFiles {
        /// The device's own dictionary.
        options: Dictionary,
        /// Percent.
        progress: Option<f64>,
        /// Bytes of the batch: a hint, real batches overshoot it, 0 for small metadata.
        total: Option<u64>,
    },
    /// How many bytes could the host store?
    GetFreeDiskSpace,
    /// Please make room.
    PurgeDiskSpace {
        /// Bytes the device would like to see freed.
        amount: u64,
        /// 4 in every log seen.
        urgency: i64,
    },
    /// List one directory, one level deep.
    ContentsOfDirectory {
        /// Relative to the backup root.
        path: String,
        /// The device's own dictionary.
        options: Dictionary,
    },
    /// Create a directory and its parents.
    CreateDirectory {
        /// Relative to the backup root.
        path: String,
        /// The device's own dictionary.
        options: Dictionary,
        /// Percent.
        progress: Option<f64>,
    },
    /// Rename every pair; an existing destination is replaced.
    MoveItems {
        /// From, to. Their order carries no meaning.
        items: Vec<(String, String)>,
        /// The device's own dictionary.
        options: Dictionary,
        /// Percent.
        progress: Option<f64>,
        /// Old or new message name.
        naming: Naming,
    },
    /// Remove files and whole directories; what is missing counts as removed.
    RemoveItems {
        /// Relative to the backup root.
        paths: Vec<String>,
        /// The device's own dictionary.
        options: Dictionary,
        /// Percent.
        progress: Option<f64>,
        /// Old or new message name.
        naming: Naming,
    },
    /// Copy a file or a whole tree.
    CopyItem {
        /// Relative to the backup root.
        from: String,
        /// Relative to the backup root.
        to: String,
        /// Percent.
        progress: Option<f64>,
    },
    /// The host's answer to each of the device's requests.
    StatusResponse(Status),
    /// The connection ends; no answer follows.
    Disconnect {
        /// `None` for the placeholder, which every client sends after a normal end.
        reason: Option<String>,
    },
    /// A `DL…` message this version does not know, kept whole. A host answers it with status -1.
    Unknown {
        /// Element 0.
        name: String,
        /// The elements after the name.
        elements: Vec<Value>,
    },
}

impl Message {
    /// A body for [`cabled_wire::frame`], in binary.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encode_as(Encoding::Binary)
    }

    /// A body for [`cabled_wire::frame`].
    #[must_use]
    pub fn encode_as(&self, encoding: Encoding) -> Vec<u8> {
        let value = Value::Array(self.elements());
        match encoding {
            Encoding::Binary => plist::to_binary(&value),
            Encoding::Xml => plist::to_xml(&value),
        }
    }

    /// Reads a frame body, binary or XML.
    ///
    /// # Errors
    /// Whatever `plist::read` refuses under `limits`; [`WireError::Type`] or [`WireError::Missing`] when the array is
    /// not a DeviceLink message or lacks an element that the message cannot do without.
    pub fn decode(body: &[u8], limits: &Limits) -> Result<Self, WireError> {
        match plist::read(body, limits)? {
            Value::Array(elements) => Self::from_elements(elements),
            _ => Err(wrong_type("DeviceLink message", "an array")),
        }
    }

    /// Element 0.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::VersionExchange { .. } | Self::VersionsOk { .. } => "DLMessageVersionExchange",
            Self::DeviceReady => "DLMessageDeviceReady",
            Self::ProcessMessage(_) => "DLMessageProcessMessage",
            Self::Ping(_) => "DLMessagePing",
            Self::DownloadFiles { .. } => "DLMessageDownloadFiles",
            Self::UploadFiles { .. } => "DLMessageUploadFiles",
            Self::GetFreeDiskSpace => "DLMessageGetFreeDiskSpace",
            Self::PurgeDiskSpace { .. } => "DLMessagePurgeDiskSpace",
            Self::ContentsOfDirectory { .. } => "DLContentsOfDirectory",
            Self::CreateDirectory { .. } => "DLMessageCreateDirectory",
            Self::MoveItems {
                naming: Naming::Items, ..
            } => "DLMessageMoveItems",
            Self::MoveItems {
                naming: Naming::Files, ..
            } => "DLMessageMoveFiles",
            Self::RemoveItems {
                naming: Naming::Items, ..
            } => "DLMessageRemoveItems",
            Self::RemoveItems {
                naming: Naming::Files, ..
            } => "DLMessageRemoveFiles",
            Self::CopyItem { .. } => "DLMessageCopyItem",
            Self::StatusResponse(_) => "DLMessageStatusResponse",
            Self::Disconnect { .. } => "DLMessageDisconnect",
            Self::Unknown { name, .. } => name,
        }
    }

    /// The progress value in percent, where the message carries one.
    #[must_use]
    pub fn progress(&self) -> Option<f64> {
        match self {
            Self::DownloadFiles { progress, .. }
            | Self::UploadFiles { progress, .. }
            | Self::CreateDirectory { progress, .. }
            | Self::MoveItems { progress, .. }
            | Self::RemoveItems { progress, .. }
            | Self::CopyItem { progress, .. } => *progress,
            _ => None,
        }
    }

    /// The message as the array that goes on the wire, in the layouts of spec section 4.
    fn elements(&self) -> Vec<Value> {
        let mut out = vec![text(self.name())];
        match self {
            Self::VersionExchange { major, minor } => out.extend([(*major).into(), (*minor).into()]),
            Self::VersionsOk { major } => out.extend([text("DLVersionsOk"), (*major).into()]),
            Self::DeviceReady | Self::GetFreeDiskSpace => {}
            Self::ProcessMessage(dict) => out.push(Value::Dictionary(dict.clone())),
            Self::Ping(reason) => out.push(text(reason)),
            Self::DownloadFiles {
                paths,
                options,
                progress,
            } => {
                out.extend([
                    texts(paths),
                    dictionary(options),
                    percent(*progress),
                    Value::from(0_u64),
                ]);
            }
            Self::UploadFiles {
                options,
                progress,
                total,
            } => {
                out.extend([dictionary(options), percent(*progress), Value::from(total.unwrap_or(0))]);
            }
            Self::PurgeDiskSpace { amount, urgency } => out.extend([(*amount).into(), (*urgency).into()]),
            Self::ContentsOfDirectory { path, options } => out.extend([text(path), dictionary(options)]),
            Self::CreateDirectory {
                path,
                options,
                progress,
            } => {
                out.extend([text(path), dictionary(options), percent(*progress)]);
            }
            Self::MoveItems {
                items,
                options,
                progress,
                ..
            } => {
                let pairs = items
                    .iter()
                    .map(|(from, to)| (from.clone(), text(to)))
                    .collect::<Dictionary>();
                out.extend([Value::Dictionary(pairs), dictionary(options), percent(*progress)]);
            }
            Self::RemoveItems {
                paths,
                options,
                progress,
                ..
            } => {
                out.extend([texts(paths), dictionary(options), percent(*progress)]);
            }
            Self::CopyItem { from, to, progress } => out.extend([text(from), text(to), percent(*progress)]),
            Self::StatusResponse(status) => {
                out.extend([status.code.into(), text(&status.text)]);
                out.extend(status.detail.to_value());
            }
            Self::Disconnect { reason } => out.push(text(reason.as_deref().unwrap_or(PLACEHOLDER))),
            Self::Unknown { elements, .. } => out.extend(elements.iter().cloned()),
        }
        out
    }

    fn from_elements(elements: Vec<Value>) -> Result<Self, WireError> {
        let mut elements = elements.into_iter();
        let name = match elements.next() {
            Some(Value::String(name)) if name.starts_with("DL") => name,
            Some(Value::String(name)) => {
                return Err(WireError::Unexpected {
                    what: "DeviceLink message",
                    name: WireError::excerpt(&name),
                });
            }
            Some(_) => return Err(wrong_type(NAME, "a string")),
            None => return Err(missing(NAME)),
        };
        Elements(elements.collect()).into_message(name)
    }
}

/// The elements after the name; index 1 of the spec's tables is the first.
struct Elements(Vec<Value>);

impl Elements {
    fn into_message(mut self, name: String) -> Result<Message, WireError> {
        Ok(match name.as_str() {
            "DLMessageVersionExchange" => match self.get(1) {
                Some(Value::String(word)) if word == "DLVersionsOk" => Message::VersionsOk {
                    major: self.unsigned(2, "version")?,
                },
                _ => Message::VersionExchange {
                    major: self.unsigned(1, "major version")?,
                    minor: self.opt_unsigned(2).unwrap_or(0),
                },
            },
            "DLMessageDeviceReady" => Message::DeviceReady,
            "DLMessageProcessMessage" => match self.take(1) {
                Some(Value::Dictionary(dict)) => Message::ProcessMessage(dict),
                Some(_) => return Err(wrong_type("DLMessageProcessMessage", "a dictionary")),
                None => return Err(missing("DLMessageProcessMessage")),
            },
            "DLMessagePing" => Message::Ping(self.opt_string(1).unwrap_or_default()),
            "DLMessageDownloadFiles" => Message::DownloadFiles {
                paths: self.strings(1, "DLMessageDownloadFiles")?,
                options: self.options(2),
                progress: self.real(3),
            },
            "DLMessageUploadFiles" => Message::UploadFiles {
                options: self.options(1),
                progress: self.real(2),
                total: self.opt_unsigned(3),
            },
            "DLMessageGetFreeDiskSpace" => Message::GetFreeDiskSpace,
            "DLMessagePurgeDiskSpace" => Message::PurgeDiskSpace {
                amount: self.opt_unsigned(1).unwrap_or(0),
                urgency: self.get(2).and_then(integer).unwrap_or(0),
            },
            "DLContentsOfDirectory" => Message::ContentsOfDirectory {
                path: self.string(1, "DLContentsOfDirectory")?,
                options: self.options(2),
            },
            "DLMessageCreateDirectory" => Message::CreateDirectory {
                path: self.string(1, "DLMessageCreateDirectory")?,
                options: self.options(2),
                progress: self.real(3),
            },
            "DLMessageMoveItems" => self.moves(Naming::Items)?,
            "DLMessageMoveFiles" => self.moves(Naming::Files)?,
            "DLMessageRemoveItems" => self.removes(Naming::Items)?,
            "DLMessageRemoveFiles" => self.removes(Naming::Files)?,
            "DLMessageCopyItem" => Message::CopyItem {
                from: self.string(1, "DLMessageCopyItem")?,
                to: self.string(2, "DLMessageCopyItem")?,
                // Nobody has captured this message: whichever of the two places holds a number is the progress.
                progress: self.real(3).or_else(|| self.real(4)),
            },
            "DLMessageStatusResponse" => Message::StatusResponse(Status {
                code: self
                    .get(1)
                    .ok_or_else(|| missing("status code"))
                    .and_then(|value| integer(value).ok_or_else(|| wrong_type("status code", "an integer")))?,
                text: self.opt_string(2).unwrap_or_default(),
                detail: self.take(3).into(),
            }),
            "DLMessageDisconnect" => Message::Disconnect {
                reason: self.opt_string(1).filter(|reason| reason != PLACEHOLDER),
            },
            _ => Message::Unknown { name, elements: self.0 },
        })
    }

    fn moves(mut self, naming: Naming) -> Result<Message, WireError> {
        let pairs = match self.take(1) {
            Some(Value::Dictionary(pairs)) => pairs,
            Some(_) => return Err(wrong_type("DLMessageMoveItems", "a dictionary")),
            None => return Err(missing("DLMessageMoveItems")),
        };
        let mut items = Vec::with_capacity(pairs.len());
        for (from, to) in pairs {
            match to {
                Value::String(to) => items.push((from, to)),
                _ => return Err(wrong_type("DLMessageMoveItems destination", "a string")),
            }
        }
        Ok(Message::MoveItems {
            items,
            options: self.options(2),
            progress: self.real(3),
            naming,
        })
    }

    fn removes(mut self, naming: Naming) -> Result<Message, WireError> {
        let paths = self.strings(1, "DLMessageRemoveItems")?;
        Ok(Message::RemoveItems {
            paths,
            options: self.options(2),
            progress: self.real(3),
            naming,
        })
    }

    fn get(&self, index: usize) -> Option<&Value> {
        self.0.get(index.checked_sub(1)?)
    }

    fn take(&mut self, index: usize) -> Option<Value> {
        self.0
            .get_mut(index.checked_sub(1)?)
            .map(|value| std::mem::replace(value, Value::Boolean(false)))
    }

    fn string(&mut self, index: usize, what: &'static str) -> Result<String, WireError> {
        match self.take(index) {
            Some(Value::String(string)) => Ok(string),
            Some(_) => Err(wrong_type(what, "a string")),
            None => Err(missing(what)),
        }
    }

    fn opt_string(&mut self, index: usize) -> Option<String> {
        match self.take(index) {
            Some(Value::String(string)) => Some(string),
            _ => None,
        }
    }

    /// An array of strings; elements of another type are skipped (spec 7.1).
    fn strings(&mut self, index: usize, what: &'static str) -> Result<Vec<String>, WireError> {
        match self.take(index) {
            Some(Value::Array(array)) => Ok(array.into_iter().filter_map(Value::into_string).collect()),
            Some(_) => Err(wrong_type(what, "an array")),
            None => Err(missing(what)),
        }
    }

    fn options(&mut self, index: usize) -> Dictionary {
        match self.take(index) {
            Some(Value::Dictionary(options)) => options,
            _ => Dictionary::new(),
        }
    }

    fn real(&self, index: usize) -> Option<f64> {
        self.get(index).and_then(real)
    }

    fn unsigned(&self, index: usize, what: &'static str) -> Result<u64, WireError> {
        self.get(index).ok_or_else(|| missing(what)).and_then(|value| {
            value
                .as_unsigned_integer()
                .ok_or_else(|| wrong_type(what, "an integer"))
        })
    }

    fn opt_unsigned(&self, index: usize) -> Option<u64> {
        self.get(index).and_then(Value::as_unsigned_integer)
    }
}

/// A signed integer however it was written: as eight signed bytes, as sixteen unsigned ones, as a large XML decimal.
/// The low 64 bits are the value (spec 1.4).
pub(crate) fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(integer) => integer
            .as_signed()
            .or_else(|| integer.as_unsigned().map(u64::cast_signed)),
        _ => None,
    }
}

/// A number: real of four or eight bytes, or an integer where a peer forgot the point. Never NaN or infinite.
#[expect(clippy::cast_precision_loss, reason = "a percentage or a protocol version")]
pub(crate) fn real(value: &Value) -> Option<f64> {
    match value {
        Value::Real(real) => real.is_finite().then_some(*real),
        Value::Integer(_) => integer(value).map(|integer| integer as f64),
        _ => None,
    }
}

pub(crate) fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

fn texts(texts: &[String]) -> Value {
    Value::Array(texts.iter().map(|one| text(one)).collect())
}

fn dictionary(dictionary: &Dictionary) -> Value {
    Value::Dictionary(dictionary.clone())
}

fn percent(progress: Option<f64>) -> Value {
    Value::Real(progress.unwrap_or(0.0))
}

fn wrong_type(what: &str, expected: &'static str) -> WireError {
    WireError::Type {
        key: what.to_owned(),
        expected,
    }
}

fn missing(what: &str) -> WireError {
    WireError::Missing { key: what.to_owned() }
}
