//! Reads the vectors that all crates share.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::path::PathBuf;

use serde_json::Value;

pub(crate) fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/wire")
}

/// The lines of one `.jsonl` file.
pub(crate) fn lines(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// `name` and bytes of every line of a `built` file.
pub(crate) fn built(path: &str) -> Vec<(String, Vec<u8>)> {
    lines(path)
        .iter()
        .map(|line| (text(line, "name"), hex(line, "hex")))
        .collect()
}

pub(crate) fn text(line: &Value, key: &str) -> String {
    line[key].as_str().unwrap().to_owned()
}

pub(crate) fn hex(line: &Value, key: &str) -> Vec<u8> {
    hex::decode(line[key].as_str().unwrap()).unwrap()
}

/// All messages of layer `usbmux` in the captures of one client: direction and bytes.
pub(crate) fn captured(client: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join(client);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    let mut messages = Vec::new();
    for file in files {
        for line in std::fs::read_to_string(&file).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            if line["layer"] == "usbmux" && line["hex"].is_string() {
                messages.push((text(&line, "dir"), hex(&line, "hex")));
            }
        }
    }
    messages
}
