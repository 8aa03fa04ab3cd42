//! What `message_summary_info` says about edits and unsent parts (iOS 16 and later).
//!
//! A property list: `ec` has for each part (its number as text) the texts it had, each a dictionary of a date `d` and a
//! typed stream `t`; `rp` lists the parts that were unsent.

use cabled_wire::WireError;
use cabled_wire::plist::{self, Limits, Value, as_integer, as_real};

use super::typedstream::AttributedText;
use super::types::Edit;
use crate::archive::records::time;

/// Longest property list that is read, in bytes.
pub(super) const MAX_LEN: usize = 4 << 20;

/// What was changed about a message.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Summary {
    /// By part, then by time.
    pub(super) edits: Vec<Edit>,
    pub(super) unsent_parts: Vec<i64>,
}

impl Summary {
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let limits = Limits::default().with_bytes(MAX_LEN).with_depth(16).with_nodes(100_000);
        let info = plist::read_dict(bytes, &limits)?;
        let mut summary = Self::default();
        let parts = info.get("ec").and_then(Value::as_dictionary);
        for (part, versions) in parts.into_iter().flatten() {
            let Ok(part) = part.parse() else { continue };
            summary.edits.extend(
                versions
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|version| edit(part, version)),
            );
        }
        summary.edits.sort_by_key(|edit| (edit.part, edit.date));
        let unsent = info.get("rp").and_then(Value::as_array);
        summary.unsent_parts = unsent.into_iter().flatten().filter_map(as_integer).collect();
        Ok(summary)
    }
}

fn edit(part: u32, version: &Value) -> Edit {
    let version = version.as_dictionary();
    let value = |key| version.and_then(|version| version.get(key));
    let text = value("t")
        .and_then(Value::as_data)
        .and_then(|text| AttributedText::decode(text).ok());
    Edit {
        part,
        date: value("d").and_then(as_real).and_then(time::apple_seconds),
        text: text.map(|text| text.text),
    }
}

#[cfg(test)]
mod tests {
    use cabled_wire::dict;

    use super::*;

    #[test]
    fn edits_come_by_part_and_time_with_their_texts() {
        let typed = |text: &str| {
            let head = b"\x04\x0bstreamtyped\x81\xe8\x03\x84\x01@\x84\x84\x84\x08NSString\x01\x84\x84\x08NSObject\0\x85\x84\x01+";
            Value::Data(
                [
                    &head[..],
                    &[u8::try_from(text.len()).unwrap()],
                    text.as_bytes(),
                    b"\x86",
                ]
                .concat(),
            )
        };
        let version = |seconds: f64, text: &str| Value::Dictionary(dict! { "d" => seconds, "t" => typed(text) });
        let info = dict! {
            "ec" => dict! {
                "1" => Value::Array(vec![version(5.0, "b")]),
                "0" => Value::Array(vec![version(9.0, "new"), version(2.0, "old")]),
                "x" => Value::Array(vec![]),
            },
            "rp" => Value::Array(vec![2.into()]),
        };
        let summary = Summary::decode(&plist::to_binary(&info.into())).unwrap();
        let edits: Vec<_> = summary
            .edits
            .iter()
            .map(|edit| (edit.part, edit.text.as_deref()))
            .collect();
        assert_eq!(edits, [(0, Some("old")), (0, Some("new")), (1, Some("b"))]);
        assert_eq!(summary.edits[0].date.unwrap().to_string(), "2001-01-01T00:00:02Z");
        assert_eq!(summary.unsent_parts, [2]);
        assert!(Summary::decode(b"junk").is_err());
    }
}
