//! Other people's readers on backups that were built and changed here: the same bytes come out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cabled::mobilebackup::archive::build::{BuildOptions, Builder, Details};
use cabled::mobilebackup::archive::change::{self, Change, ChangeOptions};
use cabled::mobilebackup::archive::verify::{Level, VerifyOptions};
use cabled::mobilebackup::archive::{Archive, FileEntry, FileId, Layout, Silent};
use cabled_tests::{Outcome, program, text};
use libtest_mimic::Trial;

const PYTHON: &str = "python3";
const PASSWORD: &str = "päss wörd";

/// A reader, what it can read, and how it is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reader {
    IphoneBackupDecrypt,
    Pyiosbackup,
    Iosbackup,
}

use Reader::{Iosbackup, IphoneBackupDecrypt, Pyiosbackup};

impl Reader {
    const ALL: [Self; 3] = [IphoneBackupDecrypt, Pyiosbackup, Iosbackup];

    const fn module(self) -> &'static str {
        match self {
            IphoneBackupDecrypt => "iphone_backup_decrypt",
            Pyiosbackup => "pyiosbackup",
            Iosbackup => "iOSbackup",
        }
    }

    /// iphone_backup_decrypt knows encrypted backups only, and pyiosbackup alone knows the flat layout.
    fn reads(self, layout: Layout, encrypted: bool) -> bool {
        match (self, layout) {
            (Pyiosbackup, _) => true,
            (IphoneBackupDecrypt, Layout::Current) => encrypted,
            (Iosbackup, Layout::Current) => true,
            _ => false,
        }
    }

    /// iOSbackup takes an empty file of a plain backup for a folder.
    fn hands_out(self, encrypted: bool, content: &[u8]) -> bool {
        self != Iosbackup || encrypted || !content.is_empty()
    }
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = Vec::new();
    for reader in Reader::ALL {
        let mut add = |name: &str, body: fn(Reader) -> Outcome| {
            let name = format!("reader: {} {name}", reader.module());
            trials.push(trial(&name, reader, move || body(reader)));
        };
        add("opens what was built", built);
        add(
            "opens a backup after its password was changed, removed and set",
            passwords,
        );
        add("opens a backup after files were added, replaced and removed", edited);
        add("opens a smaller backup", derived);
    }
    let full = "reader: iphone_backup_decrypt opens a backup with as many rounds as a device takes";
    trials.push(trial(full, IphoneBackupDecrypt, all_rounds));
    trials
}

/// A test that needs a module of Python. Where it is missing it fails in CI, and is ignored with the reason elsewhere.
fn trial(name: &str, reader: Reader, body: impl FnOnce() -> Outcome + Send + 'static) -> Trial {
    let import = format!("import {}", reader.module());
    let there = program::find(PYTHON).is_some()
        && program::run(
            PYTHON,
            &["-c", &import],
            &[],
            &std::env::temp_dir(),
            Duration::from_secs(60),
        )
        .is_ok_and(|ran| ran.status.is_some_and(|status| status.success()));
    if there {
        return Trial::test(name, move || body().map_err(Into::into));
    }
    let reason = format!("{} is not installed; docs/TESTING.md says how", reader.module());
    if program::missing_is_failure() {
        Trial::test(name, move || Err(reason.into()))
    } else {
        Trial::test(name, || Ok(())).with_kind(reason).with_ignored_flag(true)
    }
}

/// Contents by domain and path.
type Contents = BTreeMap<(&'static str, &'static str), Vec<u8>>;

/// A bit of everything that readers disagree about: empty files, whole blocks, case and Unicode twins, odd names.
fn contents() -> Contents {
    let bytes = |len: u32| {
        (0..len)
            .flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes())
            .collect::<Vec<u8>>()
    };
    let mut contents = Contents::new();
    for (domain, path, content) in [
        ("HomeDomain", "Library/SMS/sms.db", bytes(5000)),
        (
            "HomeDomain",
            "Library/Preferences/com.apple.Messages.plist",
            b"upper".to_vec(),
        ),
        (
            "HomeDomain",
            "Library/Preferences/com.apple.messages.plist",
            b"lower".to_vec(),
        ),
        (
            "CameraRollDomain",
            "Media/DCIM/100APPLE/Caf\u{e9}.jpg",
            b"composed".to_vec(),
        ),
        (
            "CameraRollDomain",
            "Media/DCIM/100APPLE/Cafe\u{301}.jpg",
            b"decomposed".to_vec(),
        ),
        ("CameraRollDomain", "Media/DCIM/100APPLE/large.mov", bytes(300_000)),
        (
            "AppDomain-com.example.app",
            "Documents/\u{1f600} a:b*c?.txt",
            vec![16; 16],
        ),
        ("AppDomain-com.example.app", "Documents/blocks", vec![1; 4096]),
        ("AppDomain-com.example.app", "Documents/empty", Vec::new()),
        ("AppDomain-com.example.app", "Documents/tail", vec![2, 2]),
    ] {
        contents.insert((domain, path), content);
    }
    contents
}

/// Every layout, plain and encrypted, that the reader can read.
fn kinds(reader: Reader) -> impl Iterator<Item = (Layout, bool)> {
    let all = [Layout::Current, Layout::Flat].into_iter();
    all.flat_map(|layout| [(layout, true), (layout, false)])
        .filter(move |(layout, encrypted)| reader.reads(*layout, *encrypted))
}

/// The UDID is the folder's name; some readers take it for the device.
fn place(root: &Path, name: &str) -> Result<PathBuf, String> {
    let folder = root.join(name);
    fs::create_dir_all(&folder).map_err(text)?;
    Ok(folder.join("00008140-0011223344556677"))
}

fn build(folder: &Path, layout: Layout, encrypted: bool, rounds: (u32, u32)) -> Result<Archive, String> {
    let mut options = BuildOptions::default().layout(layout).rounds(rounds.0, rounds.1);
    if encrypted {
        options = options.encrypted(PASSWORD);
    }
    let mut builder = Builder::create(folder, options).map_err(text)?;
    let details = Details::default().attribute("com.example.note", "text");
    for ((domain, path), content) in contents() {
        builder.file(domain, path, content.as_slice(), &details).map_err(text)?;
    }
    builder
        .symlink("HomeDomain", "Library/link", "/var/mobile/Library", &Details::default())
        .map_err(text)?;
    builder.finish().map_err(text)?;
    open(folder, PASSWORD)
}

fn open(folder: &Path, password: &str) -> Result<Archive, String> {
    let mut archive = Archive::open(folder).map_err(text)?;
    if archive.is_locked() {
        archive.unlock(password).map_err(text)?;
    }
    Ok(archive)
}

/// Our own check finds nothing, and the reader hands out exactly these contents.
fn agrees(reader: Reader, archive: &Archive, password: &str, contents: &Contents) -> Outcome {
    let options = VerifyOptions::default().level(Level::Content);
    let report = archive.verify(&options, &mut Silent).map_err(text)?;
    if !report.is_sound() {
        return Err(format!("our own check: {:?}", report.damage));
    }
    let encrypted = archive.is_locked() || archive.class_keys().is_some();
    let password = if encrypted { password } else { "" };
    let work = tempfile::tempdir().map_err(text)?;
    let out = work.path().join("out");
    fs::create_dir(&out).map_err(text)?;
    let wanted: Vec<_> = contents
        .iter()
        .filter(|(_, content)| reader.hands_out(encrypted, content))
        .collect();
    let lines: String = wanted
        .iter()
        .map(|((domain, path), _)| format!("[\"{}\", \"{domain}\", \"{path}\"]\n", FileId::of(domain, path)))
        .collect();
    let list = work.path().join("wanted");
    fs::write(&list, lines).map_err(text)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/readers/read.py");
    let args = [
        script.as_os_str(),
        reader.module().as_ref(),
        archive.folder().as_os_str(),
        password.as_ref(),
        list.as_os_str(),
        out.as_os_str(),
    ];
    program::run(PYTHON, &args, &[], work.path(), Duration::from_secs(180))?.ok()?;
    for (index, ((domain, path), content)) in wanted.into_iter().enumerate() {
        let found = fs::read(out.join(index.to_string())).map_err(text)?;
        if found != *content {
            return Err(format!(
                "{domain}, {path}: {} bytes instead of {}",
                found.len(),
                content.len()
            ));
        }
    }
    Ok(())
}

fn built(reader: Reader) -> Outcome {
    let root = tempfile::tempdir().map_err(text)?;
    for (index, (layout, encrypted)) in kinds(reader).enumerate() {
        let archive = build(&place(root.path(), &index.to_string())?, layout, encrypted, (300, 20))?;
        agrees(reader, &archive, PASSWORD, &contents()).map_err(|e| format!("{layout:?} {encrypted}: {e}"))?;
    }
    Ok(())
}

fn all_rounds() -> Outcome {
    let root = tempfile::tempdir().map_err(text)?;
    let (folder, changed) = (place(root.path(), "a")?, place(root.path(), "b")?);
    let archive = build(&folder, Layout::Current, true, (10_000_000, 10_000))?;
    agrees(IphoneBackupDecrypt, &archive, PASSWORD, &contents())?;
    let options = ChangeOptions::default();
    change::change_password_untested_on_devices(&archive, &changed, "next", &options, &mut Silent).map_err(text)?;
    agrees(IphoneBackupDecrypt, &open(&changed, "next")?, "next", &contents())
}

fn passwords(reader: Reader) -> Outcome {
    for layout in [Layout::Current, Layout::Flat] {
        if !reader.reads(layout, true) {
            continue;
        }
        let root = tempfile::tempdir().map_err(text)?;
        let quick = ChangeOptions::default().rounds(300, 20);
        let archive = build(&place(root.path(), "a")?, layout, true, (300, 20))?;

        let target = place(root.path(), "changed")?;
        change::change_password_untested_on_devices(&archive, &target, "next", &quick, &mut Silent).map_err(text)?;
        agrees(reader, &open(&target, "next")?, "next", &contents()).map_err(|e| format!("{layout:?} changed: {e}"))?;

        let target = place(root.path(), "removed")?;
        change::remove_password_untested_on_devices(&archive, &target, &quick, &mut Silent).map_err(text)?;
        let plain = open(&target, "")?;
        if reader.reads(layout, false) {
            agrees(reader, &plain, "", &contents()).map_err(|e| format!("{layout:?} removed: {e}"))?;
        }

        let target = place(root.path(), "set")?;
        change::set_password_untested_on_devices(&plain, &target, "again", &quick, &mut Silent).map_err(text)?;
        agrees(reader, &open(&target, "again")?, "again", &contents()).map_err(|e| format!("{layout:?} set: {e}"))?;
    }
    Ok(())
}

fn edited(reader: Reader) -> Outcome {
    for (layout, encrypted) in kinds(reader) {
        let root = tempfile::tempdir().map_err(text)?;
        let archive = build(&place(root.path(), "a")?, layout, encrypted, (300, 20))?;
        let target = place(root.path(), "b")?;
        let mut expect = contents();
        let mut change = Change::begin(&archive, &target, &ChangeOptions::default()).map_err(text)?;
        for (domain, path, content) in [
            ("HomeDomain", "Library/SMS/sms.db", vec![7; 4096]),
            ("AppDomain-com.example.app", "Documents/empty", b"no longer".to_vec()),
            ("AppDomain-com.example.app", "Documents/new/file", vec![9; 33]),
        ] {
            change
                .put(domain, path, content.as_slice(), &Details::default())
                .map_err(text)?;
            expect.insert((domain, path), content);
        }
        change.remove("CameraRollDomain", "Media/DCIM/100APPLE").map_err(text)?;
        expect.retain(|(domain, _), _| *domain != "CameraRollDomain");
        change.finish(&mut Silent).map_err(text)?;
        let changed = open(&target, PASSWORD)?;
        agrees(reader, &changed, PASSWORD, &expect).map_err(|e| format!("{layout:?} {encrypted}: {e}"))?;
    }
    Ok(())
}

fn derived(reader: Reader) -> Outcome {
    for (layout, encrypted) in kinds(reader) {
        let root = tempfile::tempdir().map_err(text)?;
        let archive = build(&place(root.path(), "a")?, layout, encrypted, (300, 20))?;
        let target = place(root.path(), "b")?;
        let mut photos = |entry: &FileEntry| &*entry.domain == "CameraRollDomain";
        let options = ChangeOptions::default();
        change::derive_experimental(&archive, &target, &mut photos, &options, &mut Silent).map_err(text)?;
        let mut expect = contents();
        expect.retain(|(domain, _), _| *domain == "CameraRollDomain");
        let small = open(&target, PASSWORD)?;
        agrees(reader, &small, PASSWORD, &expect).map_err(|e| format!("{layout:?} {encrypted}: {e}"))?;
    }
    Ok(())
}
