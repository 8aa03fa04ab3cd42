//! `cabled_fuzz::TARGETS`: `devicelink_exchange`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::devicelink::devicelink_exchange(data));
