//! Certificates of the web by ACME (RFC 8555), for servers that prove by TLS-ALPN-01 (RFC 8737), on the
//! port that they serve at, that a domain is theirs.
//!
//! ```text
//! Tender ─▶ Order ─▶ the ACME server ─▶ its look at the domain ─▶ ProvingHandshakes
//!    │         │                                                          ▲
//!    └─────────┴──▶ Keeper: account, certificate, proof ──────────────────┘
//! ```
//!
//! What must hold: the ACME server is a stranger. It cannot hold up, fill or end the process, and what it
//! issues is kept only if it is for the domain and the key that were asked for. The modules:
//!
//! - [`settings`]: whom to ask, in whose name.
//! - [`keeper`]: where what is obtained stays, and where proofs are shown.
//! - [`certificate`]: a certificate that fits its key and domain.
//! - [`proof`]: the proof that a domain is served here, and the handshakes that show it.
//! - [`tender`]: obtains and renews in time.

pub mod certificate;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod keeper;
mod order;
pub mod proof;
mod schedule;
pub mod settings;
pub mod tender;
#[cfg(feature = "testing")]
pub mod testing;
mod transport;

pub use order::OrderError;
