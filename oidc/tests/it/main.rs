//! The provider as a process: asked over HTTP, fed by a file or by fakes of what it asks itself.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed expectation is how a test fails"
)]

mod acme;
mod process;
mod sources;
