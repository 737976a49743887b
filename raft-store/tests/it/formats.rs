//! Commands of a format that the cluster does not use yet.
#![cfg(feature = "next-format")]

use raft_store::{
    AnnounceMember, AnnounceOutcome, FORMATS, MemberProfile, Options, ProposeError, SetNote, State,
    Store,
};
use tokio::time::{Duration, Instant};

use crate::fixture::{STARTS, close, open, options, proposal};

async fn announce(store: &Store, formats: std::ops::RangeInclusive<u32>) {
    let announced = AnnounceMember {
        id: store.status().unwrap().member_id,
        profile: MemberProfile {
            peer_address: "h1:8083".into(),
            api_address: "h1:8081".into(),
            program_version: "test".into(),
            formats,
        },
    };
    let outcome = store.propose(announced, proposal()).await.unwrap();
    assert_ne!(outcome, AnnounceOutcome::Removed);
}

fn note() -> SetNote {
    SetNote {
        text: "hello".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_command_waits_until_every_member_understands_it() {
    assert_eq!(FORMATS, 1..=3);
    let dir = tempfile::tempdir().unwrap();
    let older = Options {
        formats: 1..=2,
        ..options(dir.path())
    };
    let (store, driver) = Store::start(older, STARTS).await.unwrap();
    let refused = store.propose(note(), proposal()).await;
    assert!(
        matches!(
            refused,
            Err(ProposeError::NotYet {
                format: 3,
                cluster_version: 2
            })
        ),
        "{refused:?}"
    );
    assert_eq!(store.read(State::next_cluster_version), None);
    announce(&store, FORMATS).await;
    let deadline = Instant::now() + STARTS;
    while store.read(State::cluster_version) < 3 {
        assert!(Instant::now() < deadline, "the leader did not raise it");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(&*store.propose(note(), proposal()).await.unwrap(), "");
    assert_eq!(&*store.propose(note(), proposal()).await.unwrap(), "hello");
    let read = store.read(|state| state.setting("note").map(<[u8]>::to_vec));
    assert_eq!(read.as_deref(), Some(b"hello".as_slice()));
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_cluster_of_one_starts_with_the_newest_format() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    assert_eq!(store.read(State::cluster_version), *FORMATS.end());
    close(store, driver).await;
}
