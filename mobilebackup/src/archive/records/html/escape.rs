//! The only way of text into a page.

use std::fmt;

/// Text as markup: `& < > " '` become entities, control characters other than tab and line end U+FFFD.
///
/// Good in elements and in quoted attributes.
#[must_use]
pub fn escape(text: &str) -> impl fmt::Display {
    struct Escaped<'a>(&'a str);
    impl fmt::Display for Escaped<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let mut rest = self.0;
            while let Some(at) = rest.find(is_special) {
                let (plain, special) = rest.split_at(at);
                f.write_str(plain)?;
                let mut chars = special.chars();
                f.write_str(match chars.next() {
                    Some('&') => "&amp;",
                    Some('<') => "&lt;",
                    Some('>') => "&gt;",
                    Some('"') => "&quot;",
                    Some('\'') => "&#39;",
                    _ => "\u{fffd}",
                })?;
                rest = chars.as_str();
            }
            f.write_str(rest)
        }
    }
    Escaped(text)
}

fn is_special(c: char) -> bool {
    match c {
        '&' | '<' | '>' | '"' | '\'' => true,
        '\t' | '\n' => false,
        // The noncharacters at the end of the first plane are no HTML either.
        _ => c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'),
    }
}

/// The link to a file below the page's folder: every component percent-encoded, `./` in front.
///
/// `None` for a path that is absolute, empty, or has an empty, `.` or `..` component.
#[must_use]
pub fn relative_href(path: &str) -> Option<String> {
    let mut href = String::from(".");
    for component in path.split('/') {
        if matches!(component, "" | "." | "..") {
            return None;
        }
        href.push('/');
        for byte in component.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => href.push(byte.into()),
                _ => href.push_str(&format!("%{byte:02X}")),
            }
        }
    }
    Some(href)
}

/// Whether a link has the form that [`relative_href`] gives.
pub(super) fn is_relative(href: &str) -> bool {
    let Some(path) = href.strip_prefix("./") else {
        return false;
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%/".contains(&byte);
    path.bytes().all(plain) && path.split('/').all(|component| !matches!(component, "" | "." | ".."))
}

/// A link that leads out, if it has a scheme that is safe to click: `http`, `https`, `mailto` or `tel`.
#[must_use]
pub fn web_href(href: &str) -> Option<&str> {
    let (scheme, rest) = href.split_once(':')?;
    let known = ["http", "https", "mailto", "tel"];
    let clean = !rest.is_empty() && !href.contains(|c: char| c.is_control() || c.is_whitespace());
    (clean && known.iter().any(|known| scheme.eq_ignore_ascii_case(known))).then_some(href)
}
