//! `cabled_fuzz::TARGETS`: `plist_binary`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::wire::plist_binary(data));
