//! Contacts as vCard 4.0 (RFC 6350) or 3.0 (RFC 2426).
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::records::contacts::Contact;
//! use cabled_mobilebackup::archive::records::vcard::{self, VcardVersion};
//!
//! let mut card = Vec::new();
//! vcard::write(&mut card, &Contact::default(), None, VcardVersion::V3)?;
//! assert!(card.starts_with(b"BEGIN:VCARD\r\nVERSION:3.0\r\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! [`contacts`](super::contacts) reads; this writes one card per contact, which the address books of all systems take.
//! Labels that vCard knows become `TYPE`; all others, and the owner's own, stand in a line `X-ABLabel` of the same
//! group, as Apple writes them.
//!
//! # Limits
//! Nothing is lost: what has no property of its own goes into one that begins with `X-`. Control characters in texts
//! become U+FFFD, since no version of vCard can say them.

mod line;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use super::base64;
use super::contacts::{Contact, ContactValue, Day, Picture, Property, TextField};
use super::time::Timestamp;
use line::Line;

/// The version of vCard that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VcardVersion {
    /// 4.0 (RFC 6350).
    #[default]
    V4,
    /// 3.0 (RFC 2426), which older address books take.
    V3,
}

/// Writes one card.
///
/// # Errors
/// Whatever `out` gives.
pub fn write<W: Write>(out: W, contact: &Contact, picture: Option<&Picture>, version: VcardVersion) -> io::Result<()> {
    let mut card = Card {
        out,
        version,
        group: 0,
        anniversary: false,
    };
    card.line(Line::new("BEGIN").text("VCARD"))?;
    card.line(Line::new("VERSION").text(if version == VcardVersion::V4 { "4.0" } else { "3.0" }))?;
    card.identity(contact)?;
    card.name(contact)?;
    card.texts(contact)?;
    for value in &contact.values {
        card.value(value)?;
    }
    if let Some(picture) = picture {
        card.picture(picture)?;
    }
    card.line(Line::new("END").text("VCARD"))
}

/// A card that is being written.
struct Card<W> {
    out: W,
    version: VcardVersion,
    /// How many groups (`item1.`) there are.
    group: u32,
    /// vCard 4 has room for one.
    anniversary: bool,
}

impl<W: Write> Card<W> {
    fn line(&mut self, line: Line) -> io::Result<()> {
        line.write(&mut self.out)
    }

    fn is_v4(&self) -> bool {
        self.version == VcardVersion::V4
    }

    fn identity(&mut self, contact: &Contact) -> io::Result<()> {
        self.line(Line::new("PRODID").text("-//cabled//EN"))?;
        if let Some(guid) = &contact.guid {
            // The default type of UID is a URI in version 4.
            let uid = Line::new("UID");
            let uid = if self.is_v4() { uid.param("VALUE", "text") } else { uid };
            self.line(uid.text(guid))?;
        }
        if self.is_v4() {
            self.line(Line::new("KIND").text(if contact.company { "org" } else { "individual" }))?;
        }
        if contact.company {
            self.line(Line::new("X-ABShowAs").text("COMPANY"))?;
        }
        if let Some(modified) = contact.modified {
            let stamp = self.stamp(modified);
            self.line(Line::new("REV").raw(&stamp))?;
        }
        if let Some(created) = contact.created {
            let stamp = self.stamp(created);
            self.line(Line::new("X-AB-CREATED").raw(&stamp))?;
        }
        Ok(())
    }

    /// To the second; version 4 wants no punctuation.
    fn stamp(&self, time: Timestamp) -> String {
        let at = time.civil();
        let (date, clock) = match self.version {
            VcardVersion::V4 => (
                time.date().replace('-', ""),
                format!("{:02}{:02}{:02}", at.hour, at.minute, at.second),
            ),
            VcardVersion::V3 => (time.date(), format!("{:02}:{:02}:{:02}", at.hour, at.minute, at.second)),
        };
        format!("{date}T{clock}Z")
    }

    fn name(&mut self, contact: &Contact) -> io::Result<()> {
        self.line(Line::new("FN").text(&contact.title()))?;
        let parts = [
            TextField::Last,
            TextField::First,
            TextField::Middle,
            TextField::Prefix,
            TextField::Suffix,
        ];
        let parts = parts.map(|field| contact.text(field).unwrap_or_default());
        self.line(Line::new("N").structured(&parts))?;
        let company = [TextField::Organization, TextField::Department].map(|field| contact.text(field));
        match company {
            [None, None] => Ok(()),
            [company, None] => self.line(Line::new("ORG").structured(&[company.unwrap_or_default()])),
            [company, department] => {
                let parts = [company.unwrap_or_default(), department.unwrap_or_default()];
                self.line(Line::new("ORG").structured(&parts))
            }
        }
    }

    /// What there is one of at most.
    fn texts(&mut self, contact: &Contact) -> io::Result<()> {
        for (field, text) in &contact.texts {
            let property = match field {
                TextField::Nickname => "NICKNAME",
                TextField::JobTitle => "TITLE",
                TextField::Note => "NOTE",
                TextField::PreviousFamilyName => "X-MAIDENNAME",
                TextField::FirstPhonetic => "X-PHONETIC-FIRST-NAME",
                TextField::MiddlePhonetic => "X-PHONETIC-MIDDLE-NAME",
                TextField::LastPhonetic => "X-PHONETIC-LAST-NAME",
                TextField::OrganizationPhonetic => "X-PHONETIC-ORG",
                TextField::FirstPronunciation => "X-PRONUNCIATION-FIRST-NAME",
                TextField::MiddlePronunciation => "X-PRONUNCIATION-MIDDLE-NAME",
                TextField::LastPronunciation => "X-PRONUNCIATION-LAST-NAME",
                TextField::OrganizationPronunciation => "X-PRONUNCIATION-ORG",
                TextField::DisplayName => "X-AB-DISPLAY-NAME",
                TextField::AlternateBirthday => "X-AB-ALTERNATE-BIRTHDAY",
                TextField::ExternalUuid => "X-AB-EXTERNAL-UUID",
                // Part of N and ORG.
                TextField::Prefix
                | TextField::First
                | TextField::Middle
                | TextField::Last
                | TextField::Suffix
                | TextField::Organization
                | TextField::Department => continue,
            };
            self.line(Line::new(property).text(text))?;
        }
        if let Some(birthday) = contact.birthday {
            self.day(Line::new("BDAY"), birthday)?;
        }
        if !contact.groups.is_empty() {
            let groups: Vec<_> = contact.groups.iter().map(String::as_str).collect();
            self.line(Line::new("CATEGORIES").list(&groups))?;
        }
        for (property, text) in [
            ("X-AB-ACCOUNT", contact.account.clone()),
            ("X-AB-LINKED", contact.linked.map(|link| link.to_string())),
        ] {
            if let Some(text) = text {
                self.line(Line::new(property).text(&text))?;
            }
        }
        Ok(())
    }

    fn day(&mut self, line: Line, day: Day) -> io::Result<()> {
        match (self.version, day.year) {
            (VcardVersion::V4, Some(year)) => self.line(line.raw(&format!("{year:04}{:02}{:02}", day.month, day.day))),
            (VcardVersion::V4, None) => self.line(line.raw(&format!("--{:02}{:02}", day.month, day.day))),
            (VcardVersion::V3, Some(_)) => self.line(line.raw(&day.to_string())),
            // Apple's way to leave out the year.
            (VcardVersion::V3, None) => {
                let line = line.param("X-APPLE-OMIT-YEAR", "1604");
                self.line(line.raw(&format!("1604-{:02}-{:02}", day.month, day.day)))
            }
        }
    }

    /// One of those there may be several of, with its label.
    fn value(&mut self, value: &ContactValue) -> io::Result<()> {
        let text = value.value.as_deref().unwrap_or_default();
        match value.property {
            Property::Phone => self.labelled(Line::new("TEL"), value, |line| line.text(text)),
            Property::Email => self.labelled(Line::new("EMAIL"), value, |line| line.text(text)),
            Property::Url => self.labelled(Line::new("URL"), value, |line| line.uri(text)),
            Property::Address => self.address(value),
            Property::Date => self.date(value),
            Property::InstantMessage => self.instant_message(value),
            Property::SocialProfile => self.social_profile(value),
            Property::RelatedName if self.is_v4() => {
                let line = Line::new("RELATED").param("VALUE", "text");
                self.labelled(line, value, |line| line.text(text))
            }
            Property::RelatedName => self.labelled(Line::new("X-ABRELATEDNAMES"), value, |line| line.text(text)),
            Property::Other(number) => {
                let line = Line::new(&format!("X-AB-PROPERTY-{number}"));
                let group = self.labelled_group(line, value, |line| line.text(text))?;
                self.other_fields(&group, value, &[])
            }
        }
    }

    fn labelled(&mut self, line: Line, value: &ContactValue, end: impl FnOnce(Line) -> Line) -> io::Result<()> {
        self.labelled_group(line, value, end).map(drop)
    }

    /// Writes a line with its label; gives the group that further lines about it belong to.
    fn labelled_group(
        &mut self,
        line: Line,
        value: &ContactValue,
        end: impl FnOnce(Line) -> Line,
    ) -> io::Result<String> {
        self.group = self.group.saturating_add(1);
        let group = format!("item{}", self.group);
        let label = value.label.as_deref().unwrap_or_default();
        let types = types_of(label, value.property);
        let more_fields = !value.fields.is_empty();
        if label.is_empty() || (!types.is_empty() && !more_fields) {
            let line = types.iter().fold(line, |line, kind| line.param("TYPE", kind));
            self.line(end(if more_fields { line.group(&group) } else { line }))?;
            return Ok(group);
        }
        let line = types.iter().fold(line, |line, kind| line.param("TYPE", kind));
        self.line(end(line.group(&group)))?;
        if types.is_empty() {
            self.line(Line::new("X-ABLabel").group(&group).text(label))?;
        }
        Ok(group)
    }

    fn address(&mut self, value: &ContactValue) -> io::Result<()> {
        let field = |name: &str| value.fields.get(name).map(String::as_str).unwrap_or_default();
        let parts = [
            "",
            "",
            field("street"),
            field("city"),
            field("state"),
            field("zip"),
            field("country"),
        ];
        let group = self.labelled_group(Line::new("ADR"), value, |line| line.structured(&parts))?;
        if let Some(country) = value.fields.get("countrycode") {
            self.line(Line::new("X-ABADR").group(&group).text(country))?;
        }
        if let Some(text) = &value.value {
            self.line(Line::new("X-AB-VALUE").group(&group).text(text))?;
        }
        self.other_fields(
            &group,
            value,
            &["street", "city", "state", "zip", "country", "countrycode"],
        )
    }

    /// Fields that have no place of their own, each with its name.
    fn other_fields(&mut self, group: &str, value: &ContactValue, known: &[&str]) -> io::Result<()> {
        for (name, text) in value.fields.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            self.line(Line::new("X-AB-FIELD").group(group).param("X-NAME", name).text(text))?;
        }
        Ok(())
    }

    fn date(&mut self, value: &ContactValue) -> io::Result<()> {
        let Some(day) = value.day else {
            let text = value.value.as_deref().unwrap_or_default();
            return self.labelled(Line::new("X-ABDATE").param("VALUE", "text"), value, |line| {
                line.text(text)
            });
        };
        let anniversary = value.label.as_deref() == Some("_$!<Anniversary>!$_");
        if anniversary && self.is_v4() && !std::mem::replace(&mut self.anniversary, true) {
            return self.day(Line::new("ANNIVERSARY"), day);
        }
        self.group = self.group.saturating_add(1);
        let group = format!("item{}", self.group);
        self.day(Line::new("X-ABDATE").group(&group), day)?;
        match &value.label {
            Some(label) => self.line(Line::new("X-ABLabel").group(&group).text(label)),
            None => Ok(()),
        }
    }

    fn instant_message(&mut self, value: &ContactValue) -> io::Result<()> {
        let service = value.fields.get("service").map(String::as_str).unwrap_or_default();
        let user = value
            .fields
            .get("username")
            .or(value.value.as_ref())
            .map(String::as_str)
            .unwrap_or_default();
        let scheme = match service.to_ascii_lowercase().as_str() {
            "aim" | "aiminstant" => "aim",
            "jabber" | "googletalk" | "facebook" => "xmpp",
            "msn" | "msninstant" => "msnim",
            "yahoo" | "yahooinstant" => "ymsgr",
            "icq" | "icqinstant" => "icq",
            "skype" => "skype",
            "gadugadu" => "gg",
            "qq" => "qq",
            _ => "x-apple",
        };
        let line = Line::new("IMPP");
        let line = if service.is_empty() {
            line
        } else {
            line.param("X-SERVICE-TYPE", service)
        };
        let group = self.labelled_group(line, value, |line| line.uri_of(scheme, user))?;
        let known: &[&str] = if value.fields.contains_key("username") {
            &["service", "username"]
        } else {
            &["service"]
        };
        if let Some(text) = value.value.as_deref().filter(|text| *text != user) {
            self.line(Line::new("X-AB-VALUE").group(&group).text(text))?;
        }
        self.other_fields(&group, value, known)
    }

    fn social_profile(&mut self, value: &ContactValue) -> io::Result<()> {
        let field = |name: &str| value.fields.get(name).map(String::as_str);
        let mut line = Line::new("X-SOCIALPROFILE");
        if let Some(service) = field("service") {
            line = line.param("TYPE", service);
        }
        if let Some(user) = field("username") {
            line = line.param("X-USER", user);
        }
        let url = field("url").or(value.value.as_deref());
        let group = match url {
            Some(url) => self.labelled_group(line, value, |line| line.uri(url))?,
            None => {
                let user = field("username").unwrap_or_default();
                self.labelled_group(line, value, |line| line.uri_of("x-apple", user))?
            }
        };
        self.other_fields(&group, value, &["service", "username", "url"])
    }

    fn picture(&mut self, picture: &Picture) -> io::Result<()> {
        let encoded = base64::encode(&picture.bytes);
        let line = Line::new("PHOTO");
        self.line(match self.version {
            VcardVersion::V4 => line.raw(&format!("data:{};base64,{encoded}", picture.media_type)),
            VcardVersion::V3 => {
                let kind = picture.media_type.trim_start_matches("image/").to_ascii_uppercase();
                line.param("ENCODING", "b").param("TYPE", &kind).raw(&encoded)
            }
        })
    }
}

/// What vCard calls a label, if it has the same.
fn types_of(label: &str, property: Property) -> &'static [&'static str] {
    let phone = property == Property::Phone;
    match label {
        "_$!<Home>!$_" => &["HOME"],
        "_$!<Work>!$_" => &["WORK"],
        "_$!<Mobile>!$_" if phone => &["CELL"],
        "_$!<HomeFAX>!$_" if phone => &["HOME", "FAX"],
        "_$!<WorkFAX>!$_" if phone => &["WORK", "FAX"],
        "_$!<Pager>!$_" if phone => &["PAGER"],
        "_$!<Parent>!$_" if property == Property::RelatedName => &["parent"],
        "_$!<Child>!$_" if property == Property::RelatedName => &["child"],
        "_$!<Friend>!$_" if property == Property::RelatedName => &["friend"],
        "_$!<Spouse>!$_" if property == Property::RelatedName => &["spouse"],
        _ => &[],
    }
}
