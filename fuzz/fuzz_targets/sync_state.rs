//! `cabled_fuzz::TARGETS`: `sync_state`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::sync_state::sync_state(data));
