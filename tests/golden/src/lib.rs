//! Reads the golden vectors of this folder: bytes that we did not make, or that a specification dictates.
//!
//! Every file is named relative to `tests/golden`, with `/` on every system. A file that is missing, empty or malformed
//! panics with its name and line, so that a test that meets it never passes on nothing.
//!
//! # Example
//! ```
//! use cabled_golden::{BUILT, Side, lines};
//!
//! let packets = lines(&format!("{BUILT}/afc.jsonl"));
//! let read = packets.iter().find(|line| line.name == "read").unwrap();
//! assert_eq!(read.from, Side::Host);
//! assert!(read.bytes.starts_with(b"CFA6LPAA"));
//! ```
//!
//! # How it fits together
//! [`lines`] reads captures and built vectors alike, [`built`] the latter by name, [`exchanges`] the daemon's recorded conversations, [`bytes()`] and
//! [`json`] everything else; [`files`] lists a folder. Where each folder comes from is in its README.
//!
//! # Limits
//! For tests only: everything is read whole, and nothing is an error value.
//!
//! # Features
//! None.
#![expect(
    clippy::panic,
    reason = "test code: a damaged vector must stop the test and name the file"
)]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;

mod exchange;
mod line;

pub use exchange::{Exchange, exchanges};
pub use line::{Line, Side, built, captured, lines};

/// Messages of every layer made by hand from the specifications; names that start with `BAD-` are malformed on purpose.
pub const BUILT: &str = "wire/built";
/// What the tools of libimobiledevice 1.3.0, ifuse 1.1.4 and libusbmuxd 2.0.2 sent.
pub const LIBIMOBILEDEVICE: &str = "wire/client-captures-libimobiledevice-1.3.0";
/// What pymobiledevice3 11.45.0 sent.
pub const PYMOBILEDEVICE3: &str = "wire/client-captures-pymobiledevice3-11.45.0";
/// What usbmuxd 1.1.1 answered.
pub const USBMUXD: &str = "wire/daemon-captures-usbmuxd-1.1.1";
/// Test data of go-ios.
pub const GO_IOS: &str = "wire/go-ios";
/// Test data of Netimobiledevice.
pub const NETIMOBILEDEVICE: &str = "wire/netimobiledevice";

/// Where `relative` is on this machine; `""` is the folder of all vectors.
#[must_use]
pub fn path(relative: &str) -> PathBuf {
    let mut path = Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf();
    path.extend(relative.split('/').filter(|part| !part.is_empty()));
    path
}

/// A file's bytes.
///
/// # Panics
/// If it cannot be read, with its name.
#[must_use]
pub fn bytes(relative: &str) -> Bytes {
    match std::fs::read(path(relative)) {
        Ok(bytes) => bytes.into(),
        Err(error) => panic!("tests/golden/{relative}: {error}"),
    }
}

/// A file that is one JSON value.
///
/// # Panics
/// If it cannot be read or is not JSON, with its name.
#[must_use]
pub fn json(relative: &str) -> Value {
    match serde_json::from_slice(&bytes(relative)) {
        Ok(value) => value,
        Err(error) => panic!("tests/golden/{relative}: {error}"),
    }
}

/// The files of a folder whose names end with `.` and `extension`, sorted, as paths that the other functions take.
///
/// # Panics
/// If there is none, with the folder's name.
#[must_use]
pub fn files(folder: &str, extension: &str) -> Vec<String> {
    let entries = match std::fs::read_dir(path(folder)) {
        Ok(entries) => entries,
        Err(error) => panic!("tests/golden/{folder}: {error}"),
    };
    let mut found: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.to_owned()))
        .filter(|name| Path::new(name).extension().is_some_and(|found| found == extension))
        .map(|name| format!("{folder}/{name}"))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "tests/golden/{folder}: no .{extension} file");
    found
}

/// The JSON objects of a JSON-lines file, each with where it stands (`file:line`).
fn objects(relative: &str) -> Vec<(String, Value)> {
    let text = bytes(relative);
    let objects: Vec<_> = text
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| {
            let place = format!("tests/golden/{relative}:{}", number.saturating_add(1));
            match serde_json::from_slice(line) {
                Ok(value) => (place, value),
                Err(error) => panic!("{place}: {error}"),
            }
        })
        .collect();
    assert!(!objects.is_empty(), "tests/golden/{relative}: no lines");
    objects
}

fn text(value: &Value, key: &str, place: &str) -> String {
    match value.get(key).and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => panic!("{place}: no text \"{key}\""),
    }
}

fn hex(value: &Value, key: &str, place: &str) -> Bytes {
    match hex::decode(text(value, key, place)) {
        Ok(bytes) => bytes.into(),
        Err(error) => panic!("{place}: \"{key}\": {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_with_vectors_says_where_they_come_from() {
        let mut folders = vec![path("backup")];
        folders.extend(
            std::fs::read_dir(path("wire"))
                .unwrap()
                .map(|entry| entry.unwrap().path()),
        );
        assert_eq!(folders.len(), 7);
        for folder in folders {
            let text = std::fs::read_to_string(folder.join("README.md"))
                .unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
            for word in ["Source", "Licence"] {
                assert!(text.contains(word), "{}: no {word}", folder.display());
            }
        }
    }

    #[test]
    fn every_jsonl_file_of_every_folder_loads() {
        for folder in [BUILT, LIBIMOBILEDEVICE, PYMOBILEDEVICE3] {
            for file in files(folder, "jsonl") {
                assert!(lines(&file).iter().all(|line| line.file == file));
            }
        }
        assert_eq!(exchanges(&format!("{USBMUXD}/daemon-replies.jsonl")).len(), 39);
    }

    #[test]
    #[should_panic(expected = "tests/golden/wire/nothing.jsonl: ")]
    fn a_missing_file_is_named() {
        let _ = lines("wire/nothing.jsonl");
    }

    #[test]
    #[should_panic(expected = "tests/golden/wire: no .bin file")]
    fn a_folder_without_vectors_is_named() {
        let _ = files("wire", "bin");
    }
}
