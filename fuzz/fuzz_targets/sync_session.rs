//! `cabled_fuzz::TARGETS`: `sync_session`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::sessions::sync_session(data));
