//! What does not belong here is refused, and leaves nothing behind.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use identity::clock::SystemClock;
use wire::peer_request::Request;
use wire::snapshot_chunk::Part;

use super::log_store::LogStore;
use super::{AnswerError, Member, Model, StartError, StartOptions};
use crate::codec::{Frame, wire};
use crate::peer::NoPeers;
use crate::state::State;
use crate::storage::data_dir::DataDir;
use crate::storage::log_db::LogDb;
use crate::storage::{FilesClosed, Memory, OpenGuard, StorageError};
use crate::store::Start;

const CLUSTER: [u8; 16] = [7; 16];
const OWN_ID: u64 = 9;
const LEADER: u64 = 1;

/// A member that was admitted and has heard nothing yet.
async fn joiner(path: &Path) -> (Arc<Member>, Arc<Model>) {
    Member::start(options(path, joined()).0).await.unwrap()
}

fn joined() -> Start {
    Start::Joined {
        cluster_id: CLUSTER,
        member_id: OWN_ID,
        address: "here".to_owned(),
    }
}

/// What a member starts with, and what ends once it has closed its files.
fn options(path: &Path, start: Start) -> (StartOptions, FilesClosed) {
    let (guard, gone) = OpenGuard::new();
    let dir = Arc::new(DataDir::lock(path, guard).ok().unwrap());
    let options = StartOptions {
        memory: Memory::new(Arc::clone(&dir)),
        dir,
        connector: Arc::new(NoPeers),
        snapshot_every: 16,
        snapshot_every_len_bytes: u64::MAX,
        feed_capacity: 16,
        start,
        runtime: tokio::runtime::Handle::current(),
        clock: Arc::new(SystemClock),
    };
    (options, gone)
}

fn framed(cluster_id: [u8; 16], target: u64, request: Request) -> Vec<u8> {
    Frame::wrap(&wire::PeerRequest {
        cluster_id: cluster_id.to_vec(),
        target,
        request: Some(request),
    })
}

const fn status() -> Request {
    Request::Status(wire::StatusRequest { with_hashes: false })
}

fn part(part: Option<Part>) -> Request {
    Request::Snapshot(wire::SnapshotRequest {
        vote: Some(wire::Vote {
            term: 3,
            candidate: LEADER,
            committed: true,
        }),
        is_last: part.is_none(),
        chunk: part.map(|part| wire::SnapshotChunk { part: Some(part) }),
    })
}

fn manifest(cluster_id: [u8; 16], file: &[u8]) -> wire::SnapshotManifest {
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, file);
    wire::SnapshotManifest {
        format_version: 1,
        cluster_id: cluster_id.to_vec(),
        files: vec![wire::SnapshotFile {
            name: "000001.sst".to_owned(),
            len_bytes: u64::try_from(file.len()).unwrap(),
            sha256: sha256.as_ref().to_vec(),
        }],
        ..wire::SnapshotManifest::default()
    }
}

fn assert_untouched(model: &Model) {
    let state = model.state.read();
    assert_eq!(state.state_hash(), State::default().state_hash());
    assert_eq!(model.applied().index, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_killed_before_it_heard_anything_makes_no_cluster_of_its_own() {
    let temp = tempfile::tempdir().unwrap();
    let (first, gone) = options(temp.path(), joined());
    let (member, _) = Member::start(first).await.unwrap();
    member.shut_down().await.unwrap();
    drop(member);
    gone.wait().await;
    let (alone, gone) = options(temp.path(), Start::Alone);
    let refused = Member::start(alone).await.err();
    assert!(matches!(refused, Some(StartError::NotAlone)));
    gone.wait().await;
    let address = "here".to_owned();
    let (again, gone) = options(temp.path(), Start::Member { address });
    let (member, model) = Member::start(again).await.unwrap();
    assert_untouched(&model);
    member.shut_down().await.unwrap();
    drop(member);
    gone.wait().await;
    let left = options(temp.path(), joined()).0;
    let db = LogDb::open(&left.dir.raft(), &left.memory).unwrap();
    let log = LogStore::open(Arc::new(db)).unwrap();
    assert!(log.vote().is_none() && log.last().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_for_another_cluster_or_member_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (member, model) = joiner(temp.path()).await;
    let foreign = framed([8; 16], OWN_ID, status());
    let astray = framed(CLUSTER, OWN_ID + 1, status());
    for request in [foreign, astray] {
        let refused = member.answer(LEADER, &request).await;
        assert!(
            matches!(refused, Err(AnswerError::WrongMember { .. })),
            "{refused:?}"
        );
    }
    let own = framed(CLUSTER, OWN_ID, status());
    assert!(member.answer(LEADER, &own).await.is_ok());
    let itself = member.answer(OWN_ID, &own).await;
    assert!(matches!(itself, Err(AnswerError::NotAMember { .. })));
    assert_untouched(&model);
    member.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_cut_short_or_of_a_newer_version_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (member, model) = joiner(temp.path()).await;
    let good = framed(
        CLUSTER,
        OWN_ID,
        part(Some(Part::Manifest(manifest(CLUSTER, b"table")))),
    );
    for end in 0..good.len() {
        // A cut may leave a shorter message that is whole: then it is one without a request.
        let refused = member.answer(LEADER, &good[..end]).await;
        assert!(refused.is_err(), "{end} bytes");
    }
    let mut newer = good;
    newer[0] += 1;
    let refused = member.answer(LEADER, &newer).await;
    assert!(matches!(refused, Err(AnswerError::Unreadable(_))));
    assert_untouched(&model);
    member.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_another_cluster_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (member, model) = joiner(temp.path()).await;
    let foreign = part(Some(Part::Manifest(manifest([8; 16], b"table"))));
    let refused = member
        .answer(LEADER, &framed(CLUSTER, OWN_ID, foreign))
        .await;
    assert!(
        matches!(
            refused,
            Err(AnswerError::Snapshot(StorageError::Foreign { .. }))
        ),
        "{refused:?}"
    );
    assert_untouched(&model);
    member.shut_down().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_with_a_flipped_bit_or_a_part_too_many_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (member, model) = joiner(temp.path()).await;
    let send = async |request: Request| {
        let request = framed(CLUSTER, OWN_ID, request);
        tokio::time::timeout(Duration::from_secs(20), member.answer(LEADER, &request))
            .await
            .unwrap()
    };
    let bytes = |bytes: &[u8]| wire::SnapshotData {
        file: 0,
        offset: 0,
        bytes: bytes.to_vec(),
    };
    // Nothing may come before the manifest.
    assert!(send(part(Some(Part::Data(bytes(b"table"))))).await.is_err());
    assert!(send(part(None)).await.is_err());
    for (sent, is_taken) in [(b"tabld".as_slice(), true), (b"table and more", false)] {
        let begun = part(Some(Part::Manifest(manifest(CLUSTER, b"table"))));
        send(begun).await.unwrap();
        let taken = send(part(Some(Part::Data(bytes(sent))))).await;
        assert_eq!(taken.is_ok(), is_taken);
        let refused = send(part(None)).await;
        assert!(
            matches!(
                refused,
                Err(AnswerError::Snapshot(StorageError::Corrupt { .. }))
            ),
            "{refused:?}"
        );
        assert_untouched(&model);
    }
    member.shut_down().await.unwrap();
}
