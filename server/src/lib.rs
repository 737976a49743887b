//! The control plane of a trust domain: endpoints, API, attestation, authorities.

pub mod agents;
pub mod attest;
pub mod ca;
pub mod cli;
pub mod config;
pub mod prune;
#[cfg(test)]
mod testing;
