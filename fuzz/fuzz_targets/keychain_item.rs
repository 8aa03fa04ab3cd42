//! `cabled_fuzz::TARGETS`: `keychain_item`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::keychain::keychain_item(data));
