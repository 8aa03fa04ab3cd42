//! Contacts and what belongs to them. Spec: mobilesync, section 8.1.

use super::view::{aggregate, view};
use super::{Timestamp, View};
use crate::entity;
use crate::record::{Record, RecordId};

/// The largest picture that a device takes, in bytes. Spec: mobilesync, section 7.4.
pub const MAX_IMAGE: usize = 768_000;

/// The key that tells a device to keep the picture it has.
pub const IMAGE_UNCHANGED: &str = "SDImageUnchangedMarker";

view! {
    /// A person or a company, without what belongs to it: see [`Contact`].
    Person of entity::CONTACT;
    /// First name.
    first_name: Option<String> = "first name";
    /// Last name.
    last_name: Option<String> = "last name";
    /// Middle name.
    middle_name: Option<String> = "middle name";
    /// What stands before the name: `Dr.`
    title: Option<String> = "title";
    /// What stands after the name: `Jr.`
    suffix: Option<String> = "suffix";
    /// Nickname.
    nickname: Option<String> = "nickname";
    /// How the first name is pronounced.
    first_name_yomi: Option<String> = "first name yomi";
    /// How the last name is pronounced.
    last_name_yomi: Option<String> = "last name yomi";
    /// How the middle name is pronounced.
    middle_name_yomi: Option<String> = "middle name yomi";
    /// Company.
    company: Option<String> = "company name";
    /// How the company's name is pronounced; desktop only.
    company_yomi: Option<String> = "company name yomi";
    /// Department.
    department: Option<String> = "department";
    /// Job title.
    job_title: Option<String> = "job title";
    /// Free text.
    notes: Option<String> = "notes";
    /// Birthday; year 1604 stands for none.
    birthday: Option<Timestamp> = "birthday";
    /// `person` or `company`; absent means person.
    display_as: Option<String> = "display as company";
    /// Picture, as JPEG or PNG; devices ignore more than [`MAX_IMAGE`] bytes.
    image: Option<Vec<u8>> = "image";
}

impl Person {
    /// Whether it is shown as a company.
    #[must_use]
    pub fn is_company(&self) -> bool {
        self.display_as.as_deref() == Some("company")
    }

    /// Whether a device would take the picture; true when there is none.
    #[must_use]
    pub fn image_fits(&self) -> bool {
        self.image.as_ref().is_none_or(|image| image.len() <= MAX_IMAGE)
    }

    /// The record for a device whose picture is to stay as it is: without the picture, with the marker that says so.
    /// A record with neither erases the picture. Spec: mobilesync, section 7.4.
    #[must_use]
    pub fn write_keeping_image(&self) -> Record {
        let mut record = self.write().with(IMAGE_UNCHANGED, true);
        record.attributes.remove("image");
        record
    }

    /// The name that people see: the company's for a company, else the joined name, else the nickname, else the company's.
    /// Empty when there is none of these.
    #[must_use]
    pub fn display_name(&self) -> String {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.trim().is_empty());
        let joined = || {
            let parts = [
                &self.title,
                &self.first_name,
                &self.middle_name,
                &self.last_name,
                &self.suffix,
            ];
            parts.into_iter().filter_map(filled).collect::<Vec<_>>().join(" ")
        };
        let company = filled(&self.company);
        if let (true, Some(company)) = (self.is_company(), &company) {
            return company.clone();
        }
        let joined = joined();
        if !joined.is_empty() {
            return joined;
        }
        filled(&self.nickname).or(company).unwrap_or_default()
    }
}

macro_rules! labelled {
    ($(#[$meta:meta])* $name:ident of $entity:expr; $($rest:tt)*) => {
        view! {
            $(#[$meta])*
            $name of $entity;
            /// What it is used for, in the device's words; absent means `other`.
            kind: Option<String> = "type";
            /// The label in people's words, where the kind is `other`.
            label: Option<String> = "label";
            $($rest)*
        }
    };
}

labelled! {
    /// A telephone number: home, work, mobile, main, home fax, work fax, pager or other.
    Phone of entity::PHONE_NUMBER;
    /// The number as people write it.
    value: Option<String> = "value";
}
labelled! {
    /// An email address: home, work or other.
    Email of entity::EMAIL_ADDRESS;
    /// The address.
    value: Option<String> = "value";
}
labelled! {
    /// A postal address: home, work or other.
    StreetAddress of entity::STREET_ADDRESS;
    /// Street and number; may have several lines.
    street: Option<String> = "street";
    /// City.
    city: Option<String> = "city";
    /// State or region.
    state: Option<String> = "state";
    /// Postal code.
    postal_code: Option<String> = "postal code";
    /// Country.
    country: Option<String> = "country";
    /// Country code, two letters.
    country_code: Option<String> = "country code";
}
labelled! {
    /// A web address: home page, home, work or other.
    WebAddress of entity::URL;
    /// The address.
    value: Option<String> = "value";
}
labelled! {
    /// Somebody related, by name: father, mother, parent, child, brother, sister, friend, spouse, partner, assistant,
    /// manager or other.
    RelatedName of entity::RELATED_NAME;
    /// The name.
    value: Option<String> = "value";
}
labelled! {
    /// An account for instant messages: home, work or other.
    Im of entity::IM;
    /// The account's name.
    user: Option<String> = "user";
    /// yahoo, jabber, msn, icq, aim, qq, googletalk, skype, facebook or gadugadu.
    service: Option<String> = "service";
}
labelled! {
    /// A date: anniversary or other.
    DateEntry of entity::DATE;
    /// The date, as a point in time: noon UTC where we write it.
    value: Option<Timestamp> = "value";
}

view! {
    /// A group of contacts.
    Group of entity::GROUP;
    /// Its name; a device skips a group without one.
    name: Option<String> = "name";
    /// The persons and groups in it, always all of them.
    members: Vec<RecordId> = "members";
}

aggregate! {
    /// A person or a company with everything that belongs to it.
    Contact by "contact";
    /// Name, company, birthday, picture.
    person: Person;
    /// Telephone numbers.
    phones: Phone;
    /// Email addresses.
    emails: Email;
    /// Postal addresses.
    addresses: StreetAddress;
    /// Web addresses.
    urls: WebAddress;
    /// Related people.
    related: RelatedName;
    /// Accounts for instant messages.
    ims: Im;
    /// Anniversaries and other dates.
    dates: DateEntry;
}

impl Contact {
    /// [`Person::display_name`], else the first email address.
    #[must_use]
    pub fn display_name(&self) -> String {
        let name = self.person.display_name();
        if !name.is_empty() {
            return name;
        }
        let email = self.emails.iter().find_map(|email| email.view.value.clone());
        email.unwrap_or_default()
    }
}
