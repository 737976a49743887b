//! The control plane of a trust domain: endpoints, API, attestation, authorities.

pub mod cli;
pub mod config;
