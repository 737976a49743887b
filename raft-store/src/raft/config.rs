//! Timings and limits of the consensus library.

use std::sync::Arc;

use openraft::{Config, SnapshotPolicy};

/// The library's configuration. `snapshot_every` is the number of entries between snapshots.
pub(super) fn config(snapshot_every: u64) -> Result<Arc<Config>, openraft::ConfigError> {
    let config = Config {
        cluster_name: "conclave".to_owned(),
        heartbeat_interval: 100,
        // Several heartbeats may be late before anybody asks for votes.
        election_timeout_min: 300,
        election_timeout_max: ELECTION_TIMEOUT_MAX_MS,
        enable_pre_vote: Some(true),
        // A restarted leader leads only after an election: until then it may have missed one.
        enable_leader_restore: Some(false),
        // Lease plus election timeout: a leader that reaches a bridge only gives up.
        quorum_loss_probe_interval: Some(2 * ELECTION_TIMEOUT_MAX_MS),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(snapshot_every),
        // Not less than the lag threshold, or slow followers flip to snapshots.
        max_in_snapshot_log_to_keep: snapshot_every,
        replication_lag_threshold: snapshot_every / 2,
        purge_batch_size: (snapshot_every / 4).clamp(1, 1024),
        install_snapshot_timeout: 600_000,
        max_payload_entries: 1024,
        // A member that comes back is found soon.
        backoff: "50ms 100ms 200ms ...500ms".to_owned(),
        ..Config::default()
    };
    config.validate().map(Arc::new)
}

/// Also how long a leader's lease lasts.
const ELECTION_TIMEOUT_MAX_MS: u64 = 600;
