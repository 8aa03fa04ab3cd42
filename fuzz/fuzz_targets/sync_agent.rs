//! `cabled_fuzz::TARGETS`: `sync_agent`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::sessions::sync_agent(data));
