//! Random sequences of operations against a model too simple to be wrong.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::fs::{Content, Fs, FsError, Kind, Meta};

const CAPACITY: u64 = 200;
const DOMAINS: [&str; 2] = ["A", "B"];
const PATHS: [&str; 9] = ["", "a", "a/b", "a/b/c", "a/b/c/d", "a b", "e", "e/b", "e/b/f"];

/// A flat list of places; files by number, so that two places can name one file.
#[derive(Clone, Default)]
struct Model {
    places: BTreeMap<(usize, &'static str), Thing>,
    files: BTreeMap<usize, Vec<u8>>,
    next: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Thing {
    Directory,
    Link,
    File(usize),
}

type Outcome = Result<(), &'static str>;
type At = (usize, &'static str);

fn parent(path: &str) -> Option<&str> {
    if path.is_empty() {
        None
    } else {
        Some(path.rsplit_once('/').map_or("", |(parent, _)| parent))
    }
}

/// The static name of a path that was put together.
fn known(path: &str) -> Option<&'static str> {
    PATHS.into_iter().find(|known| *known == path)
}

impl Model {
    fn find(&self, (domain, path): At) -> Result<Thing, &'static str> {
        for end in path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain((!path.is_empty()).then_some(0))
        {
            match self.places.get(&(domain, &path[..end])) {
                None => return Err("NotFound"),
                Some(Thing::Directory) => {}
                Some(_) => return Err("NotADirectory"),
            }
        }
        self.places.get(&(domain, path)).copied().ok_or("NotFound")
    }

    fn used(&self) -> u64 {
        self.files.values().map(|bytes| bytes.len() as u64).sum()
    }

    /// Files nobody names any more are gone.
    fn sweep(&mut self) {
        let places = &self.places;
        self.files
            .retain(|id, _| places.values().any(|thing| *thing == Thing::File(*id)));
    }

    fn parent_is_there(&self, (domain, path): At) -> Outcome {
        let Some(parent) = parent(path) else { return Ok(()) };
        match self.find((domain, known(parent).unwrap()))? {
            Thing::Directory => Ok(()),
            _ => Err("NotADirectory"),
        }
    }

    fn put(&mut self, at: At, thing: Option<Vec<u8>>) -> Outcome {
        let old = match self.find(at) {
            Ok(old) => Some(old),
            Err("NotFound") => None,
            Err(error) => return Err(error),
        };
        match (old, &thing) {
            (_, Some(_)) if at.1.is_empty() => return Err("Invalid"),
            (None, _) => self.parent_is_there(at)?,
            (Some(Thing::Directory), Some(_)) => return Err("IsADirectory"),
            (Some(Thing::File(_) | Thing::Link), None) => return Err("Exists"),
            _ => {}
        }
        let before = self.clone();
        let new = match thing {
            None => Thing::Directory,
            Some(bytes) => {
                self.next += 1;
                self.files.insert(self.next, bytes);
                Thing::File(self.next)
            }
        };
        self.places.insert(at, new);
        self.sweep();
        if self.used() > CAPACITY && self.used() > before.used() {
            *self = before;
            return Err("NoSpace");
        }
        Ok(())
    }

    fn below(&self, (domain, path): At) -> Vec<At> {
        let inside = |other: &str| {
            path.is_empty()
                || other
                    .strip_prefix(path)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.places
            .keys()
            .filter(|(d, p)| *d == domain && inside(p))
            .copied()
            .collect()
    }

    fn remove(&mut self, at: At, all: bool) -> Outcome {
        self.find(at)?;
        let below = self.below(at);
        if !all && below.len() > 1 {
            return Err("NotEmpty");
        }
        self.places.retain(|at, _| !below.contains(at));
        self.sweep();
        Ok(())
    }

    fn rename(&mut self, from: At, to: At) -> Outcome {
        let source = self.find(from)?;
        if from == to {
            return Ok(());
        }
        if from.1.is_empty() || to.1.is_empty() || self.below(from).contains(&to) {
            return Err("Invalid");
        }
        let within = to.0 == from.0 && to.1.starts_with(&format!("{}/", from.1));
        if within {
            return Err("Invalid");
        }
        self.parent_is_there(to)?;
        match (self.find(to), source) {
            (Err("NotFound"), _) => {}
            (Err(error), _) => return Err(error),
            (Ok(Thing::Directory), Thing::Directory) if self.below(to).len() > 1 => return Err("NotEmpty"),
            (Ok(Thing::Directory), Thing::Directory) => {}
            (Ok(Thing::Directory), _) => return Err("IsADirectory"),
            (Ok(_), Thing::Directory) => return Err("NotADirectory"),
            (Ok(_), _) => {}
        }
        self.places.remove(&to);
        for (domain, path) in self.below(from) {
            let thing = self.places.remove(&(domain, path)).unwrap();
            let moved = format!("{}{}", to.1, &path[from.1.len()..]);
            // The generator only asks for moves whose results are in the list.
            self.places.insert((to.0, known(&moved).unwrap()), thing);
        }
        self.sweep();
        Ok(())
    }

    fn link(&mut self, from: At, to: At) -> Outcome {
        let source = self.find(from)?;
        if source == Thing::Directory {
            return Err("IsADirectory");
        }
        match self.find(to) {
            Ok(_) => return Err("Exists"),
            Err("NotFound") => {}
            Err(error) => return Err(error),
        }
        if to.1.is_empty() {
            return Err("Exists");
        }
        self.parent_is_there(to)?;
        self.places.insert(to, source);
        Ok(())
    }

    fn edit(&mut self, at: At, edit: impl FnOnce(&mut Vec<u8>)) -> Outcome {
        match self.find(at)? {
            Thing::Directory => Err("IsADirectory"),
            Thing::Link => Err("Invalid"),
            Thing::File(id) => {
                let (old, used) = (self.files[&id].clone(), self.used());
                edit(self.files.get_mut(&id).unwrap());
                if self.used() > CAPACITY && self.used() > used {
                    self.files.insert(id, old);
                    return Err("NoSpace");
                }
                Ok(())
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    PutFile(At, Vec<u8>),
    PutDirectory(At),
    MakeDirectories(At),
    Symlink(At),
    Remove(At, bool),
    Rename(At, At),
    Link(At, At),
    Write(At, usize, Vec<u8>),
    SetLen(At, usize),
}

fn at() -> impl Strategy<Value = At> {
    (0..DOMAINS.len(), proptest::sample::select(PATHS.as_slice()))
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let data = || proptest::collection::vec(any::<u8>(), 0..40);
    let op = prop_oneof![
        3 => (at(), data()).prop_map(|(at, data)| Op::PutFile(at, data)),
        2 => at().prop_map(Op::PutDirectory),
        3 => at().prop_map(Op::MakeDirectories),
        1 => at().prop_map(Op::Symlink),
        2 => (at(), any::<bool>()).prop_map(|(at, all)| Op::Remove(at, all)),
        3 => (at(), at()).prop_map(|(from, to)| Op::Rename(from, to)),
        2 => (at(), at()).prop_map(|(from, to)| Op::Link(from, to)),
        2 => (at(), 0_usize..60, data()).prop_map(|(at, offset, data)| Op::Write(at, offset, data)),
        1 => (at(), 0_usize..60).prop_map(|(at, len)| Op::SetLen(at, len)),
    ];
    proptest::collection::vec(op, 1..60)
}

fn name(error: FsError) -> &'static str {
    match error {
        FsError::NotFound => "NotFound",
        FsError::NotADirectory => "NotADirectory",
        FsError::IsADirectory => "IsADirectory",
        FsError::NotEmpty => "NotEmpty",
        FsError::Exists => "Exists",
        FsError::NoSpace => "NoSpace",
        FsError::Invalid => "Invalid",
        FsError::Io(error) => panic!("{error}"),
    }
}

fn make_directories(model: &mut Model, at: At) -> Outcome {
    let before = model.clone();
    let ends = at.1.match_indices('/').map(|(end, _)| end).chain([at.1.len()]);
    let steps = std::iter::once("").chain(ends.map(|end| &at.1[..end]));
    for step in steps {
        match model.find((at.0, known(step).unwrap())) {
            Ok(Thing::Directory) => {}
            Ok(_) => {
                *model = before;
                return Err(if step == at.1 { "Exists" } else { "NotADirectory" });
            }
            Err(_) => {
                model.places.insert((at.0, known(step).unwrap()), Thing::Directory);
            }
        }
    }
    Ok(())
}

/// Whether every path of a move is in the list of paths.
fn is_in_the_list(model: &Model, from: At, to: At) -> bool {
    model
        .below(from)
        .iter()
        .all(|(_, path)| known(&format!("{}{}", to.1, &path[from.1.len()..])).is_some())
}

fn run(fs: &Fs, model: &mut Model, op: Op) -> Option<(Outcome, Outcome)> {
    let place = |at: At| (DOMAINS[at.0], at.1);
    let (real, expected) = match op {
        Op::PutFile(at, data) => {
            let kind = Kind::File(Content::bytes(data.clone()));
            let (domain, path) = place(at);
            (
                fs.put(domain, path, kind, Meta::file()).map(drop),
                model.put(at, Some(data)),
            )
        }
        Op::PutDirectory(at) => {
            let (domain, path) = place(at);
            (
                fs.put(domain, path, Kind::Directory, Meta::directory()).map(drop),
                model.put(at, None),
            )
        }
        Op::MakeDirectories(at) => {
            let (domain, path) = place(at);
            (fs.create_dir_all(domain, path), make_directories(model, at))
        }
        Op::Symlink(at) => {
            let (domain, path) = place(at);
            let expected = match model.find(at) {
                Ok(_) => Err("Exists"),
                Err("NotFound") if at.1.is_empty() => Err("Invalid"),
                Err("NotFound") => model
                    .parent_is_there(at)
                    .map(|()| model.places.extend([(at, Thing::Link)])),
                Err(error) => Err(error),
            };
            (fs.symlink("/target", domain, path).map(drop), expected)
        }
        Op::Remove(at, all) => {
            let (domain, path) = place(at);
            let real = if all {
                fs.remove_all(domain, path)
            } else {
                fs.remove(domain, path)
            };
            (real, model.remove(at, all))
        }
        Op::Rename(from, to) => {
            if model.find(from).is_ok() && !is_in_the_list(model, from, to) {
                return None;
            }
            let (a, b) = (place(from), place(to));
            (fs.rename(a.0, a.1, b.0, b.1), model.rename(from, to))
        }
        Op::Link(from, to) => {
            let (a, b) = (place(from), place(to));
            (fs.link(a.0, a.1, b.0, b.1), model.link(from, to))
        }
        Op::Write(at, offset, data) => {
            let (domain, path) = place(at);
            let real = fs.write_at(domain, path, offset as u64, &data);
            let expected = model.edit(at, |bytes| {
                if !data.is_empty() {
                    bytes.resize(bytes.len().max(offset + data.len()), 0);
                    bytes[offset..offset + data.len()].copy_from_slice(&data);
                }
            });
            (real, expected)
        }
        Op::SetLen(at, len) => {
            let (domain, path) = place(at);
            (
                fs.set_len(domain, path, len as u64),
                model.edit(at, |bytes| bytes.resize(len, 0)),
            )
        }
    };
    Some((real.map_err(name), expected))
}

fn compare(fs: &Fs, model: &Model) -> Result<(), TestCaseError> {
    let all = fs.snapshot();
    prop_assert_eq!(all.len(), model.places.len());
    prop_assert_eq!(fs.entry_count(), all.len());
    prop_assert_eq!(CAPACITY - fs.free_bytes(), model.used());
    for entry in &all {
        let domain = DOMAINS.iter().position(|domain| *domain == &*entry.domain).unwrap();
        let thing = model.places.get(&(domain, &*entry.path)).copied();
        match &entry.kind {
            Kind::Directory => prop_assert!(thing == Some(Thing::Directory)),
            Kind::Symlink(_) => prop_assert!(thing == Some(Thing::Link)),
            Kind::File(content) => {
                let Some(Thing::File(id)) = thing else {
                    return Err(TestCaseError::fail("no such file"));
                };
                prop_assert_eq!(&content.to_bytes(CAPACITY).unwrap(), &model.files[&id]);
                let names = model.places.values().filter(|thing| **thing == Thing::File(id)).count();
                prop_assert_eq!(fs.link_count(entry), names);
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_sequence_of_operations_does_what_the_model_does(ops in ops()) {
        let (fs, mut model) = (Fs::new(CAPACITY), Model::default());
        for op in ops {
            let said = format!("{op:?}");
            if let Some((real, expected)) = run(&fs, &mut model, op) {
                prop_assert_eq!(real, expected, "{}", said);
            }
            compare(&fs, &model)?;
        }
    }
}
