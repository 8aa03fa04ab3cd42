//! The least that ten million rounds of PBKDF2-HMAC-SHA256 can cost: two compressions a round in one loop, each waiting
//! for the one before, with nothing stored, checked or reported. Its result is no key.

use serde_json::{Value, json};

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn measure(_rounds: u64) -> Value {
    json!({ "seconds": null })
}

#[cfg(target_arch = "x86_64")]
pub(crate) fn measure(rounds: u64) -> Value {
    if !(is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1")) {
        return json!({ "seconds": null });
    }
    let started = crate::processor();
    // SAFETY: the processor was just asked for both.
    std::hint::black_box(unsafe { x86::rounds(rounds) });
    json!({ "seconds": (crate::processor() - started).as_secs_f64() })
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    #[target_feature(enable = "sha,sse4.1,ssse3")]
    pub(super) fn rounds(count: u64) -> i32 {
        let (inner, outer) = (
            (_mm_set1_epi32(0x0123_4567), _mm_set1_epi32(3)),
            (_mm_set1_epi32(0x0765_4321), _mm_set1_epi32(5)),
        );
        let (mut state, mut sum) = (inner, _mm_setzero_si128());
        for _ in 0..count {
            state = compress(inner, state);
            state = compress(outer, state);
            sum = _mm_xor_si128(sum, _mm_xor_si128(state.0, state.1));
        }
        _mm_cvtsi128_si32(sum)
    }

    #[inline]
    #[target_feature(enable = "sha,sse4.1,ssse3")]
    fn compress(start: (__m128i, __m128i), digest: (__m128i, __m128i)) -> (__m128i, __m128i) {
        let (t, u) = (_mm_shuffle_epi32(digest.0, 0x1b), _mm_shuffle_epi32(digest.1, 0xb1));
        let mut m = [
            _mm_blend_epi16(t, u, 0xf0),
            _mm_alignr_epi8(u, t, 8),
            _mm_set_epi32(0, 0, 0, i32::MIN),
            _mm_set_epi32(768, 0, 0, 0),
        ];
        let (mut a, mut c) = start;
        // Unrolled by hand: the compiler would keep the message in memory.
        macro_rules! unrolled { ($($i:literal)*) => { $( {
            const I: usize = $i;
            const KEYS: [i32; 4] = super::constants(I);
            let words = _mm_add_epi32(m[I % 4], _mm_set_epi32(KEYS[3], KEYS[2], KEYS[1], KEYS[0]));
            c = _mm_sha256rnds2_epu32(c, a, words);
            a = _mm_sha256rnds2_epu32(a, c, _mm_shuffle_epi32(words, 0x0e));
            let next = _mm_add_epi32(_mm_sha256msg1_epu32(m[I % 4], m[(I + 1) % 4]), _mm_alignr_epi8(m[(I + 3) % 4], m[(I + 2) % 4], 4));
            m[I % 4] = _mm_sha256msg2_epu32(next, m[(I + 3) % 4]);
        } )* } }
        unrolled!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
        let _ = m;
        (_mm_add_epi32(a, start.0), _mm_add_epi32(c, start.1))
    }
}

/// Stand-ins for the round constants: any numbers cost the same.
#[cfg(target_arch = "x86_64")]
const fn constants(at: usize) -> [i32; 4] {
    let n = at as i32;
    [0x428a_2f98 ^ n, 0x7137_4491 ^ n, 0x35c0_fbcf ^ n, 0x69b5_dba5 ^ n]
}
