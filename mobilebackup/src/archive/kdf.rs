//! PBKDF2 with progress and cancel.
//!
//! The rounds are written out over the compression functions of `sha2` and `sha1`, for two reasons: ten million rounds
//! take more than a second and have to be watched and stopped, and a round that touches only two compressions is as
//! fast as the hardware allows. On x86-64 processors with SHA instructions, the chain of SHA-256 uses these itself and
//! saves the way through bytes. `pbkdf2` checks the results in the tests.

#[cfg(target_arch = "x86_64")]
mod x86;

use std::ops::ControlFlow;

use multiversion::multiversion;
use multiversion::target::match_target;
use sha1::{Digest, Sha1};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use super::observe::{Observer, Phase, Progress};

/// Rounds between two calls of the observer; a few milliseconds.
const STEP: u32 = 1 << 16;

/// One of the two derivations of a keybag.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stage<'a> {
    pub(crate) salt: &'a [u8],
    pub(crate) rounds: u32,
}

/// The derivation was stopped by its observer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cancelled;

/// `PBKDF2-HMAC-SHA1(PBKDF2-HMAC-SHA256(password, first), second)`, both to 32 bytes; without `first`, the second
/// alone on the password. Spec 8.2.
pub(crate) fn derive(
    password: &[u8],
    first: Option<Stage<'_>>,
    second: Stage<'_>,
    observer: &mut dyn Observer,
) -> Result<Zeroizing<[u8; 32]>, Cancelled> {
    // PBKDF2 yields 20 bytes at a time with SHA-1, so the second stage runs twice.
    let total = u64::from(second.rounds)
        .saturating_mul(2)
        .saturating_add(first.map_or(0, |s| u64::from(s.rounds)));
    let mut meter = Meter {
        observer,
        done: 0,
        total,
    };
    meter.advance(0)?;
    match first {
        Some(first) => {
            let middle = pbkdf2::<Sha256Rounds>(password, first, &mut meter)?;
            pbkdf2::<Sha1Rounds>(middle.as_slice(), second, &mut meter)
        }
        None => pbkdf2::<Sha1Rounds>(password, second, &mut meter),
    }
}

struct Meter<'a> {
    observer: &'a mut dyn Observer,
    done: u64,
    total: u64,
}

impl Meter<'_> {
    fn advance(&mut self, rounds: u32) -> Result<(), Cancelled> {
        self.done = self.done.saturating_add(u64::from(rounds));
        match self
            .observer
            .on_progress(&Progress::new(Phase::DerivingKey, self.done, Some(self.total)))
        {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Cancelled),
        }
    }
}

/// What PBKDF2 needs of a hash with 64-byte blocks.
trait Rounds {
    /// The chaining value, in words.
    type State: Copy + Zeroize + AsRef<[u32]> + AsMut<[u32]>;
    /// The chaining value before the first block.
    const START: Self::State;
    /// A block after `START`-keyed 64 bytes that holds one chaining value: its padding filled in.
    fn compress(state: &mut Self::State, block: &[u8; 64]);
    fn hash(parts: &[&[u8]], out: &mut Zeroizing<[u8; 64]>);
    /// `count` rounds from `last` on, each added to `sum`; `inner` and `outer` are the keyed states of HMAC.
    fn chain(inner: &Self::State, outer: &Self::State, last: &mut Self::State, sum: &mut Self::State, count: u32);
}

struct Sha256Rounds;
struct Sha1Rounds;

impl Rounds for Sha256Rounds {
    type State = [u32; 8];
    const START: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];

    #[inline]
    fn compress(state: &mut [u32; 8], block: &[u8; 64]) {
        sha2::block_api::compress256(state, std::slice::from_ref(block));
    }

    fn hash(parts: &[&[u8]], out: &mut Zeroizing<[u8; 64]>) {
        let hash = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part));
        out.zeroize();
        out.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    }

    fn chain(inner: &[u32; 8], outer: &[u32; 8], last: &mut [u32; 8], sum: &mut [u32; 8], count: u32) {
        // Without optimisation every instruction of ours is a call, and `sha2`, a dependency, is faster.
        if cfg!(debug_assertions) {
            portable_chain::<Self>(inner, outer, last, sum, count);
        } else {
            chain(inner, outer, last, sum, count);
        }
    }
}

impl Rounds for Sha1Rounds {
    type State = [u32; 5];
    const START: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];

    #[inline]
    fn compress(state: &mut [u32; 5], block: &[u8; 64]) {
        sha1::block_api::compress(state, std::slice::from_ref(block));
    }

    fn hash(parts: &[&[u8]], out: &mut Zeroizing<[u8; 64]>) {
        let hash = parts.iter().fold(Sha1::new(), |hash, part| hash.chain_update(part));
        out.zeroize();
        out.iter_mut().zip(hash.finalize()).for_each(|(to, from)| *to = from);
    }

    fn chain(inner: &[u32; 5], outer: &[u32; 5], last: &mut [u32; 5], sum: &mut [u32; 5], count: u32) {
        portable_chain::<Self>(inner, outer, last, sum, count);
    }
}

/// PBKDF2 with the HMAC of `H`, to 32 bytes.
fn pbkdf2<H: Rounds>(
    password: &[u8],
    stage: Stage<'_>,
    meter: &mut Meter<'_>,
) -> Result<Zeroizing<[u8; 32]>, Cancelled> {
    // HMAC's key: the password, or its hash if that is longer than a block.
    let mut key = Zeroizing::new([0; 64]);
    match key.get_mut(..password.len()) {
        Some(start) => start.copy_from_slice(password),
        None => H::hash(&[password], &mut key),
    }
    let inner_pad = Zeroizing::new(key.map(|b| b ^ 0x36));
    let outer_pad = Zeroizing::new(key.map(|b| b ^ 0x5c));

    let mut out = Zeroizing::new([0; 32]);
    let mut hashed = Zeroizing::new([0; 64]);
    let state_len = H::START.as_ref().len().saturating_mul(4);
    for (index, out) in (1_u32..).zip(out.chunks_mut(state_len)) {
        H::hash(&[inner_pad.as_slice(), stage.salt, &index.to_be_bytes()], &mut hashed);
        let inner = hashed.clone();
        let inner = inner.get(..state_len).unwrap_or_default();
        H::hash(&[outer_pad.as_slice(), inner], &mut hashed);

        let first = Zeroizing::new(load::<H>(&hashed));
        let sum = rounds::<H>(&inner_pad, &outer_pad, *first, stage.rounds, meter)?;
        for (to, from) in out
            .iter_mut()
            .zip(sum.as_ref().iter().flat_map(|word| word.to_be_bytes()))
        {
            *to = from;
        }
    }
    Ok(out)
}

/// Rounds two to `count`: each is the HMAC of the one before, and all are added up.
fn rounds<H: Rounds>(
    inner_pad: &[u8; 64],
    outer_pad: &[u8; 64],
    first: H::State,
    count: u32,
    meter: &mut Meter<'_>,
) -> Result<Zeroizing<H::State>, Cancelled> {
    let mut inner_start = Zeroizing::new(H::START);
    H::compress(&mut inner_start, inner_pad);
    let mut outer_start = Zeroizing::new(H::START);
    H::compress(&mut outer_start, outer_pad);

    let mut last = Zeroizing::new(first);
    let mut sum = Zeroizing::new(first);
    meter.advance(1)?;
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let step = left.min(STEP);
        H::chain(&inner_start, &outer_start, &mut last, &mut sum, step);
        left = left.saturating_sub(step);
        meter.advance(step)?;
    }
    Ok(sum)
}

/// [`Rounds::chain`] of SHA-256, in the best way that this processor has.
#[multiversion(targets("x86_64+sha+sse4.1+ssse3"))]
fn chain(inner: &[u32; 8], outer: &[u32; 8], last: &mut [u32; 8], sum: &mut [u32; 8], count: u32) {
    match_target! {
        "x86_64+sha+sse4.1+ssse3" => x86::chain(inner, outer, last, sum, count),
        _ => portable_chain::<Sha256Rounds>(inner, outer, last, sum, count),
    }
}

/// [`Rounds::chain`] over blocks of bytes.
fn portable_chain<H: Rounds>(inner: &H::State, outer: &H::State, last: &mut H::State, sum: &mut H::State, count: u32) {
    let mut block = Zeroizing::new(padded_block(H::START.as_ref().len()));
    for _ in 0..count {
        store(last.as_ref(), &mut block);
        *last = *inner;
        H::compress(last, &block);
        store(last.as_ref(), &mut block);
        *last = *outer;
        H::compress(last, &block);
        sum.as_mut()
            .iter_mut()
            .zip(last.as_ref())
            .for_each(|(sum, word)| *sum ^= word);
    }
}

/// The second block of a hash of 64 bytes and `words` words: room for the words, the end mark, the length in bits.
fn padded_block(words: usize) -> [u8; 64] {
    let mut block = [0; 64];
    let len = words.saturating_mul(4);
    if let Some(mark) = block.get_mut(len) {
        *mark = 0x80;
    }
    let bits = u16::try_from(len.saturating_add(64).saturating_mul(8)).unwrap_or_default();
    if let Some(end) = block.last_chunk_mut::<2>() {
        *end = bits.to_be_bytes();
    }
    block
}

#[inline]
fn store(words: &[u32], block: &mut [u8; 64]) {
    let (places, _) = block.as_chunks_mut::<4>();
    for (place, word) in places.iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
}

fn load<H: Rounds>(bytes: &[u8; 64]) -> H::State {
    let mut state = H::START;
    let (words, _) = bytes.as_chunks::<4>();
    for (word, bytes) in state.as_mut().iter_mut().zip(words) {
        *word = u32::from_be_bytes(*bytes);
    }
    state
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::golden::{self, bytes, opt_bytes};
    use crate::archive::observe::Silent;
    use proptest::prelude::*;

    fn kek(case: &serde_json::Value, password: &[u8]) -> Vec<u8> {
        let salt = bytes(&case["salt"]);
        let dpsl = opt_bytes(&case["dpsl"]);
        let rounds = |key: &str| u32::try_from(case[key].as_u64().unwrap()).unwrap();
        let first = dpsl.as_ref().map(|salt| Stage {
            salt,
            rounds: rounds("dpic"),
        });
        derive(
            password,
            first,
            Stage {
                salt: &salt,
                rounds: rounds("iter"),
            },
            &mut Silent,
        )
        .unwrap()
        .to_vec()
    }

    #[test]
    fn passwords_derive_to_the_known_keys() {
        let vectors = golden::vectors();
        for case in vectors["kdf"].as_array().unwrap() {
            assert_eq!(
                kek(case, &bytes(&case["password"])),
                bytes(&case["kek"]),
                "{}",
                case["name"]
            );
        }
    }

    #[test]
    fn the_published_hashcat_self_tests_derive_to_their_keys() {
        let vectors = golden::vectors();
        for case in vectors["published_hashes"].as_array().unwrap() {
            let password = case["password"].as_str().unwrap();
            assert_eq!(kek(case, password.as_bytes()), bytes(&case["kek"]), "{}", case["mode"]);
        }
    }

    #[test]
    fn an_observer_sees_every_round_and_can_stop() {
        let mut seen = Vec::new();
        let first = Stage {
            salt: b"first",
            rounds: STEP * 2,
        };
        let second = Stage {
            salt: b"second",
            rounds: 3,
        };
        let mut watch = |p: &Progress| {
            seen.push((p.done, p.total));
            ControlFlow::Continue(())
        };
        derive(b"x", Some(first), second, &mut watch).unwrap();
        let total = u64::from(STEP) * 2 + 6;
        assert!(seen.iter().all(|(_, all)| *all == Some(total)));
        assert_eq!(seen.last().unwrap().0, total);

        let mut calls = 0;
        let mut stop = |_: &Progress| {
            calls += 1;
            if calls == 2 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        };
        assert_eq!(derive(b"x", Some(first), second, &mut stop).unwrap_err(), Cancelled);
        assert_eq!(calls, 2);
    }

    proptest! {
        #[test]
        fn the_chain_of_this_processor_is_the_portable_one(
            states in proptest::array::uniform4(any::<[u32; 8]>()),
            count in 0_u32..20,
        ) {
            let [inner, outer, mut last, mut sum] = states;
            let (mut portable_last, mut portable_sum) = (last, sum);
            chain(&inner, &outer, &mut last, &mut sum, count);
            portable_chain::<Sha256Rounds>(&inner, &outer, &mut portable_last, &mut portable_sum, count);
            prop_assert_eq!((last, sum), (portable_last, portable_sum));
        }

        #[test]
        fn both_stages_agree_with_the_pbkdf2_crate(
            password in proptest::collection::vec(any::<u8>(), 0..200),
            salts in proptest::array::uniform2(proptest::collection::vec(any::<u8>(), 0..80)),
            counts in proptest::array::uniform2(1_u32..40),
        ) {
            let [dpsl, salt] = &salts;
            let [dpic, iter] = counts;
            let first = Stage { salt: dpsl, rounds: dpic };
            let second = Stage { salt, rounds: iter };
            let middle = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(&password, dpsl, dpic);
            prop_assert_eq!(
                *derive(&password, Some(first), second, &mut Silent).unwrap(),
                pbkdf2::pbkdf2_hmac_array::<Sha1, 32>(&middle, salt, iter)
            );
            prop_assert_eq!(
                *derive(&password, None, second, &mut Silent).unwrap(),
                pbkdf2::pbkdf2_hmac_array::<Sha1, 32>(&password, salt, iter)
            );
        }
    }
}
