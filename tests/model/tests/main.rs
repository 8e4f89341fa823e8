//! One module a protocol. Each also has versions of it that are wrong, and the checker must find out every one.

mod cluster;
mod commit;
