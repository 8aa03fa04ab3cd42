//! What people call their data, and where it lies in a backup (spec backup-format, 14).

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use super::place::{Domains, Place};
use super::places::of_category;

/// A kind of data that people ask for by name.
///
/// ```
/// use cabled_mobilebackup::archive::select::Category;
///
/// let found = Category::of("HomeDomain", "Library/SMS/sms.db-wal");
/// assert_eq!(found, Some(Category::Messages));
/// assert_eq!("call-history".parse(), Ok(Category::CallHistory));
/// # Ok::<(), cabled_mobilebackup::archive::select::UnknownCategory>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Category {
    /// Messages (SMS, MMS, iMessage) and their attachments.
    Messages,
    /// The address book and its pictures.
    Contacts,
    /// Calls made, received and missed.
    CallHistory,
    /// Calendars.
    Calendar,
    /// Notes, in the store of iOS 9 and later and in the older one.
    Notes,
    /// Reminders.
    Reminders,
    /// Voicemail: the list and the recordings.
    Voicemail,
    /// Safari's history, bookmarks, tabs and profiles.
    Safari,
    /// Pictures, videos, and the library that describes them.
    Photos,
    /// Voice memos.
    VoiceMemos,
    /// Health and activity; in encrypted backups only.
    Health,
    /// Homes and accessories; in encrypted backups only.
    HomeKit,
    /// Passwords, keys and certificates, and the store of trusted ones.
    Keychain,
    /// Accounts for mail, calendars and others, without their passwords.
    Accounts,
    /// Known Wi-Fi networks.
    Wifi,
    /// WhatsApp: chats, calls, media.
    WhatsApp,
    /// WhatsApp Business.
    WhatsAppBusiness,
    /// Documents kept on the device in the app Files.
    Files,
    /// Books and PDFs.
    Books,
    /// Shortcuts.
    Shortcuts,
    /// Who was contacted when, and by which app.
    Interactions,
    /// Which app was allowed what.
    Privacy,
    /// How much data each app moved.
    DataUsage,
    /// Which app asked for the location, and caches of it.
    Location,
    /// Learned words and text replacements.
    Keyboard,
    /// Configuration profiles and managed settings.
    Profiles,
    /// Icons, their order, and wallpapers.
    HomeScreen,
    /// Ringtones and other tones.
    Ringtones,
    /// Settings of the system and of its apps.
    Settings,
    /// Data of apps, their groups and extensions. Holds what has a category of its own, such as WhatsApp, as well.
    Apps,
}

/// A name that is no category.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is no category; known are {}", names())]
pub struct UnknownCategory {
    /// What was asked for.
    pub name: String,
}

fn names() -> String {
    Category::ALL.map(Category::as_str).join(", ")
}

impl Category {
    /// Every category.
    pub const ALL: [Self; 30] = [
        Self::Messages,
        Self::Contacts,
        Self::CallHistory,
        Self::Calendar,
        Self::Notes,
        Self::Reminders,
        Self::Voicemail,
        Self::Safari,
        Self::Photos,
        Self::VoiceMemos,
        Self::Health,
        Self::HomeKit,
        Self::Keychain,
        Self::Accounts,
        Self::Wifi,
        Self::WhatsApp,
        Self::WhatsAppBusiness,
        Self::Files,
        Self::Books,
        Self::Shortcuts,
        Self::Interactions,
        Self::Privacy,
        Self::DataUsage,
        Self::Location,
        Self::Keyboard,
        Self::Profiles,
        Self::HomeScreen,
        Self::Ringtones,
        Self::Settings,
        Self::Apps,
    ];

    /// The name as it is written on a command line: `call-history`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Contacts => "contacts",
            Self::CallHistory => "call-history",
            Self::Calendar => "calendar",
            Self::Notes => "notes",
            Self::Reminders => "reminders",
            Self::Voicemail => "voicemail",
            Self::Safari => "safari",
            Self::Photos => "photos",
            Self::VoiceMemos => "voice-memos",
            Self::Health => "health",
            Self::HomeKit => "homekit",
            Self::Keychain => "keychain",
            Self::Accounts => "accounts",
            Self::Wifi => "wifi",
            Self::WhatsApp => "whatsapp",
            Self::WhatsAppBusiness => "whatsapp-business",
            Self::Files => "files",
            Self::Books => "books",
            Self::Shortcuts => "shortcuts",
            Self::Interactions => "interactions",
            Self::Privacy => "privacy",
            Self::DataUsage => "data-usage",
            Self::Location => "location",
            Self::Keyboard => "keyboard",
            Self::Profiles => "profiles",
            Self::HomeScreen => "home-screen",
            Self::Ringtones => "ringtones",
            Self::Settings => "settings",
            Self::Apps => "apps",
        }
    }

    /// Every place this data was ever seen in, older versions of iOS included; the main stores first, and of those the
    /// place of current versions before older ones.
    #[must_use]
    pub const fn places(self) -> &'static [Place] {
        of_category(self)
    }

    /// The single files among the [`places`](Category::places): databases and lists that hold the data itself, to be
    /// looked up with [`Archive::entry_at`](crate::archive::Archive::entry_at) one after another.
    pub fn stores(self) -> impl Iterator<Item = &'static Place> {
        self.places().iter().filter(|place| place.file_id().is_some())
    }

    /// Whether an entry belongs to this category. A database's companions belong where it belongs. One entry may belong
    /// to several categories: WhatsApp's chats are in [`WhatsApp`](Category::WhatsApp) and in [`Apps`](Category::Apps).
    #[must_use]
    pub fn contains(self, domain: &str, path: &str) -> bool {
        self.places().iter().any(|place| place.contains(domain, path))
    }

    /// The category that fits an entry best: of the places that hold it the most exact one. Under a microsecond.
    #[must_use]
    pub fn of(domain: &str, path: &str) -> Option<Self> {
        let by_domain = &*BY_DOMAIN;
        let named = by_domain.named.get(domain).map_or(&[][..], Vec::as_slice);
        let fitting = named.iter().chain(&by_domain.others);
        let fitting = fitting.filter(|(_, place)| place.contains(domain, path));
        // Of two that are equally exact the one that comes first in `ALL`: `max_by_key` keeps the last.
        let best = fitting.max_by_key(|(category, place)| (place.exactness(), std::cmp::Reverse(*category)));
        best.map(|(category, _)| *category)
    }
}

/// All places, by the domain they name.
struct ByDomain {
    named: HashMap<&'static str, Vec<(Category, &'static Place)>>,
    others: Vec<(Category, &'static Place)>,
}

static BY_DOMAIN: LazyLock<ByDomain> = LazyLock::new(|| {
    let (mut named, mut others) = (HashMap::<_, Vec<_>>::new(), Vec::new());
    for category in Category::ALL {
        for place in category.places() {
            match place.domains() {
                Domains::Only(domain) => named.entry(domain).or_default().push((category, place)),
                Domains::StartingWith(_) | Domains::Any => others.push((category, place)),
            }
        }
    }
    ByDomain { named, others }
});

impl FromStr for Category {
    type Err = UnknownCategory;

    /// Reads a name as [`Display`](fmt::Display) writes it; case does not matter.
    fn from_str(name: &str) -> Result<Self, UnknownCategory> {
        let known = Self::ALL
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(name));
        known.ok_or_else(|| UnknownCategory {
            name: name.chars().take(100).collect(),
        })
    }
}

impl fmt::Display for Category {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl serde::Serialize for Category {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
