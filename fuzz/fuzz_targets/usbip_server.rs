//! `cabled_fuzz::TARGETS`: `usbip_server`, for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::usbip::usbip_server(data));
