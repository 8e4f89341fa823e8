//! What the stages of an event cost: allocations, asserted by `tests/allocations.rs`, and instructions, printed by
//! `cargo xtask instructions`. The stages are in `stages/`, for both.
