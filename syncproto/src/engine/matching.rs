//! Records that have a row on one side only, paired by content: one to one, in a fixed order, containers before roots
//! before children, each level inside matched parents. Spec: mobilesync, section 15.4.

use std::collections::{HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::canon::{self, ContentHash, fold};
use super::id::{Side, Sides};
use super::identity::{Is, People};
use super::likeness::value_of;
use super::mask::Mask;
use super::report::Capabilities;
use super::state::Why;
use super::value::{Datum, Fields};
use crate::entity;
use crate::schema::EntityKind;

/// Folders in folders that are matched top down.
const MAX_DEPTH: usize = 64;

/// How sure a key is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sure {
    Yes,
    /// The pairs are listed as assumed.
    Assumed,
    /// Assumed, and only if there is exactly one on each side.
    Alone,
}

/// A way to find the other half.
type Keys = fn(&Round<'_>, usize, Side, &Fields) -> Vec<String>;

/// A key that two records have in common: the first half of its digest, for there are as many as records.
type Digested = [u8; 16];

struct Round<'a> {
    people: &'a People,
    children: Sides<HashMap<usize, Vec<usize>>>,
    masks: Sides<&'a Mask>,
}

/// Pairs what can be paired.
pub(crate) fn run(people: &mut People, capabilities: &Sides<Capabilities>) {
    for _ in 0..MAX_DEPTH {
        if !level(people, capabilities, EntityKind::Container, &CONTAINERS) {
            break;
        }
    }
    // Twice: occurrences of a series are matched when the series is.
    for _ in 0..2 {
        level(people, capabilities, EntityKind::Root, &ROOTS);
    }
    level(people, capabilities, EntityKind::Child, &CHILDREN);
}

const CONTAINERS: [(Keys, Sure); 2] = [(content, Sure::Yes), (titled, Sure::Yes)];
const ROOTS: [(Keys, Sure); 9] = [
    (content, Sure::Yes),
    (uid, Sure::Yes),
    (name_and_value, Sure::Yes),
    (event, Sure::Yes),
    (occurrence, Sure::Yes),
    (address_in_folder, Sure::Yes),
    (note, Sure::Yes),
    (address_anywhere, Sure::Assumed),
    (name_alone, Sure::Alone),
];
const CHILDREN: [(Keys, Sure); 3] = [(content, Sure::Yes), (value, Sure::Yes), (only_one, Sure::Yes)];

fn level(people: &mut People, capabilities: &Sides<Capabilities>, kind: EntityKind, ways: &[(Keys, Sure)]) -> bool {
    let free = |people: &People, side: Side| -> Vec<usize> {
        let items = people.items.iter().enumerate().filter(|(_, item)| {
            let apart = item
                .row
                .held(side.other())
                .is_some_and(|held| held.why == Why::Deferred);
            !item.merged
                && item.there(side)
                && !apart
                && matches!(item.is.get(side.other()), Is::Absent | Is::Lost)
                && item.kind() == kind
        });
        let mut items: Vec<_> = items
            .map(|(at, item)| (item.row.native.get(side).clone(), at))
            .collect();
        items.sort();
        items.into_iter().map(|(_, at)| at).collect()
    };
    let mut any = false;
    for (keys, sure) in ways {
        let candidates = Sides::of(|side| free(people, side));
        if candidates.device.is_empty() || candidates.computer.is_empty() {
            return any;
        }
        let round = Round {
            children: Sides::of(|side| children(people, side)),
            masks: Sides::of(|side| &capabilities.get(side).mask),
            people,
        };
        let pairs = pairs(&round, &candidates, *keys, *sure);
        any |= !pairs.is_empty();
        for (device, computer) in pairs {
            // The one that had a row keeps it.
            let fresh = |at: usize| {
                people
                    .items
                    .get(at)
                    .is_none_or(|item| item.row.seen == Sides::default())
            };
            if fresh(computer) {
                people.merge(device, computer, Side::Computer, *sure != Sure::Yes);
            } else {
                people.merge(computer, device, Side::Device, *sure != Sure::Yes);
            }
        }
    }
    any
}

fn children(people: &People, side: Side) -> HashMap<usize, Vec<usize>> {
    let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
    for (at, item) in people.items.iter().enumerate() {
        if item.there(side)
            && item.kind() == EntityKind::Child
            && let Some(owner) = people.owner(at, side)
        {
            children.entry(owner).or_default().push(at);
        }
    }
    children
}

fn pairs(round: &Round<'_>, candidates: &Sides<Vec<usize>>, keys: Keys, sure: Sure) -> Vec<(usize, usize)> {
    let told = |side: Side| -> Vec<(usize, Digested)> {
        let mut told = Vec::with_capacity(candidates.get(side).len());
        for at in candidates.get(side) {
            if let Some(fields) = round.people.items.get(*at).and_then(|item| item.now(side)) {
                let keys = keys(round, *at, side, fields);
                told.extend(keys.iter().map(|key| (*at, digested(&fields.entity, key))));
            }
        }
        told
    };
    let (here, there) = (told(Side::Device), told(Side::Computer));
    let sorted = |told: &[(usize, Digested)]| {
        // Records with the same key stay in the order that they were told in.
        let mut keys: Vec<(Digested, usize)> = (0..).zip(told).map(|(order, (_, key))| (*key, order)).collect();
        keys.sort_unstable();
        keys
    };
    let (mine, theirs) = (sorted(&here), sorted(&there));
    let range = |keys: &[(Digested, usize)], key: &Digested| {
        let start = keys.partition_point(|(one, _)| one < key);
        let rest = keys.get(start..).unwrap_or_default();
        start..start.saturating_add(rest.partition_point(|(one, _)| one == key))
    };
    let (mut used, mut taken) = (HashSet::new(), HashSet::new());
    // Of many with the same key the next search begins where the last one ended.
    let mut passed: HashMap<usize, usize> = HashMap::new();
    let mut pairs = Vec::new();
    for (device, key) in &here {
        let found = range(&theirs, key);
        if taken.contains(device) || found.is_empty() {
            continue;
        }
        if sure == Sure::Alone && (found.len() != 1 || range(&mine, key).len() != 1) {
            continue;
        }
        let next = passed.entry(found.start).or_insert(found.start);
        let free = (*next..found.end).find_map(|at| {
            let (computer, _) = there.get(theirs.get(at)?.1)?;
            *next = at.saturating_add(1);
            used.insert(*computer).then_some(*computer)
        });
        if let Some(computer) = free {
            taken.insert(*device);
            pairs.push((*device, computer));
        }
    }
    pairs
}

fn digested(entity: &str, key: &str) -> Digested {
    let mut hash = Sha256::new();
    hash.update((entity.len() as u64).to_be_bytes());
    hash.update(entity);
    hash.update(key);
    let digest: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
    half
}

impl Round<'_> {
    /// The parent as both sides know it; `None` where it is not matched, and nothing can be matched inside it.
    fn parent(&self, at: usize, side: Side) -> Option<String> {
        let fields = self.people.items.get(at)?.now(side)?;
        if fields.owner().is_none() {
            return Some(String::new());
        }
        match self.people.owner(at, side) {
            None => Some(String::new()),
            Some(owner) => {
                let item = self.people.items.get(owner)?;
                (item.there(Side::Device) && item.there(Side::Computer)).then(|| item.id.to_string())
            }
        }
    }

    fn hash(&self, at: usize, side: Side, fields: &Fields) -> ContentHash {
        let children = self.children.get(side).get(&at).into_iter().flatten();
        let children = children.filter_map(|at| {
            let fields = self.people.items.get(*at)?.now(side)?;
            self.kept(fields).then(|| self.alone(fields))
        });
        let children = children.collect();
        self.hash_of(fields, children)
    }

    fn alone(&self, fields: &Fields) -> ContentHash {
        self.hash_of(fields, Vec::new())
    }

    /// Whether both sides can have such a record.
    fn kept(&self, fields: &Fields) -> bool {
        Side::BOTH.iter().all(|side| self.masks.get(*side).takes_entity(fields))
    }

    /// As both sides would report it.
    fn hash_of(&self, fields: &Fields, children: Vec<ContentHash>) -> ContentHash {
        if Side::BOTH.iter().all(|side| self.masks.get(*side).keeps(fields)) {
            return canon::content_hash(fields, &|_| true, children);
        }
        let both = self.masks.computer.predict(&self.masks.device.predict(fields));
        canon::content_hash(&both, &|_| true, children)
    }
}

fn text<'a>(fields: &'a Fields, key: &str) -> Option<&'a str> {
    fields.get(key).and_then(Datum::text).filter(|text| !text.is_empty())
}

fn content(round: &Round<'_>, at: usize, side: Side, fields: &Fields) -> Vec<String> {
    let Some(parent) = round.parent(at, side) else {
        return Vec::new();
    };
    let ContentHash(hash) = round.hash(at, side, fields);
    let hash = hash
        .chunks_exact(8)
        .filter_map(|part| part.try_into().ok())
        .map(u64::from_be_bytes);
    vec![hash.fold(parent, |key, part| format!("{key}\0{part:x}"))]
}

fn titled(round: &Round<'_>, at: usize, side: Side, fields: &Fields) -> Vec<String> {
    let title = fields.shape.and_then(|shape| shape.title.first());
    let title = title.and_then(|key| text(fields, key)).map(fold);
    match (round.parent(at, side), title) {
        (Some(parent), Some(title)) => vec![format!("{parent}\0{title}")],
        _ => Vec::new(),
    }
}

fn uid(_: &Round<'_>, _: usize, _: Side, fields: &Fields) -> Vec<String> {
    let uid = text(fields, "UID").or_else(|| text(fields, "com.apple.ical.uid"));
    let when = canonical(fields, "original date");
    uid.map(|uid| format!("{uid}\0{when}")).into_iter().collect()
}

fn canonical(fields: &Fields, key: &str) -> String {
    let known = fields.shape.and_then(|shape| shape.key(key));
    match fields.get(key).and_then(|datum| canon::canonical(known, datum)) {
        Some(datum) => match datum.as_ref() {
            Datum::Date(seconds, _) => seconds.to_string(),
            Datum::Integer(number) => number.to_string(),
            Datum::Text(text) => fold(text),
            _ => String::new(),
        },
        None => String::new(),
    }
}

/// The folded full name of a person or company.
fn name(fields: &Fields) -> Option<String> {
    if &*fields.entity != entity::CONTACT {
        return None;
    }
    let parts = ["first name", "middle name", "last name"];
    let parts: Vec<&str> = parts.iter().filter_map(|key| text(fields, key)).collect();
    match (parts.is_empty(), text(fields, "company name")) {
        (false, _) => Some(format!("p{}", fold(&parts.join(" ")))),
        (true, Some(company)) => Some(format!("c{}", fold(company))),
        (true, None) => None,
    }
}

fn name_and_value(round: &Round<'_>, at: usize, side: Side, fields: &Fields) -> Vec<String> {
    let Some(name) = name(fields) else { return Vec::new() };
    let children = round.children.get(side).get(&at).into_iter().flatten();
    let values = children.filter_map(|at| value_of(round.people.items.get(*at)?.now(side)?));
    let mut keys: Vec<String> = values.map(|value| format!("{name}\0{value}")).collect();
    keys.sort();
    if let Some(Datum::Date(seconds, _)) = fields.get("birthday") {
        keys.push(format!("{name}\0birthday {}", seconds.div_euclid(86_400)));
    }
    keys
}

fn name_alone(_: &Round<'_>, _: usize, _: Side, fields: &Fields) -> Vec<String> {
    name(fields).into_iter().collect()
}

fn event(round: &Round<'_>, at: usize, side: Side, fields: &Fields) -> Vec<String> {
    let known = &*fields.entity == entity::EVENT && text(fields, "summary").is_some();
    let series = fields.get("original date").is_none();
    match (known && series, round.parent(at, side)) {
        (true, Some(parent)) => {
            let [start, end, summary] = ["start date", "end date", "summary"].map(|key| canonical(fields, key));
            vec![format!("{parent}\0{start}\0{end}\0{summary}")]
        }
        _ => Vec::new(),
    }
}

fn occurrence(round: &Round<'_>, at: usize, side: Side, fields: &Fields) -> Vec<String> {
    let series = round
        .people
        .related(at, side, "main event")
        .and_then(|at| round.people.items.get(at));
    let series = series.filter(|item| item.there(Side::Device) && item.there(Side::Computer));
    let when = canonical(fields, "original date");
    series
        .map(|series| format!("{}\0{when}", series.id))
        .into_iter()
        .collect()
}

fn address(fields: &Fields) -> Option<String> {
    let bookmark = &*fields.entity == entity::BOOKMARK;
    text(fields, "url").filter(|_| bookmark).map(canon::fold_url)
}

fn address_in_folder(round: &Round<'_>, at: usize, side: Side, fields: &Fields) -> Vec<String> {
    match (address(fields), round.parent(at, side)) {
        (Some(address), Some(parent)) => vec![format!("{parent}\0{address}")],
        _ => Vec::new(),
    }
}

fn address_anywhere(_: &Round<'_>, _: usize, _: Side, fields: &Fields) -> Vec<String> {
    let name = text(fields, "name").map(fold);
    let both = address(fields).zip(name);
    both.map(|(address, name)| format!("{address}\0{name}"))
        .into_iter()
        .collect()
}

fn note(_: &Round<'_>, _: usize, _: Side, fields: &Fields) -> Vec<String> {
    let subject = text(fields, "subject").map(fold);
    let made = canonical(fields, "dateCreated");
    match subject {
        Some(subject) if &*fields.entity == entity::NOTE && !made.is_empty() => vec![format!("{subject}\0{made}")],
        _ => Vec::new(),
    }
}

fn value(round: &Round<'_>, at: usize, side: Side, fields: &Fields) -> Vec<String> {
    match (round.parent(at, side), value_of(fields)) {
        (Some(parent), Some(value)) if !parent.is_empty() => vec![format!("{parent}\0{value}")],
        _ => Vec::new(),
    }
}

/// An event repeats in one way and has one organizer.
fn only_one(round: &Round<'_>, at: usize, side: Side, fields: &Fields) -> Vec<String> {
    let one = matches!(&*fields.entity, entity::RECURRENCE | entity::ORGANIZER);
    match round.parent(at, side) {
        Some(parent) if one && !parent.is_empty() => vec![parent],
        _ => Vec::new(),
    }
}
