#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| backstay_fuzz::binlog_changes(data));
