//! Where the plaintext of a payload ends (spec backup-format, 6.3).

/// Length of an AES block in bytes.
pub(crate) const BLOCK: u64 = 16;

/// Whether an encrypted payload is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Completeness {
    /// Everything that was written is there and the padding is stripped.
    Complete,
    /// Everything that was recorded is there; the writer did not pad, so nothing was stripped.
    WithoutPadding,
    /// The payload was cut off: what is there is right, the rest is lost.
    Incomplete,
}

/// How an encrypted payload ends, known from its length, the recorded size and the last decrypted block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ending {
    /// Length of the plaintext in bytes.
    pub plain_len: u64,
    /// Whether that is all there ever was.
    pub completeness: Completeness,
    /// Bytes after the last whole block (0 to 15). They mean nothing and are left out.
    pub stray: u8,
}

impl Ending {
    /// Applies the rule of spec 6.3: `Size` never cuts and never extends, it only tells a cut file from a whole one.
    ///
    /// `stored_len` is the payload's length, `recorded` the `Size` of its record, `last_block` the last whole block,
    /// decrypted; `None` if there is none.
    #[must_use]
    pub fn of(stored_len: u64, recorded: u64, last_block: Option<&[u8; 16]>) -> Self {
        let stray = u8::try_from(stored_len % BLOCK).unwrap_or_default();
        let whole = stored_len.saturating_sub(stray.into());
        let ending = |plain_len, completeness| Self {
            plain_len,
            completeness,
            stray,
        };
        let Some(last_block) = last_block.filter(|_| whole > 0) else {
            return match recorded {
                0 => ending(0, Completeness::Complete),
                _ => ending(0, Completeness::Incomplete),
            };
        };
        let padding = padding_len(last_block);
        let stripped = whole.saturating_sub(padding);
        if padding > 0 && (stripped == recorded || whole >= padded_len(recorded) || padding >= 3) {
            ending(stripped, Completeness::Complete)
        } else if whole == recorded {
            ending(whole, Completeness::WithoutPadding)
        } else {
            ending(whole, Completeness::Incomplete)
        }
    }
}

/// Length of a payload whose plaintext has `len` bytes; there is always padding.
pub(crate) const fn padded_len(len: u64) -> u64 {
    (len / BLOCK).saturating_add(1).saturating_mul(BLOCK)
}

/// Length of a valid PKCS#7 tail, 1 to 16, or 0.
pub(crate) fn padding_len(block: &[u8; 16]) -> u64 {
    let [.., last] = *block;
    let valid = (1..=16).contains(&last) && block.iter().rev().take(last.into()).all(|byte| *byte == last);
    if valid { last.into() } else { 0 }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "test code")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tail(n: u8) -> [u8; 16] {
        let mut block = [0xee; 16];
        block[16 - usize::from(n)..].fill(n);
        block
    }

    #[test]
    fn each_branch_of_the_rule_gives_its_outcome() {
        use Completeness::{Complete, Incomplete, WithoutPadding};
        let ending = |stored, recorded, block: Option<[u8; 16]>| Ending::of(stored, recorded, block.as_ref());
        for (stored, recorded, block, plain_len, completeness, stray) in [
            (0, 0, None, 0, Complete, 0),
            (0, 5, None, 0, Incomplete, 0),
            (7, 5, None, 0, Incomplete, 7),
            // As recorded.
            (16, 15, Some(tail(1)), 15, Complete, 0),
            // Grew after it was recorded: any valid tail counts.
            (48, 10, Some(tail(1)), 47, Complete, 0),
            // Shrank: a tail of three or more counts, a shorter one could be content of a cut file.
            (48, 1000, Some(tail(16)), 32, Complete, 0),
            (48, 1000, Some(tail(3)), 45, Complete, 0),
            (48, 1000, Some(tail(2)), 48, Incomplete, 0),
            // No padding at all.
            (48, 48, Some([0xee; 16]), 48, WithoutPadding, 0),
            (48, 1000, Some([0xee; 16]), 48, Incomplete, 0),
            (48, 10, Some([0xee; 16]), 48, Incomplete, 0),
            (117, 100, Some(tail(12)), 100, Complete, 5),
        ] {
            let expect = Ending {
                plain_len,
                completeness,
                stray,
            };
            assert_eq!(ending(stored, recorded, block), expect, "{stored} {recorded}");
        }
    }

    #[test]
    fn padding_must_be_valid_in_every_byte() {
        let mut block = tail(5);
        assert_eq!(padding_len(&block), 5);
        block[11] = 4;
        assert_eq!(padding_len(&block), 0);
        assert_eq!(padding_len(&[0; 16]), 0);
        assert_eq!(padding_len(&[17; 16]), 0);
        assert_eq!(padding_len(&[16; 16]), 16);
    }

    proptest! {
        #[test]
        fn a_padded_payload_is_complete_whatever_was_recorded_below_it(len in 0_u64..1 << 40, recorded in any::<u64>()) {
            let n = u8::try_from(padded_len(len) - len).unwrap();
            prop_assert!((1..=16).contains(&n));
            let found = Ending::of(padded_len(len), recorded, Some(&tail(n)));
            if recorded <= len || n >= 3 {
                prop_assert_eq!(found, Ending { plain_len: len, completeness: Completeness::Complete, stray: 0 });
            }
        }

        #[test]
        fn the_plain_length_never_exceeds_the_whole_blocks(
            stored in any::<u64>(), recorded in any::<u64>(), block in proptest::array::uniform16(any::<u8>()),
        ) {
            let found = Ending::of(stored, recorded, Some(&block));
            prop_assert!(found.plain_len <= stored - stored % 16);
            prop_assert_eq!(u64::from(found.stray), stored % 16);
        }
    }
}
