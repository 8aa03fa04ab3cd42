//! `cabled_fuzz::TARGETS`: `sqlite_pages`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::database::sqlite_pages(data));
