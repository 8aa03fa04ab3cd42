//! A virtual iPhone.
pub mod fs;
