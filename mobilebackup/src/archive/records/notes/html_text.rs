//! The text of old notes, which are HTML.

/// The plain text of a note in HTML: blocks and line breaks become line feeds, list items get a dash, entities become
/// characters, everything else between angle brackets is left out, and so are scripts and styles.
///
/// It is for reading, not for safety: the result is text, to be escaped like any other. Takes time in proportion to the
/// input, which may be anything.
///
/// ```
/// use cabled_mobilebackup::archive::records::notes::text_of_html;
///
/// assert_eq!(text_of_html("Milk<div>Bread &amp; butter</div><ul><li>Eggs</li></ul>"), "Milk\nBread & butter\n- Eggs");
/// ```
#[must_use]
pub fn text_of_html(html: &str) -> String {
    let mut out = Text::default();
    let mut rest = html;
    while let Some(at) = rest.find(['<', '&']) {
        let (before, from) = rest.split_at(at);
        out.push(before);
        rest = if from.starts_with('<') {
            out.tag(from)
        } else {
            out.entity(from)
        };
    }
    out.push(rest);
    let trimmed = out.text.trim_end_matches(['\n', ' ']).len();
    out.text.truncate(trimmed);
    out.text
}

#[derive(Default)]
struct Text {
    text: String,
    /// A line feed is due before the next text.
    line_due: bool,
    /// No tag ends any more: what is left is text, and need not be searched again at every bracket.
    no_tags: bool,
}

impl Text {
    fn push(&mut self, text: &str) {
        let blank = text.chars().all(char::is_whitespace);
        if blank && (self.line_due || self.text.is_empty() || self.text.ends_with([' ', '\n'])) {
            return;
        }
        self.begin();
        let mut space = false;
        for c in text.chars() {
            // A space that must not break stays one.
            if c.is_whitespace() && c != '\u{a0}' {
                space = true;
            } else {
                if space && !self.text.is_empty() && !self.text.ends_with([' ', '\n']) {
                    self.text.push(' ');
                }
                space = false;
                self.text.push(if c == '\u{a0}' { ' ' } else { c });
            }
        }
        if space {
            self.text.push(' ');
        }
    }

    fn begin(&mut self) {
        if std::mem::take(&mut self.line_due) && !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    /// Takes a tag, and gives what comes after it.
    fn tag<'a>(&mut self, from: &'a str) -> &'a str {
        if self.no_tags {
            self.push("<");
            return from.get(1..).unwrap_or("");
        }
        if let Some(comment) = from.strip_prefix("<!--") {
            return comment.split_once("-->").map_or("", |(_, after)| after);
        }
        let Some((tag, after)) = from.split_once('>') else {
            // A lone bracket is text.
            self.no_tags = true;
            self.push("<");
            return from.get(1..).unwrap_or("");
        };
        let tag = tag.trim_start_matches(['<', '/']);
        let name_end = tag.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(tag.len());
        let name = tag.get(..name_end).unwrap_or("").to_ascii_lowercase();
        match name.as_str() {
            "br" => {
                self.begin();
                self.text.push('\n');
            }
            "div" | "p" | "ul" | "ol" | "tr" | "table" | "blockquote" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                self.line_due = true;
            }
            "li" => {
                self.line_due = true;
                if !from.starts_with("</") {
                    self.push("- ");
                }
            }
            "td" | "th" if from.starts_with("</") => self.push("\t"),
            "script" | "style" | "title" if !from.starts_with("</") => {
                let end = format!("</{name}");
                // The end is looked for from here on only, once per such tag.
                return match find_ignoring_case(after, &end) {
                    Some(at) => after.get(at..).unwrap_or(""),
                    None => "",
                };
            }
            _ => {}
        }
        after
    }

    /// Takes an entity, and gives what comes after it.
    fn entity<'a>(&mut self, from: &'a str) -> &'a str {
        // The longest of those that are known has 8 characters.
        let end = from.char_indices().take(12).find(|(_, c)| *c == ';').map(|(at, _)| at);
        let name = end.and_then(|end| from.get(1..end));
        let character = name.and_then(|name| match name {
            "amp" => Some('&'),
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "apos" => Some('\''),
            "nbsp" => Some('\u{a0}'),
            _ => {
                let number = name.strip_prefix('#')?;
                let code = match number.strip_prefix(['x', 'X']) {
                    Some(hex) => u32::from_str_radix(hex, 16).ok()?,
                    None => number.parse().ok()?,
                };
                char::from_u32(code).filter(|c| !c.is_control())
            }
        });
        match (character, end.and_then(|end| from.get(end..))) {
            (Some(character), Some(after)) => {
                self.begin();
                self.text.push(if character == '\u{a0}' { ' ' } else { character });
                after.get(1..).unwrap_or("")
            }
            _ => {
                self.begin();
                self.text.push('&');
                from.get(1..).unwrap_or("")
            }
        }
    }
}

fn find_ignoring_case(text: &str, wanted: &str) -> Option<usize> {
    text.as_bytes()
        .windows(wanted.len())
        .position(|window| window.eq_ignore_ascii_case(wanted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::text_of_html;

    #[test]
    fn blocks_breaks_and_entities_are_read() {
        let html = "<html><head><title>x</title><style>p{}</style></head><body>One<br>Two<div>Three</div><div><br></div>\
                    <div>4 &lt; 5&nbsp;&#x21;</div></body>";
        assert_eq!(text_of_html(html), "One\nTwo\nThree\n\n4 < 5 !");
    }

    #[test]
    fn broken_markup_stays_text() {
        assert_eq!(text_of_html("a < b & c &bogus; &#xD800;"), "a < b & c &bogus; &#xD800;");
        assert_eq!(text_of_html("<script>alert(1)</script>end"), "end");
        assert_eq!(text_of_html("<!-- never closed"), "");
    }

    proptest! {
        #[test]
        fn anything_becomes_text(html in "(<|>|&|;|a|br|/|li|script|!--|\u{fc}| |#1){0,60}") {
            let text = text_of_html(&html);
            prop_assert!(text.len() <= html.len().saturating_mul(3).saturating_add(8));
        }
    }
}
