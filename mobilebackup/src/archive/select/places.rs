//! The table of spec backup-format, 14: where each category keeps its data, now and in older versions of iOS.

use super::category::Category;
use super::place::Place;

const NOTES: &str = "AppDomainGroup-group.com.apple.notes";
const REMINDERS: &str = "AppDomainGroup-group.com.apple.reminders";
const SAFARI: &str = "AppDomain-com.apple.mobilesafari";
const VOICE_MEMOS: &str = "AppDomainGroup-group.com.apple.VoiceMemos.shared";
const WHATSAPP: &str = "AppDomainGroup-group.net.whatsapp.WhatsApp.shared";
const WHATSAPP_BUSINESS: &str = "AppDomainGroup-group.net.whatsapp.WhatsAppSMB.shared";

/// The places of a category, the most important first.
pub(super) const fn of_category(category: Category) -> &'static [Place] {
    match category {
        Category::Messages => {
            const {
                &[
                    Place::file("HomeDomain", "Library/SMS/sms.db"),
                    Place::folder("HomeDomain", "Library/SMS"),
                    Place::folder("MediaDomain", "Library/SMS"),
                ]
            }
        }
        Category::Contacts => {
            const {
                &[
                    Place::file("HomeDomain", "Library/AddressBook/AddressBook.sqlitedb"),
                    Place::file("HomeDomain", "Library/AddressBook/AddressBookImages.sqlitedb"),
                    Place::folder("HomeDomain", "Library/AddressBook"),
                ]
            }
        }
        Category::CallHistory => {
            const {
                &[
                    Place::file("HomeDomain", "Library/CallHistoryDB/CallHistory.storedata"),
                    Place::file("WirelessDomain", "Library/CallHistory/call_history.db"),
                    Place::folder("HomeDomain", "Library/CallHistoryDB"),
                    Place::folder("WirelessDomain", "Library/CallHistory"),
                ]
            }
        }
        Category::Calendar => {
            const {
                &[
                    Place::file("HomeDomain", "Library/Calendar/Calendar.sqlitedb"),
                    Place::folder("HomeDomain", "Library/Calendar"),
                ]
            }
        }
        Category::Notes => {
            const {
                &[
                    Place::file(NOTES, "NoteStore.sqlite"),
                    Place::file("HomeDomain", "Library/Notes/notes.sqlite"),
                    Place::domain(NOTES),
                    Place::folder("HomeDomain", "Library/Notes"),
                ]
            }
        }
        Category::Reminders => {
            const {
                &[
                    Place::file(REMINDERS, "Container_v1/Stores/Data-local.sqlite"),
                    Place::file("HomeDomain", "Library/Reminders/Container_v1/Stores/Data-local.sqlite"),
                    Place::files(REMINDERS, "Container_v1/Stores/", "Data-", ".sqlite"),
                    Place::files(
                        "HomeDomain",
                        "Library/Reminders/Container_v1/Stores/",
                        "Data-",
                        ".sqlite",
                    ),
                    Place::domain(REMINDERS),
                    Place::folder("HomeDomain", "Library/Reminders"),
                ]
            }
        }
        Category::Voicemail => {
            const {
                &[
                    Place::file("HomeDomain", "Library/Voicemail/voicemail.db"),
                    Place::folder("HomeDomain", "Library/Voicemail"),
                ]
            }
        }
        Category::Safari => {
            const {
                &[
                    Place::file("HomeDomain", "Library/Safari/History.db"),
                    Place::file(SAFARI, "Library/Safari/History.db"),
                    Place::file("HomeDomain", "Library/Safari/Bookmarks.db"),
                    Place::file(SAFARI, "Library/Safari/SafariTabs.db"),
                    Place::file("HomeDomain", "Library/Safari/BrowserState.db"),
                    Place::file(SAFARI, "Library/Safari/BrowserState.db"),
                    Place::folder("HomeDomain", "Library/Safari"),
                    Place::folder(SAFARI, "Library/Safari"),
                    Place::anywhere("Library/Safari/Profiles"),
                ]
            }
        }
        Category::Photos => {
            const {
                &[
                    Place::file("CameraRollDomain", "Media/PhotoData/Photos.sqlite"),
                    Place::domain("CameraRollDomain"),
                    Place::folder("MediaDomain", "Media/DCIM"),
                    Place::folder("MediaDomain", "Media/PhotoData"),
                ]
            }
        }
        Category::VoiceMemos => {
            const {
                &[
                    Place::file(VOICE_MEMOS, "Recordings/CloudRecordings.db"),
                    Place::file("MediaDomain", "Media/Recordings/CloudRecordings.db"),
                    Place::file("MediaDomain", "Media/Recordings/Recordings.db"),
                    Place::domain(VOICE_MEMOS),
                    Place::folder("MediaDomain", "Media/Recordings"),
                ]
            }
        }
        Category::Health => {
            const {
                &[
                    Place::file("HealthDomain", "Health/healthdb_secure.sqlite"),
                    Place::file("HealthDomain", "Health/healthdb.sqlite"),
                    Place::domain("HealthDomain"),
                ]
            }
        }
        Category::HomeKit => {
            const {
                &[
                    Place::file("HomeKitDomain", "Library/homed/datastore3.sqlite"),
                    Place::domain("HomeKitDomain"),
                ]
            }
        }
        Category::Keychain => {
            const {
                &[
                    Place::file("KeychainDomain", "keychain-backup.plist"),
                    Place::file("KeychainDomain", "TrustStore.sqlite3"),
                    Place::domain("KeychainDomain"),
                ]
            }
        }
        Category::Accounts => {
            const {
                &[
                    Place::file("HomeDomain", "Library/Accounts/Accounts3.sqlite"),
                    Place::folder("HomeDomain", "Library/Accounts"),
                ]
            }
        }
        Category::Wifi => {
            const {
                &[
                    Place::file("SystemPreferencesDomain", "com.apple.wifi.known-networks.plist"),
                    Place::file("SystemPreferencesDomain", "SystemConfiguration/com.apple.wifi.plist"),
                    Place::files("SystemPreferencesDomain", "", "com.apple.wifi", ""),
                    Place::files("SystemPreferencesDomain", "SystemConfiguration/", "com.apple.wifi", ""),
                ]
            }
        }
        Category::WhatsApp => {
            const {
                &[
                    Place::file(WHATSAPP, "ChatStorage.sqlite"),
                    Place::file("AppDomain-net.whatsapp.WhatsApp", "Documents/ChatStorage.sqlite"),
                    Place::file(WHATSAPP, "ContactsV2.sqlite"),
                    Place::file(WHATSAPP, "CallHistory.sqlite"),
                    Place::file(WHATSAPP, "LID.sqlite"),
                    Place::folder(WHATSAPP, "Message/Media"),
                    Place::domain(WHATSAPP),
                    Place::domain("AppDomainGroup-group.net.whatsapp.WhatsApp.private"),
                    Place::domain("AppDomainGroup-group.net.whatsapp.family"),
                    Place::domain("AppDomain-net.whatsapp.WhatsApp"),
                    Place::starting_with("AppDomainPlugin-net.whatsapp.WhatsApp."),
                ]
            }
        }
        Category::WhatsAppBusiness => {
            const {
                &[
                    Place::file(WHATSAPP_BUSINESS, "ChatStorage.sqlite"),
                    Place::domain(WHATSAPP_BUSINESS),
                    Place::domain("AppDomainGroup-group.net.whatsapp.WhatsAppSMB.private"),
                    Place::domain("AppDomain-net.whatsapp.WhatsAppSMB"),
                    Place::starting_with("AppDomainPlugin-net.whatsapp.WhatsAppSMB."),
                ]
            }
        }
        other => of_rarer(other),
    }
}

/// The second half, kept apart for length.
const fn of_rarer(category: Category) -> &'static [Place] {
    match category {
        Category::Files => {
            const {
                &[
                    Place::folder(
                        "AppDomainGroup-group.com.apple.FileProvider.LocalStorage",
                        "File Provider Storage",
                    ),
                    Place::domain("AppDomainGroup-group.com.apple.FileProvider.LocalStorage"),
                ]
            }
        }
        Category::Books => {
            const {
                &[
                    Place::domain("BooksDomain"),
                    Place::domain("AppDomain-com.apple.iBooks"),
                    Place::domain("AppDomainGroup-group.com.apple.iBooks"),
                ]
            }
        }
        Category::Shortcuts => {
            const {
                &[
                    Place::file("HomeDomain", "Library/Shortcuts/Shortcuts.sqlite"),
                    Place::folder("HomeDomain", "Library/Shortcuts"),
                    Place::domain("AppDomainGroup-group.is.workflow.shortcuts"),
                    Place::domain("AppDomain-com.apple.shortcuts"),
                ]
            }
        }
        Category::Interactions => {
            const {
                &[
                    Place::file("HomeDomain", "Library/CoreDuet/People/interactionC.db"),
                    Place::folder("HomeDomain", "Library/CoreDuet/People"),
                ]
            }
        }
        Category::Privacy => {
            const {
                &[
                    Place::file("HomeDomain", "Library/TCC/TCC.db"),
                    Place::folder("HomeDomain", "Library/TCC"),
                ]
            }
        }
        Category::DataUsage => {
            const {
                &[
                    Place::file("WirelessDomain", "Library/Databases/DataUsage.sqlite"),
                    Place::file("WirelessDomain", "Library/Databases/CellularUsage.db"),
                ]
            }
        }
        Category::Location => {
            const {
                &[
                    Place::file("RootDomain", "Library/Caches/locationd/clients.plist"),
                    Place::file("RootDomain", "Library/Caches/locationd/consolidated.db"),
                    Place::folder("RootDomain", "Library/Caches/locationd"),
                ]
            }
        }
        Category::Keyboard => {
            const {
                &[
                    Place::file("KeyboardDomain", "Library/Keyboard/user_model_database.sqlite"),
                    Place::domain("KeyboardDomain"),
                    Place::folder("HomeDomain", "Library/Keyboard"),
                ]
            }
        }
        Category::Profiles => {
            const {
                &[
                    Place::file("ManagedPreferencesDomain", "mobile/.GlobalPreferences.plist"),
                    Place::domain("ManagedPreferencesDomain"),
                    Place::domain("SysSharedContainerDomain-systemgroup.com.apple.configurationprofiles"),
                    Place::folder("HomeDomain", "Library/ConfigurationProfiles"),
                ]
            }
        }
        Category::HomeScreen => {
            const {
                &[
                    Place::file("HomeDomain", "Library/SpringBoard/IconState.plist"),
                    Place::folder("HomeDomain", "Library/SpringBoard"),
                ]
            }
        }
        Category::Ringtones => const { &[Place::domain("TonesDomain")] },
        Category::Settings => {
            const {
                &[
                    Place::file("HomeDomain", "Library/Preferences/.GlobalPreferences.plist"),
                    Place::file("RootDomain", "Library/Preferences/com.apple.MobileBackup.plist"),
                    Place::folder("HomeDomain", "Library/Preferences"),
                    Place::folder("RootDomain", "Library/Preferences"),
                    Place::domain("SystemPreferencesDomain"),
                ]
            }
        }
        Category::Apps => {
            const {
                &[
                    Place::starting_with("AppDomain-"),
                    Place::starting_with("AppDomainGroup-"),
                    Place::starting_with("AppDomainPlugin-"),
                ]
            }
        }
        _ => &[],
    }
}
