//! Property lists, frames and paths.

use cabled_wire::WireError;
use cabled_wire::frame::{self, FrameDecoder};
use cabled_wire::path::RelativePath;
use cabled_wire::plist::{self, Limits, Value};

use crate::script::{Script, pieces, with_cuts};

/// Limits small enough for a bomb to show as time or memory.
fn limits() -> Limits {
    Limits::default().with_bytes(1 << 20).with_depth(64).with_nodes(100_000)
}

/// Values that differ from themselves cannot be compared.
fn has_nan(value: &Value) -> bool {
    match value {
        Value::Real(real) => real.is_nan(),
        Value::Array(values) => values.iter().any(has_nan),
        Value::Dictionary(dict) => dict.values().any(has_nan),
        _ => false,
    }
}

/// Whether a message comes through XML as it is, by what it shows of itself: no control characters, which become
/// blanks, and no number that differs from itself.
pub(crate) fn survives_xml(message: &impl std::fmt::Debug) -> bool {
    let shown = format!("{message:?}");
    !["NaN", "\\0", "\\u{"].iter().any(|odd| shown.contains(odd))
}

/// Whether a value comes through XML as it is: no control characters, fractions of seconds, ids or odd numbers.
pub(crate) fn xml_can_say(value: &Value) -> bool {
    let plain = |text: &str| !text.contains(char::is_control);
    match value {
        Value::String(text) => plain(text),
        Value::Array(values) => values.iter().all(xml_can_say),
        Value::Dictionary(dict) => dict.iter().all(|(key, value)| plain(key) && xml_can_say(value)),
        Value::Real(real) => real.is_finite(),
        Value::Date(_) | Value::Uid(_) => false,
        _ => true,
    }
}

/// How many levels a value has; recursion is what [`plist::read`] promised to bound.
fn depth(value: &Value) -> usize {
    let inner = match value {
        Value::Array(values) => values.iter().map(depth).max(),
        Value::Dictionary(dict) => dict.values().map(depth).max(),
        _ => return 0,
    };
    inner.unwrap_or_default() + 1
}

fn read_and_write(bytes: &[u8]) {
    let Ok(value) = plist::read(bytes, &limits()) else {
        return;
    };
    assert!(depth(&value) <= 65, "deeper than the limit");
    let _ = plist::to_xml(&value);
    let binary = plist::to_binary(&value);
    if !has_nan(&value) {
        // What was unfolded takes more room than its shared references did.
        let wide = Limits::default().with_nodes(200_000);
        assert_eq!(plist::read(&binary, &wide).as_ref(), Ok(&value));
    }
}

/// A binary property list. The bytes are the objects and the offset table; header and trailer are put around them, so
/// that mutations are not spent on those. Bytes that have a header of their own are taken as they are.
pub fn plist_binary(data: &[u8]) {
    if data.starts_with(b"bplist00") {
        return read_and_write(data);
    }
    let mut script = Script::new(data);
    let (sizes, objects, top) = (script.byte(), script.byte(), script.byte());
    let table = u64::from(script.word()) % (data.len() as u64 + 8);
    let mut bytes = b"bplist00".to_vec();
    bytes.extend_from_slice(script.rest());
    bytes.extend_from_slice(&[0, 0, 0, 0, 0, 0, sizes & 15, sizes >> 4]);
    for number in [u64::from(objects), u64::from(top), table] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    read_and_write(&bytes);
}

/// A property list of either kind, most likely XML.
pub fn plist_xml(data: &[u8]) {
    read_and_write(data);
    if !data.starts_with(b"<") {
        let mut bytes = b"<plist version=\"1.0\">".to_vec();
        bytes.extend_from_slice(data);
        bytes.extend_from_slice(b"</plist>");
        read_and_write(&bytes);
    }
}

fn frames<'a>(pieces: impl Iterator<Item = &'a [u8]>, max: usize) -> (Vec<bytes::Bytes>, Result<usize, WireError>) {
    let mut decoder = FrameDecoder::new(max);
    let mut found = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(error) => return (found, Err(error)),
            }
        }
        assert!(decoder.buffered() < max + frame::HEADER);
    }
    (found, Ok(decoder.into_rest().len()))
}

/// A stream of length-prefixed frames: where it is cut changes nothing.
pub fn frame_decoder(data: &[u8]) {
    let (stream, cuts) = with_cuts(data);
    let whole = frames(std::iter::once(stream), 4096);
    assert_eq!(whole, frames(pieces(stream, cuts), 4096));
    let mut again = Vec::new();
    for body in &whole.0 {
        assert!(body.len() <= 4096);
        again.extend_from_slice(&frame::encode(body).expect("it was a frame"));
    }
    assert!(stream.starts_with(&again));
}

/// A path from a device: what is admitted stays below its root and means the same when it is read again.
pub fn relative_path(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(path) = RelativePath::parse(&text) else { return };
    for part in path.components() {
        assert!(!part.is_empty() && part != "." && part != ".." && !part.contains(['/', '\0']));
    }
    assert!(path.as_str().len() <= RelativePath::MAX_LEN);
    assert_eq!(RelativePath::parse(path.as_str()).as_ref(), Ok(&path));
    assert_eq!(path.components().collect::<Vec<_>>().join("/"), path.as_str());
    if let Some(parent) = path.parent() {
        assert!(path.starts_with(&parent));
        assert_eq!(
            path.file_name().and_then(|name| parent.join(name).ok()).as_ref(),
            Some(&path)
        );
    }
}
