//! Everything that the store reads from its log, its rows, its votes and its peers.

use std::sync::LazyLock;

use prost::Message as _;
use proto::conclave::store::v1 as stored;
use raft_store::fuzzing;

use crate::input::{Input, plain};

/// A byte that says what follows.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 7 {
        0 => fuzzing::envelope(input.rest()),
        1 => {
            let table = input.byte();
            fuzzing::record(table, input.rest())
        }
        2 => fuzzing::log_record(input.rest()),
        3 => fuzzing::vote(input.rest()),
        4 => fuzzing::identity(input.rest()),
        5 => fuzzing::request(input.rest()),
        _ => fuzzing::response(input.rest()),
    };
}

/// Commands that programs of every format wrote, and the rows that they led to.
pub static GOLDEN: LazyLock<Golden> = LazyLock::new(|| {
    let mut golden = Golden::default();
    for file in [
        include_str!("../../raft-store/src/state/tests/golden/format_1.txt"),
        include_str!("../../raft-store/src/state/tests/golden/format_2.txt"),
    ] {
        for line in file.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["=", command] => golden.commands.push(unhex(command)),
                ["row", key, value] => golden.rows.push((unhex(key), unhex(value))),
                _ => {}
            }
        }
    }
    golden
});

/// What golden files hold.
#[derive(Debug, Default)]
pub struct Golden {
    /// Framed envelopes.
    pub commands: Vec<Vec<u8>>,
    /// Rows of the state.
    pub rows: Vec<fuzzing::Row>,
}

fn unhex(hex: &str) -> Vec<u8> {
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or_default(), 16);
    let bytes = hex.as_bytes().chunks(2).map(byte);
    bytes
        .collect::<Result<_, _>>()
        .expect("a golden file is hexadecimal")
}

/// The golden files, and messages of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let commands = GOLDEN.commands.iter();
    let mut seeds: Vec<Vec<u8>> = commands.map(|bytes| plain(&[0], bytes)).collect();
    for (key, value) in &GOLDEN.rows {
        seeds.push(plain(&[1, key[0]], value));
    }
    for line in include_str!("../../raft-store/src/raft/golden/format_1.txt").lines() {
        match line.split_once(' ') {
            Some(("log", bytes)) => seeds.push(plain(&[2], unhex(bytes))),
            Some(("vote", bytes)) => seeds.push(plain(&[3], unhex(bytes))),
            _ => {}
        }
    }
    let identity = stored::Identity {
        cluster_id: vec![1; 16],
        member_id: 4,
    };
    seeds.push(plain(&[4], fuzzing::framed(&identity.encode_to_vec())));
    seeds.extend(requests().map(|one| plain(&[5], fuzzing::framed(&one.encode_to_vec()))));
    seeds.extend(responses().map(|one| plain(&[6], fuzzing::framed(&one.encode_to_vec()))));
    seeds
}

fn position(index: u64) -> Option<stored::LogPosition> {
    Some(stored::LogPosition {
        term: 3,
        leader: 1,
        index,
    })
}

fn vote() -> Option<stored::Vote> {
    Some(stored::Vote {
        term: 3,
        candidate: 1,
        committed: true,
    })
}

fn requests() -> impl Iterator<Item = stored::PeerRequest> {
    use stored::peer_request::Request;
    let record = include_str!("../../raft-store/src/raft/golden/format_1.txt").lines();
    let record = record.filter_map(|line| Some(unhex(line.strip_prefix("log ")?)));
    let votes = stored::VoteRequest {
        vote: vote(),
        last: position(7),
        is_leadership_transfer: true,
    };
    [
        Request::Append(stored::AppendRequest {
            vote: vote(),
            previous: position(6),
            records: record.collect(),
            committed: position(5),
        }),
        Request::Vote(votes),
        Request::PreVote(votes),
        Request::Transfer(stored::TransferRequest {
            leader: vote(),
            to: 2,
            last: position(7),
        }),
        Request::Forward(stored::ForwardRequest {
            commands: GOLDEN.commands[..2].to_vec(),
        }),
    ]
    .into_iter()
    .map(|request| stored::PeerRequest {
        cluster_id: vec![1; 16],
        target: 2,
        request: Some(request),
    })
}

fn responses() -> impl Iterator<Item = stored::PeerResponse> {
    use stored::peer_response::Response;
    use stored::{append_response, transfer_response};
    [
        Response::Append(stored::AppendResponse {
            result: vote().map(append_response::Result::HigherVote),
        }),
        Response::Vote(stored::VoteResponse {
            vote: vote(),
            granted: true,
            last: position(7),
        }),
        Response::Transfer(stored::TransferResponse {
            result: Some(transfer_response::Result::LogNotFlushed(
                stored::LogNotFlushed {
                    expected: position(7),
                    actual: position(6),
                },
            )),
        }),
    ]
    .into_iter()
    .map(|response| stored::PeerResponse {
        response: Some(response),
    })
}
