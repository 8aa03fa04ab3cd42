//! `cabled_fuzz::TARGETS`: `glob`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::select::glob(data));
