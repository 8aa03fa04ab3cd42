//! Device paths and backup paths.

use crate::fs::map::{self, CAMERA_ROLL, HOME, MEDIA};
use crate::fs::{Content, Fs, FsError, Kind, Meta};

fn phone() -> Fs {
    let fs = Fs::new(1 << 20);
    for (domain, path) in [
        (MEDIA, "Media/Books/a.epub"),
        (MEDIA, "Media/EmptyName"),
        (CAMERA_ROLL, "Media/DCIM/100APPLE/IMG_0001.JPG"),
        (CAMERA_ROLL, "Media/PhotoData/Photos.sqlite"),
        (HOME, "Library/SMS/sms.db"),
        ("KeyboardDomain", "Library/Keyboard/words.dat"),
        ("AppDomain-com.example.app", "Documents/x.txt"),
        ("HealthDomain", "Health/healthdb.sqlite"),
    ] {
        fs.create_dir_all(domain, path.rsplit_once('/').unwrap().0).unwrap();
        fs.put(domain, path, Kind::File(Content::bytes("x")), Meta::file())
            .unwrap();
    }
    fs
}

#[test]
fn media_paths_go_to_two_domains() {
    for (path, domain, relative) in [
        ("/", MEDIA, "Media"),
        ("", MEDIA, "Media"),
        (".", MEDIA, "Media"),
        ("/DCIM", CAMERA_ROLL, "Media/DCIM"),
        (
            "DCIM/100APPLE/./../100APPLE//IMG_0001.JPG",
            CAMERA_ROLL,
            "Media/DCIM/100APPLE/IMG_0001.JPG",
        ),
        ("/DCIMX", MEDIA, "Media/DCIMX"),
        ("/PhotoData/", CAMERA_ROLL, "Media/PhotoData"),
        ("/a/./../a/b/../b/c/", MEDIA, "Media/a/b/c"),
        ("/../../etc/passwd", MEDIA, "Media/etc/passwd"),
        ("/Books/../DCIM", CAMERA_ROLL, "Media/DCIM"),
    ] {
        assert_eq!(map::media_path(path).unwrap(), (domain, relative.to_owned()), "{path}");
    }
    assert!(matches!(map::media_path("/a\0b"), Err(FsError::Invalid)));
}

#[test]
fn the_media_root_shows_both_domains_sorted() {
    let fs = phone();
    let names = |path: &str| -> Vec<String> {
        map::media_children(&fs, path)
            .unwrap()
            .iter()
            .map(|entry| entry.name().to_owned())
            .collect()
    };
    assert_eq!(names("/"), ["Books", "DCIM", "EmptyName", "PhotoData"]);
    assert_eq!(names("/DCIM/100APPLE"), ["IMG_0001.JPG"]);
    assert!(matches!(map::media_children(&fs, "/none"), Err(FsError::NotFound)));
    assert!(matches!(
        map::media_children(&fs, "/EmptyName"),
        Err(FsError::NotADirectory)
    ));
    assert!(map::media_children(&Fs::new(0), "/").unwrap().is_empty());
}

#[test]
fn entries_below_media_have_an_afc_path() {
    assert_eq!(
        map::to_media_path(CAMERA_ROLL, "Media/DCIM/a").as_deref(),
        Some("/DCIM/a")
    );
    assert_eq!(map::to_media_path(MEDIA, "Media").as_deref(), Some("/"));
    assert_eq!(map::to_media_path(MEDIA, "MediaX/a"), None);
    assert_eq!(map::to_media_path(HOME, "Media/a"), None);
}

#[test]
fn every_entry_is_found_by_its_device_path() {
    let fs = phone();
    for entry in fs.snapshot().iter().filter(|entry| entry.is_file()) {
        let path = map::device_path(&entry.domain, &entry.path).unwrap();
        let found = map::from_device_path(&fs, &path).unwrap();
        assert_eq!((&*found.0, found.1.as_str()), (&*entry.domain, &*entry.path), "{path}");
        let private = map::from_device_path(&fs, &format!("/private{path}"));
        assert_eq!(private.unwrap().1, &*entry.path);
    }
    assert_eq!(map::device_path("SomethingNew", "x"), None);
    assert_eq!(map::from_device_path(&fs, "/System/Library"), None);
    assert_eq!(
        map::from_device_path(&fs, "/var/mobile/Containers/Data/Application/none/x"),
        None
    );
}

#[test]
fn containers_have_their_own_uuid_for_ever() {
    let uuid = map::container_uuid("AppDomain-com.example.app");
    assert_eq!(uuid, map::container_uuid("AppDomain-com.example.app"));
    assert_ne!(uuid, map::container_uuid("AppDomain-com.example.app2"));
    let (domain, path) = map::container_path("com.example.app", "/Documents/../Documents/x.txt").unwrap();
    assert_eq!(
        (domain.as_str(), path.as_str()),
        ("AppDomain-com.example.app", "Documents/x.txt")
    );
    assert!(map::container_path("../../x", "/").is_err());
}

#[test]
fn links_are_followed_within_the_phone_only() {
    let fs = phone();
    let app = "AppDomain-com.example.app";
    fs.symlink("/var/mobile/Library/SMS", app, "Documents/messages")
        .unwrap();
    fs.symlink("../Documents/x.txt", app, "Documents/same").unwrap();
    fs.symlink("/etc", app, "Documents/out").unwrap();
    fs.symlink("loop", app, "Documents/loop").unwrap();
    let resolve = |path: &str| map::resolve(&fs, app, path).map(|(domain, path)| format!("{domain} {path}"));
    assert_eq!(
        resolve("Documents/messages/sms.db").unwrap(),
        "HomeDomain Library/SMS/sms.db"
    );
    assert_eq!(resolve("Documents/same").unwrap(), format!("{app} Documents/x.txt"));
    assert_eq!(
        resolve("Documents/not there").unwrap(),
        format!("{app} Documents/not there")
    );
    assert!(matches!(resolve("Documents/out/passwd"), Err(FsError::Invalid)));
    assert!(matches!(resolve("Documents/loop"), Err(FsError::Invalid)));
}

#[test]
fn what_hosts_put_around_a_backup_is_in_none() {
    assert!(!map::in_backup(MEDIA, "Media/com.apple.itunes.lock_sync"));
    assert!(!map::in_backup(MEDIA, "Media/iTunesRestore/RestoreApplications.plist"));
    assert!(map::in_backup(MEDIA, "Media/iTunesRestoreX"));
    assert!(map::in_backup(HOME, "Library/SMS/sms.db"));
}
