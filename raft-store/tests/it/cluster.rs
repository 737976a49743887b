//! Three members: what one takes, all have, whoever leads and whoever is gone.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use identity::entry::EntryId;
use raft_store::{
    AdmitOutcome, CreateEntries, Lane, Limits, MembershipError, OpenError, Options, Proposal,
    ProposeError, ReadError, Role, Start, State, Store,
};
use tokio::time::Instant;

use crate::fixture::{create, entry, large_entry, proposal};
use crate::net::{Cluster, SOON};

fn has(store: &Store, name: &str) -> bool {
    let id = EntryId::parse(name).unwrap();
    store.read(|state| state.entry(&id).is_some())
}

async fn until_equal(cluster: &Cluster) {
    let deadline = Instant::now() + SOON;
    loop {
        let seen = cluster.members.values();
        let seen: Vec<_> = seen
            .map(|m| m.store.read(|s| (s.revision(), s.state_hash())))
            .collect();
        if seen.windows(2).all(|pair| pair[0] == pair[1]) {
            return;
        }
        assert!(Instant::now() < deadline, "{seen:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_on_any_member_is_read_there_at_once_and_everywhere_after() {
    let cluster = Cluster::of_three().await;
    for id in cluster.members.keys().copied() {
        let name = format!("by-{id}");
        create(cluster.store(id), &name).await;
        assert!(has(cluster.store(id), &name));
        for other in cluster.members.values() {
            other.store.linearizable(SOON).await.unwrap();
            assert!(has(&other.store, &name), "not yet on another member");
        }
    }
    until_equal(&cluster).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::of_three().await;
    create(cluster.any(), "before").await;
    let leader = cluster.leader().await;
    let begun = Instant::now();
    cluster.kill(leader).await;
    create(cluster.any(), "after").await;
    let gap = begun.elapsed();
    assert!(gap < Duration::from_millis(600), "write gap {gap:?}");
    assert!(has(cluster.any(), "before"));
    cluster.start(leader).await.unwrap();
    assert!(has(cluster.store(leader), "after"));
    until_equal(&cluster).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_cut_off_acknowledges_nothing_and_reads_nothing() {
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    cluster.net.isolate(leader);
    let patience = Duration::from_millis(2_500);
    let old = cluster.store(leader);
    let impatient = Proposal {
        deadline: patience,
        ..proposal()
    };
    let entries = vec![entry("lost")];
    let (written, read) = tokio::join!(
        old.propose(CreateEntries { entries }, impatient),
        old.linearizable(patience),
    );
    assert!(
        matches!(
            written,
            Err(ProposeError::Undecided | ProposeError::NoLeader)
        ),
        "{written:?}"
    );
    assert!(matches!(read, Err(ReadError::NoQuorum)), "{read:?}");
    let other = cluster.followers_of(leader)[0];
    create(cluster.store(other), "new").await;
    assert!(!has(old, "new"));
    let age = old.freshness().unwrap();
    assert!(age >= Duration::from_secs(1), "{age:?}");

    cluster.net.heal();
    old.linearizable(SOON).await.unwrap();
    assert!(has(old, "new"));
    until_equal(&cluster).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_whose_entries_do_not_arrive_makes_way_though_its_signs_of_life_do() {
    let cluster = Cluster::of_three().await;
    create(cluster.any(), "before").await;
    let leader = cluster.leader().await;
    let others = cluster.followers_of(leader);
    for other in &others {
        cluster.net.withhold_entries(leader, *other);
    }
    let begun = Instant::now();
    create(cluster.store(leader), "waits").await;
    let gap = begun.elapsed();
    assert!(gap < Duration::from_secs(5), "write gap {gap:?}");
    assert_ne!(cluster.leader().await, leader);
    create(cluster.store(others[0]), "after").await;
    until_equal(&cluster).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_across_an_election_has_one_effect() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let taker = cluster.followers_of(leader)[0];
    let store = cluster.store(taker).clone();
    let writing = tokio::task::JoinSet::from_iter((0..50).map(|n| {
        let store = store.clone();
        async move {
            let entries = vec![entry(&format!("entry-{n}"))];
            store
                .propose(CreateEntries { entries }, proposal())
                .await
                .unwrap()
        }
    }));
    cluster.kill(leader).await;
    let outcomes = writing.join_all().await;
    for outcome in outcomes {
        assert!(
            matches!(outcome[0], raft_store::CreateEntryOutcome::Created(_)),
            "{outcome:?}"
        );
    }
    assert_eq!(store.read(State::entry_count), 50);
    drop(store);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lead_is_handed_over_on_request() {
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let wanted = cluster.followers_of(leader)[1];
    let asked = cluster.store(cluster.followers_of(leader)[0]);
    let led = asked.transfer_leadership(Some(wanted), SOON).await.unwrap();
    assert_eq!(led, wanted);
    assert_eq!(cluster.leader().await, wanted);
    let led = asked.transfer_leadership(None, SOON).await.unwrap();
    assert_ne!(led, wanted);
    create(asked, "after").await;
    let nobody = asked.transfer_leadership(Some(99), SOON).await;
    assert!(
        matches!(nobody, Err(MembershipError::NotFound { id: 99 })),
        "{nobody:?}"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_far_behind_gets_a_snapshot_and_then_votes() {
    let limits = Limits {
        snapshot_every: 50,
        ..Limits::default()
    };
    let mut cluster = Cluster::of_one(limits).await;
    for n in 0..200 {
        create(cluster.any(), &format!("entry-{n}")).await;
    }
    let deadline = Instant::now() + SOON;
    while cluster.any().status().unwrap().purged_index.is_none() {
        assert!(Instant::now() < deadline, "nothing purged");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let joined = cluster.join().await;
    cluster.until_voting(2).await;
    assert_eq!(cluster.store(joined).read(State::entry_count), 200);
    assert!(
        cluster
            .store(joined)
            .status()
            .unwrap()
            .snapshot_index
            .is_some()
    );
    until_equal(&cluster).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_catches_up_with_commands_of_any_size() {
    let mut cluster = Cluster::of_three().await;
    create(cluster.any(), "before").await;
    let leader = cluster.leader().await;
    let away = cluster.followers_of(leader)[0];
    cluster.kill(away).await;
    for number in 0..40 {
        let entries = vec![large_entry(&format!("large-{number}"))];
        let created = cluster.any().propose(CreateEntries { entries }, proposal());
        created.await.unwrap();
    }
    cluster.start(away).await.unwrap();
    until_equal(&cluster).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_comes_back_elsewhere_is_found() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let moving = cluster.followers_of(leader)[0];
    cluster.kill(moving).await;
    create(cluster.store(leader), "meanwhile").await;
    cluster.start_at(moving, "elsewhere").await;
    assert!(has(cluster.store(moving), "meanwhile"));
    until_equal(&cluster).await;
    create(cluster.store(moving), "back").await;
    until_equal(&cluster).await;
    cluster.stop().await;
}

/// Parts of a snapshot that were changed on their way.
static FLIPPED: AtomicU32 = AtomicU32::new(0);

fn flip_the_first_parts(lane: Lane, request: Bytes) -> Bytes {
    let is_part = lane == Lane::Snapshot && request.len() > 4096;
    if !is_part || FLIPPED.load(Ordering::SeqCst) >= 2 {
        return request;
    }
    FLIPPED.fetch_add(1, Ordering::SeqCst);
    let mut bytes = request.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    Bytes::from(bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_damaged_on_its_way_is_sent_again() {
    let limits = Limits {
        snapshot_every: 50,
        ..Limits::default()
    };
    let mut cluster = Cluster::of_one(limits).await;
    for n in 0..120 {
        create(cluster.any(), &format!("entry-{n}")).await;
    }
    let deadline = Instant::now() + SOON;
    while cluster.any().status().unwrap().purged_index.is_none() {
        assert!(Instant::now() < deadline, "nothing purged");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.net.mangle(Some(flip_the_first_parts));
    let joined = cluster.join().await;
    assert_eq!(FLIPPED.load(Ordering::SeqCst), 2);
    cluster.net.mangle(None);
    assert_eq!(cluster.store(joined).read(State::entry_count), 120);
    until_equal(&cluster).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_every_members_part_and_who_is_away() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let away = cluster.followers_of(leader)[0];
    let status = cluster.store(away).cluster_status(SOON).await.unwrap();
    assert_eq!(status.leader, Some(leader));
    assert_eq!(status.members.len(), 3);
    for member in &status.members {
        let expected = if member.id == leader {
            Role::Leader
        } else {
            Role::Voter
        };
        assert_eq!(member.role, expected);
        assert!(member.is_reachable);
        assert_eq!(member.program_version.as_ref(), "test");
        assert_eq!(member.api_address.as_ref(), format!("api-{}", member.id));
    }
    cluster.kill(away).await;
    let begun = Instant::now();
    let status = cluster.any().cluster_status(SOON).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(1_500));
    let reachable = status.members.iter().filter(|m| m.is_reachable).count();
    assert_eq!(reachable, 2);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_away_is_looked_for_with_pauses() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let away = cluster.followers_of(leader)[0];
    cluster.kill(away).await;
    create(cluster.store(leader), "meanwhile").await;
    let begun = Instant::now();
    let deadline = begun + SOON;
    let before = cluster.net.refused();
    while cluster.net.refused() < before + 5 {
        assert!(Instant::now() < deadline, "given up");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Without them, five connections take no millisecond.
    assert!(begun.elapsed() > Duration::from_millis(500));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admitted_member_that_never_comes_does_not_vote() {
    let cluster = Cluster::of_one(Limits::default()).await;
    let AdmitOutcome::Admitted { member_id } = cluster.admit("nowhere").await else {
        panic!("not admitted");
    };
    let deadline = Instant::now() + SOON;
    loop {
        let status = cluster.any().cluster_status(SOON).await.unwrap();
        let absent = status.members.iter().find(|m| m.id == member_id).unwrap();
        if absent.role == Role::Learner {
            break;
        }
        assert!(Instant::now() < deadline, "{status:?}");
    }
    create(cluster.any(), "goes-on").await;
    cluster
        .any()
        .remove_member(member_id, proposal())
        .await
        .unwrap();
    cluster.until_voting(1).await;
    cluster.stop().await;
}

/// Looks for as long as a promotion would take, and longer, that this member does not vote.
async fn stays_a_learner(cluster: &Cluster, at: u64, id: u64) {
    let until = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < until {
        let status = cluster.store(at).cluster_status(SOON).await.unwrap();
        let role = status.members.iter().find(|m| m.id == id).unwrap().role;
        assert_ne!(role, Role::Voter, "{status:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_votes_once_it_is_ready() {
    let mut cluster = Cluster::of_one(Limits::default()).await;
    let joiner = cluster.join_unready().await;
    stays_a_learner(&cluster, 1, joiner).await;
    cluster.store(joiner).ready(SOON).await.unwrap();
    cluster.until_voting(2).await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_joiner_that_ends_at_once_takes_no_quorum_away() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    cluster.kill(cluster.followers_of(leader)[0]).await;
    let joiner = cluster.join().await;
    cluster.kill(joiner).await;
    stays_a_learner(&cluster, leader, joiner).await;
    create(cluster.store(leader), "after").await;
    cluster.stop().await;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_disk_is_put_back_to_an_older_copy_catches_up() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let member = cluster.followers_of(leader)[0];
    let (path, older) = (cluster.path(member), cluster.path(0));
    cluster.kill(member).await;
    copy(&path, &older);
    cluster.start(member).await.unwrap();
    create(cluster.store(member), "acknowledged").await;
    cluster.kill(member).await;
    fs::remove_dir_all(&path).unwrap();
    fs::rename(&older, &path).unwrap();
    cluster.start(member).await.unwrap();
    until_equal(&cluster).await;
    assert!(has(cluster.store(member), "acknowledged"));
    assert_eq!(cluster.leader().await, leader);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_of_a_member_that_runs_does_not_start_elsewhere() {
    let mut cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let member = cluster.followers_of(leader)[0];
    let other_path = cluster.path(0);
    cluster.kill(member).await;
    copy(&cluster.path(member), &other_path);
    cluster.start(member).await.unwrap();
    let elsewhere = Start::Member {
        address: "elsewhere".to_owned(),
    };
    let options = Options {
        data_dir: other_path,
        start: elsewhere,
        ..cluster.options(member)
    };
    let refused = Store::open(options).await.err();
    assert!(
        matches!(refused, Some(OpenError::RunsElsewhere { .. })),
        "{refused:?}"
    );
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_whose_files_are_taken_away_stops() {
    let mut cluster = Cluster::of_one(Limits::default()).await;
    let member = cluster.leader().await;
    fs::rename(cluster.path(member), cluster.path(0)).unwrap();
    let reason = cluster.ended(member).await;
    assert!(reason.contains("was removed or replaced"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_several_does_not_start_alone() {
    let mut cluster = Cluster::of_three().await;
    for member in cluster.members.keys().copied().collect::<Vec<_>>() {
        cluster.kill(member).await;
        let alone = Options {
            start: Start::Alone,
            ..cluster.options(member)
        };
        let refused = Store::open(alone).await.err();
        assert!(
            matches!(refused, Some(OpenError::NotAlone { .. })),
            "{refused:?}"
        );
        cluster.start(member).await.unwrap();
    }
    cluster.stop().await;
}
