//! A cluster after a disaster: from the last survivor, or from a backup, back to three members.

use raft_store::backup::{NewHome, Restore, restore};
use raft_store::{FileSeal, State, recover};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::fixture::{NOW, create};
use crate::net::{Cluster, SOON};

fn home() -> NewHome {
    NewHome {
        peer_address: "to be told at its start".into(),
        api_address: "".into(),
        program_version: "test".into(),
    }
}

fn seal(cluster: &Cluster) -> FileSeal {
    let key = cluster.path(1).parent().unwrap().join("seal.key");
    FileSeal::at(&key)
}

/// Starts the one member of a new cluster, and two more.
async fn grow(cluster: &mut Cluster, member_id: u64) {
    cluster.start(member_id).await.unwrap();
    for _ in 0..2 {
        cluster.join().await;
    }
    cluster.until_voting(3).await;
    create(cluster.any(), "after").await;
    let deadline = Instant::now() + SOON;
    loop {
        let hashes = cluster.members.values();
        let hashes: Vec<_> = hashes
            .map(|member| member.store.read(State::state_hash))
            .collect();
        if hashes.windows(2).all(|pair| pair[0] == pair[1]) {
            return;
        }
        assert!(Instant::now() < deadline, "{hashes:?}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_grows_from_the_survivor_of_a_lost_majority() {
    let mut cluster = Cluster::of_three().await;
    for number in 0..30 {
        create(cluster.any(), &format!("entry-{number}")).await;
    }
    let leader = cluster.leader().await;
    let survivor = cluster.followers_of(leader)[0];
    cluster.store(survivor).linearizable(SOON).await.unwrap();
    let old = cluster.store(survivor).status().unwrap();
    let ids: Vec<u64> = cluster.members.keys().copied().collect();
    for id in ids {
        cluster.kill(id).await;
    }
    let seal = seal(&cluster);
    let path = cluster.path(survivor);
    let plan = recover::plan(&path, &seal).unwrap();
    assert_eq!((plan.entries, plan.members.len()), (30, 3));
    // Two sentences tell of the members that are forgotten.
    let forgotten = |loss: &&String| loss.contains("is forgotten");
    assert_eq!(plan.losses().iter().filter(forgotten).count(), 2);
    let recovered = recover::apply(recover::Recovery {
        data_dir: &path,
        seal: &seal,
        home: home(),
        now: NOW,
    });
    let recovered = recovered.unwrap();
    std::fs::rename(&path, cluster.path(recovered.member_id)).unwrap();
    grow(&mut cluster, recovered.member_id).await;
    let now = cluster.any().status().unwrap();
    assert_eq!(now.cluster_id, recovered.cluster_id);
    assert_ne!(now.cluster_id, old.cluster_id);
    assert!(now.revision > old.revision);
    assert_eq!(cluster.any().read(State::entry_count), 31);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_grows_from_a_followers_backup() {
    let mut cluster = Cluster::of_three().await;
    for number in 0..30 {
        create(cluster.any(), &format!("entry-{number}")).await;
    }
    let leader = cluster.leader().await;
    let follower = cluster.followers_of(leader)[0];
    let file = cluster.path(1).parent().unwrap().join("backup");
    let mut reader = cluster.store(follower).backup(NOW).await.unwrap();
    let mut bytes = tokio::fs::File::create(&file).await.unwrap();
    while let Some(part) = reader.next().await {
        bytes.write_all(&part.unwrap()).await.unwrap();
    }
    bytes.flush().await.unwrap();
    create(cluster.any(), "not-in-the-backup").await;
    let ids: Vec<u64> = cluster.members.keys().copied().collect();
    for id in ids {
        cluster.kill(id).await;
    }
    let empty = cluster.path(1).parent().unwrap().join("empty");
    let restored = restore(Restore {
        file: &file,
        data_dir: &empty,
        seal: &seal(&cluster),
        home: home(),
        now: NOW,
    });
    let restored = restored.unwrap();
    std::fs::rename(&empty, cluster.path(restored.member_id)).unwrap();
    grow(&mut cluster, restored.member_id).await;
    assert_eq!(cluster.any().read(State::entry_count), 31);
    cluster.stop().await;
}
