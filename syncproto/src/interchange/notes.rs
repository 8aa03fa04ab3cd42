//! Notes as text with a short head, and as JSON.
//!
//! # Example
//! ```
//! use cabled_syncproto::interchange::{Limits, notes};
//! use cabled_syncproto::record::RecordId;
//! use cabled_syncproto::records::{Entry, Note};
//!
//! let view = Note { subject: Some("Milk".into()), content: Some("Milk<br>Bread".into()), ..Note::default() };
//! let note = Entry { id: RecordId::new("Note/1")?, view };
//! let text = notes::write_text(&note);
//! assert_eq!(text, "---\nid: \"Note/1\"\nsubject: \"Milk\"\n---\nMilk<br>Bread");
//! assert_eq!(notes::read_text(&text, &Limits::default())?, note);
//! assert_eq!(notes::plain(&note.view), "Milk\nBread");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits together
//! The head is the front matter that Markdown programs know, a key per line with its value as JSON; the body is the note's
//! content as the device has it, HTML unless it says otherwise, which Markdown allows. [`plain`] makes text of it.
//!
//! # Limits
//! Only systems up to iOS 10 exchange notes. Spec: mobilesync, section 8.4.

use cabled_wire::plist::{Dictionary, Value};
use serde_json::{Map, Value as Json};

use super::{InterchangeError, Limits, pack, unpack};
use crate::entity;
use crate::record::{Record, RecordId};
use crate::records::{Entry, Note, Timestamp, View};

const TEXTS: &[&str] = &["subject", "contentType", "author"];
const DATES: &[&str] = &["dateCreated", "dateModified"];

fn format(reason: &str) -> InterchangeError {
    let reason = reason.to_owned();
    InterchangeError::Format { format: "note", reason }
}

/// Everything but the content, in a fixed order. Dates are seconds since 1970.
fn head(note: &Entry<Note>) -> (Vec<(String, Json)>, Option<String>) {
    let mut attributes = note.view.write().attributes;
    let mut head = vec![("id".to_owned(), Json::from(note.id.as_str()))];
    for key in TEXTS {
        if let Some(Value::String(text)) = attributes.remove(key) {
            head.push(((*key).to_owned(), text.into()));
        }
    }
    for (key, time) in DATES.iter().zip([note.view.created, note.view.modified]) {
        let whole = time.and_then(Timestamp::to_wire).map(Value::Date);
        if whole.is_some() && attributes.get(key) == whole.as_ref() {
            attributes.remove(key);
            head.extend(time.map(|time| ((*key).to_owned(), time.seconds().into())));
        }
    }
    let mut foreign = Vec::new();
    for (key, value) in &attributes {
        let parsed = key.strip_prefix("json:").zip(value.as_string());
        let parsed = parsed.and_then(|(key, text)| Some((key.to_owned(), serde_json::from_str::<Json>(text).ok()?)));
        foreign.extend(parsed.filter(|(key, _)| plain_key(key) && !head.iter().any(|(known, _)| known == key)));
    }
    attributes.retain(|key, _| {
        !key.strip_prefix("json:")
            .is_some_and(|key| foreign.iter().any(|(known, _)| known == key))
    });
    let content = match attributes.remove("content") {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    head.extend(foreign);
    if !attributes.is_empty() {
        head.push(("x-cabled".to_owned(), pack(&attributes.into()).into()));
    }
    (head, content)
}

fn plain_key(key: &str) -> bool {
    let known = ["id", "x-cabled", "content"];
    let sane = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    !key.is_empty() && !known.contains(&key) && !TEXTS.contains(&key) && !DATES.contains(&key) && key.chars().all(sane)
}

fn from_head(head: Map<String, Json>, content: Option<String>) -> Result<Entry<Note>, InterchangeError> {
    let mut record = Record::new(entity::NOTE);
    let mut id = None;
    let mut carried = Dictionary::new();
    for (key, value) in head {
        match (&*key, &value) {
            ("id", Json::String(text)) => id = RecordId::new(text.as_str()).ok(),
            ("x-cabled", Json::String(text)) => {
                carried = unpack(text).and_then(Value::into_dictionary).unwrap_or_default()
            }
            (known, Json::String(text)) if TEXTS.contains(&known) => record = record.with(known, text.as_str()),
            (known, value) if DATES.contains(&known) => {
                let time = value.as_i64().and_then(|seconds| Timestamp::new(seconds).to_wire());
                record = record.with(
                    known,
                    Value::Date(time.ok_or_else(|| format("a date is no number of seconds"))?),
                );
            }
            (key, value) => record = record.with(&format!("json:{key}"), value.to_string()),
        }
    }
    if let Some(content) = content {
        record = record.with("content", content);
    }
    for (key, value) in carried {
        record.attributes.insert(key, value);
    }
    let id = id.ok_or_else(|| format("it has no usable `id`"))?;
    let view = Note::read(&id, &record)?;
    Ok(Entry { id, view })
}

/// Writes a note as a head and its content. A note without content has an empty one afterwards.
#[must_use]
pub fn write_text(note: &Entry<Note>) -> String {
    let (head, content) = head(note);
    let lines: String = head.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
    format!("---\n{lines}---\n{}", content.unwrap_or_default())
}

/// Reads a note that has a head.
///
/// # Errors
/// [`InterchangeError::TooLarge`] beyond a limit; [`InterchangeError::Format`] without a head or an `id` in it.
pub fn read_text(text: &str, limits: &Limits) -> Result<Entry<Note>, InterchangeError> {
    Limits::check("a size in bytes", text.len(), limits.bytes)?;
    let rest = text
        .strip_prefix("---\n")
        .ok_or_else(|| format("it does not start with ---"))?;
    let mut head = Map::new();
    let mut at = rest;
    loop {
        let (line, after) = at.split_once('\n').ok_or_else(|| format("its head does not end"))?;
        at = after;
        if line.trim_end() == "---" {
            break;
        }
        Limits::check("a line in bytes", line.len(), limits.line)?;
        let (key, value) = line
            .split_once(':')
            .ok_or_else(|| format("a line of its head has no colon"))?;
        // What people type need not be JSON.
        let value = serde_json::from_str(value.trim()).unwrap_or_else(|_| value.trim().into());
        head.insert(key.trim().to_owned(), value);
    }
    from_head(head, Some(at.to_owned()))
}

/// Writes notes as a JSON list. The same notes give the same bytes.
#[must_use]
pub fn write_json(notes: &[Entry<Note>]) -> String {
    let list = notes.iter().map(|note| {
        let (head, content) = head(note);
        let mut item: Map<String, Json> = head.into_iter().collect();
        item.extend(content.map(|content| ("content".to_owned(), content.into())));
        Json::Object(item)
    });
    format!("{:#}\n", Json::Array(list.collect()))
}

/// Reads a JSON list of notes.
///
/// # Errors
/// [`InterchangeError::TooLarge`] beyond a limit; [`InterchangeError::Format`] for anything else than such a list.
pub fn read_json(json: &str, limits: &Limits) -> Result<Vec<Entry<Note>>, InterchangeError> {
    Limits::check("a size in bytes", json.len(), limits.bytes)?;
    let list: Vec<Map<String, Json>> = serde_json::from_str(json).map_err(|e| format(&e.to_string()))?;
    Limits::check("a number of notes", list.len(), limits.records)?;
    let one = |mut item: Map<String, Json>| match item.remove("content") {
        None => from_head(item, None),
        Some(Json::String(content)) => from_head(item, Some(content)),
        Some(_) => Err(format("a content is no text")),
    };
    list.into_iter().map(one).collect()
}

/// A note's content without markup: breaks and blocks become line ends. Never longer than the content.
#[must_use]
pub fn plain(note: &Note) -> String {
    let content = note.content.as_deref().unwrap_or_default();
    if note
        .content_type
        .as_deref()
        .is_some_and(|kind| kind.starts_with("text/plain"))
    {
        return content.to_owned();
    }
    let mut out = String::with_capacity(content.len());
    let mut pieces = content.split('<');
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        let (tag, text) = piece.split_once('>').unwrap_or((piece, ""));
        let tag = tag.trim_end_matches('/').trim().to_ascii_lowercase();
        let line = matches!(&*tag, "br" | "/p")
            || ((tag == "div" || tag.starts_with("div ")) && !out.is_empty() && !out.ends_with('\n'));
        if line {
            out.push('\n');
        }
        out.push_str(text);
    }
    [
        ("&nbsp;", " "),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&amp;", "&"),
    ]
    .into_iter()
    .fold(out, |text, (name, c)| text.replace(name, c))
}
