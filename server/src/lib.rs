//! The control plane of a trust domain: endpoints, API, attestation, authorities.

pub mod ca;
pub mod cli;
pub mod config;
#[cfg(test)]
mod testing;
