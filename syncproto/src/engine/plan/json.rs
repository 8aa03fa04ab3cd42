//! A plan as JSON, written piece by piece: a first sync has hundreds of thousands of lines, and its hash is of all of them.

use std::fmt::{self, Write};

use sha2::{Digest, Sha256};

use super::{Action, Note, Plan};
use crate::engine::Side;

/// Bytes that are hashed at once: most pieces are words.
const PIECE: usize = 4 << 10;

/// A hash of what is written to it.
#[derive(Default)]
pub(super) struct Hashed {
    hash: Sha256,
    piece: Vec<u8>,
}

impl Hashed {
    pub(super) fn finish(mut self) -> [u8; 32] {
        self.hash.update(&self.piece);
        self.hash.finalize().into()
    }
}

impl Write for Hashed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.piece.extend_from_slice(text.as_bytes());
        if self.piece.len() >= PIECE {
            self.hash.update(&self.piece);
            self.piece.clear();
        }
        Ok(())
    }
}

pub(super) fn plan(plan: &Plan, out: &mut impl Write) -> fmt::Result {
    out.write_str("{\"class\":")?;
    text(out, plan.class.id())?;
    write!(out, ",\"clear\":{},\"withheld\":{}", plan.clear, plan.withheld)?;
    for side in Side::BOTH {
        write!(out, ",\"{side}\":")?;
        list(out, plan.actions.get(side), action)?;
    }
    out.write_str(",\"stops\":")?;
    list(out, &plan.stops, |out, stop| text(out, &stop.to_string()))?;
    out.write_str(",\"notes\":")?;
    list(out, &plan.notes, note)?;
    out.write_str("}")
}

fn list<T, W: Write>(out: &mut W, items: &[T], one: impl Fn(&mut W, &T) -> fmt::Result) -> fmt::Result {
    out.write_str("[")?;
    for (index, item) in items.iter().enumerate() {
        out.write_str(if index == 0 { "" } else { "," })?;
        one(out, item)?;
    }
    out.write_str("]")
}

fn action<W: Write>(out: &mut W, action: &Action) -> fmt::Result {
    out.write_str("{\"content\":\"")?;
    hex(out, &action.content().0)?;
    out.write_str("\",\"entity\":")?;
    text(out, action.entity())?;
    write!(out, ",\"id\":\"{}\",\"native\":", action.id)?;
    text(out, action.native.as_deref().unwrap_or_default())?;
    out.write_str(",\"title\":")?;
    text(out, &action.title())?;
    out.write_str(",\"verb\":\"")?;
    out.write_str(action.verb.as_str())?;
    out.write_str("\",\"groups\":")?;
    list(out, &action.groups(), |out, group| text(out, group))?;
    out.write_str(if action.part {
        ",\"part\":true}"
    } else {
        ",\"part\":false}"
    })
}

/// Formatting byte by byte takes longer than hashing.
fn hex(out: &mut impl Write, bytes: &[u8]) -> fmt::Result {
    let digit = |digit: u8| char::from_digit(u32::from(digit), 16).unwrap_or('0');
    bytes.iter().try_for_each(|byte| {
        out.write_char(digit(byte >> 4))?;
        out.write_char(digit(byte & 0x0f))
    })
}

/// The record by its identifier and by what people know it by, and the whole line.
fn note<W: Write>(out: &mut W, note: &Note) -> fmt::Result {
    write!(out, "{{\"id\":\"{}\",\"title\":", note.id)?;
    text(out, &note.title)?;
    out.write_str(",\"note\":")?;
    text(out, &note.to_string())?;
    out.write_str("}")
}

fn text(out: &mut impl Write, text: &str) -> fmt::Result {
    out.write_str("\"")?;
    let mut rest = text;
    while let Some(at) = rest.find(|c: char| matches!(c, '"' | '\\') || u32::from(c) < 0x20) {
        let (plain, special) = rest.split_at(at);
        out.write_str(plain)?;
        let mut special = special.chars();
        match special.next() {
            Some('"') => out.write_str("\\\"")?,
            Some('\\') => out.write_str("\\\\")?,
            Some('\n') => out.write_str("\\n")?,
            Some(c) => write!(out, "\\u{:04x}", u32::from(c))?,
            None => {}
        }
        rest = special.as_str();
    }
    out.write_str(rest)?;
    out.write_str("\"")
}
