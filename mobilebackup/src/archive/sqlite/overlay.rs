//! Pages that replace those of a database: what a write-ahead log or a rollback journal amounts to.

use std::collections::HashMap;

/// Newer (log) or older (journal) pages of a database and where they lie in their own file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overlay {
    /// Bytes in a page.
    pub(super) page_size: u32,
    /// Page number to byte offset in the log or journal.
    pub(super) pages: HashMap<u32, u64>,
    /// Pages of the database once the overlay is applied.
    pub(super) database_pages: u32,
}

impl Overlay {
    /// Bytes in a page.
    #[must_use]
    pub const fn page_size(&self) -> u32 {
        self.page_size
    }

    /// How many pages are replaced.
    #[must_use]
    pub fn replaced(&self) -> usize {
        self.pages.len()
    }

    /// How many pages the database has with the overlay.
    #[must_use]
    pub const fn database_pages(&self) -> u32 {
        self.database_pages
    }

    /// Where the new contents of a page start in the log or journal, in bytes.
    #[must_use]
    pub fn offset_of(&self, page: u32) -> Option<u64> {
        self.pages.get(&page).copied()
    }
}
