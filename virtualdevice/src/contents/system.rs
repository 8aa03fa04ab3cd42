//! Settings, caches and markers of the system's own domains, and the files of AFC that clients read around a backup.

use cabled_wire::dict;
use cabled_wire::plist::{Dictionary, Value};

use super::apps::apps;
use super::builder::Builder;
use super::error::ContentsError;
use super::noise;
use crate::fs::{Content, Meta, map};

/// Domains without a file of their own here; their roots are on every phone.
const ROOTS: &[&str] = &[
    "HomeKitDomain",
    "InstallDomain",
    "KeychainDomain",
    "ManagedPreferencesDomain",
    "MobileDeviceDomain",
    "NetworkDomain",
    "ProtectedDomain",
    "TonesDomain",
    map::MEDIA,
    map::CAMERA_ROLL,
];

pub(super) fn fill(builder: &mut Builder<'_>) -> Result<(), ContentsError> {
    for domain in ROOTS {
        builder.directory(domain, "")?;
    }
    home(builder)?;
    system(builder)?;
    media(builder)
}

fn home(builder: &mut Builder<'_>) -> Result<(), ContentsError> {
    let preferences = |name: &str| format!("Library/Preferences/{name}.plist");
    let global = dict! {
        "AppleLanguages" => Value::Array(vec!["en-GB".into(), "de-CH".into()]),
        "AppleLocale" => "en_CH",
        "AppleKeyboards" => Value::Array(vec!["en_GB@sw=QWERTY".into(), "emoji@sw=Emoji".into()]),
    };
    builder.plist(map::HOME, &preferences(".GlobalPreferences"), global)?;
    // Two pairs that differ in case only, as on a real phone.
    for name in [
        "com.apple.Messages",
        "com.apple.messages",
        "com.apple.SpringBoard",
        "com.apple.springboard",
    ] {
        let serial = builder.seed.child(name).word(0) % 100_000;
        builder.plist(
            map::HOME,
            &preferences(name),
            dict! { "Revision" => serial, "Name" => name },
        )?;
    }
    let safari = dict! { "SearchEngine" => "example", "OpenLinksInBackground" => true, "LaunchCount" => 17 };
    builder.plist(map::HOME, &preferences("com.apple.mobilesafari"), safari)?;
    let icons = apps(0).into_iter().map(|app| Value::from(app.bundle_id)).collect();
    let dock = vec![
        "com.apple.mobilephone".into(),
        "com.apple.MobileSMS".into(),
        "com.apple.mobilesafari".into(),
    ];
    let layout = dict! { "buttonBar" => Value::Array(dock), "iconLists" => Value::Array(vec![Value::Array(icons)]) };
    builder.plist(map::HOME, "Library/SpringBoard/IconState.plist", layout)?;
    builder.plist(
        map::HOME,
        "Library/ConfigurationProfiles/EffectiveUserSettings.plist",
        Dictionary::new(),
    )?;
    let meta = Meta::file()
        .with_times(builder.time(map::HOME, ""))
        .with_protection_class(3);
    let path = "Library/Caches/com.apple.MobileBackup/empty-marker";
    builder.file_with(map::HOME, path, Content::empty(), meta)?;
    let words = builder.seed.child("learned words").value();
    builder.file(
        "KeyboardDomain",
        "Library/Keyboard/en-dynamic.lm/dynamic-lexicon.dat",
        Content::text(words, 2_000),
    )
}

fn system(builder: &mut Builder<'_>) -> Result<(), ContentsError> {
    let location = apps(0).into_iter().map(|app| {
        let key = format!("i{}:", app.bundle_id);
        (
            key,
            Value::Dictionary(dict! { "Authorization" => 2, "BundleId" => app.bundle_id }),
        )
    });
    builder.plist(
        "RootDomain",
        "Library/Caches/locationd/clients.plist",
        location.collect(),
    )?;
    builder.plist(
        "RootDomain",
        "Library/Preferences/com.apple.MobileBackup.plist",
        dict! { "RestoreInfo" => "none" },
    )?;
    let known = (0_u64..4).map(|n| {
        let seed = builder.seed.child("wifi").nth(n);
        let name = noise::sentence(seed, 2).replace('.', "");
        let network =
            dict! { "SSID" => Value::Data(name.as_bytes().to_vec()), "SupportedSecurityTypes" => "WPA2 Personal" };
        (format!("wifi.network.ssid.{name}"), Value::Dictionary(network))
    });
    let known = known.collect();
    builder.plist("SystemPreferencesDomain", "com.apple.wifi.known-networks.plist", known)?;
    let preferences = dict! { "Model" => "iPhone14,5", "CurrentSet" => "/Sets/1" };
    builder.plist(
        "SystemPreferencesDomain",
        "SystemConfiguration/preferences.plist",
        preferences,
    )?;
    let carrier = dict! { "CarrierName" => "Example Mobile", "MCC" => "001", "MNC" => "01" };
    let path = "Library/Preferences/com.apple.commcenter.plist";
    builder.plist("WirelessDomain", path, carrier)?;
    builder.link(
        "DatabaseDomain",
        "timezone/localtime",
        "/var/db/timezone/zoneinfo/Europe/Zurich",
    )?;
    builder.plist(
        "DatabaseDomain",
        "com.apple.xpc.launchd/disabled.plist",
        dict! { "com.example.service" => true },
    )?;
    let profiles = "SysSharedContainerDomain-systemgroup.com.apple.configurationprofiles";
    let path = "Library/ConfigurationProfiles/ProfileTruth.plist";
    builder.plist(profiles, path, dict! { "OrderedProfiles" => Value::Array(Vec::new()) })?;
    builder.plist(
        "SysContainerDomain-com.apple.geod",
        "Library/Preferences/com.apple.geod.plist",
        Dictionary::new(),
    )
}

/// What clients copy into `Info.plist` (spec mobilebackup2 10), and folders AFC users expect.
fn media(builder: &mut Builder<'_>) -> Result<(), ContentsError> {
    let books =
        dict! { "Books" => Value::Array(vec![Value::Dictionary(dict! { "Name" => "A Book", "Path" => "a.epub" })]) };
    builder.plist(map::MEDIA, "Media/Books/iBooksData2.plist", books)?;
    let names = dict! { "iTunesPrefs.plist" => 1_u64, "VoiceMemos.plist" => 2_u64 };
    for (name, number) in names {
        let number = number.as_unsigned_integer().unwrap_or_default();
        builder.plist(
            map::MEDIA,
            &format!("Media/iTunes_Control/iTunes/{name}"),
            dict! { "Version" => number },
        )?;
    }
    for (name, len) in [("iTunesPrefs", 768), ("IC-Info.sidv", 528), ("PhotosFolderPrefs", 120)] {
        let seed = builder.seed.child(name).value();
        builder.file(
            map::MEDIA,
            &format!("Media/iTunes_Control/iTunes/{name}"),
            Content::noise(seed, len),
        )?;
    }
    for folder in [
        "Media/Downloads",
        "Media/Recordings",
        "Media/iTunes_Control/Device",
        "Media/PublicStaging",
    ] {
        builder.directory(map::MEDIA, folder)?;
    }
    builder.directory(map::CAMERA_ROLL, "Media/DCIM/.MISC")?;
    builder.file(
        map::CAMERA_ROLL,
        "Media/PhotoData/protection",
        Content::bytes([0; 4].to_vec()),
    )
}
