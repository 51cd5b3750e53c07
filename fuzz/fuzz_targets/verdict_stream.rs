#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| backstay_fuzz::verdict_stream(data));
