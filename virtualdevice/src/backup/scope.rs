//! What belongs into a backup, and what a restore brings back (spec backup-format 5.3, 12, 13; mobilebackup2 3.2).

use crate::fs::{Entry, map};

/// Domains whose files carry a digest in the manifest.
const DIGEST_DOMAINS: [&str; 11] = [
    "HomeDomain",
    "RootDomain",
    "HealthDomain",
    "WirelessDomain",
    "SystemPreferencesDomain",
    "DatabaseDomain",
    "HomeKitDomain",
    "InstallDomain",
    "ManagedPreferencesDomain",
    "KeyboardDomain",
    "KeychainDomain",
];

/// Domains a restore brings back with `RestoreSystemFiles` only. Which they are on a real phone is not documented; these
/// lie outside the user's folders.
const SYSTEM_DOMAINS: [&str; 9] = [
    "RootDomain",
    "SystemPreferencesDomain",
    "ManagedPreferencesDomain",
    "WirelessDomain",
    "DatabaseDomain",
    "MobileDeviceDomain",
    "InstallDomain",
    "NetworkDomain",
    "ProtectedDomain",
];

/// Files that real phones put into encrypted backups only.
const PRIVATE_FILES: [(&str, &str); 5] = [
    ("HomeDomain", "Library/CallHistoryDB"),
    ("HomeDomain", "Library/Safari/History.db"),
    ("WirelessDomain", "Library/CallHistory"),
    ("SystemPreferencesDomain", "com.apple.wifi.known-networks.plist"),
    ("SystemPreferencesDomain", "SystemConfiguration/com.apple.wifi.plist"),
];

/// The attribute by which a file stays out of unencrypted backups.
const UNENCRYPTED_EXCLUDE: &str = "com.apple.metadata:com_apple_unencryptedBackup_excludeItem";

fn below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether an entry goes into a backup at all.
pub(super) fn in_backup(entry: &Entry) -> bool {
    // The keychain file is made for each backup and never lies on the phone.
    let keychain = &*entry.domain == super::format::keychain::DOMAIN && &*entry.path == super::format::keychain::PATH;
    map::in_backup(&entry.domain, &entry.path) && !keychain
}

/// Whether real phones leave the entry out of an unencrypted backup.
pub(super) fn is_private(entry: &Entry) -> bool {
    let domain = matches!(&*entry.domain, "HealthDomain" | "HomeKitDomain") && !entry.path.is_empty();
    let file = PRIVATE_FILES
        .iter()
        .any(|(domain, path)| *domain == &*entry.domain && below(&entry.path, path));
    domain || file || entry.meta.xattrs.contains_key(UNENCRYPTED_EXCLUDE)
}

/// Whether the manifest has a digest for files of this domain.
pub(super) fn has_digest(domain: &str) -> bool {
    DIGEST_DOMAINS.contains(&domain)
}

/// Whether a restore without `RestoreSystemFiles` leaves the domain alone.
pub(super) fn is_system(domain: &str) -> bool {
    SYSTEM_DOMAINS.contains(&domain)
        || domain.starts_with("SysContainerDomain-")
        || domain.starts_with("SysSharedContainerDomain-")
}

/// Whether a restore with `RestorePreserveSettings` keeps what the phone has.
pub(super) fn is_setting(domain: &str, path: &str) -> bool {
    match domain {
        "SystemPreferencesDomain" | "ManagedPreferencesDomain" => !path.is_empty(),
        "HomeDomain" | "RootDomain" | "WirelessDomain" => {
            below(path, "Library/Preferences") && path != "Library/Preferences"
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_files_below_preferences_not_the_folder_or_its_namesakes() {
        assert!(is_setting(
            "HomeDomain",
            "Library/Preferences/com.apple.springboard.plist"
        ));
        assert!(!is_setting("HomeDomain", "Library/Preferences"));
        assert!(!is_setting("HomeDomain", "Library/PreferencesOld/a"));
        assert!(!is_setting("AppDomain-x", "Library/Preferences/x.plist"));
        assert!(is_system("SysContainerDomain-com.apple.x") && !is_system("HomeDomain"));
    }
}
