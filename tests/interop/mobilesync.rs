//! libimobiledevice's own mobilesync functions, called from a small Python program, for each class.
//!
//! What was pushed is looked up on the phone afterwards: the library's codes say little (a commit that the phone cancels is
//! a success to it).

use std::path::Path;
use std::time::Duration;

use cabled::virtualdevice::sync::SyncFault;
use cabled::virtualdevice::{Phone, Profile};
use cabled::wire::dict;
use cabled::wire::plist::{self, DictExt, Dictionary, Limits, Value};
use cabled_syncproto::record::{ENTITY_NAME, Record, RecordId};
use cabled_syncproto::{DataClass, entity};
use cabled_tests::bed::Bed;
use cabled_tests::{Outcome, program, text};
use libtest_mimic::Trial;

use crate::libimobiledevice::paired;
use crate::without;

const PYTHON: &str = "python3";
const LIBRARY: &str = "libimobiledevice-1.0.so.6";
const NEW: &str = "0B7C2E1A-5A00-4D2E-8F00-000000000001";
const CHILD: &str = "0B7C2E1A-5A00-4D2E-8F00-000000000002";
/// `MOBILESYNC_E_SYNC_REFUSED` and `MOBILESYNC_E_CANCELLED`.
const REFUSED: i64 = -7;
const CANCELLED: i64 = -8;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("mobilesync: libimobiledevice syncs contacts", || {
            whole(DataClass::Contacts)
        }),
        trial("mobilesync: libimobiledevice syncs calendars", || {
            whole(DataClass::Calendars)
        }),
        trial("mobilesync: libimobiledevice syncs bookmarks", || {
            whole(DataClass::Bookmarks)
        }),
        trial("mobilesync: libimobiledevice writes mail accounts", || {
            whole(DataClass::MailAccounts)
        }),
        trial("mobilesync: libimobiledevice is refused and goes on", refused),
        trial(
            "mobilesync: libimobiledevice is cancelled on the phone and goes on",
            cancelled,
        ),
    ]
}

/// A test that needs the library, or is [`without`] it.
fn trial(name: &str, body: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    let load = format!("import ctypes; ctypes.CDLL({LIBRARY:?})");
    let limit = Duration::from_secs(60);
    let there = program::find(PYTHON).is_some()
        && program::run(PYTHON, &["-c", &load], &[], &std::env::temp_dir(), limit)
            .is_ok_and(|ran| ran.status.is_some_and(|status| status.success()));
    let missing = if there { "idevicepair" } else { LIBRARY };
    if there && program::find("idevicepair").is_some() {
        return Trial::test(name, move || body().map_err(Into::into));
    }
    without(name, missing)
}

/// What the steps gave, in order.
struct Results(Vec<Dictionary>);

impl Results {
    /// A step by its number, and its code.
    fn step(&self, at: usize) -> Result<&Dictionary, String> {
        self.0.get(at).ok_or(format!("step {at} gave nothing"))
    }

    fn code(&self, at: usize) -> Result<i64, String> {
        self.step(at)?.integer("code").map_err(text)
    }

    /// All steps succeeded.
    fn well(self) -> Result<Self, String> {
        for (at, result) in self.0.iter().enumerate() {
            if self.code(at)? != 0 {
                return Err(format!("step {at} failed: {result:?}"));
            }
        }
        Ok(self)
    }

    fn inner(&self, at: usize, key: &str) -> Result<Dictionary, String> {
        let inner = self.step(at)?.get(key).and_then(Value::as_dictionary);
        inner.cloned().ok_or(format!("step {at} gave no {key}"))
    }
}

/// Walks through the steps on one connection.
fn steps(bed: &Bed, phone: &Phone, steps: Vec<Value>) -> Result<Results, String> {
    let folder = bed.folder("mobilesync")?;
    let (asked, said) = (folder.join("steps.plist"), folder.join("results.plist"));
    let mut all = vec![step("connect", [])];
    all.extend(steps);
    all.push(step("free", []));
    std::fs::write(&asked, plist::to_xml(&Value::Array(all))).map_err(text)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/sync/mobilesync.py");
    let udid = phone.udid().to_string();
    let args = [
        script.as_os_str(),
        LIBRARY.as_ref(),
        udid.as_ref(),
        asked.as_os_str(),
        said.as_os_str(),
    ];
    bed.run(PYTHON, &args)?.ok()?;
    let results = plist::read(&std::fs::read(&said).map_err(text)?, &Limits::default()).map_err(text)?;
    let results = results.into_array().ok_or("the results are no list")?.into_iter();
    // The first is the connection.
    let results = results
        .skip(1)
        .map(|result| result.into_dictionary().ok_or("a result is no dictionary"));
    Ok(Results(results.collect::<Result<_, _>>()?))
}

fn step<const N: usize>(name: &str, arguments: [Value; N]) -> Value {
    Value::Array([Value::from(name)].into_iter().chain(arguments).collect())
}

fn start(class: &DataClass, anchor: &str) -> Value {
    let version = Value::from(class.version());
    step("start", [class.id().into(), "---".into(), anchor.into(), version])
}

fn pull(which: &str) -> Value {
    step("pull", [which.into()])
}

/// Records as messages have them, integers as libplist 2.2.0 gives them: negative ones as huge.
fn as_sent<'a>(records: impl IntoIterator<Item = (&'a RecordId, &'a Record)>) -> Dictionary {
    let one = |(id, record): (&RecordId, &Record)| {
        let mut all = record.attributes.clone();
        if let Some(entity) = &record.entity {
            all.insert(ENTITY_NAME.to_owned(), entity.as_str().into());
        }
        (id.as_str().to_owned(), Value::Dictionary(all))
    };
    records.into_iter().map(one).collect()
}

/// The same with every integer as its 64 bits.
fn bits(value: &Value) -> Value {
    match value {
        Value::Integer(number) => {
            let bits = number
                .as_unsigned()
                .or_else(|| number.as_signed().map(i64::cast_unsigned));
            Value::from(bits.unwrap_or_default())
        }
        Value::Array(list) => Value::Array(list.iter().map(bits).collect()),
        Value::Dictionary(dict) => dict
            .iter()
            .map(|(key, value)| (key.clone(), bits(value)))
            .collect::<Dictionary>()
            .into(),
        // Text has no fractions of a second.
        Value::Date(date) => Value::String(date.to_xml_format().chars().take(19).collect()),
        other => other.clone(),
    }
}

fn same(what: &str, found: &Dictionary, wanted: &Dictionary) -> Outcome {
    for (id, wanted) in wanted {
        match found.get(id) {
            None => return Err(format!("{what}: {id} is missing")),
            Some(found) if bits(found) != bits(wanted) => {
                return Err(format!("{what}: {id} is {found:?}, not {wanted:?}"));
            }
            Some(_) => {}
        }
    }
    match found.keys().find(|id| !wanted.contains_key(id)) {
        Some(id) => Err(format!("{what}: nobody has {id}")),
        None => Ok(()),
    }
}

fn on_phone(phone: &Phone, class: &DataClass) -> Dictionary {
    as_sent(&phone.sync().records(class))
}

/// A new record of a class, and one that belongs to it, where there is such a thing.
fn new_records(class: &DataClass) -> (Record, Option<Record>) {
    let owner = || Value::Array(vec![NEW.into()]);
    match class {
        DataClass::Contacts => {
            let number = Record::new(entity::PHONE_NUMBER).with("contact", owner());
            let ann = Record::new(entity::CONTACT).with("first name", "Änn");
            (
                ann.with("display as company", "person"),
                Some(number.with("type", "home").with("value", "555 0100")),
            )
        }
        DataClass::Calendars => {
            let day = |day: u64| plist::Date::from(std::time::UNIX_EPOCH + Duration::from_secs(day * 86_400));
            let event = Record::new(entity::EVENT).with("calendar", owner());
            let event = event.with("start date", day(20_000)).with("end date", day(20_001));
            let home = Record::new(entity::CALENDAR).with("title", "Garden");
            (home, Some(event.with("summary", "Sowing").with("all day", 1)))
        }
        DataClass::Bookmarks => {
            let page = Record::new(entity::BOOKMARK).with("parent", owner());
            let page = page.with("name", "Page").with("url", "https://example.org");
            let folder = Record::new(entity::FOLDER).with("name", "Reading").with("position", 1);
            (folder, Some(page.with("position", 0)))
        }
        _ => {
            let account = Record::new(entity::MAIL_ACCOUNT).with("AccountType", "IMAP");
            (
                account.with("Username", "ann").with("Hostname", "mail.example.org"),
                None,
            )
        }
    }
}

fn send(id: &str, record: &Record, last: bool) -> Result<Value, String> {
    let entity = record.entity.as_deref().ok_or("a record without an entity")?;
    let id = RecordId::new(id).map_err(text)?;
    let records = as_sent([(&id, record)]);
    Ok(step(
        "send",
        [records.into(), last.into(), Value::Array(vec![entity.into()])],
    ))
}

/// The steps that write both new records.
fn sends(class: &DataClass) -> Result<Vec<Value>, String> {
    let (first, second) = new_records(class);
    // The flag of the library says both: no more messages, and no more of these entities.
    let mut sends = vec![send(NEW, &first, true)?];
    if let Some(second) = &second {
        sends.push(send(CHILD, second, true)?);
    }
    Ok(sends)
}

fn whole(class: DataClass) -> Outcome {
    let (bed, phone) = paired(Profile::ios_17_7())?;
    let told = class != DataClass::MailAccounts;
    let all = |anchor: &str| vec![start(&class, anchor), pull("all"), step("ready", [])];
    exports(&bed, &phone, &class, all("one"))?;
    if told {
        pulls_changes(&bed, &phone, &class)?;
    }
    // A push that is given up, and the same that is not, on one connection.
    let before = on_phone(&phone, &class);
    let mut asked = all("three");
    asked.extend(sends(&class)?);
    let mut cancelled = asked.clone();
    cancelled.push(step("cancel", ["changed my mind".into()]));
    steps(&bed, &phone, cancelled.clone())?.well()?;
    same("after a cancel", &on_phone(&phone, &class), &before)?;
    cancelled.extend(asked.clone());
    cancelled.push(step("finish", []));
    let results = steps(&bed, &phone, cancelled)?.well()?;
    let (first, second) = new_records(&class);
    let after = phone.sync().records(&class);
    if after.len() != before.len() + 1 + usize::from(second.is_some()) {
        return Err(format!(
            "{} records after the push, {} before",
            after.len(),
            before.len()
        ));
    }
    let pushed = asked.len() + 1;
    let child = [(CHILD, second)].map(|(id, record)| Some((id, record?)));
    let pairs = [Some((NEW, first))].into_iter().chain(child).flatten();
    for (at, (id, record)) in pairs.enumerate() {
        let mapping = results.inner(pushed + 3 + at, "mapping")?;
        arrived(&after, &class, id, &record, &mapping)?;
    }
    // Cleared, pulled afterwards, and filled again.
    let mut asked = vec![start(&class, "four"), step("clear", []), pull("all"), step("ready", [])];
    asked.extend(sends(&class)?);
    asked.push(step("finish", []));
    let results = steps(&bed, &phone, asked)?.well()?;
    same(
        "the pull after the clear",
        &results.inner(2, "records")?,
        &Dictionary::new(),
    )?;
    let left = phone.sync().records(&class).len();
    let wanted = if told { 2 } else { 1 };
    (left == wanted)
        .then_some(())
        .ok_or(format!("{left} records are left after the clear, not {wanted}"))
}

/// Everything is told as it is on the phone, and nothing changes there.
fn exports(bed: &Bed, phone: &Phone, class: &DataClass, mut asked: Vec<Value>) -> Outcome {
    asked.push(step("finish", []));
    let before = on_phone(phone, class);
    let results = steps(bed, phone, asked)?.well()?;
    let sync_type = results.step(0)?.text("type").map_err(text)?;
    if sync_type != "reset" {
        return Err(format!("the first session is {sync_type}"));
    }
    same("the export", &results.inner(1, "records")?, &before)?;
    same("the phone after the export", &on_phone(phone, class), &before)
}

/// What a person changed on the phone is told, and nothing else of its kind.
fn pulls_changes(bed: &Bed, phone: &Phone, class: &DataClass) -> Outcome {
    let records = phone.sync().records(class);
    let root = |record: &Record| {
        matches!(
            record.entity.as_deref(),
            Some(entity::CONTACT | entity::EVENT | entity::FOLDER)
        )
    };
    let roots: Vec<&RecordId> = records
        .iter()
        .filter(|(_, record)| root(record))
        .map(|(id, _)| id)
        .collect();
    let [edited, .., deleted] = roots[..] else {
        return Err("the phone has too little".into());
    };
    phone.sync().edit(class, edited, |record| {
        record.attributes.insert("name".to_owned(), "edited".into());
    });
    phone.sync().delete(class, deleted);
    let asked = vec![
        start(class, "two"),
        pull("changes"),
        step("ready", []),
        step("finish", []),
    ];
    let results = steps(bed, phone, asked)?.well()?;
    let changes = results.inner(1, "records")?;
    if *class == DataClass::Bookmarks {
        // This class never tells changes: it says that all is to be compared.
        let sync_type = results.step(0)?.text("type").map_err(text)?;
        return match sync_type {
            "slow" => same("changes of bookmarks", &changes, &Dictionary::new()),
            other => Err(format!("bookmarks that changed are {other}")),
        };
    }
    let wanted = on_phone(phone, class);
    if changes.get(edited.as_str()).map(bits) != wanted.get(edited.as_str()).map(bits) {
        return Err(format!("{edited} was edited and is not told as it is"));
    }
    match changes.get(deleted.as_str()) {
        Some(Value::String(_)) => Ok(()),
        other => Err(format!("{deleted} was deleted and is told as {other:?}")),
    }
}

/// A pushed record is on the phone, under the identifier that the library was told.
fn arrived(
    after: &std::collections::BTreeMap<RecordId, Record>,
    class: &DataClass,
    id: &str,
    record: &Record,
    mapping: &Dictionary,
) -> Outcome {
    let keeps = matches!(class, DataClass::Bookmarks | DataClass::MailAccounts);
    let native = match (keeps, mapping.get(id).and_then(Value::as_string)) {
        (true, None) => id,
        (false, Some(native)) => native,
        (_, found) => return Err(format!("{id} of {class} is mapped to {found:?}")),
    };
    let found = after.get(&RecordId::new(native).map_err(text)?);
    let found = found.ok_or(format!("{native} is not on the phone"))?;
    for key in [
        "first name",
        "value",
        "title",
        "summary",
        "name",
        "url",
        "Username",
        "start date",
    ] {
        if let Some(wanted) = record.attributes.get(key)
            && found.attributes.get(key) != Some(wanted)
        {
            return Err(format!(
                "{key} of {native} is {:?}, not {wanted:?}",
                found.attributes.get(key)
            ));
        }
    }
    Ok(())
}

fn refused() -> Outcome {
    let (bed, phone) = paired(Profile::ios_17_7())?;
    let off = dict! { "DisableTethered" => true };
    phone.set_value(Some("com.apple.mobile.tethered_sync"), "Contacts", off);
    // The library takes the class for open: only a cancel lets it go on.
    let cancel = || step("cancel", ["refused".into()]);
    let asked = vec![
        start(&DataClass::Contacts, "one"),
        cancel(),
        start(&DataClass::Notes, "two"),
        cancel(),
        start(&DataClass::Calendars, "three"),
        pull("all"),
        step("ready", []),
        step("finish", []),
    ];
    let results = steps(&bed, &phone, asked)?;
    for (at, said) in [(0, "disabled"), (2, "No Data Store")] {
        let words = results.step(at)?.text("said").map_err(text)?;
        if results.code(at)? != REFUSED || !words.contains(said) {
            return Err(format!("step {at} is {} with {words:?}", results.code(at)?));
        }
    }
    same(
        "the class after two refusals",
        &results.inner(5, "records")?,
        &on_phone(&phone, &DataClass::Calendars),
    )
}

fn cancelled() -> Outcome {
    let (bed, phone) = paired(Profile::ios_17_7())?;
    let class = DataClass::Contacts;
    let before = on_phone(&phone, &class);
    for request in [
        "SDMessageSyncDataClassWithDevice",
        "SDMessageGetAllRecordsFromDevice",
        "SDMessageProcessChanges",
    ] {
        phone.sync().push_fault(SyncFault::Cancel {
            request: request.to_owned(),
            reason: "somebody pressed a button".to_owned(),
        });
    }
    let cancel = || step("cancel", ["cancelled".into()]);
    let mut asked = vec![
        start(&class, "one"),
        cancel(),
        start(&class, "two"),
        pull("all"),
        cancel(),
    ];
    asked.extend([start(&class, "three"), pull("all"), step("ready", [])]);
    asked.push(send(NEW, &new_records(&class).0, true)?);
    asked.extend([
        cancel(),
        start(&class, "four"),
        pull("all"),
        step("ready", []),
        step("finish", []),
    ]);
    let results = steps(&bed, &phone, asked)?;
    for at in [0, 3, 8] {
        if results.code(at)? != CANCELLED {
            return Err(format!("step {at} is {:?}", results.step(at)?));
        }
    }
    same("the pull after three cancels", &results.inner(11, "records")?, &before)?;
    same("the phone after three cancels", &on_phone(&phone, &class), &before)
}
