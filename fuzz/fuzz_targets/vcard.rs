//! `cabled_fuzz::TARGETS`: `vcard`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::sync::vcard(data));
