//! Any leaf, checkpoint, signed note or proof.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| towpath_audit::fuzzing::audit(data));
