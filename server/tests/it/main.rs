//! The server as its clients see it: a whole one in this process, over real sockets and TLS, and
//! the binaries held against what SPIRE answered.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, what cannot go on fails"
)]

mod audit;
mod authorization;
mod backup;
mod bundles;
mod cluster;
mod dev;
mod entries;
mod federation;
mod golden;
mod limits;
mod node_attestation;
mod plugin_attestation;
mod post_quantum;
mod refusals;
mod replicas;
mod rotation_by_hand;
mod self_report;
mod startup;
mod sync;
mod upstream;
mod watch;
mod workload_api;
mod world;
