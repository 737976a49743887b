//! The crate as a process uses it. Tests with signals are here because a signal reaches every test that runs
//! beside the one that sends it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod authority;
mod supervisor;
