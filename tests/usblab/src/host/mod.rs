//! The host's side.

pub mod archive;
pub mod command;
pub mod image;
pub mod kernel;
pub mod machine;
pub mod packages;
pub mod report;
