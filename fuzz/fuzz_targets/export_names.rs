//! `cabled_fuzz::TARGETS`: `export_names`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::names::export_names(data));
