//! The apps on the phone: what installation_proxy and springboardservices tell about them, and where they live.

use bytes::Bytes;
use cabled_wire::dict;
use cabled_wire::plist::{self, Value};

use super::png;
use super::seed::Seed;
use crate::fs::map;

/// An installed app of the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct App {
    /// `CFBundleIdentifier`.
    pub bundle_id: String,
    /// `CFBundleDisplayName`.
    pub name: String,
    /// `CFBundleVersion`.
    pub version: String,
    /// `CFBundleShortVersionString`.
    pub short_version: String,
    /// `ApplicationSINF`: the box that licenses the app to an account. Random bytes inside well-formed boxes.
    pub sinf: Bytes,
    /// `iTunesMetadata`: a binary plist about the purchase.
    pub metadata: Bytes,
    /// The icon as springboardservices gives it: a PNG.
    pub icon_png: Bytes,
    /// The absolute path of the data container on the device.
    pub container_path: String,
    /// The absolute path of the bundle on the device; app binaries are in no backup.
    pub bundle_path: String,
    /// App groups, without the prefix of their backup domain.
    pub groups: Vec<String>,
    /// Bundle ids of the app's extensions.
    pub plugins: Vec<String>,
    /// `UIFileSharingEnabled`: house_arrest hands out its documents.
    pub file_sharing: bool,
}

impl App {
    /// The backup domain of the data container, `AppDomain-…`.
    #[must_use]
    pub fn domain(&self) -> String {
        map::app_domain(&self.bundle_id)
    }

    /// All backup domains of the app: container, groups, extensions.
    #[must_use]
    pub fn domains(&self) -> Vec<String> {
        let groups = self.groups.iter().map(|group| format!("AppDomainGroup-{group}"));
        let plugins = self.plugins.iter().map(|plugin| format!("AppDomainPlugin-{plugin}"));
        std::iter::once(self.domain()).chain(groups).chain(plugins).collect()
    }
}

/// Bundle id, name, file sharing, groups, extensions.
type Line = (
    &'static str,
    &'static str,
    bool,
    &'static [&'static str],
    &'static [&'static str],
);

pub(super) const WHATSAPP_GROUP: &str = "group.net.whatsapp.WhatsApp.shared";

const APPS: &[Line] = &[
    (
        "net.whatsapp.WhatsApp",
        "WhatsApp",
        false,
        &[WHATSAPP_GROUP],
        &["net.whatsapp.WhatsApp.ShareExtension"],
    ),
    ("com.example.reader", "Reader", true, &["group.com.example.reader"], &[]),
    ("com.example.recorder", "Recorder", true, &[], &[]),
    (
        "com.example.maps",
        "Maps To Go",
        false,
        &["group.com.example.maps"],
        &["com.example.maps.widget"],
    ),
    (
        "com.example.fitness",
        "Fitness Log",
        false,
        &[],
        &["com.example.fitness.watchkitapp.extension"],
    ),
    ("com.example.notes-and-more", "Notes & More", true, &[], &[]),
    ("com.example.oddities", "Oddities", true, &[], &[]),
    (
        "org.example.Bank",
        "Bank",
        false,
        &["group.org.example.Bank.shared"],
        &["org.example.Bank.notify"],
    ),
];

/// The apps of a phone made from `seed`: the same eight on every phone, with blobs of its own.
///
/// One of them, `com.example.oddities`, holds the odd names and sizes; `net.whatsapp.WhatsApp` has its chats in its
/// group's domain.
#[must_use]
pub fn apps(seed: u64) -> Vec<App> {
    APPS.iter()
        .map(|line| app(Seed::new(seed).child("app").child(line.0), line))
        .collect()
}

fn app(seed: Seed, &(bundle_id, name, file_sharing, groups, plugins): &Line) -> App {
    let mut draws = seed.draws();
    let short_version = format!("{}.{}.{}", 1 + draws.below(20), draws.below(10), draws.below(10));
    let version = format!("{}", 100 + draws.below(90_000));
    let item_id = 300_000_000 + draws.below(1_200_000_000);
    let bundle = seed.child("bundle").guid();
    let file_name = name.replace(|c: char| !c.is_ascii_alphanumeric(), "");
    let purchase = dict! {
        "accountInfo" => dict! { "AppleID" => "owner@example.com", "DSPersonID" => 1_000_000 + draws.below(1_000_000) },
        "purchaseDate" => "2023-05-06T07:08:09Z",
    };
    let metadata = dict! {
        "artistName" => "Example Works",
        "bundleShortVersionString" => short_version.as_str(),
        "bundleVersion" => version.as_str(),
        "com.apple.iTunesStore.downloadInfo" => purchase,
        "genre" => "Productivity",
        "itemId" => item_id,
        "itemName" => name,
        "kind" => "software",
        "softwareVersionBundleId" => bundle_id,
    };
    let domain = map::app_domain(bundle_id);
    App {
        bundle_id: bundle_id.to_owned(),
        name: name.to_owned(),
        version,
        short_version,
        sinf: sinf(seed).into(),
        metadata: plist::to_binary(&Value::Dictionary(metadata)).into(),
        icon_png: png::icon(seed.child("icon")).into(),
        container_path: map::device_path(&domain, "").unwrap_or_default(),
        bundle_path: format!("/private/var/containers/Bundle/Application/{bundle}/{file_name}.app"),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        plugins: plugins.iter().map(|&plugin| plugin.to_owned()).collect(),
        file_sharing,
    }
}

/// `sinf` around `frma`, `schm` and `schi` with `user`, `key `, `iviv`, `righ`, `name`, `priv` and `sign`.
fn sinf(seed: Seed) -> Vec<u8> {
    let atom = |name: &[u8; 4], contents: &[u8]| {
        let mut out = u32::try_from(contents.len() + 8)
            .unwrap_or_default()
            .to_be_bytes()
            .to_vec();
        out.extend(name);
        out.extend(contents);
        out
    };
    let random = |name: &[u8; 4], len: usize| {
        let mut bytes = vec![0; len];
        seed.child(&String::from_utf8_lossy(name)).fill(0, &mut bytes);
        atom(name, &bytes)
    };
    let mut name = [0; 256];
    name.iter_mut()
        .zip(b"owner@example.com")
        .for_each(|(to, from)| *to = *from);
    let keys = [
        random(b"user", 4),
        random(b"key ", 4),
        random(b"iviv", 16),
        random(b"righ", 80),
        atom(b"name", &name),
        random(b"priv", 440),
    ]
    .concat();
    let scheme = [
        atom(b"frma", b"game"),
        atom(b"schm", b"\0\0\0\0itun\0\0\0\0"),
        atom(b"schi", &keys),
        random(b"sign", 128),
    ];
    atom(b"sinf", &scheme.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_are_the_same_for_a_seed_and_differ_in_their_blobs_between_seeds() {
        assert_eq!(apps(1), apps(1));
        let (one, two) = (apps(1), apps(2));
        assert!(
            one.iter()
                .zip(&two)
                .all(|(a, b)| a.bundle_id == b.bundle_id && a.sinf != b.sinf)
        );
    }

    #[test]
    fn metadata_is_a_plist_that_names_the_app() {
        for app in apps(7) {
            let dict = plist::read_dict(&app.metadata, &plist::Limits::default()).unwrap();
            assert_eq!(
                dict.get("softwareVersionBundleId").and_then(Value::as_string),
                Some(app.bundle_id.as_str())
            );
            assert!(
                app.container_path
                    .starts_with("/var/mobile/Containers/Data/Application/")
            );
            assert_eq!(app.sinf.get(4..8), Some(&b"sinf"[..]));
        }
    }
}
