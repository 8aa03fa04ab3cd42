//! What file systems take for the same name.

use unicode_normalization::UnicodeNormalization;

/// The form in which two names are equal if any system could take them for one.
///
/// Systems differ: NTFS compares capitals, APFS and HFS+ decompose and fold, ext4 can do that and skips what is
/// invisible. This is coarser than each of them, which costs nothing but a longer spelling of a few names.
pub(super) fn fold(name: &str) -> String {
    if name.is_ascii() {
        return name.to_ascii_lowercase();
    }
    name.chars()
        .filter(|c| !is_ignorable(*c))
        .nfkd()
        .flat_map(char::to_lowercase)
        // Through capitals and back: `ſ` and `s`, `ς` and `σ`, `ß` and `ss` meet.
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .nfkd()
        .filter(|c| !is_ignorable(*c))
        .collect()
}

/// Unicode's `Default_Ignorable_Code_Point`: no mark on the screen, and none in the eyes of some file systems.
const fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn names_that_some_system_takes_for_one_fold_to_one() {
        for (one, other) in [
            ("Note.txt", "nOTE.TXT"),
            ("Caf\u{e9}", "cafe\u{301}"),
            ("stra\u{df}e", "STRASSE"),
            ("\u{17f}", "S"),
            ("\u{212a}", "k"),
            ("\u{3c3}", "\u{3c2}"),
            ("a\u{200d}b", "AB"),
            ("\u{fb01}", "FI"),
            ("\u{1e9e}", "ss"),
        ] {
            assert_eq!(fold(one), fold(other), "{one} {other}");
        }
        assert_ne!(fold("a"), fold("b"));
        assert_ne!(fold("e"), fold("\u{e9}"));
    }

    #[test]
    fn folding_twice_changes_nothing() {
        for c in ('\0'..='\u{33ff}')
            .chain('\u{a000}'..='\u{abff}')
            .chain('\u{f900}'..='\u{1ffff}')
        {
            let text = c.to_string();
            let once = fold(&text);
            assert_eq!(fold(&once), once, "U+{:04X}", u32::from(c));
        }
    }
}
