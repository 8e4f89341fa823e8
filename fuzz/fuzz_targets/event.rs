//! Any event, canonical bytes, and text to make an event of.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| towpath_protocol::fuzzing::event(data));
