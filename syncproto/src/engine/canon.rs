//! The canonical form, for comparing only: what is stored and sent keeps its spelling. Spec: mobilesync, section 15.2.

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark, is_nfc};

use super::value::{Datum, Fields, Ref};
use crate::schema::{DefaultValue, Key, ValueKind};

/// SHA-256 over a record's canonical form, relations by engine id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordHash(pub [u8; 32]);

/// SHA-256 over a record's canonical form without identifiers and relations, and over those of what it owns. It can be
/// compared across sides before anything is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentHash(pub [u8; 32]);

/// The key by which a side orders the entries of a folder.
pub(crate) const POSITION: &str = "position";

/// A value as it is compared; `None` where it means the same as an absent one.
pub(crate) fn canonical<'a>(key: Option<&Key>, datum: &'a Datum) -> Option<Cow<'a, Datum>> {
    let set = key.is_some_and(|key| key.set);
    let form = match datum {
        Datum::Text(text) if text.is_empty() => return None,
        Datum::Text(text) if is_nfc(text) && !text.contains('\r') => Cow::Borrowed(datum),
        Datum::Text(text) => {
            let lines = text.replace("\r\n", "\n").replace('\r', "\n");
            Cow::Owned(Datum::Text(lines.nfc().collect::<String>().into()))
        }
        Datum::Boolean(false) => return None,
        Datum::Boolean(true) if key.is_some_and(|key| key.value == ValueKind::Integer) => Cow::Owned(Datum::Integer(1)),
        Datum::Date(seconds, nanos) if *nanos != 0 => Cow::Owned(Datum::Date(*seconds, 0)),
        Datum::Data(data) if data.is_empty() => return None,
        Datum::Refs(refs) if refs.is_empty() => return None,
        Datum::Refs(refs) if set && refs.len() > 1 => {
            let mut refs = refs.to_vec();
            refs.sort();
            refs.dedup();
            Cow::Owned(Datum::Refs(refs.into()))
        }
        Datum::List(list) if list.is_empty() => return None,
        Datum::List(list) => {
            let items = list.iter().filter_map(|item| canonical(None, item));
            let mut items: Vec<Datum> = items.map(Cow::into_owned).collect();
            if set {
                items.sort();
                items.dedup();
            }
            Cow::Owned(Datum::List(items.into()))
        }
        _ => Cow::Borrowed(datum),
    };
    let default = match (key.and_then(|key| key.default), form.as_ref()) {
        (Some(DefaultValue::Text(default)), Datum::Text(text)) => **text == *default,
        (Some(DefaultValue::Integer(default)), Datum::Integer(number)) => *number == default,
        _ => false,
    };
    (!default).then_some(form)
}

/// The canonical values of those keys that `takes` wants, parallel arrays as one list of pairs.
fn canonical_list<'a>(fields: &'a Fields, takes: &dyn Fn(&str) -> bool) -> Vec<(&'a str, Cow<'a, Datum>)> {
    let mut list = Vec::new();
    for (name, datum) in fields.iter() {
        if !takes(name) {
            continue;
        }
        let key = fields.shape.and_then(|shape| shape.key(name));
        let parallel = key.and_then(|key| Some((key, key.parallel?)));
        match parallel.and_then(|(key, other)| Some((key, fields.get(other)?, datum))) {
            // Told under the name of the one that sorts first.
            Some((key, other, datum)) if key.parallel.is_some_and(|name| name > key.name) => {
                if let (Datum::List(a), Datum::List(b)) = (datum, other) {
                    let pair = |(a, b): (&Datum, &Datum)| Datum::List(Box::from([a.clone(), b.clone()]));
                    let mut pairs: Vec<Datum> = a.iter().zip(b.iter()).map(pair).collect();
                    pairs.sort();
                    list.push((&**name, Cow::Owned(Datum::List(pairs.into()))));
                }
            }
            Some(_) => {}
            None => list.extend(canonical(key, datum).map(|datum| (&**name, datum))),
        }
    }
    list
}

/// Whether two records mean the same in the keys that `takes` wants; `None` has no keys.
pub(crate) fn same(a: Option<&Fields>, b: Option<&Fields>, takes: &dyn Fn(&str) -> bool) -> bool {
    let form =
        |fields: Option<&'_ Fields>| -> bool { fields.is_none_or(|fields| canonical_list(fields, takes).is_empty()) };
    match (a, b) {
        (Some(a), Some(b)) => std::ptr::eq(a, b) || canonical_list(a, takes) == canonical_list(b, takes),
        (a, b) => form(a) && form(b),
    }
}

/// Whether a key is a file format's own book-keeping: versions, stamps, spellings, and the words by which groups are told.
/// Writing a record adds them, so they are no edit of anybody's. Spec: mobilesync, section 8.6.
pub(crate) fn is_bookkeeping(key: &str) -> bool {
    let Some((format @ ("vcard" | "ical" | "html" | "json"), name)) = key.split_once(':') else {
        return false;
    };
    match (format, name) {
        ("vcard", "VERSION" | "REV" | "PRODID" | "UID" | "CATEGORIES") => true,
        ("ical", "VERSION" | "PRODID" | "UID" | "DTSTAMP" | "CREATED" | "LAST-MODIFIED" | "SEQUENCE") => true,
        (_, name) => name.starts_with("original:"),
    }
}

/// Whether a group has no value.
pub(crate) fn is_empty(a: &Fields, takes: &dyn Fn(&str) -> bool) -> bool {
    canonical_list(a, takes).is_empty()
}

fn feed(hash: &mut Sha256, datum: &Datum) {
    let length = |hash: &mut Sha256, count: usize| hash.update((count as u64).to_be_bytes());
    match datum {
        Datum::Text(text) => {
            hash.update(b"t");
            length(hash, text.len());
            hash.update(text.as_bytes());
        }
        Datum::Integer(number) => {
            hash.update(b"i");
            hash.update(number.to_be_bytes());
        }
        Datum::Unsigned(number) | Datum::Uid(number) => {
            hash.update(b"u");
            hash.update(number.to_be_bytes());
        }
        Datum::Boolean(yes) => hash.update([b'b', u8::from(*yes)]),
        Datum::Real(bits) => {
            hash.update(b"r");
            hash.update(bits.to_be_bytes());
        }
        Datum::Date(seconds, nanos) => {
            hash.update(b"d");
            hash.update(seconds.to_be_bytes());
            hash.update(nanos.to_be_bytes());
        }
        // Images by their own hash: of constant length, and the same wherever it is asked for.
        Datum::Data(data) => {
            hash.update(b"x");
            hash.update(Sha256::digest(data));
        }
        Datum::Refs(refs) => {
            hash.update(b"R");
            length(hash, refs.len());
            for one in refs {
                match one {
                    Ref::Known(id) => hash.update(id.as_bytes()),
                    Ref::Unknown(native) => {
                        length(hash, native.len());
                        hash.update(native.as_bytes());
                    }
                }
            }
        }
        Datum::List(list) => {
            hash.update(b"l");
            length(hash, list.len());
            list.iter().for_each(|datum| feed(hash, datum));
        }
        Datum::Dict(list) => {
            hash.update(b"D");
            length(hash, list.len());
            for (key, datum) in list {
                length(hash, key.len());
                hash.update(key.as_bytes());
                feed(hash, datum);
            }
        }
    }
}

fn digest(fields: &Fields, takes: &dyn Fn(&str) -> bool) -> Sha256 {
    let mut hash = Sha256::new();
    hash.update((fields.entity.len() as u64).to_be_bytes());
    hash.update(fields.entity.as_bytes());
    for (key, datum) in canonical_list(fields, takes) {
        hash.update((key.len() as u64).to_be_bytes());
        hash.update(key.as_bytes());
        feed(&mut hash, &datum);
    }
    hash
}

pub(crate) fn record_hash(fields: &Fields) -> RecordHash {
    RecordHash(digest(fields, &|_| true).finalize().into())
}

/// `children` are the content hashes of what the record owns, in any order.
pub(crate) fn content_hash(
    fields: &Fields,
    takes: &dyn Fn(&str) -> bool,
    mut children: Vec<ContentHash>,
) -> ContentHash {
    let shape = fields.shape;
    let mut hash = digest(fields, &|key| {
        let relation = shape
            .and_then(|shape| shape.key(key))
            .is_some_and(|key| key.value == ValueKind::Ids);
        !relation && key != POSITION && takes(key)
    });
    children.sort();
    for child in children {
        hash.update(child.0);
    }
    ContentHash(hash.finalize().into())
}

/// A name as people compare it: NFKC, without case, accents and surplus blanks.
pub(crate) fn fold(text: &str) -> String {
    let plain = text.nfkd().filter(|c| !is_combining_mark(*c));
    let lower: String = plain.flat_map(char::to_lowercase).collect();
    lower.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An email address as it is compared.
pub(crate) fn fold_email(text: &str) -> String {
    text.trim().to_lowercase()
}

/// The last nine digits of a telephone number; `None` with fewer than seven.
pub(crate) fn fold_phone(text: &str) -> Option<String> {
    let digits: Vec<char> = text.chars().filter(char::is_ascii_digit).collect();
    let skip = digits.len().saturating_sub(9);
    (digits.len() >= 7).then(|| digits.into_iter().skip(skip).collect())
}

/// A web address with scheme and host in lower case and without default port and trailing slash.
pub(crate) fn fold_url(text: &str) -> String {
    let text = text.trim();
    let (head, rest) = match text.split_once("://") {
        Some((scheme, rest)) => (scheme.to_lowercase(), rest),
        None => return text.trim_end_matches('/').to_owned(),
    };
    let at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(at);
    let host = host.to_lowercase();
    let default = match head.as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => "\0",
    };
    let host = host.strip_suffix(default).unwrap_or(&host);
    format!("{head}://{host}{}", path.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use cabled_wire::plist::Value;

    use super::*;
    use crate::engine::value::Names;
    use crate::entity;
    use crate::record::Record;

    fn fields(record: &Record) -> Fields {
        Fields::read(record, &mut Names::default()).unwrap()
    }

    fn alike(a: &Record, b: &Record) -> bool {
        let (a, b) = (fields(a), fields(b));
        let equal = same(Some(&a), Some(&b), &|_| true);
        assert_eq!(equal, record_hash(&a) == record_hash(&b));
        equal
    }

    #[test]
    fn spelling_and_defaults_do_not_make_a_difference() {
        let a = Record::new(entity::CONTACT)
            .with("last name", "Mu\u{308}ller")
            .with("notes", "a\r\nb");
        let b = Record::new(entity::CONTACT)
            .with("notes", "a\nb")
            .with("display as company", "person")
            .with("nickname", "")
            .with("last name", "Müller");
        assert!(alike(&a, &b));
        assert!(!alike(&a, &b.with("nickname", "M")));
    }

    #[test]
    fn sets_have_no_order_and_other_lists_do() {
        let ids = |list: &[&str]| Value::Array(list.iter().map(|id| (*id).into()).collect());
        let group = |list| Record::new(entity::GROUP).with("members", ids(list));
        assert!(alike(&group(&["1", "2"]), &group(&["2", "1"])));
        let order = |list| Record::new(entity::CALENDAR).with("x", ids(list));
        assert!(!alike(&order(&["1", "2"]), &order(&["2", "1"])));
    }

    #[test]
    fn parallel_arrays_are_a_set_of_pairs() {
        let rule = |days: &[&str], freq: &[i64]| {
            Record::new(entity::RECURRENCE)
                .with(
                    "bydaydays",
                    Value::Array(days.iter().map(|day| (*day).into()).collect()),
                )
                .with("bydayfreq", Value::Array(freq.iter().map(|n| (*n).into()).collect()))
        };
        assert!(alike(
            &rule(&["monday", "friday"], &[1, 2]),
            &rule(&["friday", "monday"], &[2, 1])
        ));
        assert!(!alike(
            &rule(&["monday", "friday"], &[1, 2]),
            &rule(&["monday", "friday"], &[2, 1])
        ));
    }

    #[test]
    fn normal_forms() {
        assert_eq!(fold("  Ånn   EXAMPLE "), "ann example");
        assert_eq!(fold_phone("+49 (89) 555-0100"), Some("895550100".to_owned()));
        assert_eq!(fold_phone("110"), None);
        assert_eq!(fold_url("HTTPS://Example.ORG:443/A/"), "https://example.org/A");
        assert_eq!(fold_email(" Ann@Example.org "), "ann@example.org");
    }
}
