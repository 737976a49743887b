//! The agent in process against a server that speaks SPIRE's API over TLS.
//!
//! The server's authority is a test authority, its answers follow the protocol, and a test says what
//! it knows: tokens, entries, whom it refuses.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

mod admin;
mod attestation;
mod bootstrap;
mod connections;
mod docker;
mod fake_server;
mod harness;
mod jwt;
mod outage;
mod plugins;
mod push;
mod refusals;
mod rotation;
mod sds;
mod sync;
mod taint;
mod workloads;
mod x509pop;
