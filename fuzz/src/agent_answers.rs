//! What servers answer agents: the stream of changes, statuses with details, bundles.

use agent::client::{Batch, CallError, batches};
use bytes::Bytes;
use prost::Message as _;
use proto::conclave::sync::v1::WatchResponse;
use proto::convert;
use tonic::{Code, Status};

use crate::input::{Input, join, plain};
use crate::wire;
use crate::world::AUTHORITY;

/// A byte that says whether a status follows, or the parts of a stream.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    if input.byte() % 2 == 1 {
        return status(input);
    }
    let revision = u64::from(input.number());
    let parts: Vec<WatchResponse> = input
        .pieces(PARTS)
        .into_iter()
        .filter_map(|part| WatchResponse::decode(part).ok())
        .collect();
    let (taken, _) = batches(revision, parts);
    let mut held = revision;
    for Batch {
        revision, is_reset, ..
    } in taken
    {
        assert!(is_reset || revision >= held, "the history went back");
        held = revision;
    }
}

const PARTS: usize = 64;

/// A code and the details.
fn status(mut input: Input<'_>) {
    let code = Code::from(i32::from(input.byte() % 17));
    let details = Bytes::copy_from_slice(input.rest());
    let error = CallError::from(Status::with_details(code, "message", details));
    if error.demand().is_some() {
        assert_eq!(error.code(), Code::PermissionDenied);
        assert!(!error.is_transient());
    }
}

/// A reset in two parts, a change, a sign of life; a refusal with its reason.
pub fn seeds() -> Vec<Vec<u8>> {
    let bundle = convert::bundle::to_wire(&AUTHORITY.bundle(), None);
    let reset = WatchResponse {
        revision: 5,
        reset: true,
        bundles: vec![bundle.clone()],
        ..WatchResponse::default()
    };
    let rest = WatchResponse {
        revision: 5,
        is_last: true,
        reset: true,
        entries: vec![wire::entry("/w"), wire::entry("/v")],
        ..WatchResponse::default()
    };
    let change = WatchResponse {
        revision: 7,
        is_last: true,
        removed_entry_ids: vec!["entry-1".to_owned()],
        removed_bundles: vec!["other.org".to_owned()],
        ..WatchResponse::default()
    };
    let life = WatchResponse {
        revision: 7,
        ..WatchResponse::default()
    };
    let parts = [&reset, &rest, &change, &life].map(|part| part.encode_to_vec());
    let start = [0, 0, 0, 0, 3];
    // google.rpc.Status with one PermissionDeniedDetails whose reason is 1.
    let url = b"type.googleapis.com/spire.api.types.PermissionDeniedDetails";
    let any = [b"\x0a\x3b".as_slice(), url, b"\x12\x02\x08\x01"].concat();
    let len = u8::try_from(any.len()).expect("it is short");
    vec![
        join(&start, &parts),
        join(&start, [&parts[2], &parts[3], &parts[0]]),
        plain(&[1, 7, 0x1a, len], any),
    ]
}
