//! `cabled_fuzz::TARGETS`: `bookmarks_html`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::sync::bookmarks_html(data));
