//! tmp
pub(crate) mod format;
pub use format::FileId;
