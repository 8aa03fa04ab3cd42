//! Call history: who called whom, when, for how long, and through what.
//!
//! # Example
//! ```
//! use std::ops::ControlFlow;
//!
//! use cabled_mobilebackup::archive::records::calls::Calls;
//! use cabled_mobilebackup::archive::records::Store;
//!
//! # let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/novkostya/calls.1.CallHistory.storedata");
//! let mut calls = Calls::of(Store::from_file(file)?)?;
//! let mut missed = 0;
//! let _ = calls.each(&mut |call| {
//!     missed += u32::from(call.is_missed());
//!     Ok(ControlFlow::Continue(()))
//! })?;
//! assert_eq!(missed, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! [`read`] finds `CallHistory.storedata` (iOS 8 and later, a Core Data store) or `call_history.db` (iOS 7 and older) in
//! a backup; [`Calls::each`] goes through them in the store's order, which is that of time.
//!
//! # Limits
//! One call is in memory at a time, besides the addresses of group calls. Only encrypted backups contain the call
//! history of recent systems.

use std::collections::HashMap;
use std::io::Write;
use std::ops::ControlFlow;

use serde::Serialize;

use super::directory::Directory;
use super::export::{Exporter, Format, Job};
use super::html::{Cell, Page};
use super::schema::{Fields, Schema, Select, Visit};
use super::time::Timestamp;
use super::{Notes, Problem, RecordError, RecordNote, Source, Store, contacts};
use crate::archive::Archive;

const PLACES: &[(&str, &str)] = &[
    ("HomeDomain", "Library/CallHistoryDB/CallHistory.storedata"),
    ("WirelessDomain", "Library/CallHistory/call_history.db"),
    ("HomeDomain", "Library/CallHistory/call_history.db"),
];

pub(super) const EXPORTER: Exporter = Exporter::new("call-history", &[Format::JsonLines, Format::Html], export);

/// What a call went through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallKind {
    /// The mobile network.
    Phone,
    /// FaceTime with pictures.
    FacetimeVideo,
    /// FaceTime with sound only.
    FacetimeAudio,
    /// An app: [`Call::provider`] says which.
    App,
    /// A number that this version does not know.
    Other(i64),
}

/// One call.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Call {
    /// Row id.
    pub id: i64,
    /// Its id across devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
    /// How long it lasted, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
    /// Whether the owner of the phone called.
    pub outgoing: bool,
    /// Whether somebody took it; `None` where the store does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<bool>,
    /// What it went through.
    pub kind: CallKind,
    /// The app or service, as stored: `com.apple.Telephony`, `net.whatsapp.WhatsApp`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The other side's number or address; `None` if it was withheld.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The name that the store or the contacts have for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Everybody else in a group call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub participants: Vec<String>,
    /// Country code of the number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    /// Where the number is from, as the phone showed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Whether the phone took it for a nuisance: the higher the surer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub junk_confidence: Option<i64>,
    /// Whether it was an emergency call.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub emergency: bool,
}

impl Call {
    /// Whether somebody called and nobody answered.
    #[must_use]
    pub fn is_missed(&self) -> bool {
        !self.outgoing && self.answered == Some(false)
    }
}

/// The call history of a phone.
#[derive(Debug)]
pub struct Calls {
    store: Store,
    table: Table,
    directory: Directory,
    notes: Notes,
}

#[derive(Debug)]
enum Table {
    CoreData {
        calls: Select,
        participants: HashMap<i64, Vec<String>>,
    },
    /// `call_history.db`
    Old { calls: Select },
}

/// Opens the call history of a backup; `None` if it has none.
///
/// # Errors
/// [`RecordError::Archive`] if the backup is locked or the database cannot be read; as [`Calls::of`].
pub fn read(archive: &Archive) -> Result<Option<Calls>, RecordError> {
    Store::find(archive, PLACES)?.map(Calls::of).transpose()
}

impl Calls {
    /// The calls of an open database.
    ///
    /// # Errors
    /// [`RecordError::Schema`] if it has neither `ZCALLRECORD` nor `call`; [`RecordError::Sqlite`] for a database
    /// without a readable schema.
    pub fn of(store: Store) -> Result<Self, RecordError> {
        let schema = Schema::of(store.connection())?;
        let mut notes = store.notes();
        let table = if let Some(calls) = schema.select("ZCALLRECORD", CORE_DATA) {
            let calls = calls.expect(
                &["ZDATE", "ZADDRESS", "ZORIGINATED", "ZANSWERED", "ZDURATION"],
                &mut notes,
            );
            let participants = participants(&store, &schema, &mut notes)?;
            Table::CoreData { calls, participants }
        } else {
            let calls = schema.select("call", OLD).ok_or(RecordError::Schema {
                records: "calls",
                table: "ZCALLRECORD",
            })?;
            let calls = calls.expect(&["address", "date", "duration", "flags"], &mut notes);
            Table::Old { calls }
        };
        Ok(Self {
            store,
            table,
            directory: Directory::default(),
            notes,
        })
    }

    /// The file they are in.
    #[must_use]
    pub const fn source(&self) -> &Source {
        self.store.source()
    }

    /// What could not be read so far. Grows while calls are visited.
    #[must_use]
    pub const fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Gives names to numbers that the store has none for.
    pub fn name_people(&mut self, directory: Directory) {
        self.directory = directory;
    }

    /// Hands every call to `visit`, in the order of the store.
    ///
    /// # Errors
    /// What the visitor gives; [`RecordError::Sqlite`] if the disk fails, never for damage.
    pub fn each(&mut self, visit: &mut dyn FnMut(Call) -> Visit) -> Visit {
        let (connection, directory) = (self.store.connection(), &self.directory);
        let mut named = |mut call: Call| {
            if call.name.is_none() {
                let name = call.address.as_deref().and_then(|address| directory.name(address));
                call.name = name.map(str::to_owned);
            }
            visit(call)
        };
        match &self.table {
            Table::CoreData { calls, participants } => {
                calls.each(connection, &mut self.notes, |row| named(core_data(row, participants)))
            }
            Table::Old { calls } => calls.each(connection, &mut self.notes, |row| named(old(row))),
        }
    }
}

const CORE_DATA: &[&str] = &[
    "ZUNIQUE_ID",
    "ZDATE",
    "ZDURATION",
    "ZORIGINATED",
    "ZANSWERED",
    "ZCALLTYPE",
    "ZSERVICE_PROVIDER",
    "ZADDRESS",
    "ZNAME",
    "ZISO_COUNTRY_CODE",
    "ZLOCATION",
    "ZJUNKCONFIDENCE",
    "ZWASEMERGENCYCALL",
];

fn core_data(row: &mut Fields<'_>, participants: &HashMap<i64, Vec<String>>) -> Call {
    let provider = row.some_text("ZSERVICE_PROVIDER");
    let kind = match (row.integer("ZCALLTYPE"), provider.as_deref()) {
        (Some(8), _) => CallKind::FacetimeVideo,
        (Some(16), _) => CallKind::FacetimeAudio,
        (Some(0) | None, Some("com.apple.FaceTime")) => CallKind::FacetimeVideo,
        (_, Some(provider)) if !provider.starts_with("com.apple.") => CallKind::App,
        (Some(0 | 1) | None, _) => CallKind::Phone,
        (Some(other), _) => CallKind::Other(other),
    };
    let id = row.id().unwrap_or_default();
    Call {
        id,
        guid: row.some_text("ZUNIQUE_ID"),
        date: row.core_data_time("ZDATE"),
        seconds: seconds(row, "ZDURATION"),
        outgoing: row.flag("ZORIGINATED"),
        answered: row.integer("ZANSWERED").map(|answered| answered != 0),
        kind,
        provider,
        address: row.some_text("ZADDRESS"),
        name: row.some_text("ZNAME"),
        participants: participants.get(&id).cloned().unwrap_or_default(),
        country: row.some_text("ZISO_COUNTRY_CODE"),
        location: row.some_text("ZLOCATION"),
        junk_confidence: row.integer("ZJUNKCONFIDENCE").filter(|confidence| *confidence != 0),
        emergency: row.flag("ZWASEMERGENCYCALL"),
    }
}

/// A length of time that makes sense.
fn seconds(row: &mut Fields<'_>, column: &'static str) -> Option<f64> {
    let seconds = row.real(column)?;
    if seconds < 0.0 {
        let value = seconds.to_string();
        row.note(column, Problem::Time { value });
        return None;
    }
    Some(seconds)
}

const OLD: &[&str] = &[
    "address",
    "date",
    "duration",
    "flags",
    "name",
    "country_code",
    "answered",
    "originalAddress",
];

/// `flags`: bit 0 is set for calls of the owner, bit 4 for FaceTime.
fn old(row: &mut Fields<'_>) -> Call {
    let flags = row.integer("flags").unwrap_or_default();
    let (outgoing, seconds) = (flags & 1 != 0, seconds(row, "duration"));
    let stored = row.integer("answered").map(|answered| answered != 0);
    // Older tables do not say: a call that was taken lasted.
    let answered = stored.or(seconds.map(|seconds| seconds > 0.0));
    Call {
        id: row.id().unwrap_or_default(),
        guid: None,
        date: row.unix_time("date"),
        seconds,
        outgoing,
        answered,
        kind: if flags & 16 != 0 {
            CallKind::FacetimeVideo
        } else {
            CallKind::Phone
        },
        provider: None,
        address: row.some_text("address").or_else(|| row.some_text("originalAddress")),
        name: row.some_text("name"),
        participants: Vec::new(),
        country: row.some_text("country_code"),
        location: None,
        junk_confidence: None,
        emergency: false,
    }
}

/// Everybody in group calls, by call. The join table's name has the number of an entity in it, which changes.
fn participants(store: &Store, schema: &Schema, notes: &mut Notes) -> Result<HashMap<i64, Vec<String>>, RecordError> {
    let mut handles = HashMap::new();
    let mut participants: HashMap<i64, Vec<String>> = HashMap::new();
    let Some(select) = schema.select("ZHANDLE", &["ZVALUE", "ZNORMALIZEDVALUE"]) else {
        return Ok(participants);
    };
    let _ = select.each(store.connection(), notes, |row| {
        let value = row.some_text("ZVALUE").or_else(|| row.some_text("ZNORMALIZEDVALUE"));
        if let (Some(id), Some(value)) = (row.id(), value) {
            handles.insert(id, value);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let is_join = |name: &str| {
        let name = name.to_ascii_uppercase();
        name.starts_with("Z_") && name.ends_with("REMOTEPARTICIPANTHANDLES")
    };
    for table in schema.tables().filter(|table| is_join(table.name())) {
        let ends = |end: &str| {
            let mut columns = table.columns().iter();
            columns
                .find(|column| column.to_ascii_uppercase().ends_with(end))
                .map(String::as_str)
        };
        let (Some(call), Some(handle)) = (ends("REMOTEPARTICIPANTCALLS"), ends("REMOTEPARTICIPANTHANDLES")) else {
            notes.push(RecordNote::table(table.name(), Problem::NoColumn));
            continue;
        };
        let Some(select) = schema.select(table.name(), &[]) else {
            continue;
        };
        let select = select.or("call", &[call]).or("handle", &[handle]);
        let _ = select.each(store.connection(), notes, |row| {
            let (Some(call), Some(id)) = (row.integer("call"), row.integer("handle")) else {
                return Ok(ControlFlow::Continue(()));
            };
            match handles.get(&id) {
                Some(handle) => participants.entry(call).or_default().push(handle.clone()),
                None => row.note("handle", Problem::Dangling { to: "ZHANDLE", id }),
            }
            Ok(ControlFlow::Continue(()))
        })?;
    }
    Ok(participants)
}

fn export(job: &mut Job<'_>) -> Result<bool, RecordError> {
    let Some(mut calls) = read(job.archive())? else {
        return Ok(false);
    };
    job.source(calls.source().clone());
    if let Ok(Some(contacts)) = contacts::read(job.archive()) {
        calls.name_people(contacts.directory());
    }
    let mut lines = job.json_lines("calls")?;
    let mut page = match job.wants(Format::Html) {
        true => {
            let mut page = Page::begin(job.output().file("index", "html")?, "Calls")?;
            let source = calls.source();
            page.paragraph(&format!("From {} {}. Times are UTC.", source.domain, source.path))?;
            page.table(&["When", "Who", "Number", "Call", "Length"])?;
            Some(page)
        }
        false => None,
    };
    let _ = calls.each(&mut |call| {
        if let Some(lines) = &mut lines {
            lines.write(&call)?;
        }
        if let Some(page) = &mut page {
            write_row(page, &call)?;
        }
        job.count(1)?;
        Ok(ControlFlow::Continue(()))
    })?;
    let finished = [
        lines.map(|lines| lines.finish()?.finish()).transpose()?,
        page.map(|page| page.finish()?.finish()).transpose()?,
    ];
    for name in finished.into_iter().flatten() {
        job.wrote(name);
    }
    job.notes(calls.notes().clone());
    Ok(true)
}

fn write_row<W: Write>(page: &mut Page<W>, call: &Call) -> Result<(), RecordError> {
    let direction = match (call.outgoing, call.answered) {
        (true, Some(false)) => "outgoing, not answered",
        (true, _) => "outgoing",
        (false, Some(false)) => "missed",
        (false, _) => "incoming",
    };
    let through = match call.kind {
        CallKind::Phone => "phone".to_owned(),
        CallKind::FacetimeVideo => "FaceTime video".to_owned(),
        CallKind::FacetimeAudio => "FaceTime audio".to_owned(),
        CallKind::App => call.provider.clone().unwrap_or_default(),
        CallKind::Other(number) => format!("type {number}"),
    };
    let people = call
        .participants
        .iter()
        .chain(&call.address)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    let people = if people.is_empty() {
        "withheld".to_owned()
    } else {
        people
    };
    page.row(&[
        Cell::Time(call.date),
        Cell::Text(call.name.as_deref().unwrap_or_default()),
        Cell::Text(&people),
        Cell::Text(&format!("{direction}, {through}")),
        Cell::Text(&call.seconds.map(length).unwrap_or_default()),
    ])?;
    Ok(())
}

/// Hours, minutes and seconds, such as `1:02:03`.
fn length(seconds: f64) -> String {
    let Some(at) = super::time::unix(seconds.min(1e9)) else {
        return String::new();
    };
    let whole = at.unix_seconds();
    let (hours, minutes, seconds) = (
        whole.div_euclid(3600),
        whole.rem_euclid(3600).div_euclid(60),
        whole.rem_euclid(60),
    );
    if hours == 0 {
        format!("{minutes}:{seconds:02}")
    } else {
        format!("{hours}:{minutes:02}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests;
