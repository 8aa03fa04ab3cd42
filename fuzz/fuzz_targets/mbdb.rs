//! `cabled_fuzz::TARGETS`: `mbdb`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::archive::mbdb(data));
