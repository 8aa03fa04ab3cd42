//! A person or a company, and the texts that each has one of at most.

use std::collections::BTreeMap;

use serde::Serialize;

use super::value::{ContactValue, Day, Property};
use crate::archive::records::Timestamp;

/// A person or a company.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Contact {
    /// Row id in `ABPerson`.
    pub id: i64,
    /// Its id across devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub guid: Option<String>,
    /// Whether it is shown as a company.
    pub company: bool,
    /// Names and the like by what they are; absent ones are left out.
    #[serde(flatten)]
    pub texts: BTreeMap<TextField, String>,
    /// The day of birth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub birthday: Option<Day>,
    /// Everything there may be several of, in the store's order.
    pub values: Vec<ContactValue>,
    /// Names of the groups it is in.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Name of the account that it belongs to, if that has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Contacts with the same number are shown as one person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linked: Option<i64>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When it was last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<Timestamp>,
}

macro_rules! text_fields {
    ($($(#[$doc:meta])+ $name:ident = $column:literal,)+) => {
        /// A text of which a contact has one at most. Serialised in snake case.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum TextField {
            $($(#[$doc])+ $name,)+
        }

        impl TextField {
            /// Each with its column in `ABPerson`.
            pub(super) const COLUMNS: &'static [(Self, &'static str)] = &[$((Self::$name, $column),)+];
        }
    };
}

text_fields! {
    /// Dr., Prof., ...
    Prefix = "Prefix",
    /// Given name.
    First = "First",
    /// Middle name.
    Middle = "Middle",
    /// Family name.
    Last = "Last",
    /// Jr., ...
    Suffix = "Suffix",
    /// Nickname.
    Nickname = "Nickname",
    /// Family name before.
    PreviousFamilyName = "PreviousFamilyName",
    /// Company.
    Organization = "Organization",
    /// Part of the company.
    Department = "Department",
    /// What they do there.
    JobTitle = "JobTitle",
    /// Notes.
    Note = "Note",
    /// How the given name is spelled by sound.
    FirstPhonetic = "FirstPhonetic",
    /// How the middle name is spelled by sound.
    MiddlePhonetic = "MiddlePhonetic",
    /// How the family name is spelled by sound.
    LastPhonetic = "LastPhonetic",
    /// How the company is spelled by sound.
    OrganizationPhonetic = "OrganizationPhonetic",
    /// How the given name is pronounced.
    FirstPronunciation = "FirstPronunciation",
    /// How the middle name is pronounced.
    MiddlePronunciation = "MiddlePronunciation",
    /// How the family name is pronounced.
    LastPronunciation = "LastPronunciation",
    /// How the company is pronounced.
    OrganizationPronunciation = "OrganizationPronunciation",
    /// The name that an account gave.
    DisplayName = "DisplayName",
    /// The birthday in another calendar, as stored.
    AlternateBirthday = "AlternateBirthday",
    /// The id in the account that it came from.
    ExternalUuid = "ExternalUUID",
}

impl Contact {
    /// One of its texts.
    #[must_use]
    pub fn text(&self, field: TextField) -> Option<&str> {
        self.texts.get(&field).map(String::as_str)
    }

    /// Its values of one kind.
    pub fn values(&self, property: Property) -> impl Iterator<Item = &ContactValue> {
        self.values.iter().filter(move |value| value.property == property)
    }

    /// What to call it: the name, else the company, the nickname, the first address or number.
    #[must_use]
    pub fn title(&self) -> String {
        let parts = [
            TextField::Prefix,
            TextField::First,
            TextField::Middle,
            TextField::Last,
            TextField::Suffix,
        ];
        let parts: Vec<_> = parts.into_iter().filter_map(|field| self.text(field)).collect();
        let name = parts.join(" ");
        let company = self.text(TextField::Organization);
        if let Some(company) = company.filter(|_| self.company || name.is_empty()) {
            return company.to_owned();
        }
        if !name.is_empty() {
            return name;
        }
        let other = self.text(TextField::Nickname).or(self.text(TextField::DisplayName));
        let value = [Property::Email, Property::Phone]
            .into_iter()
            .find_map(|kind| self.values(kind).next());
        let value = value.and_then(|value| value.value.as_deref());
        other.or(value).unwrap_or("No name").to_owned()
    }
}
