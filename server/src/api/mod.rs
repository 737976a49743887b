//! Owns the gRPC services: each parses a request with [`proto::convert`], calls one service of the
//! domain, and renders its answer. Statuses are made in [`status`] only.

pub mod bundle;
pub mod entry;
pub mod health;
pub mod page_token;
pub mod status;
