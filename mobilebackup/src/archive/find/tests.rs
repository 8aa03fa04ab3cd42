use std::collections::BTreeMap;

use super::*;
use crate::archive::golden;
use crate::archive::{ArchiveError, Layout, OpenNote, Silent};

const MODERN: &str = "00008030-001A2B3C4D5E6F70";
const OLD: &str = "0123456789abcdef0123456789abcdef01234567";

/// A root with copies of a golden backup under these names.
fn root_with(backups: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, golden_name) in backups {
        let copy = golden::copy_of(golden_name);
        fs::rename(copy.path(), root.path().join(name)).unwrap();
    }
    root
}

fn by_name(found: Vec<FoundBackup>) -> BTreeMap<String, FoundBackup> {
    let name = |found: &FoundBackup| found.folder.file_name().unwrap().to_string_lossy().into_owned();
    found.into_iter().map(|found| (name(&found), found)).collect()
}

#[test]
fn each_system_keeps_backups_in_its_own_places() {
    let text = |environment: Environment| -> Vec<String> {
        let roots = environment.roots();
        roots
            .iter()
            .map(|root| root.to_string_lossy().replace('\\', "/"))
            .collect()
    };
    let windows = Environment::new(System::Windows).home("C:/Users/ann");
    let expected = [
        "D:/Roaming/Apple Computer/MobileSync/Backup",
        "C:/Users/ann/Apple/MobileSync/Backup",
        "D:/Roaming/Apple/MobileSync/Backup",
        "C:/Users/ann/Application Data/Apple Computer/MobileSync/Backup",
    ];
    assert_eq!(text(windows.clone().app_data("D:/Roaming")), expected);
    assert_eq!(
        text(windows)[0],
        "C:/Users/ann/AppData/Roaming/Apple Computer/MobileSync/Backup"
    );
    assert!(text(Environment::new(System::Other).home("/home/ann")).is_empty());
    assert!(text(Environment::new(System::MacOs)).is_empty());
}

#[test]
fn names_are_taken_apart_from_the_right() {
    let parse = |name| {
        let name = FolderName::parse(name);
        (name.device, name.archived.map(|at| at.to_string()), name.is_udid())
    };
    assert_eq!(parse(MODERN), (MODERN, None, true));
    assert_eq!(parse(OLD), (OLD, None, true));
    let archived = format!("{OLD}-20220907-105231");
    assert_eq!(parse(&archived), (OLD, Some("2022-09-07 10:52:31".into()), true));
    let archived = format!("{MODERN}-20220907-105231");
    assert_eq!(parse(&archived), (MODERN, Some("2022-09-07 10:52:31".into()), true));
    for name in [
        "",
        "-20220907-105231",
        "a-20221307-105231",
        "a-2022090-7105231",
        "ä-20220907-10523x",
        "aäääääääää",
    ] {
        assert_eq!(parse(name), (name, None, false));
    }
    assert!(!FolderName::parse("00008030-001A2B3C4D5E6F7G").is_udid());
}

#[test]
fn backups_are_described_without_a_password() {
    let root = root_with(&[
        (MODERN, "synthetic/enc-v10"),
        (OLD, "synthetic/enc-mbdb"),
        ("mine", "greatvovan"),
    ]);
    let found = by_name(backups_in(root.path()).unwrap());
    let expect = golden::expect("enc-v10");
    let modern = &found[MODERN];
    assert_eq!(modern.udid.as_deref(), expect["udid"].as_str());
    assert_eq!(
        (modern.encrypted, modern.finished, modern.layout),
        (Some(true), Some(true), Some(Layout::Current))
    );
    assert!(
        modern.is_usable() && modern.notes.is_empty() && modern.last_backup.is_some(),
        "{modern:?}"
    );
    assert!(modern.device_name.is_some() && modern.product_type.is_some() && modern.product_version.is_some());
    assert_eq!(
        (found[OLD].encrypted, found[OLD].layout),
        (Some(true), Some(Layout::Flat))
    );
    let placeholders = &found["mine"];
    assert_eq!((placeholders.udid.clone(), placeholders.encrypted), (None, Some(false)));
    assert!(placeholders.is_usable());
    let json = serde_json::to_value(modern).unwrap();
    assert!(json["last_backup"].is_i64() && json["problem"].is_null(), "{json}");
}

#[test]
fn every_broken_backup_is_listed_with_the_reason_that_opening_it_would_give() {
    let names = [
        "no-manifest",
        "no-index",
        "empty-index",
        "bad-manifest",
        "no-status",
        "cut-off",
        "old",
    ];
    let root = root_with(&names.map(|name| (name, "synthetic/enc-v10")));
    let at = |name: &str, file: &str| root.path().join(name).join(file);
    fs::remove_file(at("no-manifest", "Manifest.plist")).unwrap();
    fs::remove_file(at("no-index", "Manifest.db")).unwrap();
    fs::write(at("empty-index", "Manifest.db"), b"").unwrap();
    fs::write(at("bad-manifest", "Manifest.plist"), b"bplist00 no").unwrap();
    fs::remove_file(at("no-status", "Status.plist")).unwrap();
    fs::create_dir(at("cut-off", "Snapshot")).unwrap();
    fs::remove_file(at("old", "Manifest.db")).unwrap();
    fs::write(at("old", "00a.mdinfo"), b"").unwrap();
    let found = by_name(backups_in(root.path()).unwrap());
    assert_eq!(found.len(), names.len());
    for (name, backup) in &found {
        let opened = crate::archive::Archive::open(&backup.folder)
            .map(drop)
            .map_err(|e| e.to_string());
        let described = backup
            .problem
            .as_ref()
            .map_or(Ok(()), |problem| Err(problem.to_string()));
        assert_eq!(described, opened, "{name}");
    }
    assert!(matches!(
        found["no-manifest"].problem,
        Some(ArchiveError::NoManifest { index_is_plain: false })
    ));
    assert!(found["no-manifest"].device_name.is_some() && found["no-manifest"].encrypted.is_none());
    assert!(matches!(found["old"].problem, Some(ArchiveError::UnsupportedOldFormat)));
    assert_eq!(
        (found["no-status"].finished, &*found["no-status"].notes),
        (None, &[OpenNote::NoStatus][..])
    );
    assert_eq!(found["cut-off"].notes, [OpenNote::SnapshotFolder]);
}

#[test]
fn folders_of_other_kinds_are_no_backups() {
    let root = root_with(&[
        (MODERN, "synthetic/plain-v10"),
        ("iMazing.Versions", "synthetic/plain-v10"),
    ]);
    let make = |path: &str| fs::create_dir_all(root.path().join(path)).unwrap();
    make(".cabled/0123456789abcdef0123456789abcdef01234567/tmp");
    fs::write(root.path().join(".cabled/Manifest.plist"), b"x").unwrap();
    make("pictures");
    make("iMazing.Backups");
    fs::write(root.path().join("Manifest.plist"), b"x").unwrap();
    // A first backup that was cut off has only what the computer wrote.
    make(OLD);
    fs::write(root.path().join(OLD).join("Info.plist"), b"").unwrap();
    let inner = golden::copy_of("synthetic/enc-v10");
    fs::rename(inner.path(), root.path().join("iMazing.Backups").join(OLD)).unwrap();
    let found = backups_in(root.path()).unwrap();
    let mut folders: Vec<_> = found
        .iter()
        .map(|found| found.folder.strip_prefix(root.path()).unwrap())
        .collect();
    folders.sort();
    assert_eq!(
        folders,
        [
            Path::new(MODERN),
            Path::new(OLD),
            &Path::new("iMazing.Backups").join(OLD)
        ]
    );
    let cut_off = found
        .iter()
        .find(|found| found.folder == root.path().join(OLD))
        .unwrap();
    assert!(matches!(cut_off.problem, Some(ArchiveError::NotABackup { .. })));
    assert!(describe(root.path().join("pictures")).unwrap().is_none());
    assert!(matches!(
        describe(root.path().join("gone")),
        Err(FindError::Absent { .. })
    ));
    assert!(matches!(
        backups_in(root.path().join("Manifest.plist")),
        Err(FindError::NotAFolder { .. })
    ));
}

#[test]
fn all_roots_of_a_user_are_searched_once_each() {
    let home = tempfile::tempdir().unwrap();
    let user = Environment::new(System::Windows).home(home.path());
    assert!(backups_of(&user).roots.is_empty());
    let roots = user.roots();
    for (root, udid) in roots.iter().take(2).zip([MODERN, OLD]) {
        fs::create_dir_all(root).unwrap();
        let copy = golden::copy_of("synthetic/plain-v10");
        fs::rename(copy.path(), root.join(udid)).unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(
        home.path().join("AppData/Roaming"),
        home.path().join("Application Data"),
    )
    .unwrap();
    let found = backups_of(&user);
    assert_eq!(found.roots, roots[..2]);
    assert_eq!(found.backups.len(), 2);
    assert!(found.refused.is_empty());
}

#[test]
fn macos_says_no_with_a_number_of_its_own() {
    let folder = Path::new("/Users/ann/Library/Application Support/MobileSync/Backup");
    let error = |code, system| FindError::new(folder, io::Error::from_raw_os_error(code), system);
    let refused = error(1, System::MacOs);
    assert!(matches!(refused, FindError::NeedsFullDiskAccess { .. }));
    assert!(refused.to_string().contains("Full Disk Access"));
    #[cfg(unix)]
    {
        assert!(matches!(error(13, System::MacOs), FindError::Denied { .. }));
        assert!(matches!(error(1, System::Other), FindError::Denied { .. }));
        assert!(matches!(error(2, System::MacOs), FindError::Absent { .. }));
        assert!(matches!(error(5, System::MacOs), FindError::Io { .. }));
    }
}

#[test]
fn the_size_of_a_backup_is_that_of_its_files() {
    let root = root_with(&[(MODERN, "synthetic/plain-v10")]);
    let [backup] = <[_; 1]>::try_from(backups_in(root.path()).unwrap()).unwrap();
    let before = backup.size_on_disk(&mut Silent).unwrap();
    let inside = backup.folder.join("ab/cd");
    fs::create_dir_all(&inside).unwrap();
    fs::write(inside.join("x"), [0; 5000]).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("/", inside.join("link")).unwrap();
    let after = backup.size_on_disk(&mut Silent).unwrap();
    let link = u64::from(cfg!(unix));
    assert_eq!(after.files - before.files, 1 + link);
    assert!(
        (5000..5100).contains(&(after.bytes - before.bytes)),
        "{before:?} {after:?}"
    );
    let mut stop = |_: &crate::archive::Progress| std::ops::ControlFlow::Break(());
    for i in 0..300 {
        fs::write(inside.join(i.to_string()), b"").unwrap();
    }
    assert!(matches!(backup.size_on_disk(&mut stop), Err(ArchiveError::Cancelled)));
}
