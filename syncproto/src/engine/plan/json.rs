//! A plan as JSON, written piece by piece: a first sync has hundreds of thousands of lines, and its hash is of all of them.

use std::fmt::{self, Write};

use sha2::{Digest, Sha256};

use super::{Action, Note, Plan};
use crate::engine::Side;

/// A hash of what is written to it.
#[derive(Default)]
pub(super) struct Hashed(Sha256);

impl Hashed {
    pub(super) fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

impl Write for Hashed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text);
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
    action.content.iter().try_for_each(|byte| write!(out, "{byte:02x}"))?;
    out.write_str("\",\"entity\":")?;
    text(out, &action.entity)?;
    write!(out, ",\"id\":\"{}\",\"native\":", action.id)?;
    text(out, action.native.as_deref().unwrap_or_default())?;
    out.write_str(",\"title\":")?;
    text(out, &action.title)?;
    write!(out, ",\"verb\":\"{}\",\"groups\":", action.verb.as_str())?;
    list(out, &action.groups, |out, group| text(out, group))?;
    write!(out, ",\"part\":{}}}", action.part)
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
    for c in text.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\n' => out.write_str("\\n")?,
            c if u32::from(c) < 0x20 => write!(out, "\\u{:04x}", u32::from(c))?,
            c => out.write_char(c)?,
        }
    }
    out.write_str("\"")
}
