//! Content lines, which vCard and iCalendar share: `group.NAME;PARAM="a",b:value`, folded at 75 octets.
//!
//! calcard retypes what it reads (numbers, booleans, upper-case types), so that not every line comes back as it was; a file
//! that people edit must. Lines are therefore cut up here, and stay beside their parts.

use super::{InterchangeError, Limits};

/// One line, whole and in its parts. Names are upper-case, values still escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) raw: String,
    pub(crate) group: Option<String>,
    pub(crate) name: String,
    params: Vec<(String, Vec<String>)>,
    pub(crate) value: String,
}

impl Line {
    /// Cuts a line up; what has no colon is all name.
    pub(crate) fn new(raw: &str) -> Self {
        let mut pieces = pieces(raw);
        let value = match pieces.last() {
            Some((':', value)) => (*value).to_owned(),
            _ => String::new(),
        };
        if matches!(pieces.last(), Some((':', _))) {
            pieces.pop();
        }
        let mut parts = pieces.into_iter();
        let name = parts.next().map_or("", |(_, name)| name);
        let (group, name) = match name.split_once('.') {
            Some((group, name)) => (Some(group.to_owned()), name),
            None => (None, name),
        };
        let params = parts.map(|(_, param)| {
            let (name, values) = param.split_once('=').unwrap_or(("TYPE", param));
            (name.to_ascii_uppercase(), param_values(values))
        });
        Self {
            raw: raw.to_owned(),
            group,
            name: name.trim().to_ascii_uppercase(),
            params: params.collect(),
            value,
        }
    }

    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        let (_, values) = self.params.iter().find(|(other, _)| other == name)?;
        values.first().map(String::as_str)
    }

    pub(crate) fn param_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let params = self.params.iter().filter(move |(other, _)| other == name);
        params.flat_map(|(_, values)| values.iter().map(String::as_str))
    }

    /// The words of `TYPE`, lower-case.
    pub(crate) fn types(&self) -> Vec<String> {
        let values = self.param_all("TYPE").flat_map(|value| value.split(','));
        values.map(|value| value.trim().to_ascii_lowercase()).collect()
    }

    /// The value as text.
    pub(crate) fn text(&self) -> String {
        unescape(&self.value)
    }

    /// The parts of a structured value, as text.
    pub(crate) fn split(&self, separator: char) -> Vec<String> {
        split_escaped(&self.value, separator).map(unescape).collect()
    }
}

/// Name, parameters and value with the character before each; quotes hide separators.
fn pieces(raw: &str) -> Vec<(char, &str)> {
    let (mut pieces, mut start, mut before, mut quoted) = (Vec::new(), 0, ' ', false);
    for (at, c) in raw.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ';' | ':' if !quoted => {
                pieces.push((before, raw.get(start..at).unwrap_or_default()));
                (start, before) = (at.saturating_add(1), c);
                if c == ':' {
                    break;
                }
            }
            _ => {}
        }
    }
    pieces.push((before, raw.get(start..).unwrap_or_default()));
    pieces
}

/// The values of a parameter: between commas, quotes taken off, the circumflexes of RFC 6868 undone.
fn param_values(values: &str) -> Vec<String> {
    let (mut all, mut one, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = values.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('"', _) => quoted = !quoted,
            (',', _) if !quoted => all.push(std::mem::take(&mut one)),
            ('^', Some('n' | '^' | '\'')) => match chars.next() {
                Some('n') => one.push('\n'),
                Some('\'') => one.push('"'),
                _ => one.push('^'),
            },
            _ => one.push(c),
        }
    }
    all.push(one);
    all
}

/// A parameter's value as it is written: circumflexes for what cannot stand there, quotes where they are needed.
pub(crate) fn param_value(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '^' => safe.push_str("^^"),
            '"' => safe.push_str("^'"),
            '\n' => safe.push_str("^n"),
            c if c.is_control() => {}
            c => safe.push(c),
        }
    }
    if safe.contains([',', ';', ':']) || safe.starts_with(' ') {
        return format!("\"{safe}\"");
    }
    safe
}

fn split_escaped(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut escaped = false;
    text.split(move |c| {
        let here = c == separator && !escaped;
        escaped = c == '\\' && !escaped;
        here
    })
}

pub(crate) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 'N') => out.push('\n'),
                Some('r') => out.push('\r'),
                Some(c @ ('\\' | ',' | ';' | ':' | '"')) => out.push(c),
                Some(c) => out.extend(['\\', c]),
                None => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    out
}

/// A text as it is written; no line can be broken by it.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            ',' => out.push_str("\\,"),
            ';' => out.push_str("\\;"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() && c != '\t' => {}
            c => out.push(c),
        }
    }
    out
}

/// Unfolds a text into its lines, empty ones left out.
pub(crate) fn unfold(text: &str, limits: &Limits) -> Result<Vec<String>, InterchangeError> {
    Limits::check("a size in bytes", text.len(), limits.bytes)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines: Vec<String> = Vec::new();
    for piece in text.split('\n').map(|piece| piece.trim_end_matches('\r')) {
        // A carriage return within a line is never written, so that it must not mean anything here either.
        let clean = piece.contains('\r').then(|| piece.replace('\r', ""));
        let piece = clean.as_deref().unwrap_or(piece);
        match (piece.strip_prefix([' ', '\t']), lines.last_mut()) {
            (Some(more), Some(line)) => line.push_str(more),
            _ if piece.is_empty() => continue,
            _ => {
                Limits::check("a number of lines", lines.len(), limits.lines)?;
                lines.push(piece.to_owned());
            }
        }
        let length = lines.last().map_or(0, String::len);
        Limits::check("a line in bytes", length, limits.line)?;
    }
    Ok(lines)
}

/// Folds a line at 75 octets, never within a character, and ends it. Nothing in it can end it early.
pub(crate) fn fold(line: &str, out: &mut String) {
    let mut width = 0_usize;
    for c in line.chars().filter(|c| !matches!(c, '\r' | '\n')) {
        if width.saturating_add(c.len_utf8()) > 75 {
            out.push_str("\r\n ");
            width = 1;
        }
        out.push(c);
        width = width.saturating_add(c.len_utf8());
    }
    out.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_hide_what_separates() {
        let line = Line::new(r#"item1.ADR;type="a;b:c",d;CC=de;LABEL="x^n^'y^^":;;Street\, 1;City"#);
        assert_eq!(line.group.as_deref(), Some("item1"));
        assert_eq!(line.name, "ADR");
        assert_eq!(line.param_all("TYPE").collect::<Vec<_>>(), ["a;b:c", "d"]);
        assert_eq!(line.param("LABEL"), Some("x\n\"y^"));
        assert_eq!(line.split(';'), ["", "", "Street, 1", "City"]);
    }

    #[test]
    fn a_line_of_twenty_megabytes_is_refused_and_read_when_allowed() {
        let text = format!("NOTE:{}", "x".repeat(20 << 20));
        assert!(matches!(
            unfold(&text, &Limits::default()),
            Err(InterchangeError::TooLarge { .. })
        ));
        let lines = unfold(&text, &Limits::default().with_line(32 << 20)).unwrap();
        assert_eq!(lines[0].len(), text.len());
    }

    proptest! {
        #[test]
        fn folding_and_escaping_are_undone_by_reading(text in any::<String>()) {
            let clean: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
            let mut out = String::new();
            fold(&format!("NOTE;X={}:{}", param_value(&clean), escape(&clean)), &mut out);
            prop_assert!(out.split("\r\n").all(|line| line.len() <= 75));
            let lines = unfold(&out, &Limits::default()).unwrap();
            prop_assert_eq!(lines.len(), 1);
            let line = Line::new(&lines[0]);
            prop_assert_eq!(line.text(), clean.clone());
            let written = clean.replace('\t', "");
            prop_assert_eq!(line.param("X").unwrap_or_default(), written.as_str());
        }
    }
}
