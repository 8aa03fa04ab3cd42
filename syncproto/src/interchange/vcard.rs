//! Contacts and groups as vCard 4.0, or 3.0 where that is asked for.
//!
//! # Example
//! ```
//! use cabled_syncproto::interchange::vcard::{self, Version, WriteOptions};
//! use cabled_syncproto::record::RecordId;
//! use cabled_syncproto::records::Contact;
//!
//! let mut contact = Contact::new(RecordId::new("ann")?);
//! contact.person.first_name = Some("Ann".into());
//! let text = vcard::write(&contact, &WriteOptions::default().version(Version::V3));
//! assert_eq!(text, "BEGIN:VCARD\r\nVERSION:3.0\r\nUID:ann\r\nFN:Ann\r\nN:;Ann;;;\r\nEND:VCARD\r\n");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits together
//! A card's `UID` is the contact's identifier. Every property that a device has a key for is read into the views; every
//! other line stays under `vcard:` keys. Cards of version 2.1 are translated by calcard first.
//!
//! # Limits
//! Cards are read one by one; a card within a card is passed over. Spec: mobilesync, sections 8.1 and 8.6.

use cabled_wire::plist::{Dictionary, Value};

use super::lines::{self, Line, escape, fold, param_value};
use super::{InterchangeError, Limits, append, fingerprint, pack, unpack};
use crate::entity;
use crate::record::{Record, RecordId};
use crate::records::{Contact, Entry, Graph, Group, View};

#[cfg(feature = "files")]
mod categories;
mod parts;
mod person;

#[cfg(feature = "files")]
pub(crate) use categories::{categories, set_categories};

/// The lines as they came, of something that is understood but spelled in another way than ours.
const ORIGINAL: &str = "vcard:original";
const VERSION: &str = "vcard:VERSION";
/// The line of the identifier as it was spelled, and the identifier that was made of it.
const UID: &str = "vcard:original:UID";

/// A version of vCard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// 3.0, RFC 2426: what Apple's own programs write.
    V3,
    /// 4.0, RFC 6350.
    V4,
}

impl Version {
    const fn text(self) -> &'static str {
        match self {
            Self::V3 => "3.0",
            Self::V4 => "4.0",
        }
    }
}

/// How cards are written.
#[derive(Clone, Copy, Debug, Default)]
pub struct WriteOptions {
    version: Option<Version>,
}

impl WriteOptions {
    /// Writes this version (default: the one a card was read in, 4.0 for what never was a card).
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = Some(version);
        self
    }

    fn of(self, kept: Option<&Value>) -> Version {
        let kept = match kept.and_then(Value::as_string) {
            Some("3.0") => Version::V3,
            _ => Version::V4,
        };
        self.version.unwrap_or(kept)
    }
}

/// What a file of cards holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Read {
    /// People and companies, in the order of the file.
    pub contacts: Vec<Contact>,
    /// Groups.
    pub groups: Vec<Entry<Group>>,
    /// Those whose `UID` is missing or cannot be an identifier: theirs was made of what the card says and of its place.
    pub unnamed: Vec<RecordId>,
}

impl Read {
    /// Everything as records.
    ///
    /// # Errors
    /// [`InterchangeError::Record`] for a relationship that cannot be one.
    pub fn into_graph(self) -> Result<Graph, InterchangeError> {
        let mut graph = Graph::default();
        for contact in &self.contacts {
            contact.write(&mut graph)?;
        }
        for group in self.groups {
            graph.insert(group.id, group.view.write())?;
        }
        Ok(graph)
    }
}

/// Reads a file of cards.
///
/// # Errors
/// [`InterchangeError::TooLarge`] beyond a limit, [`InterchangeError::Unbalanced`] for a card that does not end,
/// [`InterchangeError::Format`] when there is text and no card.
pub fn read(text: &str, limits: &Limits) -> Result<Read, InterchangeError> {
    let mut read = Read::default();
    for (index, card) in cards(text, limits)?.into_iter().enumerate() {
        let card = modern(card);
        let lines: Vec<Line> = card.iter().map(|line| Line::new(line)).collect();
        let (id, named) = identifier(&lines, &card, index);
        if !named {
            read.unnamed.push(id.clone());
        }
        let kind = lines
            .iter()
            .find(|line| matches!(&*line.name, "KIND" | "X-ADDRESSBOOKSERVER-KIND"));
        if kind.is_some_and(|kind| kind.text().eq_ignore_ascii_case("group")) {
            let view = read_group(&id, &lines)?;
            read.groups.push(Entry { id, view });
        } else {
            read.contacts.push(read_contact(&id, lines)?);
        }
    }
    Ok(read)
}

/// The lines of each card, without `BEGIN` and `END`.
fn cards(text: &str, limits: &Limits) -> Result<Vec<Vec<String>>, InterchangeError> {
    let (mut cards, mut depth, mut seen) = (Vec::<Vec<String>>::new(), 0_usize, false);
    for (index, line) in lines::unfold(text, limits)?.into_iter().enumerate() {
        seen = true;
        let mark = line.get(..6).unwrap_or_default().to_ascii_uppercase();
        let unbalanced = || InterchangeError::Unbalanced {
            line: index.saturating_add(1),
            component: "VCARD".to_owned(),
        };
        if mark == "BEGIN:" {
            depth = depth.saturating_add(1);
            Limits::check("a depth", depth, limits.depth)?;
            if depth == 1 {
                cards.push(Vec::new());
                Limits::check("a number of cards", cards.len(), limits.records)?;
            }
        } else if mark.starts_with("END:") {
            depth = depth.checked_sub(1).ok_or_else(unbalanced)?;
        } else if let (1, Some(card)) = (depth, cards.last_mut()) {
            card.push(line);
        }
    }
    if depth > 0 {
        let (line, component) = (0, "VCARD".to_owned());
        return Err(InterchangeError::Unbalanced { line, component });
    }
    if cards.is_empty() && seen {
        let reason = "there is no BEGIN:VCARD in it".to_owned();
        return Err(InterchangeError::Format {
            format: "vCard",
            reason,
        });
    }
    Ok(cards)
}

/// A card of version 2.1 in the words of 3.0, by calcard: quoted-printable, character sets, bare types.
fn modern(card: Vec<String>) -> Vec<String> {
    let old = |line: &String| {
        line.get(..11)
            .is_some_and(|start| start.eq_ignore_ascii_case("VERSION:2.1"))
    };
    if !card.iter().any(old) {
        return card;
    }
    let text = format!("BEGIN:VCARD\r\n{}\r\nEND:VCARD\r\n", card.join("\r\n"));
    let calcard::Entry::VCard(read) = calcard::Parser::new(&text).entry() else {
        return card;
    };
    let mut written = String::new();
    let done = read.write_to(&mut written, calcard::vcard::VCardVersion::V3_0);
    match (done, cards(&written, &Limits::default())) {
        (Ok(()), Ok(mut cards)) if cards.len() == 1 => cards.pop().unwrap_or(card),
        _ => card,
    }
}

/// The identifier of a card: its `UID`, else a name made of its content and its place. Says which of the two it is.
fn identifier(lines: &[Line], card: &[String], index: usize) -> (RecordId, bool) {
    let uid = lines.iter().find(|line| line.name == "UID").map(Line::text);
    let uid = uid.map(|uid| uid.strip_prefix("urn:uuid:").unwrap_or(&uid).trim().to_owned());
    let made = || RecordId::new(format!("card-{index}-{}", fingerprint(card.join("\n").as_bytes())));
    match uid.map(RecordId::new) {
        Some(Ok(id)) => (id, true),
        _ => (made().unwrap_or_else(|_| RecordId::placeholder()), false),
    }
}

/// Keeps the line of an identifier that we would spell differently.
pub(super) fn keep_uid(key: &str, record: &mut Record, id: &RecordId, line: &str, ours: &str) {
    if line != ours {
        let pair = vec![Value::from(line), Value::from(id.as_str())];
        record.attributes.insert(key.to_owned(), Value::Array(pair));
    }
}

/// The line of an identifier as it was spelled, while the identifier is the same.
pub(super) fn kept_uid(key: &str, record: &Record, id: &str) -> Option<String> {
    let [line, was] = record.attributes.get(key)?.as_array()?.as_slice() else {
        return None;
    };
    let line = line.as_string().filter(|line| Line::new(line).name == "UID")?;
    (was.as_string() == Some(id)).then(|| line.to_owned())
}

/// Lines that belong together: a property and what else is in its group.
struct Bundle {
    main: Line,
    rest: Vec<Line>,
}

impl Bundle {
    fn label(&self) -> Option<String> {
        let label = self.rest.iter().find(|line| line.name == "X-ABLABEL")?;
        let text = label.text();
        let text = text
            .strip_prefix("_$!<")
            .and_then(|text| text.strip_suffix(">!$_"))
            .unwrap_or(&text);
        Some(text.to_owned()).filter(|text| !text.is_empty())
    }

    fn raw(&self) -> Vec<Value> {
        let lines = std::iter::once(&self.main).chain(&self.rest);
        lines.map(|line| Value::from(line.raw.as_str())).collect()
    }
}

/// Puts lines of one group together; the first that is no companion is the main one.
fn bundles(lines: Vec<Line>) -> Vec<Bundle> {
    let mut bundles: Vec<Bundle> = Vec::new();
    let mut places: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    let companion =
        |line: &Line| matches!(&*line.name, "X-ABLABEL" | "X-ABADR") || line.name.starts_with("X-CABLED-KEY");
    let (companions, mains): (Vec<Line>, Vec<Line>) = lines
        .into_iter()
        .partition(|line| companion(line) && line.group.is_some());
    for main in mains {
        if let Some(group) = &main.group {
            places.entry(group.to_ascii_lowercase()).or_insert(bundles.len());
        }
        bundles.push(Bundle { main, rest: Vec::new() });
    }
    for line in companions {
        let group = line.group.as_deref().unwrap_or_default().to_ascii_lowercase();
        match places.get(&group).and_then(|at| bundles.get_mut(*at)) {
            Some(bundle) => bundle.rest.push(line),
            None => bundles.push(Bundle {
                main: line,
                rest: Vec::new(),
            }),
        }
    }
    bundles
}

/// A line that carries one key for which there is no property: used while the text says what it said when it was written.
fn override_line(group: &str, key: &str, was: Option<&Value>, value: Option<&Value>) -> String {
    let print = was.map_or_else(|| "none".to_owned(), |was| fingerprint(pack(was).as_bytes()));
    let packed = value.map(pack).unwrap_or_default();
    format!("{group}X-CABLED-KEY;KEY={};WAS={print}:{packed}", param_value(key))
}

pub(super) fn apply_override(record: &mut Record, line: &Line) {
    let Some(key) = line.param("KEY") else { return };
    let print = record.attributes.get(key).map(|was| fingerprint(pack(was).as_bytes()));
    if line.param("WAS") != Some(print.as_deref().unwrap_or("none")) {
        return;
    }
    if line.value.is_empty() {
        record.attributes.remove(key);
    } else if let Some(value) = unpack(&line.value) {
        record.attributes.insert(key.to_owned(), value);
    }
}

/// A record that no property can say, in one line.
pub(super) fn whole(record: &Record, owner: &str) -> String {
    let keys = record.attributes.iter().filter(|(key, _)| *key != owner);
    let list: Dictionary = keys.map(|(key, value)| (key.clone(), value.clone())).collect();
    let entity = param_value(record.entity.as_deref().unwrap_or_default());
    format!("X-CABLED-RECORD;ENTITY={entity}:{}", pack(&list.into()))
}

/// Reads such a line.
pub(super) fn carried(line: &Line) -> Option<Record> {
    let mut record = Record::new(line.param("ENTITY")?);
    record.attributes = unpack(&line.value)?.into_dictionary()?;
    record
        .attributes
        .retain(|key, _| !matches!(key.as_str(), "contact" | "owner"));
    Some(record)
}

/// Whether a key is a text's own and never a device's.
fn textual(key: &str) -> bool {
    key.starts_with("vcard:") || key.starts_with("ical:")
}

/// What must be said about a record beside the lines that were written for it.
pub(super) fn overrides(group: &str, wanted: &Record, found: &Record) -> Vec<String> {
    let schema = wanted.entity.as_deref().and_then(crate::schema::entity);
    let default = |key: &str, value: &Value| {
        let default = schema.and_then(|entity| entity.key(key)).and_then(|key| key.default);
        match default {
            Some(crate::schema::DefaultValue::Text(text)) => value.as_string() == Some(text),
            Some(crate::schema::DefaultValue::Integer(number)) => *value == Value::from(number),
            None => false,
        }
    };
    let differs = |key: &str, a: Option<&Value>, b: Option<&Value>| match (a, b) {
        (Some(a), Some(b)) => a != b,
        (Some(one), None) | (None, Some(one)) => !default(key, one),
        (None, None) => false,
    };
    let mut keys: Vec<&String> = wanted.attributes.keys().chain(found.attributes.keys()).collect();
    keys.sort();
    keys.dedup();
    let keys = keys.into_iter().filter(|key| !textual(key));
    let pairs = keys.map(|key| (key, wanted.attributes.get(key), found.attributes.get(key)));
    let lines = pairs.filter(|(key, wanted, found)| differs(key, *wanted, *found));
    lines
        .map(|(key, wanted, found)| override_line(group, key, found, wanted))
        .collect()
}

fn read_contact(id: &RecordId, lines: Vec<Line>) -> Result<Contact, InterchangeError> {
    let version = version_of(&lines);
    let mut graph = Graph::default();
    let (mut root, mut rest) = person::read(lines, version);
    root.attributes.insert(VERSION.to_owned(), version.text().into());
    let mut overriding = Vec::new();
    let mut unknown = Dictionary::new();
    let mut numbers = std::collections::BTreeMap::new();
    for bundle in bundles(std::mem::take(&mut rest)) {
        match &*bundle.main.name {
            "X-CABLED-KEY" if bundle.main.group.is_none() => overriding.push(bundle.main),
            "UID" if !root.attributes.contains_key(UID) => {
                keep_uid(UID, &mut root, id, &bundle.main.raw, &uid_line(id, version));
            }
            "VERSION" | "UID" | "PRODID" => {}
            _ => {
                if let Some(record) = parts::read(&bundle, version) {
                    let part = super::part_id(id, &record, &mut numbers);
                    let owner = vec![Value::from(id.as_str())];
                    graph.insert(part, record.with("contact", owner))?;
                    continue;
                }
                let key = format!("vcard:{}", bundle.main.name);
                append(&mut unknown, key, bundle.raw());
            }
        }
    }
    for line in overriding {
        apply_override(&mut root, &line);
    }
    for (key, value) in unknown {
        root.attributes.insert(key, value);
    }
    graph.insert(id.clone(), root)?;
    let mut contact = Contact::read(&graph, id)?;
    person::name_from_full_name(&mut contact);
    Ok(contact)
}

fn version_of(lines: &[Line]) -> Version {
    match lines.iter().find(|line| line.name == "VERSION") {
        Some(line) if line.value == "3.0" => Version::V3,
        _ => Version::V4,
    }
}

fn uid_line(id: &RecordId, version: Version) -> String {
    let uuid = uuid_like(id.as_str());
    match version {
        Version::V4 if uuid => format!("UID:urn:uuid:{id}"),
        _ => format!("UID:{}", escape(id.as_str())),
    }
}

fn uuid_like(text: &str) -> bool {
    let dash = |(at, byte): (usize, u8)| {
        matches!(at, 8 | 13 | 18 | 23) == (byte == b'-') && (byte == b'-' || byte.is_ascii_hexdigit())
    };
    text.len() == 36 && text.bytes().enumerate().all(dash)
}

/// Lines kept under a key; what could begin or end a card is left out.
pub(super) fn kept(value: &Value) -> Vec<String> {
    let lines = value.as_array().into_iter().flatten().filter_map(Value::as_string);
    let safe = |line: &&str| !matches!(&*Line::new(line).name, "BEGIN" | "END" | "");
    lines.filter(safe).map(str::to_owned).collect()
}

/// Writes a contact as a card. The same contact gives the same bytes.
#[must_use]
pub fn write(contact: &Contact, options: &WriteOptions) -> String {
    let root = contact.person.write();
    let kept_version = root.attributes.get(VERSION);
    let version = options.of(kept_version);
    let same = kept_version.and_then(Value::as_string) == Some(version.text());
    let uid = kept_uid(UID, &root, contact.id.as_str());
    let mut lines = vec![uid.unwrap_or_else(|| uid_line(&contact.id, version))];
    lines.extend(person::write(contact, &root, version, same));
    let residue =
        |key: &str| key.starts_with("vcard:") && !key.starts_with(ORIGINAL) && !matches!(key, VERSION | "vcard:FN");
    let mut unknown: Vec<(&String, &Value)> = root.attributes.iter().filter(|(key, _)| residue(key)).collect();
    unknown.sort_by_key(|(key, _)| *key);
    let unknown: Vec<String> = unknown.into_iter().flat_map(|(_, value)| kept(value)).collect();

    let parts = contact.parts();
    let originals = |record: &Record| record.attributes.get(ORIGINAL).filter(|_| same).map(kept);
    let mut taken: std::collections::BTreeSet<String> = unknown.iter().filter_map(|line| group_of(line)).collect();
    taken.extend(
        parts
            .iter()
            .filter_map(|(_, part)| originals(part))
            .flatten()
            .filter_map(|line| group_of(&line)),
    );
    let mut number = 0_usize;
    for (_, record) in &parts {
        if let Some(original) = originals(record).filter(|original| parts::says(original, record, version)) {
            lines.extend(original);
            continue;
        }
        let mut group = || loop {
            number = number.saturating_add(1);
            let name = format!("item{number}");
            if !taken.contains(&name) {
                return name;
            }
        };
        lines.extend(parts::write(record, version, &mut group));
    }
    lines.extend(unknown);
    card(version, &lines)
}

fn group_of(line: &str) -> Option<String> {
    Line::new(line).group.map(|group| group.to_ascii_lowercase())
}

fn card(version: Version, lines: &[String]) -> String {
    let mut out = format!("BEGIN:VCARD\r\nVERSION:{}\r\n", version.text());
    for line in lines {
        fold(line, &mut out);
    }
    out.push_str("END:VCARD\r\n");
    out
}

fn read_group(id: &RecordId, lines: &[Line]) -> Result<Group, InterchangeError> {
    let version = version_of(lines);
    let mut record = Record::new(entity::GROUP);
    let mut members = Vec::new();
    let mut overriding = Vec::new();
    for line in lines {
        match &*line.name {
            "FN" => drop(record.attributes.insert("name".to_owned(), line.text().into())),
            "MEMBER" | "X-ADDRESSBOOKSERVER-MEMBER" => {
                let text = line.text();
                let member = text.strip_prefix("urn:uuid:").unwrap_or(&text);
                members.extend(RecordId::new(member).ok().map(|id| Value::from(id.as_str())));
            }
            "VERSION" => drop(record.attributes.insert(VERSION.to_owned(), line.value.as_str().into())),
            "UID" if !record.attributes.contains_key(UID) => {
                keep_uid(UID, &mut record, id, &line.raw, &uid_line(id, version));
            }
            "UID" | "PRODID" | "KIND" | "X-ADDRESSBOOKSERVER-KIND" | "N" => {}
            "X-CABLED-KEY" => overriding.push(line),
            name => {
                append(
                    &mut record.attributes,
                    format!("vcard:{name}"),
                    vec![line.raw.as_str().into()],
                );
            }
        }
    }
    if !members.is_empty() {
        record.attributes.insert("members".to_owned(), Value::Array(members));
    }
    for line in overriding {
        apply_override(&mut record, line);
    }
    Ok(Group::read(id, &record)?)
}

/// Writes a group as a card: `KIND:group` with a `MEMBER` for each.
#[must_use]
pub fn write_group(id: &RecordId, group: &Group, options: &WriteOptions) -> String {
    let record = group.write();
    let version = options.of(record.attributes.get(VERSION));
    let name = group.name.clone().unwrap_or_default();
    let uid = kept_uid(UID, &record, id.as_str()).unwrap_or_else(|| uid_line(id, version));
    let mut lines = vec![uid, format!("FN:{}", escape(&name))];
    let (kind, member) = match version {
        Version::V4 => ("KIND", "MEMBER"),
        Version::V3 => {
            lines.push(format!("N:{};;;;", escape(&name)));
            ("X-ADDRESSBOOKSERVER-KIND", "X-ADDRESSBOOKSERVER-MEMBER")
        }
    };
    lines.push(format!("{kind}:group"));
    for id in &group.members {
        let uuid = if uuid_like(id.as_str()) { "urn:uuid:" } else { "" };
        lines.push(format!("{member}:{uuid}{}", escape(id.as_str())));
    }
    let parsed: Vec<Line> = lines.iter().map(|line| Line::new(line)).collect();
    if let Ok(found) = read_group(id, &parsed) {
        lines.extend(overrides("", &record, &found.write()));
    }
    let mut unknown: Vec<(&String, &Value)> = record
        .attributes
        .iter()
        .filter(|(key, _)| textual(key) && ![VERSION, UID].contains(&key.as_str()))
        .collect();
    unknown.sort_by_key(|(key, _)| *key);
    lines.extend(unknown.into_iter().flat_map(|(_, value)| kept(value)));
    card(version, &lines)
}
