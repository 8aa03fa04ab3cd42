//! What the tests of the whole family share.

pub mod bed;
pub mod program;

/// What a test ends with: nothing, or what went wrong.
pub type Outcome = Result<(), String>;

/// Turns any error into the text a test ends with.
pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
