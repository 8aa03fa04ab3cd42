//! Content lines: escaped, folded, ended by CR and LF.

use std::fmt::Write as _;
use std::io::{self, Write};

/// Most bytes on a line, without its end.
const WIDTH: usize = 75;

/// Writes content lines. Whatever a value holds, it cannot begin another line.
#[derive(Debug)]
pub struct Lines<W> {
    out: W,
}

impl<W: Write> Lines<W> {
    /// Writes to `out`, in small pieces: give it a buffered one.
    pub const fn new(out: W) -> Self {
        Self { out }
    }

    /// A property whose value is text: backslashes, semicolons, commas and line feeds are escaped.
    ///
    /// # Errors
    /// Whatever the writer gives; as all the methods.
    pub fn text(&mut self, property: &str, value: &str) -> io::Result<()> {
        self.property(property, &[], &escaped(value))
    }

    /// A property whose value is an address: line ends, spaces and quotes in it are percent-encoded.
    pub fn uri(&mut self, property: &str, parameters: &[(&str, &str)], value: &str) -> io::Result<()> {
        let mut encoded = String::with_capacity(value.len());
        for c in value.chars() {
            if c.is_control() || c == ' ' || c == '"' {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    let _ = write!(encoded, "%{byte:02X}"); // into a string, which takes everything
                }
            } else {
                encoded.push(c);
            }
        }
        self.property(property, parameters, &encoded)
    }

    /// A property with parameters, whose value is in its final form but for control characters.
    pub fn property(&mut self, property: &str, parameters: &[(&str, &str)], value: &str) -> io::Result<()> {
        let mut line = property.to_owned();
        for (name, value) in parameters {
            let _ = write!(line, ";{name}={}", parameter(value));
        }
        line.push(':');
        line.push_str(value);
        self.raw(&line)
    }

    /// A whole line; folds it. Control characters are left out, line ends included.
    pub fn raw(&mut self, line: &str) -> io::Result<()> {
        let clean: String = line.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        let (mut rest, mut width) = (clean.as_str(), WIDTH);
        while rest.len() > width {
            // Never within a character: some readers join bytes, some text.
            let mut at = width;
            while !rest.is_char_boundary(at) {
                at = at.saturating_sub(1);
            }
            let Some((head, tail)) = rest.split_at_checked(at) else {
                break;
            };
            self.out.write_all(head.as_bytes())?;
            self.out.write_all(b"\r\n ")?;
            rest = tail;
            width = WIDTH.saturating_sub(1); // the space counts
        }
        self.out.write_all(rest.as_bytes())?;
        self.out.write_all(b"\r\n")
    }

    /// Flushes, and hands the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Text as a value.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push_str("\\\\"),
            ';' => out.push_str("\\;"),
            ',' => out.push_str("\\,"),
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\r' | '\u{2028}' | '\u{2029}' => out.push_str("\\n"),
            c if c.is_control() && c != '\t' => {}
            c => out.push(c),
        }
    }
    out
}

/// A parameter's value: quoted where needed, with the escapes of RFC 6868.
fn parameter(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '^' => out.push_str("^^"),
            '"' => out.push_str("^'"),
            '\n' => out.push_str("^n"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    match out.contains([':', ';', ',']) {
        true => format!("\"{out}\""),
        false => out,
    }
}
