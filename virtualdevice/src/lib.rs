//! Filled by the work in progress.
pub mod backup;
