//! A member whose state is not what the log leads to.

use futures_util::future::join_all;
use raft_store::SetSetting;

use crate::fixture::{create, proposal};
use crate::net::Cluster;

fn setting(key: &str, number: u64) -> SetSetting {
    SetSetting {
        key: key.into(),
        value: number.to_be_bytes().to_vec(),
        only_if_absent: false,
    }
}

/// Writes until every member has noted the hash of its state anew.
async fn past_the_next_hash(cluster: &Cluster, leader: u64) {
    const HASHED_EVERY: u64 = 1_000;
    let store = cluster.store(leader);
    let last = store.status().unwrap().last_index.unwrap();
    let missing = HASHED_EVERY - last % HASHED_EVERY;
    let writes = (0..missing).map(|number| store.propose(setting("test", number), proposal()));
    for written in join_all(writes).await {
        written.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_state_differs_stops_and_the_others_go_on() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let odd = cluster.followers_of(leader)[0];
    cluster.store(odd).diverge(setting("odd", 1));
    past_the_next_hash(&cluster, leader).await;
    let reason = cluster.ended(odd).await;
    assert!(
        reason.contains("differs from that of a majority") && reason.contains("let it join again"),
        "{reason}"
    );
    create(cluster.any(), "after").await;
    cluster.stop().await;
}
