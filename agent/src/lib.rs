//! The node daemon: proves this host to a server, keeps the identities of its workloads, and serves
//! them on the Workload API.
//!
//! What must hold: a workload gets only what its own entry grants, an SVID is never served past its
//! end, and a join token is spent once. The modules, in the order in which a byte meets them:
//!
//! - [`cli`]: the words on the command line.
//! - [`config`]: what `agent.conf` says, checked.
//! - [`storage`]: what survives a restart: the agent's SVID, its key and the bundle.
//! - [`bootstrap`]: what the first server is believed by, and when that begins anew.
//! - [`attest`]: node attestation: join token in, SVID and bundle out.
//! - [`client`]: the connection to a server and every call made over it.
//! - [`svid`]: the agent's own SVID and its renewal.
//! - [`cache`]: entries, their SVIDs and the bundles, and who wants to hear of changes.
//! - [`sync`]: keeps the cache as the server has it: entries, bundles, signing.
//! - [`jwt`]: tokens, cached while they can be given out again.
//! - [`attestor`]: which selectors a calling process has.
//! - [`endpoints`]: the sockets, and what is served on them.
//! - [`caller`]: who calls there.
//! - [`workload_api`]: what workloads call.
//! - [`sds`]: what Envoy calls.
//! - [`admin_api`]: what administrators and delegates call.
//! - [`health`]: whether all of this works.
//! - [`app`]: puts the parts together.

pub mod admin_api;
pub mod app;
pub mod attest;
pub mod attestor;
mod attestors;
mod backoff;
pub mod bootstrap;
pub mod cache;
pub mod caller;
pub mod cli;
pub mod client;
pub mod config;
pub mod endpoints;
pub mod health;
mod jitter;
pub mod jwt;
pub mod sds;
pub mod storage;
pub mod svid;
pub mod sync;
pub mod workload_api;
