//! `cabled_fuzz::TARGETS`: `mux_pair`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::mux::mux_pair(data));
