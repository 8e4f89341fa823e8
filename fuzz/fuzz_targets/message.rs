//! Any message of a client.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| towpath_protocol::fuzzing::message(data));
