/// A peer's bytes are not what the protocol says they are.
///
/// Each variant names the field in the protocol's own words. The stream that carried the bytes is unusable afterwards.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// The bytes end inside a field.
    #[error("`{field}` needs {need} bytes and only {have} are left")]
    Truncated {
        /// The field that was being read.
        field: &'static str,
        /// Bytes it needs.
        need: u64,
        /// Bytes that are left.
        have: u64,
    },
    /// A declared length is above the limit.
    #[error("`{field}` claims {declared} bytes; the limit is {max}")]
    TooLong {
        /// The field that was being read.
        field: &'static str,
        /// What the peer declared, in bytes.
        declared: u64,
        /// What we accept, in bytes.
        max: u64,
    },
    /// A constant (magic number, protocol name) is another one.
    #[error("{what} does not start with its magic bytes")]
    Magic {
        /// What was expected to start here.
        what: &'static str,
    },
    /// A number is outside what the field allows.
    #[error("`{what}` cannot be {value}")]
    Invalid {
        /// The field.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// Bytes are left over after the last field.
    #[error("{what} has {bytes} bytes too many")]
    Trailing {
        /// The message.
        what: &'static str,
        /// How many bytes are left over.
        bytes: u64,
    },
    /// Text is not UTF-8 (or holds a NUL where none may be).
    #[error("`{field}` is not valid text")]
    Text {
        /// The field.
        field: &'static str,
    },
    /// A property list nests deeper than the limit.
    #[error("the property list nests deeper than {max} levels")]
    TooDeep {
        /// The limit, in levels.
        max: usize,
    },
    /// A property list unfolds to more values, or to more text, than the limit.
    #[error("the property list unfolds to more than {max} {what}")]
    Bomb {
        /// What is counted: `values` or `bytes`.
        what: &'static str,
        /// The limit.
        max: u64,
    },
    /// A binary property list refers to itself.
    #[error("the property list contains itself")]
    Cycle,
    /// The bytes are no property list, or a damaged one.
    #[error("not a valid property list: {reason}")]
    Plist {
        /// What the parser said.
        reason: String,
    },
    /// A dictionary lacks a key that the message needs.
    #[error("the message lacks `{key}`")]
    Missing {
        /// The key.
        key: String,
    },
    /// A value has another type than the message needs.
    #[error("`{key}` is not {expected}")]
    Type {
        /// The key (or the position in an array).
        key: String,
        /// The type that was needed.
        expected: &'static str,
    },
    /// A message that the protocol does not know, or not at this point.
    #[error("unexpected {what}: `{name}`")]
    Unexpected {
        /// What kind of thing it is.
        what: &'static str,
        /// Its name as the peer spelled it, cut to 200 characters.
        name: String,
    },
    /// A path that would leave its folder, or that no file system should be asked for.
    #[error("the path `{path}` is refused: {why}")]
    Path {
        /// The path, cut to 200 characters.
        path: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// An identifier (UDID, host id) that is none.
    #[error("`{text}` is not a {what}")]
    Id {
        /// The kind of identifier.
        what: &'static str,
        /// The text, cut to 200 characters.
        text: String,
    },
}

impl WireError {
    /// Cuts text from a peer to what an error message should carry: 200 characters, control characters replaced.
    #[must_use]
    pub fn excerpt(text: &str) -> String {
        text.chars()
            .take(200)
            .map(|c| if c.is_control() { '\u{fffd}' } else { c })
            .collect()
    }
}
