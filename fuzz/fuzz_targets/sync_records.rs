//! `cabled_fuzz::TARGETS`: `sync_records`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::sync::sync_records(data));
