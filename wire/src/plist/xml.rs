//! Counts the elements of an XML property list and how deep they nest, without building anything.

use super::Limits;
use crate::WireError;

/// Whether the first bytes are those of an XML property list. A byte-order mark and blanks before it are tolerated.
pub(super) fn looks_like_xml(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    [&b"<?xml"[..], b"<!DOCTYPE", b"<plist"]
        .iter()
        .any(|magic| text.starts_with(magic))
}

/// Replaces control characters that XML does not allow by blanks; `None` when there are none.
pub(super) fn without_control_characters(bytes: &[u8]) -> Option<Vec<u8>> {
    let odd = |byte: u8| byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r');
    bytes
        .iter()
        .any(|byte| odd(*byte))
        .then(|| bytes.iter().map(|byte| if odd(*byte) { b' ' } else { *byte }).collect())
}

/// Counts elements and depth against `limits`. What is well formed is the parser's business; what is huge is ours.
pub(super) fn scan(bytes: &[u8], limits: &Limits) -> Result<(), WireError> {
    let mut rest = bytes;
    let (mut depth, mut nodes) = (0_usize, 0_u64);
    while let Some(tag) = find(rest, b"<") {
        rest = rest.get(tag..).unwrap_or_default();
        let end_of = |end: &[u8]| find(rest, end).map(|at| at.saturating_add(end.len()));
        let len = if rest.starts_with(b"<!--") {
            end_of(b"-->")
        } else if rest.starts_with(b"<![CDATA[") {
            end_of(b"]]>")
        } else if rest.starts_with(b"<?") {
            end_of(b"?>")
        } else {
            end_of(b">")
        };
        let Some(len) = len else {
            return Err(WireError::Plist {
                reason: "a tag has no end".into(),
            });
        };
        let (tag, tail) = rest.split_at_checked(len).unwrap_or((rest, &[]));
        rest = tail;
        match tag {
            [b'<', b'/', ..] => depth = depth.saturating_sub(1),
            [b'<', b'!', ..] if tag.starts_with(b"<!DOCTYPE") && tag.contains(&b'[') => {
                return Err(WireError::Plist {
                    reason: "it declares entities of its own".into(),
                });
            }
            [b'<', b'!' | b'?', ..] => {}
            _ => {
                nodes = nodes.saturating_add(1);
                limits.count(nodes, 0)?;
                // `<plist>` is the first level and no container; a leaf counts one level while it is open.
                if !tag.ends_with(b"/>") {
                    depth = depth.saturating_add(1);
                }
                if depth > limits.depth.saturating_add(2) {
                    return Err(WireError::TooDeep { max: limits.depth });
                }
            }
        }
    }
    Ok(())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    match wanted {
        [one] => bytes.iter().position(|byte| byte == one),
        _ => bytes.windows(wanted.len()).position(|window| window == wanted),
    }
}
