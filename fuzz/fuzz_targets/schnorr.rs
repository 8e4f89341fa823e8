//! Any signatures, genuine and not, checked at once.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| towpath_schnorr::fuzzing::signatures(data));
