//! `cabled_fuzz::TARGETS`: `typedstream`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::people::typedstream(data));
