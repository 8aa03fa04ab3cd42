//! The classes of records that are exchanged, and what differs between them.

use std::fmt;

/// Names of entities: what `com.apple.syncservices.RecordEntityName` of a record says. Spec: mobilesync, section 8.
pub mod entity {
    /// A person or a company.
    pub const CONTACT: &str = "com.apple.contacts.Contact";
    /// A group of contacts.
    pub const GROUP: &str = "com.apple.contacts.Group";
    /// An email address of a contact.
    pub const EMAIL_ADDRESS: &str = "com.apple.contacts.Email Address";
    /// A telephone number of a contact.
    pub const PHONE_NUMBER: &str = "com.apple.contacts.Phone Number";
    /// A postal address of a contact.
    pub const STREET_ADDRESS: &str = "com.apple.contacts.Street Address";
    /// A web address of a contact.
    pub const URL: &str = "com.apple.contacts.URL";
    /// A relative, assistant or friend of a contact, by name.
    pub const RELATED_NAME: &str = "com.apple.contacts.Related Name";
    /// An instant-messaging account of a contact.
    pub const IM: &str = "com.apple.contacts.IM";
    /// An anniversary or another date of a contact.
    pub const DATE: &str = "com.apple.contacts.Date";
    /// A calendar.
    pub const CALENDAR: &str = "com.apple.calendars.Calendar";
    /// An event of a calendar.
    pub const EVENT: &str = "com.apple.calendars.Event";
    /// An alarm that shows a text.
    pub const DISPLAY_ALARM: &str = "com.apple.calendars.DisplayAlarm";
    /// An alarm that plays a sound.
    pub const AUDIO_ALARM: &str = "com.apple.calendars.AudioAlarm";
    /// How an event repeats.
    pub const RECURRENCE: &str = "com.apple.calendars.Recurrence";
    /// Somebody who is invited to an event.
    pub const ATTENDEE: &str = "com.apple.calendars.Attendee";
    /// Who invites to an event.
    pub const ORGANIZER: &str = "com.apple.calendars.Organizer";
    /// A task; devices take it and never report it.
    pub const TASK: &str = "com.apple.calendars.Task";
    /// The order of calendars, from the computer only.
    pub const CALENDAR_ORDER: &str = "com.apple.calendars.CalendarOrder";
    /// A folder of bookmarks.
    pub const FOLDER: &str = "com.apple.bookmarks.Folder";
    /// A bookmark.
    pub const BOOKMARK: &str = "com.apple.bookmarks.Bookmark";
    /// A text note of an old system.
    pub const NOTE: &str = "com.apple.notes.Note";
    /// A mail account, from the computer only.
    pub const MAIL_ACCOUNT: &str = "com.apple.mail.Account";
}

/// A class of records that is opened, exchanged and committed as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DataClass {
    /// People, companies and groups.
    Contacts,
    /// Calendars and events.
    Calendars,
    /// Bookmarks and their folders.
    Bookmarks,
    /// Mail accounts: computer to device only, with passwords.
    MailAccounts,
    /// Text notes of the local account; iOS 10 and earlier.
    Notes,
    /// A class this version does not know, by its identifier.
    Other(String),
}

impl DataClass {
    /// The classes this version knows, in the order in which a session takes them.
    pub const KNOWN: [Self; 5] = [
        Self::Contacts,
        Self::Calendars,
        Self::MailAccounts,
        Self::Bookmarks,
        Self::Notes,
    ];

    /// The identifier at index 1 of every message, for instance `com.apple.Contacts`.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Contacts => "com.apple.Contacts",
            Self::Calendars => "com.apple.Calendars",
            Self::Bookmarks => "com.apple.Bookmarks",
            Self::MailAccounts => "com.apple.MailAccounts",
            Self::Notes => "com.apple.Notes",
            Self::Other(id) => id,
        }
    }

    /// The class with an identifier.
    #[must_use]
    pub fn from_id(id: &str) -> Self {
        let known = Self::KNOWN.into_iter().find(|class| class.id() == id);
        known.unwrap_or_else(|| Self::Other(id.to_owned()))
    }

    /// The name in lockdown's domains (`SyncDataClasses`, `tethered_sync`, `data_sync`): the identifier without its
    /// prefix, with a blank in `Mail Accounts`. Spec: mobilesync, section 2.
    #[must_use]
    pub fn data_type(&self) -> &str {
        match self {
            Self::MailAccounts => "Mail Accounts",
            class => class.id().strip_prefix("com.apple.").unwrap_or(class.id()),
        }
    }

    /// The class whose lockdown name this is.
    #[must_use]
    pub fn from_data_type(name: &str) -> Self {
        let id: String = name.chars().filter(|c| *c != ' ').collect();
        Self::from_id(&format!("com.apple.{id}"))
    }

    /// The version number that a computer sends by default. Spec: mobilesync, section 5.4.
    #[must_use]
    pub fn version(&self) -> i64 {
        match self {
            Self::Contacts => 106,
            Self::Calendars => 110,
            Self::Bookmarks | Self::MailAccounts | Self::Notes | Self::Other(_) => 102,
        }
    }

    /// The entities of the class in the order in which a device wants them: what stands together may share a message,
    /// what something refers to comes before it. Spec: mobilesync, section 7.2.
    #[must_use]
    pub fn entity_order(&self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Contacts => &[
                &[entity::CONTACT, entity::GROUP],
                &[entity::EMAIL_ADDRESS],
                &[entity::PHONE_NUMBER],
                &[entity::STREET_ADDRESS],
                &[entity::URL],
                &[entity::RELATED_NAME],
                &[entity::IM],
                &[entity::DATE],
            ],
            Self::Calendars => &[
                &[entity::CALENDAR],
                &[entity::EVENT],
                &[entity::AUDIO_ALARM, entity::DISPLAY_ALARM],
                &[entity::RECURRENCE],
                &[entity::ATTENDEE, entity::ORGANIZER],
                &[entity::CALENDAR_ORDER],
            ],
            Self::Bookmarks => &[&[entity::FOLDER], &[entity::BOOKMARK]],
            Self::Notes => &[&[entity::NOTE]],
            Self::MailAccounts => &[&[entity::MAIL_ACCOUNT]],
            Self::Other(_) => &[],
        }
    }
}

impl fmt::Display for DataClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.data_type())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_and_lockdown_names_lead_to_the_same_class() {
        for class in DataClass::KNOWN {
            assert_eq!(DataClass::from_id(class.id()), class);
            assert_eq!(DataClass::from_data_type(class.data_type()), class);
        }
        assert_eq!(DataClass::from_data_type("Mail Accounts"), DataClass::MailAccounts);
        let unknown = DataClass::from_id("com.apple.Reminders");
        assert_eq!(
            (unknown.id(), unknown.data_type()),
            ("com.apple.Reminders", "Reminders")
        );
    }
}
