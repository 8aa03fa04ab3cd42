//! `cabled_fuzz::TARGETS`: `sqlite_wal`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::database::sqlite_wal(data));
