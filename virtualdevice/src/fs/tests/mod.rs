//! The file tree as its users see it.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod contents;
mod maps;
mod model;
mod tree;
