//! Owns the gRPC services: each parses a request with [`proto::convert`], calls one service of the
//! domain, and renders its answer. Statuses are made in [`status`] only.

pub mod agent;
mod audit;
pub mod bundle;
mod caller;
pub mod cluster;
pub mod debug;
pub mod entry;
pub mod health;
pub mod local_authority;
pub mod logger;
pub mod page_token;
pub mod status;
mod status_agent;
mod status_authority;
mod status_cluster;
mod status_federation;
mod status_svid;
pub mod svid;
pub mod sync;
pub mod trust_domain;
