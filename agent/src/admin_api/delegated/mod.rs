//! SVIDs of workloads for delegates: callers that the agent trusts to act for others.
//!
//! What must hold: the caller matches an entry whose SPIFFE ID is configured as a delegate, at every
//! message that it gets; and nobody gets an SVID of an administrator or a downstream server.

mod render;
mod service;
mod updates;

pub(super) use service::server;
