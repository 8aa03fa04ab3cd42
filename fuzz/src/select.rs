//! Patterns over names, against a matcher that tries everything.

use cabled_mobilebackup::archive::select::{Glob, GlobError, Selection};

/// A pattern, a line feed, a text: both matchers must agree, however long the pattern.
pub fn glob(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (pattern, name) = text.split_once('\n').unwrap_or((&text, ""));
    let _ = Glob::ignoring_case(pattern).map(|glob| glob.is_match(name));
    let Ok(glob) = Glob::new(pattern) else { return };
    let matches = glob.is_match(name);
    assert!(!matches || name.starts_with(glob.literal_prefix()));
    match Glob::new(&Glob::escape(name)) {
        Ok(own) => assert!(own.is_match(name)),
        Err(e) => assert!(matches!(e, GlobError::TooLong { .. }), "{e}"),
    }
    if let Some((domain, path)) = name.split_once('/').filter(|(_, path)| !path.is_empty()) {
        assert_eq!(glob.is_match_at(domain, path), matches);
        let selection = Selection::default().matching(glob.clone());
        assert!(!matches || selection.admits(domain, path));
        if matches && let Some(only) = glob.literal_domain() {
            assert_eq!(only, domain);
        }
    }
    // Trying everything takes time that grows without bound with both.
    if pattern.len() > 24 || name.len() > 16 {
        return;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let expected = fits(&[&pattern], &name, &mut 200_000);
    assert!(expected.is_none_or(|expected| expected == matches), "{glob:?} {name:?}");
}

/// Whether a pattern, given as pieces that follow one another, fits all of a text; `None` when it takes too long.
fn fits(pieces: &[&[char]], text: &[char], steps: &mut u32) -> Option<bool> {
    *steps = steps.checked_sub(1)?;
    let Some((piece, after)) = pieces.split_first() else {
        return Some(text.is_empty());
    };
    let with = |rest: &[char], text: &[char], steps: &mut u32| {
        let pieces: Vec<&[char]> = std::iter::once(rest).chain(after.iter().copied()).collect();
        fits(&pieces, text, steps)
    };
    let any = |tails: &mut dyn Iterator<Item = usize>, rest: &[char], steps: &mut u32| {
        for at in tails {
            if with(rest, &text[at..], steps)? {
                return Some(true);
            }
        }
        Some(false)
    };
    match piece {
        [] => fits(after, text, steps),
        ['*', '*', '/', rest @ ..] => {
            let mut tails = std::iter::once(0).chain((1..=text.len()).filter(|at| text[at - 1] == '/'));
            any(&mut tails, rest, steps)
        }
        ['*', '*', rest @ ..] => any(&mut (0..=text.len()), rest, steps),
        ['*', rest @ ..] => {
            let end = text.iter().position(|c| *c == '/').unwrap_or(text.len());
            any(&mut (0..=end), rest, steps)
        }
        ['?', rest @ ..] => match text.split_first() {
            Some((c, text)) if *c != '/' => with(rest, text, steps),
            _ => Some(false),
        },
        ['{', rest @ ..] => {
            let (alternatives, rest) = alternatives(rest);
            for alternative in alternatives {
                let pieces: Vec<&[char]> = [alternative, rest].into_iter().chain(after.iter().copied()).collect();
                if fits(&pieces, text, steps)? {
                    return Some(true);
                }
            }
            Some(false)
        }
        ['[', rest @ ..] => {
            let (class, rest) = rest.split_at(end_of_class(rest));
            match text.split_first() {
                Some((c, text)) if *c != '/' && lists(class, *c) => with(&rest[1..], text, steps),
                _ => Some(false),
            }
        }
        ['\\', c, rest @ ..] | [c, rest @ ..] => match text.split_first() {
            Some((first, text)) if first == c => with(rest, text, steps),
            _ => Some(false),
        },
    }
}

/// What stands between `{` and its `}`, taken apart at its commas, and what follows.
fn alternatives(after: &[char]) -> (Vec<&[char]>, &[char]) {
    let (mut depth, mut start, mut at, mut found) = (0, 0, 0, Vec::new());
    loop {
        match after[at] {
            '\\' => at += 1,
            '[' => at += 1 + end_of_class(&after[at + 1..]),
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' if depth == 0 => {
                found.push(&after[start..at]);
                start = at + 1;
            }
            '}' => {
                found.push(&after[start..at]);
                return (found, &after[at + 1..]);
            }
            _ => {}
        }
        at += 1;
    }
}

/// Where the `]` is that ends what follows a `[`.
fn end_of_class(after: &[char]) -> usize {
    let first = usize::from(matches!(after.first(), Some('!' | '^')));
    let mut at = first;
    loop {
        match after[at] {
            '\\' => at += 1,
            ']' if at > first => return at,
            _ => {}
        }
        at += 1;
    }
}

/// Whether a class has a character.
fn lists(class: &[char], c: char) -> bool {
    let (negated, mut class) = match class {
        ['!' | '^', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let mut listed = false;
    while !class.is_empty() {
        let (first, rest) = one(class);
        let (last, rest) = match rest {
            ['-', range @ ..] if !range.is_empty() => one(range),
            rest => (first, rest),
        };
        listed |= (first..=last).contains(&c);
        class = rest;
    }
    listed != negated
}

/// The next character of a class, its escape taken away.
fn one(class: &[char]) -> (char, &[char]) {
    match class {
        ['\\', c, rest @ ..] => (*c, rest),
        [c, rest @ ..] => (*c, rest),
        [] => ('\0', class),
    }
}
