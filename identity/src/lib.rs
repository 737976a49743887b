//! SPIFFE vocabulary, and how a TLS handshake proves it. No I/O, no async.
//!
//! Every type is checked where it is made: a value that exists is valid, and nobody downstream
//! checks again. Error texts are those that SPIRE's API and command lines show.

pub mod bundle;
pub mod clock;
mod der;
pub mod dns_name;
pub mod entry;
pub mod federation;
pub mod hex;
pub mod jwt_svid;
pub mod lifetime;
pub mod pem;
pub mod possession;
mod punycode;
pub mod secret;
pub mod selector;
pub mod spiffe_id;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tls;
pub mod trust_domain;
pub mod x509;
pub mod x509_svid;
