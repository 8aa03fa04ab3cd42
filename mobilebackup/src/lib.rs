//! Filled by the work in progress.

#[cfg(feature = "archive")]
pub mod archive;
