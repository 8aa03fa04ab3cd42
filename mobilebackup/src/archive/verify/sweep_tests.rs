//! Every file of a backup damaged in every way: nothing panics, nothing wrong passes for right, and the damage is named.
//!
//! What the format cannot tell without a list of hashes, and this test holds it to nothing more:
//! - bytes inside a payload whose record has no digest (apps, photos, media), as long as length and ending fit;
//! - times, owners, modes and the like in the records of the index, and an attribute or link target in them;
//! - descriptive values in the three property lists.
//!
//! Against a list of hashes each of these is named as well.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::*;
use crate::archive::build::{BuildOptions, Builder, Details};
use crate::archive::entry::FileEntry;
use crate::archive::salvage::{Salvage, SalvageOptions, Trust};
use crate::archive::{Key, Layout, Silent, golden};

/// A row, and its contents if they could be read.
type Original = (FileEntry, Option<Vec<u8>>);

/// A backup that is damaged again and again, and what it was.
struct Sample {
    name: &'static str,
    folder: tempfile::TempDir,
    root: PathBuf,
    key: Option<Key>,
    entries: BTreeMap<(String, String), Original>,
    baseline: Arc<Baseline>,
    /// Findings that the sound backup has already.
    known: Vec<Finding>,
    /// Only every so many cases are tried.
    every: usize,
    turn: Cell<usize>,
}

impl Sample {
    fn of(name: &'static str, folder: tempfile::TempDir, root: PathBuf, password: Option<&str>) -> Self {
        let mut archive = Archive::open(&root).unwrap();
        let key = password.map(|password| archive.unlock_observed(password.as_bytes(), &mut Silent).unwrap());
        let mut writer = BaselineWriter::new(Vec::new());
        writer.backup_files(&archive).unwrap();
        struct Lines(BaselineWriter<Vec<u8>>);
        impl Observer for Lines {
            fn on_progress(&mut self, _: &Progress) -> ControlFlow<()> {
                ControlFlow::Continue(())
            }
            fn on_file(&mut self, check: &FileCheck) {
                self.0.file(check).unwrap();
            }
        }
        let mut lines = Lines(writer);
        let report = archive
            .verify(&VerifyOptions::default().sha256(true).threads(1), &mut lines)
            .unwrap();
        let baseline = Arc::new(Baseline::read(&lines.0.finish().unwrap()[..]).unwrap());
        let entries = archive.entries().unwrap().map(Result::unwrap);
        let entries = entries.map(|entry| {
            let bytes = contents(&archive, &entry).ok();
            ((entry.domain.to_string(), entry.path.to_string()), (entry, bytes))
        });
        let entries: BTreeMap<_, _> = entries.collect();
        assert_eq!(baseline.len(), entries.len());
        let known = report.damage.list.iter().chain(&report.notes.list).cloned().collect();
        Self {
            name,
            folder,
            root,
            key,
            entries,
            baseline,
            known,
            every: 1,
            turn: Cell::new(0),
        }
    }

    fn open(&self) -> Result<Archive, ArchiveError> {
        let mut archive = Archive::open(&self.root)?;
        if let Some(key) = self.key.as_ref().filter(|_| archive.is_locked()) {
            archive.unlock_with_key(key, &mut Silent)?;
        }
        Ok(archive)
    }

    /// Every file of the folder.
    fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path)
                } else {
                    files.push(path)
                }
            }
        }
        files.sort();
        files
    }

    /// Damages one file, looks, and puts it back.
    fn with(&self, file: &Path, damaged: Option<&[u8]>, what: &str) {
        let turn = self.turn.replace(self.turn.get() + 1);
        if !turn.is_multiple_of(self.every) {
            return;
        }
        let stored = fs::read(file).unwrap();
        if damaged == Some(&stored) {
            return;
        }
        match damaged {
            Some(bytes) => fs::write(file, bytes).unwrap(),
            None => fs::remove_file(file).unwrap(),
        }
        let name = file.strip_prefix(&self.root).unwrap();
        self.look(name, &format!("{}: {} {what}", self.name, name.display()));
        fs::write(file, stored).unwrap();
    }

    fn look(&self, file: &Path, case: &str) {
        self.look_at_salvage(case);
        // An archive that does not open, or a list that breaks off, has told.
        let Ok(archive) = self.open() else { return };
        let Ok(rows) = archive.rows() else { return };
        let told_by_list = rows.into_iter().any(|row| row.is_err());
        let listed: BTreeMap<_, _> = match archive.entries() {
            Ok(entries) => entries
                .take_while(Result::is_ok)
                .flatten()
                .map(|entry| ((entry.domain.to_string(), entry.path.to_string()), entry))
                .collect(),
            Err(_) => BTreeMap::new(),
        };
        let options = VerifyOptions::default().threads(1);
        let report = archive.verify(&options, &mut Silent);
        let against = archive
            .verify(&options.clone().against(Arc::clone(&self.baseline)), &mut Silent)
            .unwrap();
        let report = report.unwrap();
        let new = |report: &Report| {
            let all = report.damage.list.iter().chain(&report.notes.list);
            all.filter(|finding| !self.known.contains(finding))
                .cloned()
                .collect::<Vec<_>>()
        };
        let told = new(&report);
        let noted = !report.backup.is_empty();
        // Not all of it is a loss: an empty file without a payload is an empty file still, and bytes behind the last
        // whole block mean nothing.
        let is_as_before = self.entries.iter().all(|(place, (entry, bytes))| {
            listed.get(place) == Some(entry) && contents(&archive, entry).ok() == *bytes
        });
        assert!(
            is_as_before || !new(&against).is_empty(),
            "{case}: a list of hashes shows any change"
        );
        for (place, (entry, bytes)) in &self.entries {
            let Some(found) = listed.get(place) else {
                assert!(told_by_list || !told.is_empty(), "{case}: {place:?} vanished silently");
                continue;
            };
            let Some(bytes) = bytes else { continue };
            let Ok(now) = contents(&archive, found) else { continue };
            if now == *bytes {
                continue;
            }
            assert!(!against.is_sound(), "{case}");
            let of_file = |finding: &Finding| finding.file_id == Some(found.file_id);
            let is_own = file.ends_with(entry.file_id.to_string());
            let known = told.iter().any(of_file) || noted && !told.is_empty();
            let without_checksum = is_own && entry.digest.is_none();
            assert!(
                known || without_checksum,
                "{case}: wrong bytes of {place:?} passed for right: {told:?}"
            );
            assert!(
                new(&against).iter().any(of_file),
                "{case}: {place:?} {:?}",
                new(&against)
            );
        }
        // Damage to a payload is told of that payload, or it has no digest to tell by.
        if let Some((entry, _)) = self
            .entries
            .values()
            .find(|(entry, _)| file.ends_with(entry.file_id.to_string()))
        {
            let named = told.iter().any(|finding| finding.file_id == Some(entry.file_id));
            assert!(named || entry.digest.is_none(), "{case}: {told:?}");
        }
    }

    /// What salvage calls proven is right.
    fn look_at_salvage(&self, case: &str) {
        let mut options = SalvageOptions::default();
        if let Some(key) = &self.key {
            options = options.key(key.clone());
        }
        let Ok(salvage) = Salvage::open(&self.root, &options, &mut Silent) else {
            return;
        };
        for found in salvage.entries() {
            let mut bytes = Vec::new();
            let read = salvage.read(found).map(|mut reader| reader.read_to_end(&mut bytes));
            let place = (found.entry.domain.to_string(), found.entry.path.to_string());
            if found.trust == Trust::Proven {
                assert!(matches!(read, Ok(Ok(_))), "{case}: {place:?} is said to be proven");
                assert_eq!(self.entries[&place].1.as_ref(), Some(&bytes), "{case}: {place:?}");
            }
        }
    }
}

fn contents(archive: &Archive, entry: &FileEntry) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::new();
    archive.read(entry)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn golden_sample(name: &'static str) -> Sample {
    let folder = golden::copy_of(&format!("synthetic/{name}"));
    let root = folder.path().to_owned();
    let password = (name != "plain-v10").then_some("vector-pass-1");
    Sample::of(name, folder, root, password)
}

/// A small backup as a device makes them: databases, a log, pictures, every kind of entry.
pub(crate) fn built(name: &'static str, layout: Layout, encrypted: bool) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join(name);
    let mut options = BuildOptions::default()
        .layout(layout)
        .rounds(2, 2)
        .insecure_test_seed(7);
    if encrypted {
        options = options.encrypted("sweep");
    }
    let mut builder = Builder::create(&root, options).unwrap();
    let db = folder.path().join("db");
    let connection = rusqlite::Connection::open(&db).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE message (ROWID INTEGER PRIMARY KEY, text TEXT); CREATE TABLE chat (a); CREATE TABLE handle (a);
             INSERT INTO message (text) VALUES ('hello'), ('there'); INSERT INTO message (text) VALUES (zeroblob(9000))",
        )
        .unwrap();
    drop(connection);
    let details = Details::default();
    let mut file = |domain: &str, path: &str, bytes: &[u8]| {
        builder.file(domain, path, bytes, &details).unwrap();
    };
    file("HomeDomain", "Library/SMS/sms.db", &fs::read(&db).unwrap());
    file("HomeDomain", "Library/Preferences/empty.plist", b"");
    file("HomeDomain", "Library/Preferences/a.plist", b"bplist00\xd0\x08");
    file(
        "CameraRollDomain",
        "Media/DCIM/100APPLE/IMG_0001.JPG",
        &[&b"\xff\xd8\xff\xe0"[..], &[7; 3000]].concat(),
    );
    for app in 0..12 {
        let domain = format!("AppDomain-com.example.app{app}");
        file(&domain, "Documents/data.bin", &vec![app; 40 + usize::from(app) * 9]);
    }
    let attributes = details.clone().attribute("com.apple.metadata:x", vec![3; 9000]);
    builder
        .file(
            "MediaDomain",
            "Media/Recordings/memo.m4a",
            &b"\0\0\0\x1cftypM4A sound"[..],
            &attributes,
        )
        .unwrap();
    builder
        .symlink("HomeDomain", "Library/link", "/var/mobile/Media", &details)
        .unwrap();
    builder.finish().unwrap();
    (folder, root)
}

fn built_sample(name: &'static str, layout: Layout, encrypted: bool) -> Sample {
    let (folder, root) = built(name, layout, encrypted);
    Sample::of(name, folder, root, encrypted.then_some("sweep"))
}

fn samples() -> Vec<Sample> {
    vec![
        golden_sample("plain-v10"),
        golden_sample("enc-v10"),
        golden_sample("enc-mbdb"),
        built_sample("plain", Layout::Current, false),
        built_sample("encrypted", Layout::Current, true),
        built_sample("flat", Layout::Flat, false),
        built_sample("flat-encrypted", Layout::Flat, true),
    ]
}

/// Damages each file of a sample in every way.
fn damage_files(sample: &Sample) {
    for file in sample.files() {
        let stored = fs::read(&file).unwrap();
        let len = stored.len();
        sample.with(&file, None, "removed");
        sample.with(&file, Some(&[]), "emptied");
        for cut in [1, len / 4, len / 2, len.saturating_sub(16), len.saturating_sub(1)] {
            sample.with(&file, Some(&stored[..cut.min(len)]), &format!("cut to {cut}"));
        }
        for at in [0, len / 3, len / 2, len.saturating_sub(1)] {
            let mut flipped = stored.clone();
            if let Some(byte) = flipped.get_mut(at) {
                *byte ^= 0x10;
                sample.with(&file, Some(&flipped), &format!("flipped at {at}"));
            }
        }
        sample.with(&file, Some(&[&stored[..], &[0x5a; 7]].concat()), "with stray bytes");
    }
}

/// Damages each kibibyte of an index in every way.
fn damage_index(sample: &Sample, name: &str) {
    let index = sample.root.join(name);
    let stored = fs::read(&index).unwrap();
    for start in (0..stored.len()).step_by(1024) {
        let end = stored.len().min(start + 1024);
        for at in [start, start + 333, start + 777] {
            let mut flipped = stored.clone();
            if let Some(byte) = flipped.get_mut(at) {
                *byte ^= 0x04;
                sample.with(&index, Some(&flipped), &format!("flipped at {at}"));
            }
        }
        let mut zeroed = stored.clone();
        zeroed[start..end].fill(0);
        sample.with(&index, Some(&zeroed), &format!("zeroed from {start}"));
        sample.with(&index, Some(&stored[..start]), &format!("cut to {start}"));
    }
}

/// Every case takes a while in an unoptimized build: each kind of damage meets each kind of file all the same, since
/// the numbers of cases share no factor.
fn sampled(name: &'static str, layout: Layout, encrypted: bool) -> Sample {
    Sample {
        every: 7,
        ..built_sample(name, layout, encrypted)
    }
}

#[test]
fn one_damaged_file_never_passes_for_sound_in_a_plain_backup() {
    damage_files(&sampled("plain", Layout::Current, false));
}

#[test]
fn one_damaged_file_never_passes_for_sound_in_an_encrypted_backup() {
    damage_files(&sampled("encrypted", Layout::Current, true));
}

#[test]
fn one_damaged_file_never_passes_for_sound_in_flat_backups() {
    damage_files(&sampled("flat", Layout::Flat, false));
    damage_files(&sampled("flat-encrypted", Layout::Flat, true));
}

#[test]
fn each_kibibyte_of_a_damaged_index_is_told() {
    damage_index(&sampled("plain", Layout::Current, false), "Manifest.db");
    damage_index(&sampled("encrypted", Layout::Current, true), "Manifest.db");
    damage_index(&sampled("flat", Layout::Flat, false), "Manifest.mbdb");
}

#[test]
#[ignore = "takes minutes: every case of every sample, of which the others try one in seven"]
fn every_sample_is_swept() {
    for sample in samples() {
        damage_files(&sample);
        let index = if sample.root.join("Manifest.db").exists() {
            "Manifest.db"
        } else {
            "Manifest.mbdb"
        };
        damage_index(&sample, index);
        assert!(sample.folder.path().exists());
    }
}
