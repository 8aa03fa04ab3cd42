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
///
/// Where one tag ends and the next begins must be seen as the parser sees it, or depth could be hidden from us: what
/// two readers might take apart in two ways is refused.
pub(super) fn scan(bytes: &[u8], limits: &Limits) -> Result<(), WireError> {
    let mut rest = bytes;
    let (mut depth, mut nodes) = (0_usize, 0_u64);
    while let Some(at) = find(rest, b"<") {
        let (tag, tail) = split_tag(rest.get(at..).unwrap_or_default())?;
        rest = tail;
        match tag {
            [b'<', b'/', ..] => depth = depth.saturating_sub(1),
            [b'<', b'!' | b'?', ..] => {}
            _ => {
                nodes = nodes.saturating_add(1);
                limits.count(nodes, 0)?;
                // `<plist>` is the first level and no container; a leaf counts one level while it is open.
                if !tag.ends_with(b"/>") {
                    depth = depth.saturating_add(1);
                    if is_date(tag) {
                        check_date(rest)?;
                    }
                }
                if depth > limits.depth.saturating_add(2) {
                    return Err(WireError::TooDeep { max: limits.depth });
                }
            }
        }
    }
    Ok(())
}

/// The tag, comment or other markup that `bytes` begin with, and what follows it.
fn split_tag(bytes: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let end_after = |start: &[u8], end: &[u8]| {
        let body = bytes.get(start.len()..)?;
        Some(find(body, end)?.saturating_add(start.len()).saturating_add(end.len()))
    };
    let len = match bytes {
        [b'<', b'!', b'-', b'-', ..] => end_after(b"<!--", b"-->"),
        [b'<', b'!', ..] if bytes.starts_with(b"<![CDATA[") => end_after(b"<![CDATA[", b"]]>"),
        [b'<', b'?', b'>', ..] => return Err(malformed("an instruction has no name")),
        [b'<', b'?', ..] => end_after(b"<?", b"?>"),
        [b'<', b'!' | b'/', ..] => end_after(b"<", b">"),
        _ => end_of_element(bytes),
    };
    let (tag, tail) = len
        .and_then(|len| bytes.split_at_checked(len))
        .ok_or_else(|| malformed("a tag has no end"))?;
    let count = |wanted: u8| tag.iter().filter(|byte| **byte == wanted).count();
    match tag {
        [b'<', b'!', b'-', b'-', ..] => {}
        [b'<', b'!', ..] if tag.starts_with(b"<![CDATA[") => {}
        [b'<', b'!', ..] if tag.contains(&b'[') => return Err(malformed("it declares entities of its own")),
        [b'<', b'!', ..] if count(b'<') > 1 || count(b'"') % 2 != 0 || count(b'\'') % 2 != 0 => {
            return Err(malformed("its document type is odd"));
        }
        [b'<', b'/', ..] if count(b'"') > 0 || count(b'\'') > 0 => return Err(malformed("an end tag is odd")),
        _ => {}
    }
    Ok((tag, tail))
}

/// A `>` inside a quoted attribute ends no element.
fn end_of_element(bytes: &[u8]) -> Option<usize> {
    let mut quote = None;
    let end = bytes.iter().position(|byte| {
        match (quote, *byte) {
            (None, b'>') => return true,
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
        false
    })?;
    end.checked_add(1)
}

/// Is it a `<date>`, with whatever prefix?
fn is_date(tag: &[u8]) -> bool {
    let name = tag.get(1..).and_then(|tag| {
        tag.split(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/'))
            .next()
    });
    name.and_then(|name| name.rsplit(|byte| *byte == b':').next()) == Some(b"date")
}

/// Only times of UTC, as property lists have them: the parser panics when an offset leads out of its calendar.
fn check_date(rest: &[u8]) -> Result<(), WireError> {
    let text = find(rest, b"<").and_then(|end| rest.split_at_checked(end));
    match text {
        Some((text, end)) if end.starts_with(b"</") && text.trim_ascii_end().ends_with(b"Z") => Ok(()),
        _ => Err(malformed("a date is not in UTC")),
    }
}

fn malformed(reason: &str) -> WireError {
    WireError::Plist { reason: reason.into() }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    match wanted {
        [one] => bytes.iter().position(|byte| byte == one),
        _ => bytes.windows(wanted.len()).position(|window| window == wanted),
    }
}
