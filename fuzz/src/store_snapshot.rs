//! Snapshots that a peer sends, and the manifests of those on disk.

use std::fs;
use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};
use prost::Message as _;
use proto::conclave::store::v1 as stored;
use raft_store::fuzzing;
use tempfile::TempDir;

use crate::input::{Input, join, plain};

/// A byte that says whether a stored manifest follows, or a manifest and parts of its files.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let home = FOLDER.path().join("home");
    if input.byte() % 2 == 1 {
        return stored_manifest(input.rest());
    }
    let manifest = input.piece();
    fuzzing::snapshot(&home, manifest, &input.pieces(PARTS));
    // Nothing was written beside the place that it is to be in.
    let beside = fs::read_dir(FOLDER.path()).expect("the folder is there");
    assert!(beside.count() <= 2);
}

const PARTS: usize = 64;

fn stored_manifest(message: &[u8]) {
    let folder = FOLDER.path().join("stored");
    fs::create_dir_all(&folder).expect("a folder");
    let framed = fuzzing::framed(message);
    let hash = digest(&SHA256, &framed);
    let bytes = [&framed[..], hash.as_ref()].concat();
    fs::write(folder.join("snapshot.manifest"), bytes).expect("the file is written");
    fuzzing::snapshot_in(&folder);
}

static FOLDER: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a folder"));

/// A small snapshot, whole.
pub fn seeds() -> Vec<Vec<u8>> {
    let files: [(&str, &[u8]); 2] = [("000010.sst", b"table"), ("CURRENT", b"MANIFEST-1\n")];
    let manifest = stored::SnapshotManifest {
        format_version: 1,
        cluster_id: vec![7; 16],
        last_applied: Some(stored::LogPosition {
            term: 1,
            leader: 1,
            index: 9,
        }),
        membership: Some(stored::Membership::default()),
        revision: 2,
        state_hash: vec![9; 16],
        files: files
            .map(|(name, content)| stored::SnapshotFile {
                name: name.to_owned(),
                len_bytes: content.len() as u64,
                sha256: digest(&SHA256, content).as_ref().to_vec(),
            })
            .to_vec(),
    };
    let parts = (0..).zip(files).map(|(file, (_, content))| {
        stored::SnapshotData {
            file,
            offset: 0,
            bytes: content.to_vec(),
        }
        .encode_to_vec()
    });
    let message = manifest.encode_to_vec();
    vec![
        join(&[0], std::iter::once(message.clone()).chain(parts)),
        plain(&[1], message),
    ]
}
