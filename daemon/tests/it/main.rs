//! What takes a process of its own: signals reach every test that runs beside the one that sends them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod supervisor;
