//! PBKDF2's chain of SHA-256 with the SHA instructions, in registers from end to end.
//!
//! A compression by these instructions takes 32 steps that wait for each other, and a chain of ten million rounds
//! leaves no other work to fill the waiting. So what a round does between two compressions counts: through a function
//! of bytes, the state is laid out, stored, loaded, swapped to big-endian, stored, loaded and swapped back, a seventh
//! of the time. Here it goes into the next message with four shuffles.
//!
//! The caller has asked the processor, see [`chain`](super::chain); everywhere else the bytes go through `sha2`.

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_extract_epi32, _mm_set_epi32, _mm_sha256msg1_epu32,
    _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi32, _mm_xor_si128,
};

/// The state in the order that the instructions want: a, b, e, f and c, d, g, h, from the highest lane down.
#[derive(Clone, Copy)]
struct State {
    abef: __m128i,
    cdgh: __m128i,
}

/// See [`chain`](super::chain).
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(super) fn chain(inner: &[u32; 8], outer: &[u32; 8], last: &mut [u32; 8], sum: &mut [u32; 8], count: u32) {
    let (inner, outer) = (load(inner), load(outer));
    let (mut link, mut total) = (load(last), load(sum));
    for _ in 0..count {
        link = compress_digest(inner, link);
        link = compress_digest(outer, link);
        total.abef = _mm_xor_si128(total.abef, link.abef);
        total.cdgh = _mm_xor_si128(total.cdgh, link.cdgh);
    }
    *last = store(link);
    *sum = store(total);
}

#[target_feature(enable = "sse2")]
fn load(words: &[u32; 8]) -> State {
    let [a, b, c, d, e, f, g, h] = words.map(u32::cast_signed);
    State {
        abef: _mm_set_epi32(a, b, e, f),
        cdgh: _mm_set_epi32(c, d, g, h),
    }
}

#[target_feature(enable = "sse4.1")]
fn store(State { abef, cdgh }: State) -> [u32; 8] {
    let [a, b, e, f] = lanes(abef);
    let [c, d, g, h] = lanes(cdgh);
    [a, b, c, d, e, f, g, h]
}

/// From the highest down.
#[target_feature(enable = "sse4.1")]
fn lanes(of: __m128i) -> [u32; 4] {
    [
        _mm_extract_epi32::<3>(of),
        _mm_extract_epi32::<2>(of),
        _mm_extract_epi32::<1>(of),
        _mm_extract_epi32::<0>(of),
    ]
    .map(i32::cast_unsigned)
}

/// Compresses the block that ends a hash of 64 bytes and a digest: the digest, the end mark, the length of 768 bits.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn compress_digest(start: State, digest: State) -> State {
    // From the order of the instructions to that of the message.
    let fold = _mm_shuffle_epi32::<0x1b>(digest.abef);
    let swap = _mm_shuffle_epi32::<0xb1>(digest.cdgh);
    let w0 = _mm_blend_epi16::<0xf0>(fold, swap);
    let w1 = _mm_alignr_epi8::<8>(swap, fold);
    let w2 = _mm_set_epi32(0, 0, 0, i32::MIN);
    let w3 = _mm_set_epi32(768, 0, 0, 0);

    let [k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10, k11, k12, k13, k14, k15] = ROUND_CONSTANTS;
    // Written out: a loop would keep the message in memory.
    let state = four_rounds(start, w0, k0);
    let state = four_rounds(state, w1, k1);
    let state = four_rounds(state, w2, k2);
    let state = four_rounds(state, w3, k3);
    let w0 = next_words(w0, w1, w2, w3);
    let state = four_rounds(state, w0, k4);
    let w1 = next_words(w1, w2, w3, w0);
    let state = four_rounds(state, w1, k5);
    let w2 = next_words(w2, w3, w0, w1);
    let state = four_rounds(state, w2, k6);
    let w3 = next_words(w3, w0, w1, w2);
    let state = four_rounds(state, w3, k7);
    let w0 = next_words(w0, w1, w2, w3);
    let state = four_rounds(state, w0, k8);
    let w1 = next_words(w1, w2, w3, w0);
    let state = four_rounds(state, w1, k9);
    let w2 = next_words(w2, w3, w0, w1);
    let state = four_rounds(state, w2, k10);
    let w3 = next_words(w3, w0, w1, w2);
    let state = four_rounds(state, w3, k11);
    let w0 = next_words(w0, w1, w2, w3);
    let state = four_rounds(state, w0, k12);
    let w1 = next_words(w1, w2, w3, w0);
    let state = four_rounds(state, w1, k13);
    let w2 = next_words(w2, w3, w0, w1);
    let state = four_rounds(state, w2, k14);
    let w3 = next_words(w3, w0, w1, w2);
    let state = four_rounds(state, w3, k15);
    State {
        abef: _mm_add_epi32(state.abef, start.abef),
        cdgh: _mm_add_epi32(state.cdgh, start.cdgh),
    }
}

#[inline]
#[target_feature(enable = "sha,sse2")]
fn four_rounds(State { abef, cdgh }: State, words: __m128i, constants: [u32; 4]) -> State {
    let [k0, k1, k2, k3] = constants.map(u32::cast_signed);
    let words = _mm_add_epi32(words, _mm_set_epi32(k3, k2, k1, k0));
    let cdgh = _mm_sha256rnds2_epu32(cdgh, abef, words);
    let abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32::<0x0e>(words));
    State { abef, cdgh }
}

/// Four words of the message schedule from the sixteen before.
#[inline]
#[target_feature(enable = "sha,ssse3")]
fn next_words(w0: __m128i, w1: __m128i, w2: __m128i, w3: __m128i) -> __m128i {
    let words = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
    _mm_sha256msg2_epu32(words, w3)
}

/// FIPS 180-4, 4.2.2.
const ROUND_CONSTANTS: [[u32; 4]; 16] = [
    [0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5],
    [0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5],
    [0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3],
    [0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174],
    [0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc],
    [0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da],
    [0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7],
    [0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967],
    [0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13],
    [0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85],
    [0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3],
    [0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070],
    [0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5],
    [0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3],
    [0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208],
    [0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2],
];
