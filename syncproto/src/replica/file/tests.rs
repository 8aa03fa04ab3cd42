//! Sessions that die at any step of the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::disk::{is_temporary, temporary_name};
use super::{Desk, Groups, People};
use crate::engine::{Batch, EngineId, Outcome, SessionId, Write};
use crate::entity;
use crate::interchange::Limits;
use crate::record::{Change, Record, RecordId};
use crate::replica::{BlockingReplica, OpenRequest, ReplicaError, Vdir};

fn card(uid: &str) -> String {
    format!("BEGIN:VCARD\r\nVERSION:4.0\r\nUID:{uid}\r\nFN:{uid}\r\nEND:VCARD\r\n")
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for uid in ["a", "b", "c"] {
        fs::write(folder.path().join(format!("{uid}.vcf")), card(uid)).unwrap();
    }
    folder
}

fn desk(folder: &Path) -> Desk {
    let people = People::new(None, Groups::Cards, None, Limits::default());
    let mut desk = Desk::new(folder.to_path_buf(), SessionId([1; 16]), Box::new(people), 1 << 20);
    let mut names: Vec<String> = items(folder).into_keys().collect();
    names.sort();
    for name in names {
        desk.take(&name).unwrap();
    }
    desk.book.ready();
    desk
}

fn items(folder: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let items = named.filter(|(name, _)| !is_temporary(name));
    items
        .map(|(name, path)| (name, fs::read_to_string(path).unwrap()))
        .collect()
}

fn temporaries(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| is_temporary(&entry.file_name().to_string_lossy()))
        .count()
}

/// `a` is changed, `b` goes, `n` is new, `c` stays.
fn writes() -> Batch {
    let person = |name: &str| Change::Upsert(Record::new(entity::CONTACT).with("first name", name));
    let write = |number: u8, id: &str, new: bool, change: Change| Write {
        engine: EngineId::from_bytes([number; 16]),
        id: RecordId::new(id).unwrap(),
        new,
        entity: entity::CONTACT.to_owned(),
        groups: Vec::new(),
        change,
    };
    Batch {
        writes: vec![
            write(1, "a", false, person("changed")),
            write(2, "n", true, person("new")),
            write(3, "b", false, Change::Delete),
        ],
        entities: BTreeSet::new(),
        completes: true,
        more: false,
    }
}

fn is_new(name: &str, content: Option<&String>) -> bool {
    match name {
        "a.vcf" => content.is_some_and(|text| text.contains("FN:changed\r\n") && text.ends_with("END:VCARD\r\n")),
        "n.vcf" => content.is_some_and(|text| text.contains("FN:new\r\n") && text.ends_with("END:VCARD\r\n")),
        _ => content.is_none(),
    }
}

#[test]
fn cut_off_at_any_step_every_item_is_old_or_new_and_the_next_session_goes_on() {
    let mut cut = 0;
    for steps in 0..40 {
        let folder = folder();
        let before = items(folder.path());
        let mut desk = desk(folder.path());
        desk.disk.steps = Some(steps);
        let staged = desk.write(writes());
        if staged.is_err() {
            // The process is gone, and nobody tidies up.
            std::mem::forget(desk);
        } else {
            let told = desk.commit().unwrap().outcomes;
            cut = cut.max(usize::from(!told.is_empty()));
        }
        let after = items(folder.path());
        for name in ["a.vcf", "b.vcf", "n.vcf"] {
            let (old, now) = (before.get(name), after.get(name));
            assert!(now == old || is_new(name, now), "after {steps} steps {name} is {now:?}");
        }
        assert_eq!(after.get("c.vcf"), before.get("c.vcf"));

        let mut again = self::desk(folder.path());
        again.write(writes()).unwrap();
        assert_eq!(again.commit().unwrap().outcomes, []);
        let after = items(folder.path());
        assert!(
            ["a.vcf", "b.vcf", "n.vcf"]
                .iter()
                .all(|name| is_new(name, after.get(*name))),
            "{after:?}"
        );
    }
    assert_eq!(cut, 1, "no session was cut off in its commit");
}

#[test]
fn a_disk_that_is_full_shows_before_anything_is_visible() {
    for failure in [
        io::ErrorKind::StorageFull,
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::ReadOnlyFilesystem,
    ] {
        for steps in 0..4 {
            let folder = folder();
            let before = items(folder.path());
            let mut desk = desk(folder.path());
            (desk.disk.steps, desk.disk.failure) = (Some(steps), Some(failure));
            let refused = desk.write(writes());
            assert!(
                matches!(refused, Err(ReplicaError::Unavailable { .. })),
                "{failure} after {steps}: {refused:?}"
            );
            drop(desk);
            assert_eq!((items(folder.path()), temporaries(folder.path())), (before, 0));
        }
    }
}

#[test]
fn a_file_that_cannot_be_staged_fails_alone() {
    let folder = folder();
    let mut desk = desk(folder.path());
    (desk.disk.steps, desk.disk.failure) = (Some(0), Some(io::ErrorKind::Other));
    let outcomes = desk.write(writes()).unwrap();
    let failed = outcomes
        .iter()
        .filter(|(_, outcome)| matches!(outcome, Outcome::Failed { .. }));
    assert_eq!(failed.count(), 2);
}

#[test]
fn giving_up_leaves_nothing_and_old_leftovers_of_ours_alone_are_removed() {
    let folder = folder();
    let before = items(folder.path());
    let mut given_up = desk(folder.path());
    given_up.write(writes()).unwrap();
    assert_eq!(temporaries(folder.path()), 2);
    given_up.abort();
    assert_eq!((items(folder.path()), temporaries(folder.path())), (before, 0));

    let old = SystemTime::now().checked_sub(Duration::from_secs(7200)).unwrap();
    let session = SessionId([9; 16]).to_string();
    let (stale, young) = (temporary_name(&session, 1), temporary_name(&session, 2));
    for (name, age) in [
        (&*stale, true),
        (&*young, false),
        (".cabled-mine-1.tmp", true),
        ("b.vcf.tmp", true),
    ] {
        let file = File::create(folder.path().join(name)).unwrap();
        if age {
            file.set_modified(old).unwrap();
        }
    }
    let mut vdir = Vdir::contacts(folder.path());
    vdir.open(OpenRequest::new(SessionId([2; 16]))).unwrap();
    let there = |name: &str| folder.path().join(name).exists();
    assert!(!there(&stale) && there(&young) && there(".cabled-mine-1.tmp") && there("b.vcf.tmp"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_that_the_disk_does_not_take_is_named_among_many() {
    let folder = tempfile::tempdir().unwrap();
    let mut files: Vec<File> = (0..100)
        .map(|n| File::create(folder.path().join(n.to_string())).unwrap())
        .collect();
    assert!(super::disk::flush(&files).is_empty());
    // No disk stands behind it.
    files.insert(41, File::open("/dev/null").unwrap());
    let failed = super::disk::flush(&files);
    assert_eq!(failed.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [41]);
}

/// People and their numbers, changed in any order.
struct Writing {
    dice: u64,
    engine: u128,
    /// Who is there, with what may still be changed of theirs.
    there: BTreeMap<String, Vec<String>>,
    members: Vec<String>,
}

impl Writing {
    fn below(&mut self, end: usize) -> usize {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        usize::try_from(self.dice.checked_rem(end as u64).unwrap()).unwrap()
    }

    fn write(&mut self, id: &str, new: bool, change: Change) -> Write {
        self.engine = self.engine.saturating_add(1);
        Write {
            engine: EngineId::from_bytes(self.engine.to_be_bytes()),
            id: RecordId::new(id).unwrap(),
            new,
            entity: match &change {
                Change::Upsert(record) => record.entity.clone().unwrap(),
                Change::Delete => entity::CONTACT.to_owned(),
            },
            groups: Vec::new(),
            change,
        }
    }

    fn next(&mut self) -> Write {
        let names: Vec<String> = self.there.keys().cloned().collect();
        let who = names[self.below(names.len())].clone();
        let said = format!("value {}", self.engine);
        let number = |value: &str| {
            let part = Record::new(entity::PHONE_NUMBER)
                .with("type", "home")
                .with("value", value);
            Change::Upsert(part.with("contact", vec![who.as_str().into()]))
        };
        match self.below(10) {
            0 | 1 => {
                let id = format!("new-{}", self.engine);
                self.there.insert(id.clone(), Vec::new());
                self.write(
                    &id,
                    true,
                    Change::Upsert(Record::new(entity::CONTACT).with("first name", said)),
                )
            }
            2 => self.write(
                &who,
                false,
                Change::Upsert(Record::new(entity::CONTACT).with("first name", said)),
            ),
            3 | 4 => self.write(&format!("part-{}", self.engine), true, number(&said)),
            5 | 6 if !self.there[&who].is_empty() => {
                let part = self.there[&who][0].clone();
                self.there.get_mut(&who).unwrap().rotate_left(1);
                self.write(&part, false, number(&said))
            }
            7 if !self.there[&who].is_empty() => {
                let part = self.there.get_mut(&who).unwrap().remove(0);
                self.write(&part, false, Change::Delete)
            }
            8 if names.len() > 4 && !self.members.contains(&who) => {
                self.there.remove(&who);
                self.write(&who, false, Change::Delete)
            }
            _ => {
                self.members.push(who);
                let members: Vec<_> = self.members.iter().map(|id| id.as_str().into()).collect();
                let new = self.members.len() == 1;
                let group = Record::new(entity::GROUP)
                    .with("name", "Friends")
                    .with("members", members);
                self.write("group", new, Change::Upsert(group))
            }
        }
    }
}

fn written(seed: u64, kept: usize) -> BTreeMap<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let mut writing = Writing {
        dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        engine: 0,
        there: BTreeMap::new(),
        members: Vec::new(),
    };
    for who in ["a", "b", "c", "d", "e", "f"] {
        let numbers = "TEL;TYPE=home:555 01\r\nTEL;TYPE=work:555 02\r\nTEL;TYPE=cell:555 03\r\nEND:";
        let text = card(who).replace("END:", numbers);
        // Two of them share a file.
        let name = if who == "f" {
            "e.vcf".to_owned()
        } else {
            format!("{who}.vcf")
        };
        let before = fs::read_to_string(folder.path().join(&name)).unwrap_or_default();
        fs::write(folder.path().join(name), before + &text).unwrap();
        let parts = (1..4).map(|number| format!("{who}/Phone Number/{number:05}")).collect();
        writing.there.insert(who.to_owned(), parts);
    }
    let mut people = People::new(None, Groups::Categories, None, Limits::default());
    people.kept = kept;
    let mut desk = Desk::new(
        folder.path().to_path_buf(),
        SessionId([1; 16]),
        Box::new(people),
        1 << 20,
    )
    .unread(items(folder.path()).into_keys().collect());
    while !matches!(desk.read().unwrap(), crate::replica::Told::End(_)) {}
    for number in (0..12).rev() {
        let count = writing.below(4).saturating_add(1);
        let batch = Batch {
            writes: (0..count).map(|_| writing.next()).collect(),
            entities: BTreeSet::new(),
            completes: true,
            more: number > 0,
        };
        let outcomes = desk.write(batch).unwrap();
        let done = |outcome: &Outcome| matches!(outcome, Outcome::Done { .. });
        assert!(
            outcomes.iter().all(|(_, outcome)| done(outcome)),
            "seed {seed}: {outcomes:?}"
        );
        assert_eq!(items(folder.path()).len(), 5, "nothing is visible yet");
    }
    assert_eq!(desk.commit().unwrap().outcomes, []);
    assert_eq!(temporaries(folder.path()), 0);
    items(folder.path())
}

#[test]
fn cards_that_make_room_for_others_are_written_as_if_they_had_stayed() {
    for seed in 1..25 {
        let all = written(seed, usize::MAX);
        for kept in [0, 1, 3] {
            assert_eq!(written(seed, kept), all, "seed {seed}, {kept} kept");
        }
    }
}
