//! `cabled_fuzz::TARGETS`: `archive_open`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::database::archive_open(data));
