//! Paths that a device sent, made harmless.

use std::fmt;

use crate::WireError;

/// A path from a peer that cannot leave the folder it is resolved in: no root, no `..`, no NUL, no drive.
///
/// `/` separates; empty and `.` components vanish, so a leading slash means nothing. The empty path is the folder
/// itself. Bytes are kept as they are: no case folding, no Unicode normalisation. Spec: mobilebackup2, section 8.
///
/// ```
/// use cabled_wire::path::RelativePath;
///
/// let path = RelativePath::parse("/abc//./Snapshot/Status.plist")?;
/// assert_eq!(path.as_str(), "abc/Snapshot/Status.plist");
/// assert_eq!(path.first(), Some("abc"));
/// assert!(RelativePath::parse("abc/../../etc/passwd").is_err());
/// # Ok::<(), cabled_wire::WireError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelativePath(String);

impl RelativePath {
    /// Longest path accepted, in bytes.
    pub const MAX_LEN: usize = 4096;

    /// Checks and cleans a path.
    ///
    /// # Errors
    /// [`WireError::Path`] for `..`, a NUL, a path above [`Self::MAX_LEN`] bytes, and on Windows also for `\`, `:`,
    /// reserved device names and components that end in a dot or a blank.
    pub fn parse(text: &str) -> Result<Self, WireError> {
        let refuse = |why| {
            Err(WireError::Path {
                path: WireError::excerpt(text),
                why,
            })
        };
        if text.len() > Self::MAX_LEN {
            return refuse("it is longer than 4096 bytes");
        }
        if text.contains('\0') {
            return refuse("it holds a NUL");
        }
        let mut clean = String::with_capacity(text.len());
        for part in text.split('/').filter(|part| !part.is_empty() && *part != ".") {
            if part == ".." {
                return refuse("it climbs out with `..`");
            }
            if cfg!(windows) && !fits_windows(part) {
                return refuse("Windows cannot hold such a name");
            }
            if !clean.is_empty() {
                clean.push('/');
            }
            clean.push_str(part);
        }
        Ok(Self(clean))
    }

    /// The cleaned path, `/` between components, none at the ends.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The components, from the outermost.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/').filter(|part| !part.is_empty())
    }

    /// The outermost component.
    #[must_use]
    pub fn first(&self) -> Option<&str> {
        self.components().next()
    }

    /// The last component.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        self.components().next_back()
    }

    /// The path without its last component; `None` for the empty path.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        Some(Self(
            self.0
                .rsplit_once('/')
                .map_or_else(String::new, |(parent, _)| parent.to_owned()),
        ))
    }

    /// Whether no component is left: the folder itself.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends another path.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn join(&self, tail: &str) -> Result<Self, WireError> {
        Self::parse(&format!("{}/{tail}", self.0))
    }

    /// Whether this path is `ancestor` or lies below it.
    #[must_use]
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        let mut mine = self.components();
        ancestor.components().all(|part| mine.next() == Some(part))
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for RelativePath {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self, WireError> {
        Self::parse(text)
    }
}

/// Whether Windows can hold a file of this name.
fn fits_windows(name: &str) -> bool {
    const RESERVED: [&str; 4] = ["CON", "PRN", "AUX", "NUL"];
    let stem = name.split('.').next().unwrap_or(name);
    let numbered = |prefix: &str| {
        stem.get(..3).is_some_and(|head| head.eq_ignore_ascii_case(prefix))
            && stem
                .get(3..)
                .is_some_and(|tail| matches!(tail.as_bytes(), [b'1'..=b'9']))
    };
    let reserved = RESERVED.iter().any(|word| stem.eq_ignore_ascii_case(word)) || numbered("COM") || numbered("LPT");
    let odd = |c: char| c < ' ' || matches!(c, '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
    !reserved && !name.contains(odd) && !name.ends_with(['.', ' '])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_that_climbs_out_is_refused() {
        for hostile in ["..", "../x", "a/..", "a/../../b", "/..", "a\0b"] {
            assert!(RelativePath::parse(hostile).is_err(), "{hostile:?}");
        }
    }

    #[test]
    fn leading_slashes_and_dots_vanish() {
        for (raw, clean) in [
            ("/.b/6/x", ".b/6/x"),
            ("", ""),
            ("/", ""),
            ("./.", ""),
            ("a//b/", "a/b"),
        ] {
            assert_eq!(RelativePath::parse(raw).unwrap().as_str(), clean);
        }
    }

    #[test]
    fn windows_names_are_known_everywhere() {
        for bad in [
            "AUX",
            "aux.txt",
            "com1",
            "LPT9.log",
            "a:b",
            "trailing.",
            "blank ",
            "a\\b",
        ] {
            assert!(!fits_windows(bad), "{bad}");
        }
        for good in ["Status.plist", "COMET", "com10", "console"] {
            assert!(fits_windows(good), "{good}");
        }
    }

    proptest! {
        #[test]
        fn no_parsed_path_leaves_its_folder(text in "[a./\\\\:\0]{0,40}") {
            if let Ok(path) = RelativePath::parse(&text) {
                prop_assert!(path.components().all(|part| part != ".." && part != "." && !part.is_empty()));
                prop_assert!(!path.as_str().starts_with('/'));
                prop_assert_eq!(RelativePath::parse(path.as_str()).unwrap(), path);
            }
        }
    }
}
