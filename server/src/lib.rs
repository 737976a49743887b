//! The control plane of a trust domain: endpoints, API, attestation, authorities.
//!
//! One way through: [`endpoints`] take a call in, a service of [`api`] reads it and asks the
//! services of the domain ([`entries`], [`bundles`], …), which read the store or propose to it.

pub mod agents;
pub mod api;
pub mod app;
pub mod attest;
pub mod bundles;
pub mod ca;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod dev;
mod domain_pin;
pub mod endpoints;
pub mod entries;
pub mod federation;
mod health_checks;
mod leadership;
pub mod peers;
mod plugins;
pub mod prune;
pub mod self_report;
pub mod svids;
pub mod sync;
pub mod template;
#[cfg(test)]
mod testing;
mod time_check;
pub mod upstream;
mod walk;
