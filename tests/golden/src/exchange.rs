//! What the daemon answered to which request.

use bytes::Bytes;

use crate::{hex, objects, text};

/// One request to the daemon and everything it answered until the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// Names of all requests on the same connection, in order, joined with `+`: lines with one name in a row share it.
    pub connection: String,
    /// Name of this request.
    pub request: String,
    /// What was sent.
    pub sent: Bytes,
    /// What came back: no, one or several messages.
    pub answered: Bytes,
    /// Whether the daemon had closed the connection half a second later.
    pub closed: bool,
}

/// The exchanges of a file of daemon captures, in their order.
///
/// # Panics
/// If the file is missing, empty or malformed, with its name and line.
#[must_use]
pub fn exchanges(relative: &str) -> Vec<Exchange> {
    objects(relative)
        .into_iter()
        .map(|(place, value)| Exchange {
            connection: text(&value, "connection", &place),
            request: text(&value, "request", &place),
            sent: hex(&value, "request_hex", &place),
            answered: hex(&value, "reply_hex", &place),
            closed: match text(&value, "connection_after", &place).as_str() {
                "open" => false,
                "closed" => true,
                other => panic!("{place}: connection_after \"{other}\""),
            },
        })
        .collect()
}
