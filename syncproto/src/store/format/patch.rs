//! What makes one text of another, where most of both is the same and in the same order.

use super::FormatError;

/// A step through the earlier text: some of it is left out, some taken, then something new comes. All in bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) skip: usize,
    pub(super) copy: usize,
    pub(super) text: Vec<u8>,
}

/// Bytes that have to be the same for a place in both to be found again.
const BLOCK: usize = 64;

/// What makes `after` of `before`; `None` when half of `after` is new.
///
/// What both begin and end with is taken, and in between blocks of the earlier text are looked for in the later one. That
/// takes a few ns for every byte that is not found.
pub(super) fn between(before: &[u8], after: &[u8]) -> Option<Vec<Edit>> {
    let start = same_start(before, after);
    let (old, new) = (before.get(start..)?, after.get(start..)?);
    let end = same_end(old, new);
    let old = old.get(..old.len().saturating_sub(end))?;
    let new = new.get(..new.len().saturating_sub(end))?;
    let mut edit = Edit {
        copy: start,
        ..Edit::default()
    };
    let mut edits = Vec::new();
    let blocks = Blocks::of(old);
    let (mut from, mut to, mut written) = (0_usize, 0_usize, 0_usize);
    while let Some((old_at, new_at)) = blocks.next(new, from, to) {
        let (left_out, text) = (old.get(from..old_at)?, new.get(to..new_at)?);
        let back = same_end(left_out, text);
        let on = same_start(old.get(old_at..)?, new.get(new_at..)?);
        edit.text = text.get(..text.len().saturating_sub(back))?.to_vec();
        written = written.saturating_add(edit.text.len());
        let next = Edit {
            skip: left_out.len().saturating_sub(back),
            copy: back.saturating_add(on),
            ..Edit::default()
        };
        edits.push(std::mem::replace(&mut edit, next));
        (from, to) = (old_at.saturating_add(on), new_at.saturating_add(on));
    }
    edit.text = new.get(to..)?.to_vec();
    written = written.saturating_add(edit.text.len());
    edits.push(edit);
    if end > 0 {
        edits.push(Edit {
            skip: old.len().saturating_sub(from),
            copy: end,
            ..Edit::default()
        });
    }
    (written <= after.len() / 2).then_some(edits)
}

/// The later text. It has at most the bytes of the earlier one and of the edits, as nothing can be taken twice.
pub(super) fn apply(before: &[u8], edits: &[Edit]) -> Result<String, FormatError> {
    let mut left = before;
    let mut after = Vec::new();
    for edit in edits {
        let rest = left.get(edit.skip..).and_then(|rest| rest.split_at_checked(edit.copy));
        let (copied, rest) = rest.ok_or_else(|| FormatError::damaged("a text has a change behind its end"))?;
        left = rest;
        after.extend_from_slice(copied);
        after.extend_from_slice(&edit.text);
    }
    String::from_utf8(after).map_err(|_| FormatError::damaged("a changed text is not UTF-8"))
}

/// How many bytes both begin with.
fn same_start(a: &[u8], b: &[u8]) -> usize {
    let blocks = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK));
    let blocks = blocks.take_while(|(a, b)| a == b).count().saturating_mul(BLOCK);
    let rest = a.iter().zip(b).skip(blocks);
    blocks.saturating_add(rest.take_while(|(a, b)| a == b).count())
}

/// How many bytes both end with.
fn same_end(a: &[u8], b: &[u8]) -> usize {
    let blocks = a.rchunks_exact(BLOCK).zip(b.rchunks_exact(BLOCK));
    let blocks = blocks.take_while(|(a, b)| a == b).count().saturating_mul(BLOCK);
    let rest = a.iter().rev().zip(b.iter().rev()).skip(blocks);
    blocks.saturating_add(rest.take_while(|(a, b)| a == b).count())
}

/// Where the blocks of a text are, by a hash.
struct Blocks<'a> {
    text: &'a [u8],
    /// Numbers of blocks, from 1; 0 where there is none.
    slots: Vec<usize>,
}

impl<'a> Blocks<'a> {
    fn of(text: &'a [u8]) -> Self {
        let many = (text.len() / BLOCK).saturating_mul(2).next_power_of_two();
        let mut blocks = Self {
            text,
            slots: vec![0; many],
        };
        for (at, block) in text.chunks_exact(BLOCK).enumerate() {
            let slot = blocks.slot(hash(block));
            // Of blocks that are the same the first counts.
            if let Some(slot @ 0) = blocks.slots.get_mut(slot) {
                *slot = at.saturating_add(1);
            }
        }
        blocks
    }

    fn slot(&self, hash: u64) -> usize {
        // The high bits have something of all bytes in them.
        usize::try_from(hash >> 32).unwrap_or(0) & self.slots.len().saturating_sub(1)
    }

    /// The first block behind `from` that is in `new` behind `to`: where it is in both.
    fn next(&self, new: &[u8], from: usize, to: usize) -> Option<(usize, usize)> {
        let mut rolling = hash(new.get(to..)?.get(..BLOCK)?);
        let mut at = to;
        loop {
            let window = new.get(at..)?;
            let known = self.slots.get(self.slot(rolling))?.checked_sub(1);
            if let Some(place) = known.map(|block| block.saturating_mul(BLOCK))
                && place >= from
                && self.text.get(place..)?.get(..BLOCK) == window.get(..BLOCK)
            {
                return Some((place, at));
            }
            let (out, next) = (window.first()?, window.get(BLOCK)?);
            rolling = rolling
                .wrapping_sub(u64::from(*out).wrapping_mul(LEAVING))
                .wrapping_mul(FACTOR)
                .wrapping_add((*next).into());
            at = at.saturating_add(1);
        }
    }
}

const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// What the first byte of a block was multiplied by.
const LEAVING: u64 = {
    let (mut power, mut at) = (1_u64, 1);
    while at < BLOCK {
        power = power.wrapping_mul(FACTOR);
        at = at.wrapping_add(1);
    }
    power
};

fn hash(block: &[u8]) -> u64 {
    let add = |hash: u64, byte: &u8| hash.wrapping_mul(FACTOR).wrapping_add((*byte).into());
    block.iter().fold(0, add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(changed: &[u32]) -> String {
        let line = |number| {
            let size = if changed.contains(&number) { 7 } else { 5_000 };
            format!(
                "{{\"name\": \"card-{number}.vcf\", \"size\": {size}, \"time\": {}}}\n",
                number % 977
            )
        };
        (0..20_000).map(line).collect()
    }

    fn written(edits: &[Edit]) -> usize {
        edits.iter().map(|edit| edit.text.len()).sum()
    }

    #[test]
    fn a_few_lines_of_a_long_index_are_a_few_edits() {
        let (before, after) = (index(&[]), index(&[0, 5_000, 5_001, 12_345, 19_999]));
        let edits = between(before.as_bytes(), after.as_bytes()).unwrap();
        assert_eq!(apply(before.as_bytes(), &edits).unwrap(), after);
        assert!(edits.len() <= 7 && written(&edits) < 300, "{edits:?}");
        // Lines that went, and came.
        let shorter: String = before.lines().filter(|line| !line.contains("77")).collect();
        for (before, after) in [(&before, &shorter), (&shorter, &before)] {
            if let Some(edits) = between(before.as_bytes(), after.as_bytes()) {
                assert_eq!(apply(before.as_bytes(), &edits).unwrap(), *after);
            }
        }
    }

    #[test]
    fn another_text_is_no_change_of_this_one() {
        let (before, after) = (index(&[]), index(&[]).replace('e', "E"));
        assert_eq!(between(before.as_bytes(), after.as_bytes()), None);
        assert_eq!(between(b"", b"a"), None);
    }

    #[test]
    fn edits_of_another_text_are_refused() {
        let edit = |skip, copy, text: &str| Edit {
            skip,
            copy,
            text: text.into(),
        };
        for edits in [
            vec![edit(4, 0, "")],
            vec![edit(0, 4, "")],
            vec![edit(0, 2, ""), edit(usize::MAX, 1, "")],
            vec![edit(0, usize::MAX, "")],
            vec![edit(1, 1, "")],
        ] {
            assert!(apply("aü".as_bytes(), &edits).is_err(), "{edits:?}");
        }
        assert_eq!(apply("aü".as_bytes(), &[edit(0, 1, "b")]).unwrap(), "ab");
        assert_eq!(
            apply("aü".as_bytes(), &[edit(0, 2, "\u{bc}"), edit(0, 1, "")]).ok(),
            None
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_made_of_any_other(
            parts in proptest::collection::vec((0..40_u8, proptest::bool::ANY, proptest::bool::ANY), 0..60),
        ) {
            let text = |takes: fn(&(u8, bool, bool)) -> bool| -> String {
                let parts = parts.iter().filter(|part| takes(part));
                parts.map(|(kind, ..)| format!("{kind:03}").repeat(usize::from(*kind))).collect()
            };
            let (before, after) = (text(|(_, first, _)| *first), text(|(.., second)| *second));
            if let Some(edits) = between(before.as_bytes(), after.as_bytes()) {
                proptest::prop_assert_eq!(apply(before.as_bytes(), &edits).unwrap(), after);
            }
        }
    }
}
