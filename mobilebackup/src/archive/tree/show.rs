//! Entries as text.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use crate::archive::hex_digits::hex_digits;
use crate::archive::records::time::Timestamp;
use crate::archive::{FileEntry, Kind};

/// Bytes of an attribute that are shown.
const SHOWN_BYTES: usize = 64;

/// Kind and rights as `ls -l` writes them: `-rw-r--r--`, `drwxr-xr-x`, `lrwxrwxrwx`. Rights that are unknown, because
/// the mode is 0, are `?`.
///
/// ```
/// use cabled_mobilebackup::archive::Kind;
/// use cabled_mobilebackup::archive::tree::mode_string;
///
/// assert_eq!(mode_string(Kind::File, 0o100_644), "-rw-r--r--");
/// assert_eq!(mode_string(Kind::Directory, 0o041_777), "drwxrwxrwt");
/// ```
#[must_use]
pub fn mode_string(kind: Kind, mode: u32) -> String {
    let mut text = String::with_capacity(10);
    text.push(match kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::Unknown => '?',
    });
    if mode == 0 {
        text.push_str("?????????");
        return text;
    }
    let has = |bit: u32| mode & bit != 0;
    // Per group: read, write, execute, and the special bit shown in its place.
    let groups = [
        (0o400, 0o200, 0o100, 0o4000, 's'),
        (0o040, 0o020, 0o010, 0o2000, 's'),
        (0o004, 0o002, 0o001, 0o1000, 't'),
    ];
    for (read, write, execute, special, letter) in groups {
        text.push(if has(read) { 'r' } else { '-' });
        text.push(if has(write) { 'w' } else { '-' });
        text.push(match (has(special), has(execute)) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// An entry on one line, as `ls -l` shows it: kind and rights, owner, group, recorded length, time of the last change,
/// name and the target of a link. Owners are numbers, since a backup does not name them. Control characters in names are
/// escaped, so that a backup cannot speak to the terminal.
///
/// ```
/// # use cabled_mobilebackup::archive::Archive;
/// # use cabled_mobilebackup::archive::tree::Long;
/// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/backup/synthetic/plain-v10");
/// let backup = Archive::open(folder)?;
/// let link = backup.entry_at("AppDomain-com.example.app", "Library/link")?.ok_or("no link")?;
/// assert!(Long::new(&link).to_string().starts_with("lrwxr-xr-x"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Long<'e>(&'e FileEntry);

impl<'e> Long<'e> {
    /// Shows an entry.
    #[must_use]
    pub const fn new(entry: &'e FileEntry) -> Self {
        Self(entry)
    }
}

impl fmt::Display for Long<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(entry) = self;
        let mode = mode_string(entry.kind, entry.mode);
        write!(
            f,
            "{mode} {:>5} {:>5} {:>12} ",
            entry.user_id, entry.group_id, entry.size
        )?;
        let time = entry.modified.and_then(|seconds| Timestamp::from_unix(seconds, 0));
        let time = time.map_or_else(|| "-".to_owned(), |time| time.to_string());
        write!(f, "{time:<20} ")?;
        f.write_str(&shown_name(&entry.path))?;
        match &entry.link_target {
            Some(target) => write!(f, " -> {}", shown_name(target)),
            None => Ok(()),
        }
    }
}

/// A name for the terminal: control characters, and the marks that turn the direction of text, become `\u{..}`, so that
/// a stranger's backup cannot speak to the terminal.
///
/// ```
/// use cabled_mobilebackup::archive::tree::shown_name;
///
/// assert_eq!(shown_name("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
/// assert_eq!(shown_name("Café"), "Café");
/// ```
#[must_use]
pub fn shown_name(text: &str) -> Cow<'_, str> {
    let speaks = |c: char| {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        c.is_control() || turns
    };
    if !text.chars().any(speaks) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len().saturating_mul(2));
    for c in text.chars() {
        match speaks(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown.into()
}

/// The value of an extended attribute for people: as text if it is some, otherwise its first bytes in hexadecimal
/// digits and its length.
///
/// ```
/// use cabled_mobilebackup::archive::tree::shown_attribute;
///
/// assert_eq!(shown_attribute(b"IMG_0001.HEIC"), "\"IMG_0001.HEIC\"");
/// assert_eq!(shown_attribute(&[0, 1]), "0001 (2 bytes)");
/// ```
#[must_use]
pub fn shown_attribute(value: &[u8]) -> String {
    let is_text = |text: &str| !text.is_empty() && text.chars().all(|c| !c.is_control());
    if let Ok(text) = str::from_utf8(value)
        && is_text(text)
        && value.len() <= SHOWN_BYTES.saturating_mul(4)
    {
        return format!("{text:?}");
    }
    let mut shown: String = hex_digits(value.get(..SHOWN_BYTES).unwrap_or(value)).collect();
    if value.len() > SHOWN_BYTES {
        shown.push('…');
    }
    // Writing into a string does not fail.
    let _ = write!(shown, " ({} bytes)", value.len());
    shown
}
