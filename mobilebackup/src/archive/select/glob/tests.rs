use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn is_match(pattern: &str, text: &str) -> bool {
    Glob::new(pattern).unwrap().is_match(text)
}

/// Every way to write out the braces of a pattern. Slow, and sound patterns only.
fn without_braces(pattern: &str) -> Vec<String> {
    let chars: Vec<char> = pattern.chars().collect();
    let (mut i, mut open) = (0, None);
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 1,
            '[' => i = end_of_class(&chars, i),
            '{' => {
                open = Some(i);
                break;
            }
            _ => {}
        }
        i += 1;
    }
    let Some(open) = open else {
        return vec![pattern.to_owned()];
    };
    let (mut depth, mut starts, mut parts) = (0, open + 1, Vec::new());
    let mut i = open;
    let close = loop {
        match chars[i] {
            '\\' => i += 1,
            '[' => i = end_of_class(&chars, i),
            '{' => depth += 1,
            '}' if depth == 1 => break i,
            '}' => depth -= 1,
            ',' if depth == 1 => {
                parts.push(chars[starts..i].iter().collect::<String>());
                starts = i + 1;
            }
            _ => {}
        }
        i += 1;
    };
    parts.push(chars[starts..close].iter().collect());
    let (before, after): (String, String) = (chars[..open].iter().collect(), chars[close + 1..].iter().collect());
    let whole = parts.into_iter().map(|part| format!("{before}{part}{after}"));
    whole.flat_map(|pattern| without_braces(&pattern)).collect()
}

fn end_of_class(chars: &[char], open: usize) -> usize {
    let mut i = open + 1 + usize::from(matches!(chars[open + 1], '!' | '^'));
    let first = i;
    loop {
        match chars[i] {
            '\\' => i += 1,
            ']' if i > first => return i,
            _ => {}
        }
        i += 1;
    }
}

/// The meaning of a pattern without braces, by trying everything.
fn slowly(pattern: &[char], text: &[char]) -> bool {
    match pattern {
        [] => text.is_empty(),
        ['*', '*', '/', rest @ ..] => {
            slowly(rest, text) || (0..text.len()).any(|i| text[i] == '/' && slowly(rest, &text[i + 1..]))
        }
        ['*', '*', rest @ ..] => (0..=text.len()).any(|i| slowly(rest, &text[i..])),
        ['*', rest @ ..] => (0..=text.len()).any(|i| !text[..i].contains(&'/') && slowly(rest, &text[i..])),
        ['?', rest @ ..] => text.first().is_some_and(|c| *c != '/') && slowly(rest, &text[1..]),
        ['\\', c, rest @ ..] => text.first() == Some(c) && slowly(rest, &text[1..]),
        ['[', ..] => {
            let end = end_of_class(pattern, 0);
            let Some(c) = text.first() else { return false };
            let negated = matches!(pattern[1], '!' | '^');
            let inside = &pattern[1 + usize::from(negated)..end];
            let (mut i, mut listed) = (0, false);
            while i < inside.len() {
                i += usize::from(inside[i] == '\\');
                let first = inside[i];
                let mut last = first;
                if inside.get(i + 1) == Some(&'-') && i + 2 < inside.len() {
                    i += 2 + usize::from(inside[i + 2] == '\\');
                    last = inside[i];
                }
                listed |= (first..=last).contains(c);
                i += 1;
            }
            *c != '/' && listed != negated && slowly(&pattern[end + 1..], &text[1..])
        }
        [c, rest @ ..] => text.first() == Some(c) && slowly(rest, &text[1..]),
    }
}

fn reference(pattern: &str, text: &str) -> bool {
    let text: Vec<char> = text.chars().collect();
    let plain = without_braces(pattern);
    plain
        .iter()
        .any(|pattern| slowly(&pattern.chars().collect::<Vec<_>>(), &text))
}

/// Pieces that make patterns which mean something, over an alphabet small enough that they match now and then.
fn patterns() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "/", "ü", ".", "-"]).prop_map(str::to_owned),
        3 => prop::sample::select(vec!["*", "?", "/**/", "\\*", "[ab]", "[!a]", "[a-c]", "[]b]", "[^-]", "[\\]a]"])
            .prop_map(str::to_owned),
    ];
    let simple = prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat());
    simple.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..4).prop_map(|parts| format!("{{{}}}", parts.join(","))),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{a}{b}")),
        ]
    })
}

proptest! {
    #[test]
    fn a_pattern_means_what_the_slow_matcher_says(pattern in patterns(), text in "[ab/üc*.\\-]{0,10}") {
        // Two stars may have come together; those patterns are refused.
        if let Ok(glob) = Glob::new(&pattern) {
            let expected = reference(&pattern, &text);
            prop_assert_eq!(glob.is_match(&text), expected, "{} {}", pattern, text);
            if let Some((domain, path)) = text.split_once('/').filter(|(_, path)| !path.is_empty()) {
                prop_assert_eq!(glob.is_match_at(domain, path), expected);
            }
            prop_assert!(!expected || text.starts_with(glob.literal_prefix()));
        }
    }

    #[test]
    fn compiling_and_matching_never_panics(pattern in ".{0,40}", text in ".{0,40}") {
        if let Ok(glob) = Glob::new(&pattern) {
            let _ = glob.is_match(&text);
        }
        if let Ok(glob) = Glob::ignoring_case(&pattern) {
            let _ = glob.is_match_at(&text, &pattern);
        }
    }

    #[test]
    fn an_escaped_text_matches_itself_and_nothing_else(text in ".{0,20}", other in ".{0,20}") {
        let glob = Glob::new(&Glob::escape(&text)).unwrap();
        prop_assert_eq!(glob.literal(), Some(&*text));
        prop_assert!(glob.is_match(&text));
        prop_assert_eq!(glob.is_match(&other), text == other);
    }
}

#[test]
fn one_star_stays_in_its_folder_and_two_do_not() {
    assert!(is_match("HomeDomain/Library/*", "HomeDomain/Library/SMS"));
    assert!(!is_match("HomeDomain/Library/*", "HomeDomain/Library/SMS/sms.db"));
    assert!(is_match("HomeDomain/**", "HomeDomain/Library/SMS/sms.db"));
    assert!(!is_match("HomeDomain/**", "HomeDomain"));
    assert!(is_match("**/sms.db", "HomeDomain/Library/SMS/sms.db"));
    assert!(is_match("**/sms.db", "sms.db"));
    assert!(!is_match("**/sms.db", "HomeDomain/not-sms.db"));
    assert!(is_match("a/**/b", "a/b") && is_match("a/**/b", "a/x/y/b"));
}

#[test]
fn classes_and_braces_choose() {
    assert!(is_match("*.{jpg,JP{,E}G}", "x.JPEG") && is_match("*.{jpg,JP{,E}G}", "x.JPG"));
    assert!(!is_match("*.{jpg,JP{,E}G}", "x.png"));
    assert!(is_match("IMG_[0-9][!0-8].HEIC", "IMG_19.HEIC"));
    assert!(!is_match("a[!b]c", "a/c"), "no class matches a `/`");
    assert!(is_match("{SyntheticIdentifier}", "SyntheticIdentifier"));
    assert!(is_match("\\{SyntheticIdentifier\\}", "{SyntheticIdentifier}"));
}

#[test]
fn case_counts_unless_it_is_told_not_to() {
    assert!(!is_match("*.jpg", "IMG.JPG"));
    let glob = Glob::ignoring_case("*/ä[A-F]?.jpg").unwrap();
    assert!(glob.is_match("X/ÄB1.JPG") && glob.is_match("X/äb1.jpg") && !glob.is_match("X/äg1.jpg"));
    assert_eq!((glob.literal_prefix(), glob.literal_domain()), ("", None));
}

#[test]
fn the_domain_of_a_pattern_is_known_where_it_is_written_out() {
    let domain = |pattern: &str| Glob::new(pattern).unwrap().literal_domain().map(str::to_owned);
    assert_eq!(domain("HomeDomain/**"), Some("HomeDomain".into()));
    assert_eq!(domain("HomeDomain"), Some("HomeDomain".into()));
    assert_eq!(domain("AppDomain-\\*/x"), Some("AppDomain-*".into()));
    assert_eq!(domain("HomeDomain*"), None);
    assert_eq!(domain("{HomeDomain}/x"), None);
}

#[test]
fn what_is_no_pattern_is_refused_with_the_place() {
    let error = |pattern: &str| Glob::new(pattern).unwrap_err();
    assert_eq!(error("a[b"), GlobError::UnclosedClass { position: 1 });
    assert_eq!(error("[]"), GlobError::UnclosedClass { position: 0 });
    assert_eq!(error("ü{b,{c}"), GlobError::UnclosedBrace { position: 2 });
    assert_eq!(error("a\\"), GlobError::LoneBackslash);
    assert_eq!(error("**.jpg"), GlobError::DoubleStar { position: 0 });
    assert_eq!(error("a/***"), GlobError::DoubleStar { position: 2 });
    assert_eq!(error(&"{".repeat(40)), GlobError::TooDeep);
    assert_eq!(error(&"a".repeat(5000)), GlobError::TooLong { len: 5000 });
    let range = GlobError::Range {
        first: 'z',
        last: 'a',
        position: 1,
    };
    assert_eq!(error("[z-a]"), range);
}

#[test]
fn hostile_patterns_take_no_longer_than_their_length_times_the_text() {
    let started = Instant::now();
    let stars = Glob::new(&"*a".repeat(500)).unwrap();
    assert!(!stars.is_match(&"a".repeat(400)));
    let folders = Glob::new(&"**/".repeat(600)).unwrap();
    assert!(!folders.is_match(&"a/b".repeat(300)));
    let braces = Glob::new(&"{a,aa}".repeat(400)).unwrap();
    assert!(!braces.is_match(&("a".repeat(700) + "b")));
    assert!(started.elapsed() < Duration::from_secs(20));
}
