//! The host's answer to a device's request, its codes, and the dictionaries inside it (spec 4.5 and 5).

use std::time::SystemTime;

use cabled_wire::plist::{Date, Dictionary, Value};

use crate::msg::{PLACEHOLDER, integer, text};

/// Success.
pub const OK: i64 = 0;
/// Anything without a code of its own; also "operation not supported".
pub const OTHER: i64 = -1;
/// No such file or directory.
pub const NO_ENTRY: i64 = -6;
/// The file exists.
pub const EXISTS: i64 = -7;
/// Not a directory.
pub const NOT_A_DIRECTORY: i64 = -8;
/// Is a directory.
pub const IS_A_DIRECTORY: i64 = -9;
/// Too many levels of symbolic links.
pub const LOOP: i64 = -10;
/// Input/output error.
pub const IO: i64 = -11;
/// Some items of a list failed; the detail says which.
pub const MULTI_STATUS: i64 = -13;
/// No space left on device.
pub const NO_SPACE: i64 = -15;

/// `["DLMessageStatusResponse", code, text, detail]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// 0 or a negative code; signed 64 bits whatever its encoding on the wire.
    pub code: i64,
    /// [`PLACEHOLDER`] on success, otherwise short English text that can end up in the device's final error.
    pub text: String,
    /// The fourth element.
    pub detail: Detail,
}

/// The fourth element of a status response.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Detail {
    /// `{}`.
    Empty,
    /// [`PLACEHOLDER`], which libimobiledevice sends after creating a directory.
    Placeholder,
    /// A bare integer: free bytes, purged bytes.
    Integer(u64),
    /// A listing or a multi-status dictionary. Never empty.
    Dict(Dictionary),
    /// There was no fourth element. Devices want four.
    Absent,
    /// Something else, kept whole.
    Other(Value),
}

/// One path that failed inside a multi-status answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFailure {
    /// The path exactly as the device spelled it.
    pub path: String,
    /// `DLFileErrorCode`, negative.
    pub code: i64,
    /// `DLFileErrorString`.
    pub text: String,
}

impl Status {
    /// Success with `{}`.
    #[must_use]
    pub fn ok() -> Self {
        Self::ok_with(Detail::Empty)
    }

    /// Success with a detail.
    #[must_use]
    pub fn ok_with(detail: Detail) -> Self {
        Self {
            code: OK,
            text: PLACEHOLDER.to_owned(),
            detail,
        }
    }

    /// Failure with `{}`.
    #[must_use]
    pub fn failed(code: i64, text: impl Into<String>) -> Self {
        Self {
            code,
            text: text.into(),
            detail: Detail::Empty,
        }
    }

    /// Success if nothing failed, else the multi-status form.
    #[must_use]
    pub fn of_files(failures: Vec<FileFailure>) -> Self {
        if failures.is_empty() {
            return Self::ok();
        }
        let detail = failures
            .into_iter()
            .map(|failure| {
                let mut entry = Dictionary::new();
                entry.insert("DLFileErrorString".to_owned(), Value::String(failure.text));
                entry.insert("DLFileErrorCode".to_owned(), failure.code.into());
                (failure.path, Value::Dictionary(entry))
            })
            .collect();
        Self {
            code: MULTI_STATUS,
            text: "Multi status".to_owned(),
            detail: Detail::Dict(detail),
        }
    }

    /// The failed paths of a multi-status answer; empty for any other.
    #[must_use]
    pub fn file_failures(&self) -> Vec<FileFailure> {
        let (MULTI_STATUS, Detail::Dict(files)) = (self.code, &self.detail) else {
            return Vec::new();
        };
        let failure = |(path, value): (&String, &Value)| {
            let entry = value.as_dictionary();
            FileFailure {
                path: path.clone(),
                code: entry
                    .and_then(|entry| entry.get("DLFileErrorCode"))
                    .and_then(integer)
                    .unwrap_or(OTHER),
                text: entry
                    .and_then(|entry| entry.get("DLFileErrorString"))
                    .and_then(Value::as_string)
                    .unwrap_or_default()
                    .to_owned(),
            }
        };
        files.iter().map(failure).collect()
    }

    /// Did the host do what it was asked?
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.code == OK
    }
}

impl Detail {
    pub(crate) fn to_value(&self) -> Option<Value> {
        match self {
            Self::Empty => Some(Value::Dictionary(Dictionary::new())),
            Self::Placeholder => Some(text(PLACEHOLDER)),
            Self::Integer(integer) => Some((*integer).into()),
            Self::Dict(dict) => Some(Value::Dictionary(dict.clone())),
            Self::Absent => None,
            Self::Other(value) => Some(value.clone()),
        }
    }
}

impl From<Option<Value>> for Detail {
    fn from(value: Option<Value>) -> Self {
        match value {
            None => Self::Absent,
            Some(Value::Dictionary(dict)) if dict.is_empty() => Self::Empty,
            Some(Value::Dictionary(dict)) => Self::Dict(dict),
            Some(Value::String(string)) if string == PLACEHOLDER => Self::Placeholder,
            Some(Value::Integer(integer)) => match (integer.as_unsigned(), integer.as_signed()) {
                (Some(unsigned), _) => Self::Integer(unsigned),
                (None, Some(signed)) => Self::Integer(signed.cast_unsigned()),
                (None, None) => Self::Other(Value::Integer(integer)),
            },
            Some(other) => Self::Other(other),
        }
    }
}

/// What a listing says an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileType {
    /// `DLFileTypeRegular`.
    Regular,
    /// `DLFileTypeDirectory`.
    Directory,
    /// `DLFileTypeUnknown`, or a word we do not know.
    Unknown,
}

/// One entry of the answer to `DLContentsOfDirectory`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedEntry {
    /// `DLFileType`.
    pub file_type: FileType,
    /// `DLFileSize` in bytes; meaningless for directories.
    pub size: u64,
    /// `DLFileModificationDate`.
    pub modified: SystemTime,
}

/// Writes a listing: entry name to entry, one level deep, zero-length files included.
#[must_use]
pub fn listing(entries: impl IntoIterator<Item = (String, ListedEntry)>) -> Detail {
    let dict: Dictionary = entries
        .into_iter()
        .map(|(name, entry)| (name, entry.to_value()))
        .collect();
    Some(Value::Dictionary(dict)).into()
}

/// Reads a listing; entries of a wrong shape are left out.
#[must_use]
pub fn read_listing(detail: &Detail) -> Vec<(String, ListedEntry)> {
    let Detail::Dict(dict) = detail else { return Vec::new() };
    dict.iter()
        .filter_map(|(name, value)| Some((name.clone(), ListedEntry::from_value(value)?)))
        .collect()
}

impl ListedEntry {
    fn to_value(&self) -> Value {
        let word = match self.file_type {
            FileType::Regular => "DLFileTypeRegular",
            FileType::Directory => "DLFileTypeDirectory",
            FileType::Unknown => "DLFileTypeUnknown",
        };
        let mut entry = Dictionary::new();
        entry.insert("DLFileType".to_owned(), text(word));
        entry.insert("DLFileSize".to_owned(), self.size.into());
        entry.insert(
            "DLFileModificationDate".to_owned(),
            Value::Date(Date::from(self.modified)),
        );
        Value::Dictionary(entry)
    }

    fn from_value(value: &Value) -> Option<Self> {
        let entry = value.as_dictionary()?;
        Some(Self {
            file_type: match entry.get("DLFileType").and_then(Value::as_string) {
                Some("DLFileTypeRegular") => FileType::Regular,
                Some("DLFileTypeDirectory") => FileType::Directory,
                _ => FileType::Unknown,
            },
            size: entry
                .get("DLFileSize")
                .and_then(Value::as_unsigned_integer)
                .unwrap_or(0),
            modified: match entry.get("DLFileModificationDate") {
                Some(Value::Date(date)) => (*date).into(),
                _ => SystemTime::UNIX_EPOCH,
            },
        })
    }
}
