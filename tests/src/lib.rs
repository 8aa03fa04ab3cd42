//! What the tests of the whole family share.

pub mod program;
