//! What belongs to a contact: one property each, with its label in the same group. Spec: mobilesync, sections 8.1 and 8.6.

use cabled_wire::plist::Value;

use super::super::lines::{Line, escape, param_value, unescape};
use super::{Bundle, ORIGINAL, Version, apply_override, bundles, carried, overrides, person, whole};
use crate::entity;
use crate::record::Record;
use crate::records::{CivilDate, Timestamp};

/// Reads a bundle as a part of a contact, with the lines kept where ours would differ. `None` for what no device knows.
pub(super) fn read(bundle: &Bundle, version: Version) -> Option<Record> {
    let mut record = alone(bundle)?;
    let carried = bundle.main.name == "X-CABLED-RECORD";
    for line in bundle.rest.iter().filter(|line| line.name == "X-CABLED-KEY") {
        apply_override(&mut record, line);
    }
    let mut number = 0;
    let mut group = || {
        number = u32::saturating_add(number, 1);
        format!("item{number}")
    };
    let ungrouped = |line: &str| {
        let parsed = Line::new(line);
        match &parsed.group {
            Some(group) => line.get(group.len()..).unwrap_or(line).to_owned(),
            None => line.to_owned(),
        }
    };
    let ours: Vec<String> = write(&record, version, &mut group)
        .iter()
        .map(|line| ungrouped(line))
        .collect();
    let lines = std::iter::once(&bundle.main).chain(&bundle.rest);
    let theirs: Vec<String> = lines.map(|line| ungrouped(&line.raw)).collect();
    if ours != theirs && !carried {
        record
            .attributes
            .insert(ORIGINAL.to_owned(), Value::Array(bundle.raw()));
    }
    Some(record)
}

/// Whether kept lines still say what a record says.
pub(super) fn says(lines: &[String], record: &Record, _: Version) -> bool {
    let parsed = lines.iter().map(|line| Line::new(line)).collect();
    let [bundle] = &*bundles(parsed) else { return false };
    let Some(mut found) = alone(bundle) else { return false };
    for line in bundle.rest.iter().filter(|line| line.name == "X-CABLED-KEY") {
        apply_override(&mut found, line);
    }
    let mut wanted = record.clone();
    wanted.attributes.remove(ORIGINAL);
    found
        .attributes
        .iter()
        .all(|(key, value)| wanted.attributes.get(key) == Some(value))
        && wanted.attributes.len() == found.attributes.len()
}

fn text(record: &Record, key: &str) -> Option<String> {
    let text = record.attributes.get(key)?.as_string()?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn with(record: Record, key: &str, value: Option<String>) -> Record {
    match value.filter(|value| !value.is_empty()) {
        Some(value) => record.with(key, value),
        None => record,
    }
}

/// The device's word for a use, or `other` and a label.
fn labelled(record: Record, label: Option<String>, kind: Option<&str>, words: &[&str]) -> Record {
    let lower = label.as_ref().map(|label| label.to_lowercase());
    match (label, lower) {
        (Some(_), Some(word)) if words.contains(&&*word) => record.with("type", word),
        (Some(label), _) if label != "other" => record.with("type", "other").with("label", label),
        (_, Some(_)) => record.with("type", "other"),
        _ => record.with("type", kind.unwrap_or("other")),
    }
}

const USES: &[&str] = &["home", "work", "other"];
const PHONES: &[&str] = &[
    "home", "work", "mobile", "main", "home fax", "work fax", "pager", "other",
];
const PAGES: &[&str] = &["home page", "homepage", "home", "work", "other"];
const RELATIONS: &[&str] = &[
    "father",
    "mother",
    "parent",
    "child",
    "brother",
    "sister",
    "friend",
    "spouse",
    "partner",
    "assistant",
    "manager",
    "other",
];
/// Service of the device, name in `X-SERVICE-TYPE`, scheme, property of old cards.
const SERVICES: &[(&str, &str, &str, &str)] = &[
    ("aim", "AIM", "aim", "X-AIM"),
    ("jabber", "Jabber", "xmpp", "X-JABBER"),
    ("yahoo", "Yahoo", "ymsgr", "X-YAHOO"),
    ("msn", "MSN", "msnim", "X-MSN"),
    ("icq", "ICQ", "icq", "X-ICQ"),
    ("qq", "QQ", "qq", "X-QQ"),
    ("googletalk", "GoogleTalk", "gtalk", "X-GOOGLE-TALK"),
    ("skype", "Skype", "skype", "X-SKYPE"),
    ("facebook", "Facebook", "facebook", "X-FACEBOOK"),
    ("gadugadu", "GaduGadu", "gg", "X-GADUGADU"),
];

fn alone(bundle: &Bundle) -> Option<Record> {
    let line = &bundle.main;
    let label = bundle.label();
    let types = line.types();
    let has = |kind: &str| types.iter().any(|word| word == kind);
    let place = if has("work") {
        Some("work")
    } else {
        has("home").then_some("home")
    };
    match &*line.name {
        "TEL" => {
            let number = line.text();
            let number = number.strip_prefix("tel:").unwrap_or(&number).to_owned();
            let (kind, fax) = phone_kind(&types, place);
            let label = label.or_else(|| fax.then(|| "fax".to_owned()));
            let record = labelled(Record::new(entity::PHONE_NUMBER), label, kind, PHONES);
            filled(record, "value", number)
        }
        "EMAIL" => filled(
            labelled(Record::new(entity::EMAIL_ADDRESS), label, place, USES),
            "value",
            line.text(),
        ),
        "URL" => filled(
            labelled(Record::new(entity::URL), label, place, PAGES),
            "value",
            unescape(&line.value),
        ),
        "ADR" => address(
            bundle,
            labelled(Record::new(entity::STREET_ADDRESS), label, place, USES),
        ),
        "RELATED" | "X-ABRELATEDNAMES" => related(line, label, &types),
        "ANNIVERSARY" | "X-ANNIVERSARY" | "X-ABDATE" => {
            let anniversary = line.name != "X-ABDATE";
            let kind = anniversary.then_some("anniversary");
            let time = Timestamp::noon(person::read_date(line)?);
            let record = labelled(Record::new(entity::DATE), label, kind, &["anniversary", "other"]);
            Some(record.with("value", Value::Date(time.to_wire()?)))
        }
        "X-CABLED-RECORD" => carried(line),
        name => instant(name, line, labelled(Record::new(entity::IM), label, place, USES)),
    }
}

fn filled(record: Record, key: &str, value: String) -> Option<Record> {
    (!value.trim().is_empty()).then(|| record.with(key, value))
}

/// The device's word for a set of `TEL` types, and whether it is a fax without a place.
fn phone_kind<'a>(types: &[String], place: Option<&'a str>) -> (Option<&'a str>, bool) {
    let has = |kind: &str| types.iter().any(|word| word == kind);
    match (has("cell"), has("fax"), place) {
        (true, _, _) => (Some("mobile"), false),
        (_, true, Some("work")) => (Some("work fax"), false),
        (_, true, Some(_)) => (Some("home fax"), false),
        (_, true, None) => (None, true),
        _ if has("pager") => (Some("pager"), false),
        _ if has("main") || has("x-main") => (Some("main"), false),
        _ => (place, false),
    }
}

fn address(bundle: &Bundle, record: Record) -> Option<Record> {
    let parts = bundle.main.split(';');
    let part = |at: usize| parts.get(at).filter(|text| !text.is_empty()).cloned();
    let street: Vec<String> = [part(0), part(1), part(2)].into_iter().flatten().collect();
    let code = bundle.rest.iter().find(|line| line.name == "X-ABADR").map(Line::text);
    let code = bundle.main.param("CC").map(str::to_owned).or(code);
    let mut record = with(record, "street", Some(street.join("\n")));
    for (at, key) in [(3, "city"), (4, "state"), (5, "postal code"), (6, "country")] {
        record = with(record, key, part(at));
    }
    let record = with(record, "country code", code);
    let keys = ["street", "city", "state", "postal code", "country", "country code"];
    keys.iter()
        .any(|key| record.attributes.contains_key(key))
        .then_some(record)
}

fn related(line: &Line, label: Option<String>, types: &[String]) -> Option<Record> {
    let uri = line.name == "RELATED"
        && !line
            .param("VALUE")
            .is_some_and(|value| value.eq_ignore_ascii_case("text"));
    if uri {
        return None;
    }
    let kind = types
        .iter()
        .find(|word| RELATIONS.contains(&word.as_str()))
        .map(String::as_str);
    filled(
        labelled(Record::new(entity::RELATED_NAME), label, kind, RELATIONS),
        "value",
        line.text(),
    )
}

fn instant(name: &str, line: &Line, record: Record) -> Option<Record> {
    let value = line.text();
    let (scheme, user) = value.split_once(':').unwrap_or(("", &value));
    let stated = line.param("X-SERVICE-TYPE").or_else(|| line.param("SERVICE-TYPE"));
    let service = |word: &str| {
        let word = word.to_ascii_lowercase().replace([' ', '-'], "");
        let word = if word == "xmpp" { "jabber".to_owned() } else { word };
        SERVICES.iter().find(|(service, ..)| *service == word)
    };
    if name != "IMPP" {
        let service = SERVICES.iter().find(|(_, _, _, property)| *property == name)?;
        return filled(record.with("service", service.0), "user", value);
    }
    let by_scheme = || {
        SERVICES
            .iter()
            .find(|(_, _, known, _)| scheme.eq_ignore_ascii_case(known))
    };
    let found = match stated {
        Some(stated) => service(stated)?,
        None => by_scheme()?,
    };
    // Apple writes x-apple: before names whose service has no scheme.
    let known = by_scheme().is_some() || scheme.eq_ignore_ascii_case("x-apple");
    let user = if known { user } else { &value };
    filled(record.with("service", found.0), "user", user.to_owned())
}

/// The lines of a part: its property, its label, and what neither can say.
pub(super) fn write(record: &Record, version: Version, group: &mut dyn FnMut() -> String) -> Vec<String> {
    let clean = {
        let mut record = record.clone();
        record.attributes.remove(ORIGINAL);
        record
    };
    let Some((main, companions)) = property(&clean, version) else {
        return vec![whole(&clean, "contact")];
    };
    let bundle = Bundle {
        main: Line::new(&main),
        rest: companions.iter().map(|line| Line::new(line)).collect(),
    };
    let Some(found) = alone(&bundle) else {
        return vec![whole(&clean, "contact")];
    };
    let extra = overrides("", &clean, &found);
    if companions.is_empty() && extra.is_empty() {
        return vec![main];
    }
    let group = group();
    let all = std::iter::once(main).chain(companions).chain(extra);
    all.map(|line| format!("{group}.{line}")).collect()
}

/// The property of a part and its companions; `None` for a part that no property can say.
fn property(record: &Record, version: Version) -> Option<(String, Vec<String>)> {
    let kind = text(record, "type");
    let label = text(record, "label");
    let value = |key: &str| text(record, key).map(|value| escape(&value));
    let mut companions = Vec::new();
    let entity = record.entity.as_deref()?;
    let (types, named) = types(entity, kind.as_deref(), version);
    let label = label.or(named);
    if let Some(label) = label {
        companions.push(format!("X-ABLABEL:{}", escape(&label)));
    }
    let main = match entity {
        entity::PHONE_NUMBER => format!("TEL{types}:{}", value("value")?),
        entity::EMAIL_ADDRESS => format!("EMAIL{types}:{}", value("value")?),
        entity::URL => {
            let url = text(record, "value")?;
            (!url.contains(['\n', '\r', '\\'])).then(|| format!("URL{types}:{url}"))?
        }
        entity::RELATED_NAME => match version {
            Version::V4 => format!("RELATED;VALUE=text{types}:{}", value("value")?),
            Version::V3 => format!("X-ABRELATEDNAMES{types}:{}", value("value")?),
        },
        entity::STREET_ADDRESS => {
            let part = |key: &str| value(key).unwrap_or_default();
            let code = text(record, "country code");
            let cc = code
                .as_ref()
                .filter(|_| version == Version::V4)
                .map(|code| format!(";CC={}", param_value(code)));
            if let (Version::V3, Some(code)) = (version, &code) {
                companions.push(format!("X-ABADR:{}", escape(code)));
            }
            let (street, city, state) = (part("street"), part("city"), part("state"));
            let (postal, country) = (part("postal code"), part("country"));
            format!(
                "ADR{types}{}:;;{street};{city};{state};{postal};{country}",
                cc.unwrap_or_default()
            )
        }
        entity::IM => {
            let service = text(record, "service")?;
            let (_, name, scheme, _) = SERVICES.iter().find(|(known, ..)| *known == service)?;
            format!("IMPP;X-SERVICE-TYPE={name}{types}:{scheme}:{}", value("user")?)
        }
        entity::DATE => {
            let time = Timestamp::of(record.attributes.get("value")?.as_date()?)?;
            let date = time.as_date(0);
            CivilDate::new(date.year, date.month, date.day).filter(|date| date.year >= 0)?;
            let anniversary = kind.as_deref() == Some("anniversary") && text(record, "label").is_none();
            if anniversary {
                companions.clear();
            }
            match (anniversary, version) {
                (true, Version::V4) => person::write_date("ANNIVERSARY", "", time, version),
                (true, Version::V3) => person::write_date("X-ANNIVERSARY", "", time, version),
                (false, _) => person::write_date("X-ABDATE", "", time, version),
            }
        }
        _ => return None,
    };
    Some((main, companions))
}

/// The `TYPE` parameter for a device's word, and the label for a word that has none.
fn types(entity: &str, kind: Option<&str>, version: Version) -> (String, Option<String>) {
    let kind = kind.unwrap_or("other");
    let words: &[&str] = match (entity, kind) {
        (entity::PHONE_NUMBER, "mobile") => &["cell"],
        (entity::PHONE_NUMBER, "home fax") => &["home", "fax"],
        (entity::PHONE_NUMBER, "work fax") => &["work", "fax"],
        (entity::PHONE_NUMBER, "pager") => &["pager"],
        (entity::RELATED_NAME, "brother" | "sister") if version == Version::V4 => &["sibling"],
        (entity::RELATED_NAME, "father" | "mother") if version == Version::V4 => &["parent"],
        (entity::RELATED_NAME, "parent") if version == Version::V4 => &["parent"],
        (entity::RELATED_NAME, "child") if version == Version::V4 => &["child"],
        (entity::RELATED_NAME, "friend") if version == Version::V4 => &["friend"],
        (entity::RELATED_NAME, "spouse") if version == Version::V4 => &["spouse"],
        (entity::RELATED_NAME | entity::DATE, _) => &[],
        (_, "home") => &["home"],
        (_, "work") => &["work"],
        _ => &[],
    };
    let exact =
        words.len() == 1 && words.contains(&kind) || matches!(kind, "other" | "mobile" | "home fax" | "work fax");
    let types: String = words.iter().map(|word| format!(";TYPE={word}")).collect();
    (types, (!exact).then(|| kind.to_owned()))
}
