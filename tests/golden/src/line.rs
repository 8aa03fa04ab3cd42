//! One recorded or built message.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use crate::{BUILT, files, hex, objects, text};

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The computer: a client program, towards the daemon or the device.
    Host,
    /// The other end: the device, or the daemon on the `usbmux` layer.
    Device,
}

/// One line of a `.jsonl` file: one message with its framing.
///
/// Captures have a connection and a layer, built vectors a name and a note; what a line lacks is 0 or empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The file, as given to [`lines`].
    pub file: String,
    /// The line in the file, from 1.
    pub number: usize,
    /// Number of the connection inside the capture, in order of acceptance.
    pub connection: u64,
    /// `usbmux`, `lockdown` or the service's name, without the suffix of [`Line::encrypted`].
    pub layer: String,
    /// Whether the message was recorded inside TLS (layer suffix `+tls-payload`); the bytes are in the clear.
    pub encrypted: bool,
    /// Who sent it.
    pub from: Side,
    /// Name of a built vector; `BAD-` starts the malformed ones.
    pub name: String,
    /// What a built vector shows.
    pub note: String,
    /// The whole message with its framing.
    pub bytes: Bytes,
}

impl Line {
    /// The bytes after the four-byte length of a plist frame; empty if there are fewer than four.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.bytes.slice(self.bytes.len().min(4)..)
    }

    /// Whether a built vector is malformed on purpose.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        self.name.starts_with("BAD-")
    }

    /// `file:line`, with the name of a built vector: for messages of failed assertions.
    #[must_use]
    pub fn place(&self) -> String {
        format!("tests/golden/{}:{} {}", self.file, self.number, self.name)
    }
}

/// The messages of one `.jsonl` file in their order; lines whose bytes were left out of the capture are skipped.
///
/// # Panics
/// If the file is missing, empty or malformed, with its name and line.
#[must_use]
pub fn lines(relative: &str) -> Vec<Line> {
    let lines: Vec<_> = objects(relative)
        .into_iter()
        .enumerate()
        .filter(|(_, (_, value))| value.get("omitted").is_none())
        .map(|(at, (place, value))| line(relative, at.saturating_add(1), &place, &value))
        .collect();
    assert!(!lines.is_empty(), "tests/golden/{relative}: no messages");
    lines
}

/// The bytes of the hand-made messages in one file of [`BUILT`](crate::BUILT), by name.
///
/// # Panics
/// As [`lines`], and if two messages have one name.
#[must_use]
pub fn built(file: &str) -> BTreeMap<String, Bytes> {
    let mut named = BTreeMap::new();
    for line in lines(&format!("{BUILT}/{file}")) {
        let place = line.place();
        assert!(!line.name.is_empty(), "{place}: no name");
        assert!(named.insert(line.name, line.bytes).is_none(), "{place}: twice");
    }
    named
}

/// The messages of one layer in all captures of a folder, file after file.
///
/// # Panics
/// If the folder has none, with its name; and as [`lines`].
#[must_use]
pub fn captured(folder: &str, layer: &str) -> Vec<Line> {
    let mut found: Vec<Line> = files(folder, "jsonl").iter().flat_map(|file| lines(file)).collect();
    found.retain(|line| line.layer == layer);
    assert!(!found.is_empty(), "tests/golden/{folder}: no message of layer {layer}");
    found
}

fn line(file: &str, number: usize, place: &str, value: &Value) -> Line {
    let or_empty = |key: &str| value.get(key).map(|_| text(value, key, place)).unwrap_or_default();
    let from = match text(value, "dir", place).as_str() {
        "c>s" | "host>dev" | "host>device" | "host>mux" => Side::Host,
        "s>c" | "dev>host" | "device>host" | "mux>host" => Side::Device,
        other => panic!("{place}: direction \"{other}\""),
    };
    let layer = or_empty("layer");
    let (layer, encrypted) = match layer.strip_suffix("+tls-payload") {
        Some(plain) => (plain.to_owned(), true),
        None => (layer, false),
    };
    Line {
        file: file.to_owned(),
        number,
        connection: value.get("conn").and_then(Value::as_u64).unwrap_or_default(),
        layer,
        encrypted,
        from,
        name: or_empty("name"),
        note: or_empty("note"),
        bytes: hex(value, "hex", place),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LIBIMOBILEDEVICE;

    #[test]
    fn a_capture_has_connections_layers_and_sides() {
        let lines = lines(&format!("{LIBIMOBILEDEVICE}/idevicebackup2-info.jsonl"));
        let first = lines.first().unwrap();
        assert_eq!(first.layer, "com.apple.mobile.notification_proxy");
        assert!(first.encrypted);
        assert!(lines.iter().any(|line| line.from == Side::Host));
        assert!(lines.iter().any(|line| line.from == Side::Device));
        assert!(lines.iter().any(|line| line.connection > 0));
        assert_eq!(first.body(), first.bytes.slice(4..));
    }

    #[test]
    fn built_vectors_have_names_and_the_malformed_ones_say_so() {
        let all = lines(&format!("{BUILT}/afc.jsonl"));
        assert!(all.iter().all(|line| !line.name.is_empty()));
        assert!(all.iter().any(Line::is_malformed));
        assert!(!all.iter().all(Line::is_malformed));
    }

    #[test]
    fn messages_left_out_of_a_capture_are_skipped() {
        let file = format!("{LIBIMOBILEDEVICE}/ideviceinfo-domain.jsonl");
        let all = objects(&file).len();
        let kept = lines(&file);
        assert!(kept.len() < all);
        // Their numbers still are those of the file.
        assert!(kept.last().unwrap().number > kept.len());
    }

    #[test]
    fn one_layer_is_gathered_from_all_files_of_a_folder() {
        let usbmux = captured(LIBIMOBILEDEVICE, "usbmux");
        assert!(usbmux.iter().all(|line| line.layer == "usbmux"));
        assert!(usbmux.iter().any(|line| line.file.ends_with("/ifuse.jsonl")));
        assert!(usbmux.iter().any(|line| line.file.ends_with("/idevice_id.jsonl")));
    }
}
