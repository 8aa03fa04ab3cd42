//! One line of a card: escaped and folded.

use std::io::{self, Write};

/// Octets of a line without its end; longer ones are folded.
const MAX_OCTETS: usize = 75;

/// A property with its parameters and, at the end, its value.
pub(super) struct Line {
    group: Option<String>,
    head: String,
    value: String,
}

impl Line {
    pub(super) fn new(name: &str) -> Self {
        Self {
            group: None,
            head: name.to_owned(),
            value: String::new(),
        }
    }

    /// The group that the line belongs to.
    pub(super) fn group(mut self, group: &str) -> Self {
        self.group = Some(group.to_owned());
        self
    }

    /// A parameter. What would end it stands in quotes; quotes and line ends are spelled as RFC 6868 says.
    pub(super) fn param(mut self, name: &str, value: &str) -> Self {
        self.head.push(';');
        self.head.push_str(name);
        self.head.push('=');
        let quote = value.contains([';', ':', ',']);
        if quote {
            self.head.push('"');
        }
        for c in value.chars() {
            match c {
                '^' => self.head.push_str("^^"),
                '"' => self.head.push_str("^'"),
                '\n' => self.head.push_str("^n"),
                c => self.head.push(visible(c)),
            }
        }
        if quote {
            self.head.push('"');
        }
        self
    }

    /// A value that is one text.
    pub(super) fn text(mut self, text: &str) -> Self {
        escape(text, &mut self.value);
        self
    }

    /// A value in parts, each of them text.
    pub(super) fn structured(self, parts: &[&str]) -> Self {
        self.joined(parts, ';')
    }

    /// A value that is a list of texts.
    pub(super) fn list(self, items: &[&str]) -> Self {
        self.joined(items, ',')
    }

    fn joined(mut self, parts: &[&str], separator: char) -> Self {
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                self.value.push(separator);
            }
            escape(part, &mut self.value);
        }
        self
    }

    /// A value that needs no escaping.
    pub(super) fn raw(mut self, value: &str) -> Self {
        self.value.push_str(value);
        self
    }

    /// A URI as the owner typed it: nothing is escaped but what no line may hold.
    pub(super) fn uri(mut self, uri: &str) -> Self {
        for c in uri.chars() {
            if c.is_control() {
                percent(c, &mut self.value);
            } else {
                self.value.push(c);
            }
        }
        self
    }

    /// A URI made of a scheme and a name.
    pub(super) fn uri_of(mut self, scheme: &str, name: &str) -> Self {
        self.value.push_str(scheme);
        self.value.push(':');
        for c in name.chars() {
            if c.is_ascii_alphanumeric() || "-._~@+".contains(c) {
                self.value.push(c);
            } else {
                percent(c, &mut self.value);
            }
        }
        self
    }

    /// Writes it, folded so that no line has more than 75 octets and no character is cut.
    pub(super) fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let group = self.group.as_ref().map(|group| format!("{group}.")).unwrap_or_default();
        let line = format!("{group}{}:{}", self.head, self.value);
        let (mut rest, mut room) = (line.as_str(), MAX_OCTETS);
        while rest.len() > room {
            let (head, tail) = rest.split_at(boundary(rest, room));
            out.write_all(head.as_bytes())?;
            out.write_all(b"\r\n ")?;
            // The blank that marks a continued line counts.
            (rest, room) = (tail, MAX_OCTETS.saturating_sub(1));
        }
        out.write_all(rest.as_bytes())?;
        out.write_all(b"\r\n")
    }
}

/// The last place up to `at` where no character is cut.
fn boundary(text: &str, at: usize) -> usize {
    // A character has four bytes at most.
    (at.saturating_sub(3)..=at)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or(at)
}

fn percent(c: char, out: &mut String) {
    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
        out.push_str(&format!("%{byte:02X}"));
    }
}

/// Control characters have no spelling.
fn visible(c: char) -> char {
    if c.is_control() && c != '\t' { '\u{fffd}' } else { c }
}

fn escape(text: &str, out: &mut String) {
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' | ',' | ';' => {
                out.push('\\');
                out.push(c);
            }
            '\r' if chars.peek() == Some(&'\n') => {}
            '\n' | '\r' => out.push_str("\\n"),
            c => out.push(visible(c)),
        }
    }
}
