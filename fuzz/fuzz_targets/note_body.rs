//! `cabled_fuzz::TARGETS`: `note_body`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::records::note_body(data));
