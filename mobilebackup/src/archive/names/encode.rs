//! One component, spelled for a file system, and back.
//!
//! `%` always begins something of ours: `%XX` a byte, `%_` the empty name, `%~` sixteen digits that tell files of one
//! name apart, `%-` 32 digits in place of what was cut out, `%!` 32 digits in place of a whole path.

use super::{Convention, MANIFEST, hash};
use crate::archive::hex_digits::hex_digits;

/// The longest component, in bytes.
pub(super) const MAX_COMPONENT: usize = 255;

/// Longer extensions are no extensions.
const MAX_EXTENSION: usize = 16;

/// The empty name.
const EMPTY: &str = "%_";

/// The mark of a name that differs from another by file id only.
const MARK: &str = "%~";
const MARK_DIGITS: usize = 16;

/// The mark of a name that is cut.
const CUT: &str = "%-";

/// Why a mapped name does not tell what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The name was too long and is shortened; the manifest of the extraction has it.
    #[error("the name is shortened; the manifest of the extraction says what it was")]
    Shortened,
    /// No mapping gives such a name.
    #[error("not a name that an extraction gives")]
    NotOurs,
}

/// How a component is spelled.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spelling {
    pub(super) convention: Convention,
    /// Whether case and Unicode form must not matter.
    pub(super) strict: bool,
    /// Whether it lies in the root of the tree, beside the manifest.
    pub(super) top: bool,
}

/// Appends the spelling of `name`.
pub(super) fn push(out: &mut String, name: &str, spelling: Spelling) {
    if name.is_empty() {
        out.push_str(EMPTY);
        return;
    }
    let start = out.len();
    let guarded = must_guard(name, spelling);
    let climbs = matches!(name, "." | "..");
    let last = name.len().saturating_sub(1);
    for (at, c) in name.char_indices() {
        let offends = offends(c, spelling.convention)
            || (spelling.strict && !is_stable(c))
            || (at == 0 && guarded)
            || climbs
            || (at == last && spelling.convention == Convention::Windows && matches!(c, '.' | ' '));
        if offends {
            let mut bytes = [0; 4];
            for byte in c.encode_utf8(&mut bytes).bytes() {
                push_byte(out, byte);
            }
        } else {
            out.push(c);
        }
    }
    if out.len().saturating_sub(start) > MAX_COMPONENT {
        let long = out.split_off(start);
        let mut digits = String::from(CUT);
        digits.extend(hex_digits(&hash(&[name.as_bytes()])));
        out.push_str(&insert(&long, &digits));
    }
}

/// Appends what stands for a whole path.
pub(super) fn push_digest(out: &mut String, path: &str) {
    out.push_str("%!");
    out.extend(hex_digits(&hash(&[path.as_bytes()])));
    out.push_str(
        extension(path.rsplit('/').next().unwrap_or_default())
            .filter(|end| is_harmless(end))
            .unwrap_or_default(),
    );
}

/// The encoded `name` with a mark before its extension.
pub(super) fn mark(name: &str, hash: [u8; 16]) -> String {
    let (mut digits, mut tag) = (String::new(), MARK);
    digits.extend(hex_digits(&hash));
    if name.len().saturating_add(MARK.len()).saturating_add(MARK_DIGITS) <= MAX_COMPONENT {
        digits.truncate(MARK_DIGITS);
    } else {
        // The stem will be cut, and tell no longer what it was.
        tag = CUT;
    }
    digits.insert_str(0, tag);
    insert(name, &digits)
}

/// Puts `digits` before the extension, cutting the stem as short as it must be.
fn insert(name: &str, digits: &str) -> String {
    let extension = extension(name).unwrap_or_default();
    let stem = name.strip_suffix(extension).unwrap_or(name);
    let room = MAX_COMPONENT.saturating_sub(digits.len().saturating_add(extension.len()));
    let mut keep = stem.len().min(room);
    if keep < stem.len() {
        // Neither a character nor an escape is cut in two.
        let is_cut = |keep: usize| {
            stem.as_bytes()
                .get(keep.saturating_sub(2)..keep)
                .is_some_and(|end| end.contains(&b'%'))
        };
        while keep > 0 && (!stem.is_char_boundary(keep) || is_cut(keep)) {
            keep = keep.saturating_sub(1);
        }
    }
    let mut out = String::with_capacity(MAX_COMPONENT);
    out.push_str(stem.get(..keep).unwrap_or_default());
    out.push_str(digits);
    out.push_str(extension);
    out
}

/// The last `.` and what follows, if a program would take it for an extension.
fn extension(name: &str) -> Option<&str> {
    let dot = name.rfind('.').filter(|dot| *dot > 0)?;
    let end = name.get(dot..)?;
    (end.len() > 1 && end.len() <= MAX_EXTENSION && !end.contains('%')).then_some(end)
}

fn is_harmless(extension: &str) -> bool {
    extension
        .bytes()
        .all(|byte| byte == b'.' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn push_byte(out: &mut String, byte: u8) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    out.push('%');
    for half in [byte >> 4, byte & 15] {
        out.extend(DIGITS.get(usize::from(half)));
    }
}

/// Whether a character cannot stand in any name.
fn offends(c: char, convention: Convention) -> bool {
    // `/` only in domains: paths were split at it.
    matches!(c, '%' | '/')
        || c.is_control()
        || (convention == Convention::Windows && matches!(c, '<' | '>' | ':' | '"' | '\\' | '|' | '?' | '*'))
}

/// Whether a character is itself in any case and Unicode form.
fn is_stable(c: char) -> bool {
    c.is_ascii() && !c.is_ascii_uppercase()
}

/// Whether a name means something else than a file of that name, so that its first character is encoded.
fn must_guard(name: &str, spelling: Spelling) -> bool {
    let windows = spelling.convention == Convention::Windows && (is_device(name) || is_short_name(name));
    windows || (spelling.top && name.eq_ignore_ascii_case(MANIFEST))
}

/// Whether Windows takes a name for a device, whatever its extension.
fn is_device(name: &str) -> bool {
    let stem = name.split(['.', ':']).next().unwrap_or(name).trim_end_matches(' ');
    let is = |device: &&str| stem.eq_ignore_ascii_case(device);
    if ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$", "CLOCK$"]
        .iter()
        .any(is)
    {
        return true;
    }
    let Some((port, number)) = stem.split_at_checked(3) else {
        return false;
    };
    let mut number = number.chars();
    let digit = matches!(number.next(), Some('0'..='9' | '\u{b9}' | '\u{b2}' | '\u{b3}'));
    digit && number.next().is_none() && ["COM", "LPT"].iter().any(|name| port.eq_ignore_ascii_case(name))
}

/// Whether a name looks like `PROGRA~1`, the second name that Windows may have given to another file.
fn is_short_name(name: &str) -> bool {
    let (stem, end) = name.split_once('.').unwrap_or((name, ""));
    let Some((_, number)) = stem.rsplit_once('~') else {
        return false;
    };
    stem.len() <= 8 && end.len() <= 3 && !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
}

/// What a component was.
pub(super) fn decode(component: &str) -> Result<String, DecodeError> {
    if let Some(mark) = component.strip_prefix(EMPTY) {
        let is_ours = mark.is_empty() || mark.starts_with(MARK);
        let nothing = decode_text(mark)?;
        return if is_ours && nothing.is_empty() {
            Ok(nothing)
        } else {
            Err(DecodeError::NotOurs)
        };
    }
    if component.is_empty() || matches!(component, "." | "..") {
        return Err(DecodeError::NotOurs);
    }
    decode_text(component)
}

fn decode_text(component: &str) -> Result<String, DecodeError> {
    let (mut bytes, mut rest) = (Vec::with_capacity(component.len()), component);
    while let Some((plain, escape)) = rest.split_once('%') {
        bytes.extend_from_slice(plain.as_bytes());
        rest = match escape.bytes().next() {
            Some(b'~') => {
                let digits = escape.get(1..).and_then(|rest| rest.split_at_checked(MARK_DIGITS));
                let (digits, rest) = digits.ok_or(DecodeError::NotOurs)?;
                if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                    return Err(DecodeError::NotOurs);
                }
                rest
            }
            Some(b'-' | b'!') => return Err(DecodeError::Shortened),
            _ => {
                let digits = escape
                    .get(..2)
                    .filter(|text| text.bytes().all(|digit| digit.is_ascii_hexdigit()));
                let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(byte.ok_or(DecodeError::NotOurs)?);
                escape.get(2..).unwrap_or_default()
            }
        };
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).map_err(|_| DecodeError::NotOurs)
}
