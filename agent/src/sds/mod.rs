//! Envoy's secret discovery service on the agent's socket: SVIDs and bundles of the calling Envoy as
//! TLS certificates and validation contexts, with SPIRE's names and answers.
//!
//! What must hold: an Envoy gets what its own entries grant and nothing else; a name beyond that
//! refuses the whole request. Each stream is attested by itself.

mod answer;
mod conversation;
mod secret;
mod service;
mod validation;

pub use service::Service;
