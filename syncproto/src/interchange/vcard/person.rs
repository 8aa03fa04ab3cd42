//! The properties of the contact itself. Spec: mobilesync, sections 8.1 and 8.6.

use cabled_wire::plist::Value;

use super::super::lines::{Line, escape};
use super::super::{decode, encode};
use super::{ORIGINAL, Version, overrides};
use crate::record::{Record, RecordId};
use crate::records::{CivilDate, Contact, MAX_IMAGE, Person, Timestamp, View};

/// One property: its name, how it is read and how it is written.
struct Property {
    name: &'static str,
    read: fn(&Line, &mut Person) -> Option<()>,
    write: fn(&Person, Version) -> Option<String>,
}

const PROPERTIES: &[Property] = &[
    Property {
        name: "N",
        read: read_name,
        write: write_name,
    },
    Property {
        name: "NICKNAME",
        read: |line, person| set(&mut person.nickname, single(line, ',')?),
        write: |person, _| text("NICKNAME", person.nickname.as_ref()),
    },
    Property {
        name: "X-PHONETIC-FIRST-NAME",
        read: |line, person| set(&mut person.first_name_yomi, line.text()),
        write: |person, _| text("X-PHONETIC-FIRST-NAME", person.first_name_yomi.as_ref()),
    },
    Property {
        name: "X-PHONETIC-MIDDLE-NAME",
        read: |line, person| set(&mut person.middle_name_yomi, line.text()),
        write: |person, _| text("X-PHONETIC-MIDDLE-NAME", person.middle_name_yomi.as_ref()),
    },
    Property {
        name: "X-PHONETIC-LAST-NAME",
        read: |line, person| set(&mut person.last_name_yomi, line.text()),
        write: |person, _| text("X-PHONETIC-LAST-NAME", person.last_name_yomi.as_ref()),
    },
    Property {
        name: "ORG",
        read: read_org,
        write: write_org,
    },
    Property {
        name: "X-PHONETIC-ORG",
        read: |line, person| set(&mut person.company_yomi, line.text()),
        write: |person, _| text("X-PHONETIC-ORG", person.company_yomi.as_ref()),
    },
    Property {
        name: "TITLE",
        read: |line, person| set(&mut person.job_title, line.text()),
        write: |person, _| text("TITLE", person.job_title.as_ref()),
    },
    Property {
        name: "NOTE",
        read: |line, person| set(&mut person.notes, line.text()),
        write: |person, _| text("NOTE", person.notes.as_ref()),
    },
    Property {
        name: "BDAY",
        read: |line, person| {
            person.birthday = Some(Timestamp::noon(read_date(line)?));
            Some(())
        },
        write: |person, version| person.birthday.map(|time| write_date("BDAY", "", time, version)),
    },
    Property {
        name: "KIND",
        read: read_kind,
        write: |person, version| match version {
            Version::V4 if person.is_company() => Some("KIND:org".to_owned()),
            _ => None,
        },
    },
    Property {
        name: "X-ABSHOWAS",
        read: |line, person| {
            line.text().eq_ignore_ascii_case("company").then_some(())?;
            set(&mut person.display_as, "company".to_owned())
        },
        write: |person, _| person.is_company().then(|| "X-ABSHOWAS:COMPANY".to_owned()),
    },
    Property {
        name: "PHOTO",
        read: read_photo,
        write: write_photo,
    },
];

fn set(field: &mut Option<String>, text: String) -> Option<()> {
    (!text.is_empty()).then_some(())?;
    *field = Some(text);
    Some(())
}

fn text(name: &str, value: Option<&String>) -> Option<String> {
    value
        .filter(|value| !value.is_empty())
        .map(|value| format!("{name}:{}", escape(value)))
}

/// A list of one; a longer one cannot be said by a single key.
fn single(line: &Line, separator: char) -> Option<String> {
    let mut all = line.split(separator).into_iter();
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

fn read_name(line: &Line, person: &mut Person) -> Option<()> {
    // Several values of one component are joined with a blank.
    let parts = line.split(';');
    let raw: Vec<Vec<String>> = raw_components(&line.value);
    let part = |at: usize| {
        let joined = raw.get(at).map(|all| all.join(" ")).or_else(|| parts.get(at).cloned());
        joined.filter(|text| !text.trim().is_empty())
    };
    // RFC 9554: a second surname and a generation beyond the five of old.
    let join = |a: Option<String>, b: Option<String>| match (a, b) {
        (Some(a), Some(b)) if !a.contains(&b) => Some(format!("{a} {b}")),
        (a, b) => a.or(b),
    };
    let (phonetic, last, suffix) = (
        line.param("PHONETIC").is_some(),
        join(part(0), part(5)),
        join(part(4), part(6)),
    );
    if phonetic {
        (person.last_name_yomi, person.first_name_yomi, person.middle_name_yomi) = (last, part(1), part(2));
        return Some(());
    }
    (person.last_name, person.first_name, person.middle_name) = (last, part(1), part(2));
    (person.title, person.suffix) = (part(3), suffix);
    Some(())
}

/// The components of a structured value, each with its own values.
fn raw_components(value: &str) -> Vec<Vec<String>> {
    let line = |value: &str| Line::new(&format!("X:{value}"));
    let mut components = vec![String::new()];
    let mut escaped = false;
    for c in value.chars() {
        match c {
            ';' if !escaped => components.push(String::new()),
            c => components.last_mut().map(|last| last.push(c)).unwrap_or_default(),
        }
        escaped = c == '\\' && !escaped;
    }
    components.iter().map(|component| line(component).split(',')).collect()
}

fn write_name(person: &Person, version: Version) -> Option<String> {
    let parts = [
        &person.last_name,
        &person.first_name,
        &person.middle_name,
        &person.title,
        &person.suffix,
    ];
    if parts.iter().all(|part| part.is_none()) && version == Version::V4 {
        return None;
    }
    let parts = parts.map(|part| escape(part.as_deref().unwrap_or_default()));
    Some(format!("N:{}", parts.join(";")))
}

fn read_org(line: &Line, person: &mut Person) -> Option<()> {
    let mut units = line.split(';').into_iter();
    let company = units.next().filter(|text| !text.is_empty());
    let rest: Vec<String> = units.filter(|text| !text.is_empty()).collect();
    (company.is_some() || !rest.is_empty()).then_some(())?;
    person.company = company;
    person.department = (!rest.is_empty()).then(|| rest.join(", "));
    Some(())
}

fn write_org(person: &Person, _: Version) -> Option<String> {
    let company = person.company.as_deref().map(escape).unwrap_or_default();
    match &person.department {
        None if company.is_empty() => None,
        None => Some(format!("ORG:{company}")),
        Some(department) => Some(format!("ORG:{company};{}", escape(department))),
    }
}

fn read_kind(line: &Line, person: &mut Person) -> Option<()> {
    let kind = match &*line.text().to_ascii_lowercase() {
        "org" => "company",
        "individual" => "person",
        _ => return None,
    };
    set(&mut person.display_as, kind.to_owned())
}

fn read_photo(line: &Line, person: &mut Person) -> Option<()> {
    let base64 = match line.value.strip_prefix("data:") {
        Some(data) => {
            let data = data.replacen("\\,", ",", 1);
            let (head, body) = data.split_once(',')?;
            head.ends_with("base64").then(|| body.to_owned())?
        }
        None => {
            let encoding = line.param("ENCODING")?;
            matches!(&*encoding.to_ascii_lowercase(), "b" | "base64").then(|| line.value.clone())?
        }
    };
    let image = decode(&base64).filter(|image| !image.is_empty() && image.len() <= MAX_IMAGE)?;
    person.image = Some(image);
    Some(())
}

fn write_photo(person: &Person, version: Version) -> Option<String> {
    let image = person.image.as_ref().filter(|image| !image.is_empty())?;
    let kind = match image.get(..4).unwrap_or_default() {
        [0xff, 0xd8, ..] => "jpeg",
        [0x89, b'P', b'N', b'G'] => "png",
        b"GIF8" => "gif",
        [b'I', b'I', 42, 0] | [b'M', b'M', 0, 42] => "tiff",
        b"RIFF" => "webp",
        _ => "jpeg",
    };
    Some(match version {
        // The comma needs no escape, but Python's vobject cuts the picture off without one; every reader takes both.
        Version::V4 => format!("PHOTO:data:image/{kind};base64\\,{}", encode(image)),
        Version::V3 => format!("PHOTO;ENCODING=b;TYPE={}:{}", kind.to_ascii_uppercase(), encode(image)),
    })
}

/// A date of a card: `1985-04-12`, `19850412`, `--0412`; a time of day is passed over. `None` for free text.
pub(super) fn read_date(line: &Line) -> Option<CivilDate> {
    if line
        .param("VALUE")
        .is_some_and(|value| value.eq_ignore_ascii_case("text"))
    {
        return None;
    }
    let date = line.value.split(['T', 't', ' ']).next()?.trim();
    let number = |text: Option<&str>| text?.parse::<u8>().ok();
    if let Some(rest) = date.strip_prefix("--") {
        let digits: String = rest.chars().filter(|c| *c != '-').collect();
        return CivilDate::new(CivilDate::NO_YEAR, number(digits.get(..2))?, number(digits.get(2..))?);
    }
    let digits: String = date.chars().filter(|c| *c != '-').collect();
    if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut year = digits.get(..4)?.parse::<i64>().ok()?;
    let omitted = line.param("X-APPLE-OMIT-YEAR").and_then(|omitted| omitted.parse().ok());
    if omitted == Some(year) {
        year = CivilDate::NO_YEAR;
    }
    CivilDate::new(year, number(digits.get(4..6))?, number(digits.get(6..))?)
}

pub(super) fn write_date(name: &str, params: &str, time: Timestamp, version: Version) -> String {
    let date = time.as_date(0);
    let CivilDate { year, month, day } = date;
    match (version, year == CivilDate::NO_YEAR) {
        (Version::V4, true) => format!("{name}{params}:--{month:02}{day:02}"),
        (Version::V4, false) => format!("{name}{params}:{year:04}{month:02}{day:02}"),
        (Version::V3, true) => format!("{name};X-APPLE-OMIT-YEAR={year}{params}:{date}"),
        (Version::V3, false) => format!("{name}{params}:{date}"),
    }
}

/// Preference of a line among several: smaller is better.
fn preference(line: &Line) -> u32 {
    let stated = line.param("PREF").and_then(|pref| pref.parse().ok());
    let typed = || {
        if line.types().iter().any(|kind| kind == "pref") {
            1
        } else {
            100
        }
    };
    stated.unwrap_or_else(typed)
}

/// Reads what a single key can say; gives the other lines back.
pub(super) fn read(lines: Vec<Line>, version: Version) -> (Record, Vec<Line>) {
    let mut person = Person::default();
    let mut rest: Vec<Option<Line>> = lines.into_iter().map(Some).collect();
    let mut originals: Vec<(String, Line)> = Vec::new();
    let mut take = |person: &mut Person, property: &Property, phonetic: bool| {
        let fits = |line: &&Line| line.name == property.name && line.param("PHONETIC").is_some() == phonetic;
        let places = rest
            .iter()
            .enumerate()
            .filter_map(|(at, line)| line.as_ref().filter(fits).map(|line| (preference(line), at)));
        let mut places: Vec<(u32, usize)> = places.collect();
        places.sort_unstable();
        for (_, at) in places {
            let Some(slot) = rest.get_mut(at) else { continue };
            let Some(line) = slot.take() else { continue };
            if (property.read)(&line, person).is_some() {
                let ours = (property.write)(person, version).filter(|_| !phonetic);
                if ours.as_deref() != Some(line.raw.as_str()) {
                    originals.push((
                        format!("{ORIGINAL}:{}{}", property.name, if phonetic { "+" } else { "" }),
                        line,
                    ));
                }
                break;
            }
            *slot = Some(line);
        }
    };
    for property in PROPERTIES {
        take(&mut person, property, false);
        if property.name == "N" {
            take(&mut person, property, true);
        }
    }
    let mut record = person.write();
    for (key, line) in originals {
        record.attributes.insert(key, Value::Array(vec![line.raw.into()]));
    }
    let mut rest: Vec<Line> = rest.into_iter().flatten().collect();
    if let Some(at) = rest.iter().position(|line| line.name == "FN") {
        let line = rest.remove(at);
        record
            .attributes
            .insert("vcard:FN".to_owned(), Value::Array(vec![line.raw.into()]));
    }
    (record, rest)
}

/// A card without a structured name is known by its full name. What is derived from the rest is no name.
pub(super) fn name_from_full_name(contact: &mut Contact) {
    let kept = contact.person.write();
    let full = kept
        .attributes
        .get("vcard:FN")
        .and_then(Value::as_array)
        .and_then(|all| all.first()?.as_string());
    let Some(full) = full.map(Line::new) else { return };
    let derived = contact.display_name();
    if derived.is_empty() && !full.text().trim().is_empty() {
        contact.person.first_name = Some(full.text());
    }
    // What the name was derived as when this line was read: the line is used again while that is the same.
    if format!("FN:{}", escape(&contact.display_name())) == full.raw {
        contact.person.residue.forget("vcard:FN");
    } else {
        let pair = vec![Value::from(full.raw.as_str()), Value::from(contact.display_name())];
        contact.person.residue.keep("vcard:FN", Value::Array(pair));
    }
}

/// Whether a kept line says what the person has under a property.
fn says(property: &Property, line: &Line, person: &Person, phonetic: bool) -> bool {
    let mut read = Person::default();
    if (property.read)(line, &mut read).is_none() {
        return false;
    }
    if phonetic {
        return read.first_name_yomi == person.first_name_yomi
            && read.last_name_yomi == person.last_name_yomi
            && read.middle_name_yomi == person.middle_name_yomi;
    }
    let (ours, theirs) = (
        (property.write)(&read, Version::V4),
        (property.write)(person, Version::V4),
    );
    ours == theirs
}

/// The lines of the contact itself: full name first, then the properties, then what has none.
pub(super) fn write(contact: &Contact, root: &Record, version: Version, same: bool) -> Vec<String> {
    let person = &contact.person;
    let mut lines = vec![full_name(contact, root)];
    let mut phonetic_kept = false;
    let kept = |name: &str| {
        let kept = root.attributes.get(&format!("{ORIGINAL}:{name}")).filter(|_| same)?;
        super::kept(kept).pop()
    };
    for property in PROPERTIES {
        if property.name == "N"
            && let Some(line) = kept("N+").filter(|line| says(property, &Line::new(line), person, true))
        {
            lines.push(line);
            phonetic_kept = true;
        }
        if phonetic_kept && property.name.starts_with("X-PHONETIC-") && property.name.ends_with("NAME") {
            continue;
        }
        let original = kept(property.name).filter(|line| says(property, &Line::new(line), person, false));
        lines.extend(original.or_else(|| (property.write)(person, version)));
    }
    let parsed = lines.iter().map(|line| Line::new(line)).collect();
    let (mut found, _) = read(parsed, version);
    found.attributes.remove("vcard:FN");
    if let Ok(id) = RecordId::new("found")
        && let Ok(view) = Person::read(&id, &found)
    {
        let mut alone = Contact::new(id);
        alone.person = view;
        lines.extend(overrides("", root, &alone.person.write()));
    }
    lines
}

fn full_name(contact: &Contact, root: &Record) -> String {
    let derived = contact.display_name();
    let kept = root.attributes.get("vcard:FN").and_then(Value::as_array);
    if let Some([line, was]) = kept.map(Vec::as_slice)
        && was.as_string() == Some(&derived)
        && let Some(line) = line.as_string().filter(|line| Line::new(line).name == "FN")
    {
        return line.to_owned();
    }
    format!("FN:{}", escape(&derived))
}
