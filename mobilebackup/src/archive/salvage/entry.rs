//! A file that was found, and how.

use std::path::PathBuf;

use super::content::ContentKind;
use super::trust::{Doubt, Trust};
use crate::archive::FileEntry;
use crate::archive::select::Category;

/// How a file was found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case", tag = "by")]
#[non_exhaustive]
pub enum FoundBy {
    /// In the index, where it should be.
    Index,
    /// On a page of the index that no tree leads to any more.
    LoosePage {
        /// Which page, counted from 1.
        page: u32,
    },
    /// On a page of the index that was given up: the row was deleted or moved, and may be out of date.
    UnusedPage {
        /// Which page, counted from 1.
        page: u32,
    },
    /// In `Manifest.mbdb`, behind damage.
    BehindDamage,
    /// In the index of an older backup.
    OlderIndex {
        /// Which index.
        index: PathBuf,
    },
    /// By its id, which is that of a well-known file.
    KnownId {
        /// What it belongs to.
        category: Category,
    },
    /// By its content. Domain and path are made up.
    Content {
        /// What it looks like.
        kind: ContentKind,
        /// What it belongs to, if its tables say so.
        category: Option<Category>,
    },
}

impl FoundBy {
    /// A stable name, as in the serialized form.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Index => "index",
            Self::LoosePage { .. } => "loose_page",
            Self::UnusedPage { .. } => "unused_page",
            Self::BehindDamage => "behind_damage",
            Self::OlderIndex { .. } => "older_index",
            Self::KnownId { .. } => "known_id",
            Self::Content { .. } => "content",
        }
    }
}

/// A file of a damaged backup.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SalvagedEntry {
    /// The file.
    pub entry: FileEntry,
    /// How it was found.
    pub found: FoundBy,
    /// How far its contents can be trusted.
    pub trust: Trust,
    /// Why not further.
    pub doubts: Vec<Doubt>,
    /// Whose keys open it.
    pub(super) keyring: usize,
}
