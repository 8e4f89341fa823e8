//! Any filter.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| towpath_protocol::fuzzing::filter(data));
