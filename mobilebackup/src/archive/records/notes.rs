//! Notes: accounts, folders, and what each note says, with its lists, links, tables and attachments.
//!
//! # Example
//! ```
//! use cabled_mobilebackup::archive::Archive;
//! use cabled_mobilebackup::archive::records::notes::{Contents, NoteBook};
//!
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/plain-v10");
//! let backup = Archive::open(folder)?;
//! for book in NoteBook::read_all(&backup)? {
//!     for note in &book.notes {
//!         match &note.contents {
//!             Contents::Text { body } => println!("{}", body.text()),
//!             Contents::Locked { .. } => println!("{:?} is locked", note.title),
//!             _ => println!("{:?} has no text in this backup", note.title),
//!         }
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//! # How it fits
//! [`NoteBook::read_all`] looks in every place where iOS keeps notes (spec 14): `NoteStore.sqlite` since iOS 9, and
//! `notes.sqlite` of older systems and of mail accounts, which may be there at the same time. [`NoteBody::unpack`]
//! decodes one text, [`Table::unpack`] one table; the module [`show`] writes notes as text and as a page.
//!
//! # Limits
//! Locked notes are encrypted with a password of their own and told as [`Contents::Locked`]. Drawings, scans and maps
//! are told by their files, not decoded. One text unpacks to at most 32 MiB ([`MAX_UNPACKED`]) and all of a store to
//! 256 MiB; what is beyond that is told as [`Contents::Unreadable`].

mod body;
mod html_text;
mod modern;
mod older;
pub mod show;
mod table;
#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "test code"
)]
mod tests;
mod wire;

use serde::Serialize;

use super::note::Notes;
use super::store::read_into;
use super::time::Timestamp;
use super::{RecordError, Source};
use crate::archive::{Archive, FileEntry, Kind};

pub use body::{AttachmentMark, MAX_RUNS, MAX_UNPACKED, NoteBody, NoteBodyError, Paragraph, ParagraphKind, Span};
pub use html_text::text_of_html;
pub use table::{MAX_CELLS, MAX_OBJECTS, Table, TableError};
pub use wire::ProtobufError;

/// The notes of one store.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct NoteBook {
    /// The store.
    pub source: Source,
    /// Accounts, such as iCloud and the phone itself.
    pub accounts: Vec<Account>,
    /// Folders of all accounts.
    pub folders: Vec<Folder>,
    /// All notes, deleted ones included, in the order of their rows.
    pub notes: Vec<Note>,
    /// What could not be read.
    pub problems: Notes,
    /// Why nothing or not all of the store could be read; told among the problems, too.
    #[serde(skip)]
    pub failure: Option<RecordError>,
}

/// An account that holds folders.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Account {
    /// Its row.
    pub id: i64,
    /// Its identifier, which is also the name of its folder of files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A folder of notes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Folder {
    /// Its row.
    pub id: i64,
    /// Its identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The row of the folder it lies in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<i64>,
    /// The row of its account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<i64>,
    /// Whether it is the folder of deleted notes.
    pub trash: bool,
    /// Whether it is itself marked as deleted.
    pub deleted: bool,
}

/// One note.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Note {
    /// Its row.
    pub id: i64,
    /// Its identifier, a uuid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// Its title, which is its first line as a rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The beginning of its text, as lists show it. Locked notes may have one from before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snippet: Option<String>,
    /// The row of its folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<i64>,
    /// The row of its account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<i64>,
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When it was changed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified: Option<Timestamp>,
    /// Kept at the top of its folder.
    pub pinned: bool,
    /// Marked as deleted, or in the folder of deleted notes.
    pub deleted: bool,
    /// What it says.
    pub contents: Contents,
    /// Its attachments, those that the text does not mention included.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
}

/// What a note says, or why that is not known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
#[non_exhaustive]
pub enum Contents {
    /// The text.
    Text {
        /// Its paragraphs.
        body: NoteBody,
    },
    /// Encrypted with a password of its own.
    Locked {
        /// The hint to the password.
        #[serde(skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// The store has no text for it, as for notes that were never loaded from iCloud.
    Absent,
    /// There is data, and it does not decode.
    Unreadable {
        /// Why.
        reason: String,
    },
}

/// Something attached to a note.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Attachment {
    /// Its row.
    pub id: i64,
    /// Its identifier, which [`AttachmentMark::identifier`] names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<String>,
    /// Its uniform type identifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uti: Option<String>,
    /// Its title, or the text of a tag or mention.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The name of its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<String>,
    /// Where a link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The cells, if it is a table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<Table>,
    /// Its files in the backup: the thing itself first, then pictures of it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<AttachedFile>,
    /// Marked as deleted.
    pub deleted: bool,
}

/// A file of an attachment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AttachedFile {
    /// What it is.
    pub kind: AttachedKind,
    /// Its path in the store's domain.
    pub path: String,
}

/// What a file of an attachment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AttachedKind {
    /// The thing itself.
    Media,
    /// The whole of a drawing or scan, drawn.
    Fallback,
    /// A small picture of it.
    Preview,
}

/// The store since iOS 9, whose domain has the files of attachments, too.
const MODERN: (&str, &str) = ("AppDomainGroup-group.com.apple.notes", "NoteStore.sqlite");

/// The older store.
const OLDER: (&str, &str) = ("HomeDomain", "Library/Notes/notes.sqlite");

impl NoteBook {
    pub(super) fn empty(source: Source) -> Self {
        Self {
            source,
            accounts: Vec::new(),
            folders: Vec::new(),
            notes: Vec::new(),
            problems: Notes::default(),
            failure: None,
        }
    }

    /// Reads the notes of a backup: one book for each store that is there (spec 14), none if there is none. A store
    /// that cannot be read does not hide the others: its book is empty and says so.
    ///
    /// Looks at every row of the index, to find the files of attachments.
    ///
    /// # Errors
    /// [`RecordError::Archive`] if the backup is locked or its index damaged.
    pub fn read_all(archive: &Archive) -> Result<Vec<Self>, RecordError> {
        let mut books = Vec::new();
        if let Some(entry) = archive
            .entry_at(MODERN.0, MODERN.1)?
            .filter(|entry| entry.kind == Kind::File)
        {
            let mut files = modern::Files::default();
            for entry in archive.entries()? {
                let entry = entry?;
                if *entry.domain == *MODERN.0 && entry.kind == Kind::File {
                    files.add(&entry.path);
                }
            }
            books.push(Self::read(archive, &entry, |db, book| modern::read(db, &files, book)));
        }
        if let Some(entry) = archive
            .entry_at(OLDER.0, OLDER.1)?
            .filter(|entry| entry.kind == Kind::File)
        {
            books.push(Self::read(archive, &entry, older::read));
        }
        Ok(books)
    }

    fn read(
        archive: &Archive,
        entry: &FileEntry,
        read: impl FnOnce(&rusqlite::Connection, &mut Self) -> Result<(), RecordError>,
    ) -> Self {
        let mut book = Self::empty(entry.into());
        book.failure = read_into(archive, entry, &mut book, |book| &mut book.problems, read);
        book
    }

    /// The folder of that row.
    #[must_use]
    pub fn folder(&self, id: i64) -> Option<&Folder> {
        self.folders.iter().find(|folder| folder.id == id)
    }

    /// The names of a note's account and folders from the outermost on, as `iCloud / Recipes`. Folders that lie in
    /// themselves end the list.
    #[must_use]
    pub fn place(&self, note: &Note) -> String {
        let mut names: Vec<&str> = Vec::new();
        let (mut next, mut account) = (note.folder, note.account);
        // No phone nests deeper; a circle ends here.
        for _ in 0..32 {
            let Some(folder) = next.and_then(|id| self.folder(id)) else {
                break;
            };
            names.extend(folder.name.as_deref());
            account = account.or(folder.account);
            next = folder.parent.filter(|parent| *parent != folder.id);
        }
        let account = account.and_then(|id| self.accounts.iter().find(|account| account.id == id));
        names.extend(account.and_then(|account| account.name.as_deref()));
        names.reverse();
        names.join(" / ")
    }
}

impl Note {
    /// What to call it: its title, else its first words, else its row.
    #[must_use]
    pub fn name(&self) -> String {
        let named = self.title.as_deref().filter(|title| !title.trim().is_empty());
        let first = || match &self.contents {
            Contents::Text { body } => {
                let lines = body.text();
                let line = lines.lines().map(str::trim).find(|line| !line.is_empty())?;
                Some(line.chars().take(80).collect::<String>())
            }
            _ => None,
        };
        let name = named.map(str::to_owned).or_else(first);
        name.unwrap_or_else(|| format!("Note {}", self.id))
    }
}
