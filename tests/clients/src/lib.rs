//! The relay as real clients see it. The tests are in `tests/`, one module for each client library.
