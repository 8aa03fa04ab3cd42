//! Bookmarks as the HTML list that every browser imports, and as JSON.
//!
//! # Example
//! ```
//! use cabled_syncproto::interchange::{Limits, bookmarks};
//!
//! let html = "<DL><DT><H3>News</H3><DL><DT><A HREF=\"https://example.org/?a=1&amp;b=2\" ICON=\"x\">Ex &amp; ample</A></DL></DL>";
//! let graph = bookmarks::read_html(html, &Limits::default())?;
//! assert_eq!(graph.len(), 2);
//! let written = bookmarks::write_html(&graph)?;
//! assert!(written.contains("<A HREF=\"https://example.org/?a=1&amp;b=2\""));
//! assert!(written.contains("ICON=\"x\""));
//! # Ok::<(), cabled_syncproto::interchange::InterchangeError>(())
//! ```
//! # How it fits together
//! Both forms are read into a [`Graph`] of folders and bookmarks and written from one. HTML keeps the order of neighbours,
//! not their numbers: positions count from 0 after reading. JSON keeps everything.
//!
//! # Limits
//! The order of folders that contain each other has no beginning; such folders are written at the root.
//! Spec: mobilesync, section 8.3.

use std::collections::{BTreeMap, BTreeSet};

use cabled_wire::plist::{Dictionary, Value};
use serde_json::{Map, Value as Json};

use super::{InterchangeError, Limits, fingerprint, pack, unpack};
use crate::entity;
use crate::record::{Record, RecordId};
use crate::records::{Bookmark, Folder, Graph, View};

/// The name of the bar's folder on a device.
pub const BAR: &str = "BookmarksBar";
/// The name of the menu's folder on a device.
pub const MENU: &str = "BookmarksMenu";

const ATTRIBUTES: &str = "html:attributes";
const TITLE: &str = "html:title";

/// One `<tag a="b">` with the text after it, up to the next tag.
struct Tag<'a> {
    name: String,
    attributes: Vec<(String, String)>,
    text: &'a str,
}

/// Cuts HTML into tags. Linear in the text.
fn tags<'a>(html: &'a str, limits: &Limits) -> Result<Vec<Tag<'a>>, InterchangeError> {
    Limits::check("a size in bytes", html.len(), limits.bytes)?;
    let mut tags = Vec::new();
    let mut rest = html.split_once('<').map(|(_, rest)| rest);
    while let Some(now) = rest {
        let (inner, after) = if now.starts_with("!--") {
            now.split_once("-->").map_or((now, ""), |(_, after)| ("!", after))
        } else {
            let mut quoted = false;
            let end = now.find(|c| {
                quoted ^= c == '"';
                c == '>' && !quoted
            });
            let end = end.unwrap_or(now.len());
            (
                now.get(..end).unwrap_or_default(),
                now.get(end.saturating_add(1)..).unwrap_or_default(),
            )
        };
        Limits::check("a line in bytes", inner.len(), limits.line)?;
        Limits::check("a number of tags", tags.len(), limits.lines)?;
        let next = after.find('<');
        let text = after.get(..next.unwrap_or(after.len())).unwrap_or_default();
        rest = next.and_then(|at| after.get(at.saturating_add(1)..));
        let name = inner.split(char::is_whitespace).next().unwrap_or_default();
        tags.push(Tag {
            name: name.to_ascii_uppercase(),
            attributes: attributes(inner.get(name.len()..).unwrap_or_default()),
            text,
        });
    }
    Ok(tags)
}

fn attributes(mut text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    loop {
        text = text.trim_start();
        let end = text.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        if name.is_empty() {
            match rest.strip_prefix('=') {
                Some(rest) => text = rest,
                None => return found,
            }
            continue;
        }
        let rest = rest.trim_start();
        let (value, rest) = match rest.strip_prefix('=').map(str::trim_start) {
            None => ("", rest),
            Some(rest) => match rest.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())),
            },
        };
        found.push((name.to_ascii_uppercase(), unescape(value)));
        text = rest;
    }
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        out.push_str(before);
        let name = after.char_indices().take(12).find(|(_, c)| *c == ';').map(|(at, _)| at);
        let known = name.and_then(|at| {
            let name = after.get(..at)?;
            let number = match name.strip_prefix('#') {
                Some(hex) if hex.starts_with(['x', 'X']) => u32::from_str_radix(hex.get(1..)?, 16).ok(),
                Some(number) => number.parse().ok(),
                None => None,
            };
            let c = match name {
                "amp" => '&',
                "lt" => '<',
                "gt" => '>',
                "quot" => '"',
                "apos" => '\'',
                "nbsp" => '\u{a0}',
                _ => char::from_u32(number?)?,
            };
            Some((c, after.get(at.saturating_add(1)..)?))
        });
        match known {
            Some((c, after)) => {
                out.push(c);
                rest = after;
            }
            None => {
                out.push('&');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' | '\n' | '\t' => out.push_str(&format!("&#{};", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// Reads a bookmark file of a browser.
///
/// # Errors
/// [`InterchangeError::TooLarge`] beyond a limit; [`InterchangeError::Format`] when there is no list in it.
pub fn read_html(html: &str, limits: &Limits) -> Result<Graph, InterchangeError> {
    let tags = tags(html, limits)?;
    if !tags.iter().any(|tag| tag.name == "DL") {
        let reason = "there is no <DL> in it".to_owned();
        return Err(InterchangeError::Format {
            format: "bookmark file",
            reason,
        });
    }
    let mut graph = Graph::default();
    // Each open list: its folder, and how many are in it.
    let mut open: Vec<(Option<RecordId>, i64)> = Vec::new();
    let mut folder = None;
    for tag in tags {
        match &*tag.name {
            "DL" => {
                open.push((folder.take(), 0));
                Limits::check("a depth", open.len(), limits.depth.saturating_mul(4))?;
            }
            "/DL" => drop(open.pop()),
            "H3" | "A" => {
                let number = graph.len();
                Limits::check("a number of bookmarks", number, limits.records)?;
                let outside = &mut (None, 0);
                let (parent, count) = open.last_mut().unwrap_or(outside);
                let (id, record) = item(&tag, number, parent.as_ref(), *count);
                if record.attributes.get("position") != Some(&Value::from(-2)) {
                    *count = count.saturating_add(1);
                }
                if tag.name == "H3" {
                    folder = Some(id.clone());
                }
                let id = if graph.get(&id).is_some() {
                    made(number, &tag)
                } else {
                    id
                };
                graph.insert(id, record)?;
            }
            _ => {}
        }
    }
    Ok(graph)
}

fn made(number: usize, tag: &Tag<'_>) -> RecordId {
    let content = format!("{}{:?}", tag.text, tag.attributes);
    let id = RecordId::new(format!("bookmark-{number}-{}", fingerprint(content.as_bytes())));
    id.unwrap_or_else(|_| RecordId::placeholder())
}

fn item(tag: &Tag<'_>, number: usize, parent: Option<&RecordId>, position: i64) -> (RecordId, Record) {
    let is_folder = tag.name == "H3";
    let mut record = Record::new(if is_folder { entity::FOLDER } else { entity::BOOKMARK });
    let (mut id, mut rest, mut bar) = (None, Dictionary::new(), false);
    let mut carried = None;
    for (name, value) in &tag.attributes {
        match &**name {
            "ID" => id = RecordId::new(value.as_str()).ok(),
            "HREF" if !is_folder => record = record.with("url", value.as_str()),
            "PERSONAL_TOOLBAR_FOLDER" if is_folder && value.eq_ignore_ascii_case("true") => bar = true,
            "X-CABLED-KEYS" => carried = unpack(value).and_then(Value::into_dictionary),
            _ => drop(rest.insert(name.clone(), value.as_str().into())),
        }
    }
    let name = unescape(tag.text.trim_matches(['\r', '\n']));
    let special = bar || (is_folder && parent.is_none() && matches!(&*name, BAR | MENU));
    if bar {
        record = record.with("name", BAR);
        if name != BAR {
            record = record.with(TITLE, name);
        }
    } else if !name.is_empty() {
        record = record.with("name", name);
    }
    record = record.with("position", if special { -2 } else { position });
    if let Some(parent) = parent {
        record = record.with("parent", vec![parent.as_str().into()]);
    }
    if !rest.is_empty() {
        record = record.with(ATTRIBUTES, rest);
    }
    for (key, value) in carried.unwrap_or_default() {
        record.attributes.insert(key, value);
    }
    (id.unwrap_or_else(|| made(number, tag)), record)
}

/// The children of each folder, in order; what is in no folder that exists, or in itself, is at the root.
fn tree(graph: &Graph) -> BTreeMap<Option<RecordId>, Vec<(i64, RecordId)>> {
    let parent = |id: &RecordId| {
        graph
            .get(id)
            .and_then(|record| record.related("parent").ok()?.into_iter().next())
    };
    let mut reaches: BTreeSet<RecordId> = BTreeSet::new();
    for (id, _) in graph.iter() {
        let (mut path, mut at) = (BTreeSet::new(), Some(id.clone()));
        while let Some(here) = at
            .take()
            .filter(|here| !reaches.contains(here) && graph.get(here).is_some())
        {
            if !path.insert(here.clone()) {
                path.clear();
                break;
            }
            at = parent(&here);
        }
        reaches.append(&mut path);
    }
    let mut tree: BTreeMap<Option<RecordId>, Vec<(i64, RecordId)>> = BTreeMap::new();
    for (id, record) in graph.iter() {
        let is_folder = |parent: &RecordId| {
            graph
                .get(parent)
                .is_some_and(|record| record.entity.as_deref() == Some(entity::FOLDER))
        };
        let within = parent(id).filter(|parent| reaches.contains(id) && is_folder(parent));
        let position = record
            .attributes
            .get("position")
            .and_then(Value::as_signed_integer)
            .unwrap_or(i64::MAX);
        tree.entry(within).or_default().push((position, id.clone()));
    }
    for children in tree.values_mut() {
        children.sort();
    }
    tree
}

/// Writes a bookmark file. The same graph gives the same bytes.
///
/// # Errors
/// [`InterchangeError::Record`] for a value of the wrong type.
pub fn write_html(graph: &Graph) -> Result<String, InterchangeError> {
    let mut out = String::from(
        "<!DOCTYPE NETSCAPE-Bookmark-file-1>\n<META HTTP-EQUIV=\"Content-Type\" CONTENT=\"text/html; charset=UTF-8\">\n\
         <TITLE>Bookmarks</TITLE>\n<H1>Bookmarks</H1>\n<DL><p>\n",
    );
    let tree = tree(graph);
    let children = |id: Option<RecordId>| tree.get(&id).cloned().unwrap_or_default().into_iter();
    let mut open = vec![children(None)];
    while let Some(level) = open.last_mut() {
        let Some((_, id)) = level.next() else {
            open.pop();
            out.push_str("</DL><p>\n");
            continue;
        };
        let Some(record) = graph.get(&id) else { continue };
        if record.entity.as_deref() == Some(entity::FOLDER) {
            let folder = Folder::read(&id, record)?;
            let bar = folder.name.as_deref() == Some(BAR);
            let title = folder
                .residue
                .text(TITLE)
                .map(str::to_owned)
                .or(folder.name)
                .unwrap_or_default();
            let mark = if bar { " PERSONAL_TOOLBAR_FOLDER=\"true\"" } else { "" };
            out.push_str(&format!(
                "<DT><H3{mark}{}>{}</H3>\n<DL><p>\n",
                tail(&id, record),
                escape(&title)
            ));
            open.push(children(Some(id)));
        } else {
            let bookmark = Bookmark::read(&id, record)?;
            let (url, name) = (bookmark.url.unwrap_or_default(), bookmark.name.unwrap_or_default());
            out.push_str(&format!(
                "<DT><A HREF=\"{}\"{}>{}</A>\n",
                escape(&url),
                tail(&id, record),
                escape(&name)
            ));
        }
    }
    Ok(out)
}

fn tail(id: &RecordId, record: &Record) -> String {
    let mut tail = format!(" ID=\"{}\"", escape(id.as_str()));
    let kept = record.attributes.get(ATTRIBUTES).and_then(Value::as_dictionary);
    let sane = |name: &str| {
        !name.is_empty()
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    for (name, value) in kept.into_iter().flatten().filter(|(name, _)| sane(name)) {
        tail.push_str(&format!(
            " {name}=\"{}\"",
            escape(value.as_string().unwrap_or_default())
        ));
    }
    let known = ["name", "url", "parent", "position", ATTRIBUTES, TITLE];
    let rest = record
        .attributes
        .iter()
        .filter(|(key, _)| !known.contains(&key.as_str()));
    let rest: Dictionary = rest.map(|(key, value)| (key.clone(), value.clone())).collect();
    if !rest.is_empty() {
        tail.push_str(&format!(" X-CABLED-KEYS=\"{}\"", pack(&rest.into())));
    }
    tail
}

/// Reads the flat list of section 8.3: `id`, `kind`, `name`, `url`, `parent`, `position`, `special`.
///
/// # Errors
/// [`InterchangeError::TooLarge`] beyond a limit; [`InterchangeError::Format`] for anything else than such a list.
pub fn read_json(json: &str, limits: &Limits) -> Result<Graph, InterchangeError> {
    Limits::check("a size in bytes", json.len(), limits.bytes)?;
    let format = |reason: String| InterchangeError::Format {
        format: "bookmark list",
        reason,
    };
    let list: Vec<Map<String, Json>> = serde_json::from_str(json).map_err(|e| format(e.to_string()))?;
    Limits::check("a number of bookmarks", list.len(), limits.records)?;
    let mut graph = Graph::default();
    for (index, mut item) in list.into_iter().enumerate() {
        let wrong = |key: &str| format(format!("entry {index} has no usable `{key}`"));
        let mut text = |key: &str| match item.remove(key) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong(key)),
        };
        let id = text("id")?
            .and_then(|id| RecordId::new(id).ok())
            .ok_or_else(|| wrong("id"))?;
        let kind = match text("kind")?.as_deref() {
            Some("folder") => entity::FOLDER,
            Some("bookmark") => entity::BOOKMARK,
            _ => return Err(wrong("kind")),
        };
        let mut record = Record::new(kind);
        for key in ["name", "url"] {
            if let Some(value) = text(key)? {
                record = record.with(key, value);
            }
        }
        if let Some(parent) = text("parent")? {
            let parent = RecordId::new(parent).map_err(|_| wrong("parent"))?;
            record = record.with("parent", vec![parent.as_str().into()]);
        }
        let carried = text("x-cabled")?.and_then(|packed| unpack(&packed)?.into_dictionary());
        match item.remove("position") {
            None | Some(Json::Null) => {}
            Some(position) => record = record.with("position", position.as_i64().ok_or_else(|| wrong("position"))?),
        }
        match item.remove("special").as_ref().and_then(Json::as_str) {
            Some("bar") => record = record.with("name", BAR),
            Some("menu") => record = record.with("name", MENU),
            _ => {}
        }
        for (key, value) in item {
            record = record.with(&format!("json:{key}"), value.to_string());
        }
        for (key, value) in carried.unwrap_or_default() {
            record.attributes.insert(key, value);
        }
        graph.insert(id, record)?;
    }
    Ok(graph)
}

/// Writes the flat list, by identifier. The same graph gives the same bytes.
///
/// # Errors
/// [`InterchangeError::Record`] for a value of the wrong type.
pub fn write_json(graph: &Graph) -> Result<String, InterchangeError> {
    let mut list = Vec::new();
    for (id, record) in graph.iter() {
        let mut item = Map::new();
        item.insert("id".into(), id.as_str().into());
        let is_folder = record.entity.as_deref() == Some(entity::FOLDER);
        let (name, url, parent, position) = if is_folder {
            let folder = Folder::read(id, record)?;
            (folder.name, None, folder.parent, folder.position)
        } else {
            let bookmark = Bookmark::read(id, record)?;
            (bookmark.name, bookmark.url, bookmark.parent, bookmark.position)
        };
        item.insert("kind".into(), if is_folder { "folder" } else { "bookmark" }.into());
        match name.as_deref() {
            Some(BAR) if is_folder => drop(item.insert("special".into(), "bar".into())),
            Some(MENU) if is_folder => drop(item.insert("special".into(), "menu".into())),
            _ => {}
        }
        item.extend(name.map(|name| ("name".to_owned(), name.into())));
        item.extend(url.map(|url| ("url".to_owned(), url.into())));
        item.extend(
            parent
                .first()
                .map(|parent| ("parent".to_owned(), parent.as_str().into())),
        );
        item.extend(position.map(|position| ("position".to_owned(), position.into())));
        let mut rest = Dictionary::new();
        for (key, value) in &record.attributes {
            let foreign = key.strip_prefix("json:").zip(value.as_string());
            let foreign = foreign.and_then(|(key, text)| Some((key, serde_json::from_str::<Json>(text).ok()?)));
            match foreign {
                Some((key, value)) if !item.contains_key(key) && key != "x-cabled" => {
                    drop(item.insert(key.to_owned(), value))
                }
                Some(_) => {}
                None if ["name", "parent", "position"].contains(&key.as_str()) || (key == "url" && !is_folder) => {}
                None => drop(rest.insert(key.clone(), value.clone())),
            }
        }
        if !rest.is_empty() {
            item.insert("x-cabled".into(), pack(&rest.into()).into());
        }
        list.push(Json::Object(item));
    }
    let text = serde_json::to_string_pretty(&list);
    let failed = |e: serde_json::Error| InterchangeError::Format {
        format: "bookmark list",
        reason: e.to_string(),
    };
    text.map(|text| text + "\n").map_err(failed)
}
