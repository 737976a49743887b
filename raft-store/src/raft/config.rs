//! Timings and limits of the consensus library.

use std::sync::Arc;

use openraft::{Config, SnapshotPolicy};

/// The library's configuration. `snapshot_every` is the number of entries between snapshots.
pub(super) fn config(snapshot_every: u64) -> Result<Arc<Config>, openraft::ConfigError> {
    let config = Config {
        cluster_name: "conclave".to_owned(),
        // How long an answer to a sign of life may take; `pulse` sends more of them.
        heartbeat_interval: 250,
        // Also how long another member may take to make its vote durable.
        election_timeout_min: 300,
        election_timeout_max: ELECTION_TIMEOUT_MAX_MS,
        enable_pre_vote: Some(true),
        // A restarted leader leads only after an election: until then it may have missed one.
        enable_leader_restore: Some(false),
        // As soon as the lease is over: `pulse` waits longer.
        quorum_loss_probe_interval: None,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_every),
        // Not less than the lag threshold, or slow followers flip to snapshots.
        max_in_snapshot_log_to_keep: snapshot_every,
        replication_lag_threshold: snapshot_every / 2,
        purge_batch_size: (snapshot_every / 4).clamp(1, 1024),
        install_snapshot_timeout: 600_000,
        max_payload_entries: 1024,
        // Of a member whose disk was put back to an older copy: it is sent again what it forgot. Otherwise it would be
        // asked for that without end, and never be up to date.
        allow_log_reversion: Some(true),
        // A member that comes back is found soon.
        backoff: "50ms 100ms 200ms ...500ms".to_owned(),
        ..Config::default()
    };
    config.validate().map(Arc::new)
}

/// Also how long a leader's lease lasts. A member asks for votes when it has heard of no leader for
/// that long and then a random time up to this again: what a silent leader costs.
pub(super) const ELECTION_TIMEOUT_MAX_MS: u64 = 600;
