//! The store as the server uses it: through its public interface, on a real disk.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod backup;
mod changes;
mod cluster;
mod disaster;
mod divergence;
mod fixture;
mod formats;
mod keys;
mod limits;
mod net;
mod open;
mod pending_change;
mod refusals;
mod removals;
mod snapshots;
mod throughput;
