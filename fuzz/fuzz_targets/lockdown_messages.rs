#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| cabled_fuzz::lockdown::lockdown_messages(data));
