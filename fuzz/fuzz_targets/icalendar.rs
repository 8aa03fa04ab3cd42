//! `cabled_fuzz::TARGETS`: `icalendar`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::sync::icalendar(data));
