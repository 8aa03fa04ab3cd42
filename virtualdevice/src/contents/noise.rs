//! Contents without a format: random bytes, and lines of words.

use std::io;

use super::seed::Seed;
use crate::fs::{Content, Source};

/// The longest contents a generator makes: what a signed file offset can hold.
pub(super) const MAX_LEN: u64 = u64::MAX >> 1;

/// Random bytes.
#[derive(Debug)]
struct Noise {
    seed: Seed,
    len: u64,
}

impl Source for Noise {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.seed.fill(offset, out);
        Ok(())
    }
}

/// Lines of 64 bytes of English-looking words.
#[derive(Debug)]
struct Text {
    seed: Seed,
    len: u64,
}

const LINE: usize = 64;

impl Text {
    fn line(&self, n: u64) -> [u8; LINE] {
        let mut line = [b' '; LINE];
        let (mut draws, mut at) = (self.seed.nth(n).draws(), 0);
        while let Some(word) = draws.pick(WORDS) {
            let end = at + word.len();
            match line.get_mut(at..end) {
                Some(place) if end < LINE - 1 => place.copy_from_slice(word.as_bytes()),
                _ => break,
            }
            at = end + 1;
        }
        if let Some(last) = line.last_mut() {
            *last = b'\n';
        }
        line
    }
}

impl Source for Text {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let (mut n, mut skip) = (offset / 64, usize::try_from(offset % 64).unwrap_or_default());
        while !out.is_empty() {
            let line = self.line(n);
            let line = line.get(skip..).unwrap_or_default();
            let (now, later) = out.split_at_mut(out.len().min(line.len()));
            now.copy_from_slice(line.get(..now.len()).unwrap_or_default());
            (n, skip, out) = (n.wrapping_add(1), 0, later);
        }
        Ok(())
    }
}

/// A sentence of `words` words, for messages and notes.
pub(super) fn sentence(seed: Seed, words: u64) -> String {
    let mut draws = seed.draws();
    let mut text = String::new();
    for n in 0..words {
        let word = draws.pick(WORDS).unwrap_or_default();
        if n > 0 {
            text.push(' ');
        }
        text.push_str(word);
    }
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text.push('.');
    text
}

impl Content {
    /// Random bytes of an exact length, made when they are read.
    #[must_use]
    pub fn noise(seed: u64, len: u64) -> Self {
        Self::from_source(Noise {
            seed: Seed::new(seed),
            len: len.min(MAX_LEN),
        })
    }

    /// Text of an exact length in lines of 64 bytes, made when it is read.
    #[must_use]
    pub fn text(seed: u64, len: u64) -> Self {
        Self::from_source(Text {
            seed: Seed::new(seed),
            len: len.min(MAX_LEN),
        })
    }
}

const WORDS: &[&str] = &[
    "about", "after", "again", "all", "always", "and", "apple", "back", "before", "bread", "bring", "call", "car",
    "cat", "coffee", "come", "dinner", "dog", "door", "early", "for", "friend", "garden", "give", "good", "home",
    "house", "how", "just", "keys", "late", "leave", "letter", "like", "little", "look", "lunch", "make", "meet",
    "milk", "morning", "music", "near", "never", "new", "night", "now", "old", "open", "paint", "park", "people",
    "phone", "photo", "place", "rain", "read", "red", "right", "river", "see", "send", "soon", "station", "stay",
    "story", "street", "summer", "sun", "table", "take", "talk", "tea", "thank", "that", "the", "then", "ticket",
    "time", "today", "tomorrow", "train", "tree", "turn", "under", "very", "walk", "warm", "water", "week", "well",
    "when", "where", "window", "winter", "with", "word", "work", "year", "yes", "you", "young",
];
