//! Certificates from an ACME server of our own: what is obtained, and what is not believed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod orders;
mod place;
mod vices;
