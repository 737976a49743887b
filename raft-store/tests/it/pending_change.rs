//! A change of who belongs that cannot go on: the second of two members is away in the middle of its
//! promotion.

use std::collections::BTreeSet;
use std::time::Duration;

use raft_store::backup::NewHome;
use raft_store::{
    ClusterStatus, CreateEntries, FileSeal, Limits, Membership, MembershipChange, MissingVoters,
    Proposal, ProposeError, Role, Store, recover,
};
use tokio::time::Instant;

use crate::fixture::{NOW, create, entry, proposal};
use crate::net::{Cluster, SOON};

fn ids(ids: &[u64]) -> BTreeSet<u64> {
    ids.iter().copied().collect()
}

async fn status(store: &Store) -> ClusterStatus {
    store.cluster_status(SOON).await.unwrap()
}

/// Whether `change` makes the second member a voter, and waits for it.
fn is_stuck(change: Option<&MembershipChange>, second: u64) -> bool {
    let pending = change.and_then(|change| change.pending.as_ref());
    pending.is_some_and(|pending| pending.voters.contains(&second))
        && change.is_some_and(|change| !change.missing.is_empty())
}

/// A cluster of one whose second member was killed while its promotion stood in the first one's log
/// alone, and that second member.
async fn stuck() -> (Cluster, u64) {
    let mut attempts = 0;
    loop {
        let mut cluster = Cluster::of_one(Limits::default()).await;
        create(cluster.any(), "before").await;
        let second = cluster.join().await;
        // It answers as before, so it is promoted after a few looks; but that entry does not reach it.
        cluster.net.withhold_entries(1, second);
        let deadline = Instant::now() + SOON;
        loop {
            let seen = status(cluster.store(1)).await;
            let role = seen.members.iter().find(|member| member.id == second);
            if role.is_some_and(|member| member.role == Role::Voter) {
                break;
            }
            if is_stuck(seen.change.as_ref(), second) {
                break;
            }
            assert!(Instant::now() < deadline, "{seen:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        cluster.kill(second).await;
        if is_stuck(status(cluster.store(1)).await.change.as_ref(), second) {
            cluster.net.heal();
            return (cluster, second);
        }
        cluster.stop().await;
        attempts += 1;
        assert!(attempts < ATTEMPTS, "promoted before anything is withheld");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promotion_waits_for_the_member_and_says_so_with_and_without_a_leader() {
    let (mut cluster, second) = stuck().await;
    let told = status(cluster.store(1)).await;
    assert_eq!(told.leader, Some(1));
    let index = told.change.as_ref().unwrap().index;
    let expected = MembershipChange {
        committed: Membership {
            voters: ids(&[1]),
            learners: ids(&[second]),
            ..Membership::default()
        },
        pending: Some(Membership {
            voters: ids(&[1, second]),
            outgoing_voters: ids(&[1]),
            learners: BTreeSet::new(),
        }),
        index,
        missing: vec![MissingVoters {
            count: 1,
            members: ids(&[second]),
        }],
    };
    assert_eq!(told.change.as_ref(), Some(&expected));
    let impatient = Proposal {
        deadline: Duration::from_millis(500),
        ..proposal()
    };
    let entries = vec![entry("refused")];
    let written = cluster
        .store(1)
        .propose(CreateEntries { entries }, impatient);
    let written = written.await;
    assert!(
        matches!(
            written,
            Err(ProposeError::Undecided | ProposeError::NoLeader)
        ),
        "{written:?}"
    );

    cluster.kill(1).await;
    cluster.start_unready(1).await;
    let told = status(cluster.store(1)).await;
    assert_eq!((told.leader, told.change.as_ref()), (None, Some(&expected)));

    cluster.start(second).await.unwrap();
    cluster.until_voting(2).await;
    create(cluster.store(second), "after").await;
    let deadline = Instant::now() + SOON;
    for store in [cluster.store(1), cluster.store(second)] {
        while let Some(change) = status(store).await.change {
            assert!(Instant::now() < deadline, "{change:#?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_member_whose_second_is_lost_in_its_promotion_is_recovered() {
    let (mut cluster, second) = stuck().await;
    cluster.kill(1).await;
    let path = cluster.path(1);
    let seal = FileSeal::at(&path.parent().unwrap().join("seal.key"));
    let plan = recover::plan(&path, &seal).unwrap();
    let members: Vec<u64> = plan.members.iter().map(|member| member.id).collect();
    assert_eq!((plan.entries, members), (1, vec![1, second]));
    let recovered = recover::apply(recover::Recovery {
        data_dir: &path,
        seal: &seal,
        home: NewHome {
            peer_address: "to be told at its start".into(),
            api_address: "".into(),
            program_version: "test".into(),
        },
        now: NOW,
    });
    let id = recovered.unwrap().member_id;
    std::fs::rename(&path, cluster.path(id)).unwrap();
    cluster.start(id).await.unwrap();
    create(cluster.store(id), "after").await;
    let told = status(cluster.store(id)).await;
    assert_eq!((told.leader, told.members.len()), (Some(id), 1));
    assert_eq!(told.change, None);
    cluster.stop().await;
}

/// A machine that is busy for so long that a member is promoted before the test goes on does not stay so.
const ATTEMPTS: u32 = 5;
