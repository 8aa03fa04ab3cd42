//! Bookmarks, notes and mail accounts. Spec: mobilesync, sections 8.3 to 8.5.

use std::fmt;

use cabled_wire::plist::Value;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::view::{Attribute, view};
use super::{RecordError, Residue, Timestamp};
use crate::entity;
use crate::record::{Record, RecordId};

view! {
    /// A folder of bookmarks.
    Folder of entity::FOLDER;
    /// Its name; `BookmarksBar` and `BookmarksMenu` are the two that every device has.
    name: Option<String> = "name";
    /// The folder it is in; none at the root.
    parent: Vec<RecordId> = "parent";
    /// Its place among its neighbours, 0 first; -2 for the bar and the menu.
    position: Option<i64> = "position";
}

view! {
    /// A bookmark.
    Bookmark of entity::BOOKMARK;
    /// Its name; a device takes the address when there is none.
    name: Option<String> = "name";
    /// The web address.
    url: Option<String> = "url";
    /// The folder it is in; none at the root.
    parent: Vec<RecordId> = "parent";
    /// Its place among its neighbours, 0 first.
    position: Option<i64> = "position";
}

view! {
    /// A note of an old system (iOS 10 and earlier).
    Note of entity::NOTE;
    /// First line.
    subject: Option<String> = "subject";
    /// All of it, HTML by default.
    content: Option<String> = "content";
    /// `text/html` or `text/plain`.
    content_type: Option<String> = "contentType";
    /// Who wrote it.
    author: Option<String> = "author";
    /// When it was made.
    created: Option<Timestamp> = "dateCreated";
    /// When it was changed last.
    modified: Option<Timestamp> = "dateModified";
}

/// A password. Shows its length only, and is wiped when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The bytes, without the zero that ends them on the wire.
    #[must_use]
    pub fn reveal(&self) -> &[u8] {
        self.0.strip_suffix(&[0]).unwrap_or(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.reveal().len())
    }
}

/// A mail account's settings, for showing. There is no way to write one: it would move a password onto a device.
#[derive(Clone, Debug, PartialEq)]
pub struct MailAccount {
    /// `POP`, `IMAP`…
    pub account_type: Option<String>,
    /// Name of the user.
    pub username: Option<String>,
    /// Server.
    pub hostname: Option<String>,
    /// Addresses that it sends as.
    pub email_addresses: Vec<String>,
    /// How it proves who it is.
    pub authentication_scheme: Option<String>,
    /// The password.
    pub password: Option<Secret>,
    /// Everything else that the record holds.
    pub residue: Residue,
}

impl MailAccount {
    /// Reads a record. The record still holds the password afterwards; drop it.
    ///
    /// # Errors
    /// [`RecordError::Entity`] for a record of something else, [`RecordError::Type`] for a value of the wrong type.
    pub fn read(id: &RecordId, record: &Record) -> Result<Self, RecordError> {
        if record.entity.as_deref() != Some(entity::MAIL_ACCOUNT) {
            return Err(RecordError::Entity {
                id: id.clone(),
                expected: entity::MAIL_ACCOUNT,
                found: record.entity.clone().unwrap_or_default(),
            });
        }
        let mut open = record.clone();
        let password = match open.attributes.remove("__Password__") {
            None => None,
            Some(Value::Data(bytes)) => Some(Secret(bytes)),
            Some(Value::String(text)) => Some(Secret(text.into_bytes())),
            Some(_) => {
                return Err(RecordError::Type {
                    id: id.clone(),
                    key: "__Password__".to_owned(),
                    expected: <Option<Vec<u8>>>::EXPECTED,
                });
            }
        };
        let mut residue = Residue::new(&open);
        Ok(Self {
            account_type: residue.take(id, "AccountType")?,
            username: residue.take(id, "Username")?,
            hostname: residue.take(id, "Hostname")?,
            email_addresses: residue.take(id, "EmailAddresses")?,
            authentication_scheme: residue.take(id, "AuthenticationScheme")?,
            password,
            residue,
        })
    }
}
