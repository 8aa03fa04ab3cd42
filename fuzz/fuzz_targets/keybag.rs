//! `cabled_fuzz::TARGETS`: `keybag`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::archive::keybag(data));
