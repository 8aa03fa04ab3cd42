//! Patterns over names, matched in time bounded by pattern times text.

use std::fmt;
use std::str::FromStr;

/// The longest pattern, in bytes.
pub const MAX_PATTERN_LEN: usize = 4096;

/// How deep `{` may stand in `{`.
pub const MAX_NESTING: usize = 16;

/// A pattern over names such as `HomeDomain/Library/SMS/sms.db`, compiled once.
///
/// | written | matches |
/// | --- | --- |
/// | `*` | any characters but `/` |
/// | `?` | one character but `/` |
/// | `**` | any characters, `/` as well; stands alone between two `/` |
/// | `**/` | nothing, or any folders |
/// | `[a-z]`, `[!a-z]`, `[^a-z]` | one character of these, or one that is none of these and no `/` |
/// | `{sms,mms}.db` | either; may stand in one another, and be empty |
/// | `\*` | the character itself |
///
/// Everything else matches itself, byte for byte: case and Unicode form count, as they do in a backup
/// (spec backup-format, 15); [`Glob::ignoring_case`] forgives case. A match takes time proportional to the length of the
/// text times that of the pattern at most, whatever the pattern.
///
/// ```
/// use cabled_mobilebackup::archive::select::Glob;
///
/// let pictures = Glob::new("CameraRollDomain/Media/DCIM/**/*.{JPG,HEIC}")?;
/// assert!(pictures.is_match("CameraRollDomain/Media/DCIM/100APPLE/IMG_0001.JPG"));
/// assert!(!pictures.is_match("CameraRollDomain/Media/DCIM/100APPLE/IMG_0001.MOV"));
/// # Ok::<(), cabled_mobilebackup::archive::select::GlobError>(())
/// ```
#[derive(Clone)]
pub struct Glob {
    pattern: Box<str>,
    program: Box<[Step]>,
    prefix: Box<str>,
    is_literal: bool,
    fold: bool,
}

/// Why a text is no pattern. Positions are bytes into it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GlobError {
    /// It is longer than [`MAX_PATTERN_LEN`].
    #[error("the pattern is {len} bytes long; {MAX_PATTERN_LEN} are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A `[` has no `]`.
    #[error("the `[` at {position} is never closed; write `\\[` for the character itself")]
    UnclosedClass {
        /// Where it stands.
        position: usize,
    },
    /// A `{` has no `}`.
    #[error("the `{{` at {position} is never closed; write `\\{{` for the character itself")]
    UnclosedBrace {
        /// Where it stands.
        position: usize,
    },
    /// A range such as `[z-a]`.
    #[error("the range `{first}-{last}` at {position} is the wrong way round")]
    Range {
        /// Its first character.
        first: char,
        /// Its last character.
        last: char,
        /// Where it stands.
        position: usize,
    },
    /// `**` next to something that is neither `/` nor the end of the pattern or of an alternative.
    #[error("the `**` at {position} must stand alone between two `/`; write `**/*.jpg`, not `**.jpg`")]
    DoubleStar {
        /// Where it stands.
        position: usize,
    },
    /// The pattern ends in a `\`.
    #[error("the pattern ends in a `\\`; write `\\\\` for the character itself")]
    LoneBackslash,
    /// Braces stand in one another deeper than [`MAX_NESTING`].
    #[error("braces stand in one another deeper than {MAX_NESTING}")]
    TooDeep,
}

/// One step of a compiled pattern.
#[derive(Clone, Debug)]
enum Step {
    Char(char),
    /// Any character.
    Any,
    /// Any character but `/`.
    AnyInPart,
    Class {
        negated: bool,
        ranges: Box<[(char, char)]>,
    },
    /// Goes on in both places.
    Split(usize, usize),
    Jump(usize),
    Match,
}

impl Glob {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// Any [`GlobError`].
    pub fn new(pattern: &str) -> Result<Self, GlobError> {
        Self::compile(pattern, false)
    }

    /// Compiles a pattern for which `IMG_1.JPG` and `img_1.jpg` are the same.
    ///
    /// # Errors
    /// Any [`GlobError`].
    pub fn ignoring_case(pattern: &str) -> Result<Self, GlobError> {
        Self::compile(pattern, true)
    }

    /// A text as a pattern that matches it and nothing else.
    ///
    /// ```
    /// # use cabled_mobilebackup::archive::select::Glob;
    /// assert_eq!(Glob::escape("a*b.txt"), "a\\*b.txt");
    /// ```
    #[must_use]
    pub fn escape(text: &str) -> String {
        let mut pattern = String::with_capacity(text.len());
        for c in text.chars() {
            if is_special(c) {
                pattern.push('\\');
            }
            pattern.push(c);
        }
        pattern
    }

    fn compile(pattern: &str, fold: bool) -> Result<Self, GlobError> {
        if pattern.len() > MAX_PATTERN_LEN {
            return Err(GlobError::TooLong { len: pattern.len() });
        }
        let mut compiler = Compiler {
            text: pattern,
            at: 0,
            program: Vec::with_capacity(pattern.len().saturating_add(1)),
            fold,
        };
        compiler.sequence(0)?;
        compiler.program.push(Step::Match);
        let program = compiler.program.into_boxed_slice();
        let literals = program.iter().map_while(|step| match step {
            Step::Char(c) => Some(*c),
            _ => None,
        });
        // No step makes an earlier one optional, so every match starts with the literals the program starts with.
        let prefix: String = literals.collect();
        let is_literal = prefix.chars().count().saturating_add(1) == program.len();
        Ok(Self {
            pattern: pattern.into(),
            prefix: if fold { "".into() } else { prefix.into() },
            is_literal: is_literal && !fold,
            program,
            fold,
        })
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// What every match starts with: the text before the first special character, escapes taken away.
    #[must_use]
    pub fn literal_prefix(&self) -> &str {
        &self.prefix
    }

    /// The text that alone matches, if there are no special characters in the pattern.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        self.is_literal.then_some(&self.prefix)
    }

    /// The domain that everything which matches lies in, if the pattern is over `domain/path` and says which.
    #[must_use]
    pub fn literal_domain(&self) -> Option<&str> {
        match self.prefix.split_once('/') {
            Some((domain, _)) => Some(domain),
            None => self.literal(),
        }
    }

    /// Whether all of `text` matches.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        if let Some(literal) = self.literal() {
            return literal == text;
        }
        text.starts_with(&*self.prefix) && self.run(text.chars())
    }

    /// Whether an entry matches by its whole name: the domain for its root, `domain/path` for everything in it.
    #[must_use]
    pub fn is_match_at(&self, domain: &str, path: &str) -> bool {
        if path.is_empty() {
            return self.is_match(domain);
        }
        let rest = match self.prefix.strip_prefix(domain) {
            Some("") => "",
            Some(rest) => match rest.strip_prefix('/') {
                Some(rest) => rest,
                None => return false,
            },
            None if domain.starts_with(&*self.prefix) => "",
            None => return false,
        };
        path.starts_with(rest) && self.run(domain.chars().chain(['/']).chain(path.chars()))
    }

    /// All places of the program at once, one character after another.
    fn run(&self, text: impl Iterator<Item = char>) -> bool {
        let (mut now, mut next) = (Places::new(self.program.len()), Places::new(self.program.len()));
        self.enter(&mut now, 0);
        for c in text {
            let c = if self.fold { folded(c) } else { c };
            for place in 0..now.list.len() {
                let Some(place) = now.list.get(place).copied() else {
                    break;
                };
                if self.program.get(place).is_some_and(|step| step.takes(c)) {
                    self.enter(&mut next, place.saturating_add(1));
                }
            }
            if next.list.is_empty() {
                return false;
            }
            std::mem::swap(&mut now, &mut next);
            next.clear();
        }
        now.list
            .iter()
            .any(|place| matches!(self.program.get(*place), Some(Step::Match)))
    }

    /// Enters a place, and every place that can be reached from it without a character.
    fn enter(&self, places: &mut Places, first: usize) {
        places.pending.push(first);
        while let Some(place) = places.pending.pop() {
            match places.seen.get_mut(place) {
                Some(seen) if !*seen => *seen = true,
                _ => continue,
            }
            match self.program.get(place) {
                Some(Step::Split(one, other)) => places.pending.extend([*one, *other]),
                Some(Step::Jump(to)) => places.pending.push(*to),
                _ => {}
            }
            places.list.push(place);
        }
    }
}

impl Step {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Char(own) => *own == c,
            Self::Any => true,
            Self::AnyInPart => c != '/',
            Self::Class { negated, ranges } => {
                let listed = ranges.iter().any(|(first, last)| (*first..=*last).contains(&c));
                c != '/' && listed != *negated
            }
            Self::Split(..) | Self::Jump(_) | Self::Match => false,
        }
    }
}

/// A set of places in a program.
struct Places {
    list: Vec<usize>,
    seen: Vec<bool>,
    pending: Vec<usize>,
}

impl Places {
    fn new(len: usize) -> Self {
        Self {
            list: Vec::with_capacity(len.min(64)),
            seen: vec![false; len],
            pending: Vec::new(),
        }
    }

    fn clear(&mut self) {
        for place in self.list.drain(..) {
            if let Some(seen) = self.seen.get_mut(place) {
                *seen = false;
            }
        }
    }
}

fn is_special(c: char) -> bool {
    matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | ',' | '\\')
}

/// Lower case, where that is one character.
fn folded(c: char) -> char {
    let mut lower = c.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(lower), None) => lower,
        _ => c,
    }
}

struct Compiler<'a> {
    text: &'a str,
    at: usize,
    program: Vec<Step>,
    fold: bool,
}

impl Compiler<'_> {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at..)?.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at = self.at.saturating_add(c.len_utf8());
        Some(c)
    }

    fn next_is(&mut self, wanted: char) -> bool {
        let is = self.peek() == Some(wanted);
        if is {
            self.next();
        }
        is
    }

    fn literal(&mut self, c: char) {
        let c = if self.fold { folded(c) } else { c };
        self.program.push(Step::Char(c));
    }

    /// Steps until the end, or until the `,` or `}` that ends an alternative, which stays unread.
    fn sequence(&mut self, depth: usize) -> Result<(), GlobError> {
        while let Some(c) = self.peek() {
            let position = self.at;
            if depth > 0 && matches!(c, ',' | '}') {
                break;
            }
            self.next();
            match c {
                '*' if self.next_is('*') => self.double_star(position)?,
                '*' => self.repeat(Step::AnyInPart),
                '?' => self.program.push(Step::AnyInPart),
                '[' => self.class(position)?,
                '{' => self.alternatives(position, depth)?,
                '\\' => match self.next() {
                    Some(c) => self.literal(c),
                    None => return Err(GlobError::LoneBackslash),
                },
                c => self.literal(c),
            }
        }
        Ok(())
    }

    /// `step`, any number of times.
    fn repeat(&mut self, step: Step) {
        let start = self.program.len();
        self.program
            .push(Step::Split(start.saturating_add(1), start.saturating_add(3)));
        self.program.push(step);
        self.program.push(Step::Jump(start));
    }

    /// After `**`, which began at `position`.
    fn double_star(&mut self, position: usize) -> Result<(), GlobError> {
        let before = self.text.get(..position).and_then(|before| before.chars().next_back());
        let stands_alone =
            matches!(before, None | Some('/' | '{' | ',')) && matches!(self.peek(), None | Some('/' | '}' | ','));
        if !stands_alone {
            return Err(GlobError::DoubleStar { position });
        }
        if !self.next_is('/') {
            self.repeat(Step::Any);
            return Ok(());
        }
        // Nothing, or anything that ends in `/`.
        let start = self.program.len();
        self.program.push(Step::Match); // replaced below, when its end is known
        self.repeat(Step::Any);
        self.program.push(Step::Char('/'));
        let end = self.program.len();
        self.replace(start, Step::Split(start.saturating_add(1), end));
        Ok(())
    }

    fn replace(&mut self, place: usize, step: Step) {
        if let Some(old) = self.program.get_mut(place) {
            *old = step;
        }
    }

    /// After `{`, which stands at `position`.
    fn alternatives(&mut self, position: usize, depth: usize) -> Result<(), GlobError> {
        let depth = depth.saturating_add(1);
        if depth > MAX_NESTING {
            return Err(GlobError::TooDeep);
        }
        let mut ends = Vec::new();
        loop {
            let start = self.program.len();
            self.program.push(Step::Match); // replaced below, unless this is the last
            self.sequence(depth)?;
            match self.next() {
                Some(',') => {
                    ends.push(self.program.len());
                    self.program.push(Step::Match); // replaced below
                    let other = self.program.len();
                    self.replace(start, Step::Split(start.saturating_add(1), other));
                }
                Some(_) => {
                    self.replace(start, Step::Jump(start.saturating_add(1)));
                    break;
                }
                None => return Err(GlobError::UnclosedBrace { position }),
            }
        }
        let end = self.program.len();
        for jump in ends {
            self.replace(jump, Step::Jump(end));
        }
        Ok(())
    }

    /// After `[`, which stands at `position`.
    fn class(&mut self, position: usize) -> Result<(), GlobError> {
        let negated = self.next_is('!') || self.next_is('^');
        let mut ranges = Vec::new();
        let unclosed = GlobError::UnclosedClass { position };
        loop {
            let at = self.at;
            let first = match self.next() {
                None => return Err(unclosed),
                // The first is an ordinary character: `[]]`.
                Some(']') if !ranges.is_empty() => break,
                Some('\\') => self.next().ok_or(GlobError::LoneBackslash)?,
                Some(c) => c,
            };
            let is_range = self.text.get(self.at..).is_some_and(|rest| {
                let mut rest = rest.chars();
                rest.next() == Some('-') && rest.next().is_some_and(|c| c != ']')
            });
            if !is_range {
                self.class_range(&mut ranges, first, first);
                continue;
            }
            self.next();
            let last = match self.next() {
                None => return Err(unclosed),
                Some('\\') => self.next().ok_or(GlobError::LoneBackslash)?,
                Some(c) => c,
            };
            if first > last {
                let position = at;
                return Err(GlobError::Range { first, last, position });
            }
            self.class_range(&mut ranges, first, last);
        }
        let ranges = ranges.into_boxed_slice();
        self.program.push(Step::Class { negated, ranges });
        Ok(())
    }

    /// Adds a range; text is folded before it is compared, so both cases of the ends are listed.
    fn class_range(&self, ranges: &mut Vec<(char, char)>, first: char, last: char) {
        ranges.push((first, last));
        if !self.fold {
            return;
        }
        if first == last {
            ranges.push((folded(first), folded(first)));
        }
        // The capitals in a longer range, as far as they are Latin ones.
        let (low, high) = (first.max('A'), last.min('Z'));
        if low <= high {
            ranges.push((low.to_ascii_lowercase(), high.to_ascii_lowercase()));
        }
    }
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(pattern: &str) -> Result<Self, GlobError> {
        Self::new(pattern)
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.pattern)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.pattern)
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        (&self.pattern, self.fold) == (&other.pattern, other.fold)
    }
}

impl Eq for Glob {}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests;
