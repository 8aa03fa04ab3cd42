//! `cabled_fuzz::TARGETS`: `records_database`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::people::records_database(data));
