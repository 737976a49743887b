//! Who leaves and who is removed: one after the other or at once, never those that a quorum needs.

use futures_util::future::join_all;
use raft_store::{Limits, MembershipError};

use crate::fixture::{create, proposal};
use crate::net::Cluster;

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_stops_and_is_refused_from_then_on() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let removed = cluster.followers_of(leader)[0];
    cluster
        .store(leader)
        .remove_member(removed, proposal())
        .await
        .unwrap();
    cluster.until_voting_but(removed, 2).await;
    let reason = cluster.ended(removed).await;
    assert!(reason.contains("was removed"), "{reason}");
    let again = cluster.restarted(removed).await.unwrap_err();
    let cause = format!("{again:?}");
    assert!(cause.contains("was removed"), "{cause}");

    // The lead itself, removed through the other one.
    let leader = cluster.leader().await;
    let other = cluster.followers_of(leader)[0];
    cluster
        .store(other)
        .remove_member(leader, proposal())
        .await
        .unwrap();
    cluster.ended(leader).await;
    create(cluster.store(other), "alone").await;
    let last = cluster.store(other).remove_member(other, proposal()).await;
    assert!(matches!(last, Err(MembershipError::LastMember)), "{last:?}");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_removed_while_it_was_away_is_told_and_stops() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let away = cluster.followers_of(leader)[0];
    cluster.kill(away).await;
    let removed = cluster.store(leader).remove_member(away, proposal());
    removed.await.unwrap();
    let error = cluster.restarted(away).await.unwrap_err();
    let cause = format!("{error:?}");
    assert!(cause.contains("was removed"), "{cause}");
    cluster.stop().await;
}

/// A removal was refused since it leaves two to vote, of whom one is there.
fn assert_one_of_two(refused: Result<(), MembershipError>) {
    let expected = MembershipError::WouldLoseQuorum {
        voters: 2,
        reachable: 1,
    };
    assert_eq!(
        format!("{refused:?}"),
        format!("{:?}", Err::<(), _>(expected))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_would_lose_the_quorum_is_refused() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let [dead, alive] = cluster.followers_of(leader)[..] else {
        panic!("three members");
    };
    cluster.kill(dead).await;
    let refused = cluster.store(alive).remove_member(alive, proposal()).await;
    assert_one_of_two(refused);
    cluster
        .store(alive)
        .remove_member(dead, proposal())
        .await
        .unwrap();
    cluster.until_voting(2).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_nobody_could_write_is_refused() {
    let mut cluster = Cluster::of_one(Limits::default()).await;
    cluster.join().await;
    cluster.until_voting(2).await;
    let leader = cluster.leader().await;
    let dead = cluster.followers_of(leader)[0];
    cluster.kill(dead).await;
    let refused = cluster.store(leader).remove_member(dead, proposal()).await;
    assert_one_of_two(refused);
    cluster.start(dead).await.unwrap();
    cluster.until_voting(2).await;
    cluster.stop().await;
}

/// Whether each of these left, when all asked for it at once.
async fn leave_at_once(cluster: &Cluster, ids: &[u64]) -> Vec<Result<(), MembershipError>> {
    let leaving = ids
        .iter()
        .map(|id| cluster.store(*id).remove_member(*id, proposal()));
    join_all(leaving).await
}

#[tokio::test(flavor = "multi_thread")]
async fn of_three_that_leave_at_once_one_stays_and_serves() {
    let cluster = Cluster::of_three().await;
    let ids: Vec<u64> = cluster.members.keys().copied().collect();
    let left = leave_at_once(&cluster, &ids).await;
    let staying: Vec<u64> = ids
        .iter()
        .zip(&left)
        .filter_map(|(id, left)| left.is_err().then_some(*id))
        .collect();
    assert!(!staying.is_empty(), "{left:?}");
    create(cluster.store(staying[0]), "after").await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_that_leave_at_once_beside_a_dead_one_only_one_goes() {
    let mut cluster = Cluster::of_three().await;
    cluster.join().await;
    cluster.until_voting(4).await;
    let leader = cluster.leader().await;
    let followers = cluster.followers_of(leader);
    cluster.kill(followers[0]).await;
    let mut left = leave_at_once(&cluster, &followers[1..]).await;
    left.sort_by_key(Result::is_err);
    assert!(left[0].is_ok(), "{left:?}");
    assert_one_of_two(left.remove(1));
    create(cluster.store(leader), "after").await;
    cluster.stop().await;
}
