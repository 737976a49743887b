//! Commands of a format that the cluster does not use yet.
#![cfg(feature = "next-format")]

use raft_store::{
    AnnounceMember, AnnounceOutcome, FORMATS, MemberProfile, ProposeError, SetClusterVersion,
    SetNote, SetVersionOutcome, State, Store,
};

use crate::fixture::{close, open, proposal};

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
    assert_eq!(FORMATS, 1..=2);
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    let refused = store.propose(note(), proposal()).await;
    assert!(
        matches!(
            refused,
            Err(ProposeError::NotYet {
                format: 2,
                cluster_version: 1
            })
        ),
        "{refused:?}"
    );
    announce(&store, 1..=1).await;
    assert_eq!(store.read(State::next_cluster_version), None);
    announce(&store, FORMATS).await;
    assert_eq!(store.read(State::next_cluster_version), Some(2));
    let set = SetClusterVersion {
        version: 2,
        voters: vec![store.status().unwrap().member_id],
    };
    let outcome = store.propose(set, proposal()).await.unwrap();
    assert_eq!(outcome, SetVersionOutcome::Set);
    assert_eq!(&*store.propose(note(), proposal()).await.unwrap(), "");
    assert_eq!(&*store.propose(note(), proposal()).await.unwrap(), "hello");
    let read = store.read(|state| state.setting("note").map(<[u8]>::to_vec));
    assert_eq!(read.as_deref(), Some(b"hello".as_slice()));
    close(store, driver).await;
}
