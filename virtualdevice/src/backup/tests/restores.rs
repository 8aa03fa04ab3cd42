//! Restores: what comes back, when, and what refuses.

use cabled_wire::dict;
use cabled_wire::plist::{self, Dictionary};

use super::host::Host;
use super::*;
use crate::backup::{RestoreVisible, Skipped, put_awkward_files};
use crate::fs::{Content, Kind, Meta, diff};

fn everything() -> Dictionary {
    dict! {
        "RestoreSystemFiles" => true, "RestoreShouldReboot" => true, "RestoreDontCopyBackup" => true,
        "RestorePreserveSettings" => false, "RemoveItemsNotRestored" => true,
    }
}

fn with(mut options: Dictionary, more: Dictionary) -> Dictionary {
    options.extend(more);
    options
}

async fn restarted(phone: &Phone) {
    while !phone.is_on() || phone.backup_state().restart_pending() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn same(a: &Phone, b: &Phone) {
    let difference = diff(&tree_digest(a.fs()).unwrap(), &tree_digest(b.fs()).unwrap());
    assert!(difference.is_empty(), "{difference}");
}

#[tokio::test]
async fn a_second_phone_becomes_the_first_in_every_generation() {
    for profile in Profile::all() {
        for password in [None, Some("pw")] {
            let first = phone(profile.clone());
            put_awkward_files(first.fs()).unwrap();
            crate::backup::set_password(&first, password).unwrap();
            let mut host = Host::new();
            host.backup(&first).await.ok();
            let second = fresh(profile.clone());
            let options = password
                .map(|password| dict! { "Password" => password })
                .unwrap_or_default();
            let options = with(everything(), options);
            host.restore(&second, &first.udid().to_string(), options).await.ok();
            restarted(&second).await;
            same(&first, &second);
            let report = second.backup_state().last_restore().unwrap();
            assert_eq!(report.encrypted, password.is_some());
            assert!(report.digests_verified > 10, "{report:?}");
            assert_eq!(
                report.paddings_verified,
                if password.is_some() { report.files } else { 0 }
            );
            assert_eq!(report.missing_empty_files + report.odd_sizes, 0);
            for entry in first.fs().snapshot() {
                let other = second.fs().get(&entry.domain, &entry.path).unwrap();
                let second = |ns: i64| ns.div_euclid(1_000_000_000).max(0);
                assert_eq!(second(other.meta.mtime), second(entry.meta.mtime), "{}", entry.path);
                assert_eq!(
                    (other.meta.mode, &other.meta.xattrs),
                    (entry.meta.mode, &entry.meta.xattrs)
                );
                assert_eq!((other.meta.uid, other.meta.gid), (entry.meta.uid, entry.meta.gid));
            }
        }
    }
}

#[tokio::test]
async fn nothing_shows_before_the_restart_and_a_second_restore_ends_with_102() {
    let first = phone(Profile::ios_17_7());
    let source = first.udid().to_string();
    let mut host = Host::new();
    host.backup(&first).await.ok();
    let second = fresh(Profile::ios_17_7());
    let options = with(everything(), dict! { "RestoreShouldReboot" => false });
    host.restore(&second, &source, options.clone()).await.ok();
    assert!(second.backup_state().restart_pending());
    assert!(second.fs().get("HomeDomain", "Library/SMS/sms.db").is_none());
    assert_eq!(host.restore(&second, &source, options.clone()).await.code, Some(102));
    second.reboot();
    same(&first, &second);
    host.restore(&second, &source, options.clone()).await.ok();
    second.reboot();
    let third = fresh(Profile::ios_17_7());
    third.backup_state().set_restore_visible(RestoreVisible::AtEnd);
    host.restore(&third, &source, options).await.ok();
    same(&first, &third);
}

#[tokio::test]
async fn options_leave_system_files_settings_and_other_items_alone() {
    let first = phone(Profile::ios_17_7());
    let place = |fs: &crate::fs::Fs, domain: &str, path: &str, text: &str| {
        fs.create_dir_all(domain, path.rsplit_once('/').map_or("", |(parent, _)| parent))
            .unwrap();
        fs.put(domain, path, Kind::File(Content::bytes(text.to_owned())), Meta::file())
            .unwrap();
    };
    let setting = ("HomeDomain", "Library/Preferences/com.example.plist");
    let system = ("RootDomain", "Library/Caches/locationd/clients.plist");
    for (domain, path) in [setting, system] {
        place(first.fs(), domain, path, "theirs");
    }
    let mut host = Host::new();
    host.backup(&first).await.ok();
    let second = fresh(Profile::ios_17_7());
    place(second.fs(), setting.0, setting.1, "mine");
    place(second.fs(), "HomeDomain", "Library/only here", "mine");
    // What libimobiledevice sends by default: preserve settings; everything else is absent or false.
    let options = dict! {
        "RestoreSystemFiles" => false, "RestoreDontCopyBackup" => true, "RestorePreserveSettings" => true,
    };
    host.restore(&second, &first.udid().to_string(), options).await.ok();
    restarted(&second).await;
    let text = |at: (&str, &str)| {
        let entry = second.fs().get(at.0, at.1)?;
        Some(String::from_utf8(entry.content()?.to_bytes(100).unwrap().to_vec()).unwrap())
    };
    assert_eq!(text(setting).as_deref(), Some("mine"));
    assert_eq!(text(system), None);
    assert_eq!(text(("HomeDomain", "Library/only here")).as_deref(), Some("mine"));
    let report = second.backup_state().last_restore().unwrap();
    assert_eq!(report.skipped[&Skipped::Setting], 1);
    assert!(report.skipped[&Skipped::SystemFile] > 1);
}

#[tokio::test]
async fn absent_options_mean_a_copy_first_and_a_restart_after() {
    let first = phone(Profile::ios_17_7());
    let source = first.udid().to_string();
    let mut host = Host::new();
    host.backup(&first).await.ok();
    let second = fresh(Profile::ios_17_7());
    host.restore(&second, &source, Dictionary::new()).await.ok();
    assert_eq!(host.count("DLMessageCopyItem"), 1);
    assert!(second.backup_state().last_restore().unwrap().copied);
    let copies = host
        .files
        .keys()
        .filter(|name| name.starts_with(&format!("{source}-")))
        .count();
    assert_eq!(copies * 2, host.files.len());
    restarted(&second).await;
    let third = Phone::builder()
        .profile(Profile::ios_17_7().with_copy_item_has_options(true))
        .empty()
        .build()
        .unwrap();
    host.restore(&third, &source, Dictionary::new()).await.ok();
}

#[tokio::test]
async fn wrong_or_missing_passwords_end_with_207() {
    let first = phone(Profile::ios_17_7());
    crate::backup::set_password(&first, Some("right")).unwrap();
    let mut host = Host::new();
    host.backup(&first).await.ok();
    for options in [everything(), with(everything(), dict! { "Password" => "wrong" })] {
        let second = fresh(Profile::ios_17_7());
        let ended = host.restore(&second, &first.udid().to_string(), options).await;
        assert_eq!(
            (ended.code, ended.text.as_str()),
            (Some(207), "Invalid password (MBErrorDomain/207)")
        );
        assert!(!second.backup_state().restart_pending());
    }
}

#[tokio::test]
async fn gates_of_a_restore() {
    let first = phone(Profile::ios_17_7());
    let mut host = Host::new();
    host.backup(&first).await.ok();
    let (find_my, setup) = (fresh(Profile::ios_17_7()), fresh(Profile::ios_17_7()));
    find_my.set_find_my(true);
    setup.set_setup_done(false);
    for (phone, code) in [(find_my, 211), (setup, 212)] {
        assert_eq!(
            host.restore(&phone, &first.udid().to_string(), everything()).await.code,
            Some(code)
        );
    }
    let second = fresh(Profile::ios_17_7());
    assert_eq!(
        host.restore(&second, "0000000000000000000000000", everything())
            .await
            .code,
        Some(4)
    );
}

/// A backup with one thing wrong with it.
async fn restore_damaged(password: Option<&str>, damage: impl FnOnce(&mut Host, &str)) -> super::host::Ended {
    let first = phone(Profile::ios_17_7());
    crate::backup::set_password(&first, password).unwrap();
    let mut host = Host::new();
    host.backup(&first).await.ok();
    damage(&mut host, &first.udid().to_string());
    let second = fresh(Profile::ios_17_7());
    let options = with(everything(), dict! { "Password" => password.unwrap_or("unused") });
    let ended = host.restore(&second, &first.udid().to_string(), options).await;
    assert!(
        !second.backup_state().restart_pending(),
        "nothing may be pending after {ended:?}"
    );
    ended
}

#[tokio::test]
async fn damaged_payloads_end_with_205() {
    let sms = FileId::of("HomeDomain", "Library/SMS/sms.db").stored_path();
    let photos = phone(Profile::ios_17_7()).fs().snapshot();
    let photo = photos
        .iter()
        .find(|entry| &*entry.domain == "CameraRollDomain" && entry.len() > 1000)
        .unwrap();
    let photo = FileId::of(&photo.domain, &photo.path).stored_path();
    for password in [None, Some("pw")] {
        let flip = |host: &mut Host, at: String| {
            let mut bytes = host.files[&at].to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            host.files.insert(at, bytes.into());
        };
        let ended = restore_damaged(password, |host, udid| flip(host, format!("{udid}/{sms}"))).await;
        assert_eq!(
            (ended.code, ended.text.contains("Digest didn't match")),
            (Some(205), true),
            "{ended:?}"
        );
        let ended = restore_damaged(password, |host, udid| {
            host.files.remove(&format!("{udid}/{sms}"));
        })
        .await;
        assert_eq!(
            (ended.code, ended.text.contains("Multiple errors downloading files")),
            (Some(205), true)
        );
        if password.is_some() {
            // No digest there, but the padding tells.
            let cut = |host: &mut Host, udid: &str| {
                let at = format!("{udid}/{photo}");
                let mut bytes = host.files[&at].to_vec();
                bytes.truncate(bytes.len() - 16);
                host.files.insert(at, bytes.into());
            };
            let ended = restore_damaged(password, cut).await;
            assert_eq!(
                (ended.code, ended.text.contains("decrypting")),
                (Some(205), true),
                "{ended:?}"
            );
        }
    }
}

#[tokio::test]
async fn damaged_metadata_ends_with_205() {
    let set = |name: &'static str, bytes: Option<&'static [u8]>| {
        move |host: &mut Host, udid: &str| {
            let at = format!("{udid}/{name}");
            match bytes {
                Some(bytes) => drop(host.files.insert(at, bytes.to_vec().into())),
                None => drop(host.files.remove(&at)),
            }
        }
    };
    assert_eq!(
        restore_damaged(None, set("Manifest.plist", Some(b""))).await.code,
        Some(205)
    );
    assert_eq!(restore_damaged(None, set("Manifest.plist", None)).await.code, Some(205));
    assert_eq!(restore_damaged(None, set("Manifest.db", None)).await.code, Some(205));
    assert_eq!(
        restore_damaged(None, set("Manifest.db", Some(b"SQLite format 3\0 and no more")))
            .await
            .code,
        Some(205)
    );
    assert_eq!(
        restore_damaged(Some("p"), set("Manifest.db", Some(&[7; 4096])))
            .await
            .code,
        Some(205)
    );
    assert_eq!(
        restore_damaged(None, set("Status.plist", Some(b"no"))).await.code,
        Some(205)
    );
    let unfinished = |host: &mut Host, udid: &str| {
        let mut status = Status::decode(host.file(udid, "Status.plist")).unwrap();
        status.state = SnapshotState::Uploading;
        host.files
            .insert(format!("{udid}/Status.plist"), status.encode().into());
    };
    assert_eq!(restore_damaged(None, unfinished).await.code, Some(205));
}

#[tokio::test]
async fn hostile_rows_end_with_205_and_touch_nothing() {
    let rows: [(&str, &str, &str); 5] = [
        ("Home/Domain", "a", "slash"),
        ("HomeDomain", "../../etc/passwd", "path"),
        ("HomeDomain", "/etc/passwd", "path"),
        ("HomeDomain", "a//b", "path"),
        ("HomeDomain", "Library/SMS/sms.db/below a file", "path"),
    ];
    for (domain, path, word) in rows {
        let insert = |host: &mut Host, udid: &str| {
            let folder = tempfile::tempdir().unwrap();
            let place = folder.path().join("m.db");
            std::fs::write(&place, host.file(udid, "Manifest.db")).unwrap();
            let db = rusqlite::Connection::open(&place).unwrap();
            db.execute_batch("PRAGMA journal_mode = DELETE").unwrap();
            let id = FileId::of(domain, path);
            let record = Record {
                path: path.into(),
                mode: 0o100_644,
                ..Record::default()
            };
            db.execute(
                "INSERT INTO Files VALUES (?1, ?2, ?3, 1, ?4)",
                (id.to_string(), domain, path, record.encode()),
            )
            .unwrap();
            drop(db);
            host.files
                .insert(format!("{udid}/Manifest.db"), std::fs::read(&place).unwrap().into());
            let at = format!("{udid}/{}", id.stored_path());
            host.files.insert(at, Vec::new().into());
        };
        let ended = restore_damaged(None, insert).await;
        assert_eq!(
            (ended.code, ended.text.contains(word)),
            (Some(205), true),
            "{path}: {ended:?}"
        );
    }
}

#[tokio::test]
async fn apps_listed_over_afc_are_installed_and_keychain_items_move() {
    let first = phone(Profile::ios_17_7());
    crate::backup::set_password(&first, Some("pw")).unwrap();
    let mut host = Host::new();
    host.backup(&first).await.ok();
    let second = fresh(Profile::ios_17_7());
    let app = first.apps()[0].clone();
    let listed = dict! {
        app.bundle_id.clone() => dict! {
            "ApplicationSINF" => plist::Value::Data(app.sinf.to_vec()),
            "iTunesMetadata" => plist::Value::Data(app.metadata.to_vec()),
        },
    };
    second
        .fs()
        .create_dir_all("MediaDomain", "Media/iTunesRestore")
        .unwrap();
    let kind = Kind::File(Content::bytes(plist::to_xml(&listed.into())));
    second
        .fs()
        .put(
            "MediaDomain",
            "Media/iTunesRestore/RestoreApplications.plist",
            kind,
            Meta::file(),
        )
        .unwrap();
    let options = with(everything(), dict! { "Password" => "pw" });
    host.restore(&second, &first.udid().to_string(), options).await.ok();
    restarted(&second).await;
    let installed = second
        .apps()
        .iter()
        .find(|other| other.bundle_id == app.bundle_id)
        .cloned()
        .unwrap();
    assert_eq!(
        (&installed.name, &installed.version, &installed.sinf),
        (&app.name, &app.version, &app.sinf)
    );
    let report = second.backup_state().last_restore().unwrap();
    assert_eq!(report.apps, [app.bundle_id]);
    assert_eq!((report.keychain_items, report.keychain_closed), (4, 1));
    for item in first.backup_state().keychain().iter().filter(|item| item.class < 9) {
        assert!(second.backup_state().keychain().contains(item), "{item:?}");
    }
}
