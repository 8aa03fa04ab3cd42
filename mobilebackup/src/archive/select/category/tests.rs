use super::*;
use crate::archive::{FileId, golden};

/// The names that the vectors give their categories.
fn named_in_vectors(name: &str) -> Option<Category> {
    Some(match name {
        "calls" => Category::CallHistory,
        "notes-legacy" => Category::Notes,
        "safari-bookmarks" | "safari-history" | "safari-tabs" => Category::Safari,
        "network-usage" | "cellular" => Category::DataUsage,
        "whatsapp-legacy" => Category::WhatsApp,
        "backup-settings" => Category::Settings,
        "domain-root" => return None,
        "unicode-nfc" | "unicode-nfd" => Category::Photos,
        "unicode-astral" => Category::Apps,
        name => name.parse().unwrap(),
    })
}

#[test]
fn every_known_file_is_in_its_category() {
    let cases = golden::vectors()["file_id"].as_array().unwrap();
    let mut stores = 0;
    for case in cases {
        let text = |key: &str| case[key].as_str().unwrap();
        let category = named_in_vectors(text("category"));
        assert_eq!(Category::of(text("domain"), text("path")), category, "{case}");
        let Some(category) = category else { continue };
        assert!(category.contains(text("domain"), text("path")), "{case}");
        let id: FileId = text("sha1").parse().unwrap();
        let place = category.stores().find(|place| place.file_id() == Some(id));
        if let Some(place) = place {
            assert_eq!(place.single_file(), Some((text("domain"), text("path"))));
            stores += 1;
        }
    }
    // All but three companions, a domain's root, one picture and three names that show Unicode.
    assert_eq!(stores, cases.len() - 8);
}

#[test]
fn the_id_of_every_single_file_is_a_published_one() {
    // In the table of the format's description, and not among the vectors.
    let described = ["e794f6ffcc3c222535f47684a63d5178da3c4500"];
    let vectors = golden::vectors()["file_id"].as_array().unwrap();
    let mut published: Vec<&str> = vectors.iter().map(|case| case["sha1"].as_str().unwrap()).collect();
    published.extend(described);
    for category in Category::ALL {
        for place in category.stores() {
            let id = place.file_id().unwrap().to_string();
            assert!(published.contains(&&*id), "{category}: {place} has the id {id}");
        }
    }
}

#[test]
fn names_are_read_as_they_are_written() {
    for category in Category::ALL {
        assert_eq!(category.to_string().parse(), Ok(category));
        assert_eq!(category.to_string().to_uppercase().parse(), Ok(category));
        assert!(!category.places().is_empty(), "{category}");
        let same = Category::ALL.iter().filter(|other| other.as_str() == category.as_str());
        assert_eq!(same.count(), 1);
    }
    let error = "mail".parse::<Category>().unwrap_err().to_string();
    assert!(error.contains("`mail`") && error.contains("call-history"), "{error}");
}

#[test]
fn the_most_exact_place_decides() {
    let of = Category::of;
    let whatsapp = "AppDomainGroup-group.net.whatsapp.WhatsApp.shared";
    assert_eq!(of(whatsapp, "Message/Media/a.jpg"), Some(Category::WhatsApp));
    assert!(Category::Apps.contains(whatsapp, "Message/Media/a.jpg"));
    assert_eq!(of("AppDomain-com.example.app", "Documents/x"), Some(Category::Apps));
    assert_eq!(
        of("SystemPreferencesDomain", "com.apple.wifi.message-tracer.plist"),
        Some(Category::Wifi)
    );
    assert_eq!(
        of("SystemPreferencesDomain", "SystemConfiguration/preferences.plist"),
        Some(Category::Settings)
    );
    let profile = "Library/Safari/Profiles/0A/History.db";
    assert_eq!(of("AppDomain-com.example.browser", profile), Some(Category::Safari));
    assert_eq!(of("HomeDomain", "Library/Voicemail/1.amr"), Some(Category::Voicemail));
    assert_eq!(of("HomeDomain", "Library/Voicemails"), None);
    assert_eq!(of("HomeDomain", ""), None);
    assert_eq!(of("", ""), None);
}

#[test]
fn companions_belong_to_their_database() {
    let group = "AppDomainGroup-group.com.apple.reminders";
    let stores = Category::Reminders.places()[2];
    for end in ["", "-wal", "-shm", "-journal"] {
        assert!(Category::Messages.places()[0].contains("HomeDomain", &format!("Library/SMS/sms.db{end}")));
        assert!(stores.contains(group, &format!("Container_v1/Stores/Data-6B.sqlite{end}")));
    }
    assert!(!Category::Messages.places()[0].contains("HomeDomain", "Library/SMS/sms.db-wal-wal"));
    assert!(!stores.contains(group, "Container_v1/Stores/Data-6B.sqlite/x"));
    assert!(!stores.contains(group, "Container_v1/Stores/Data-x/y.sqlite"));
}
