//! What members say to each other and keep in their log, for the fuzz targets.

use prost::Message as _;
use wire::peer_request::Request;
use wire::peer_response::Response;

use super::convert::{
    entry_bytes, entry_from_bytes, stored_membership, stored_membership_from, vote_bytes,
    vote_from_bytes,
};
use super::message::{
    append_request, append_request_from, append_response, append_response_from, transfer_request,
    transfer_request_from, transfer_response, transfer_response_from, vote_request,
    vote_request_from, vote_response, vote_response_from,
};
use super::start::decode_identity;
use crate::codec::{DecodeError, Frame, decode_envelope, wire};

/// A record of the log.
pub fn log_record(bytes: &[u8]) -> bool {
    let Ok(entry) = entry_from_bytes(bytes) else {
        return false;
    };
    assert_eq!(entry_from_bytes(&entry_bytes(&entry)).ok(), Some(entry));
    true
}

/// The vote that a member keeps.
pub fn vote(bytes: &[u8]) -> bool {
    let Ok(vote) = vote_from_bytes(bytes) else {
        return false;
    };
    assert_eq!(vote_from_bytes(&vote_bytes(&vote)).ok(), Some(vote));
    true
}

/// Who a member is, and the membership of its state.
pub fn identity(bytes: &[u8]) -> bool {
    if let Ok(message) = wire::Membership::decode(bytes)
        && let Ok(membership) = stored_membership_from(message)
    {
        let again = stored_membership_from(stored_membership(&membership));
        assert_eq!(again.ok(), Some(membership));
    }
    decode_identity(bytes).is_ok()
}

/// What another member asks.
pub fn request(bytes: &[u8]) -> bool {
    let Ok(request) = Frame::unwrap::<wire::PeerRequest>(bytes) else {
        return false;
    };
    match request.request {
        Some(Request::Append(message)) => {
            survives(message, append_request_from, |read| append_request(read))
        }
        Some(Request::Vote(message) | Request::PreVote(message)) => {
            survives(message, vote_request_from, |read| vote_request(read))
        }
        Some(Request::Transfer(message)) => survives(message, transfer_request_from, |read| {
            transfer_request(read)
        }),
        Some(Request::Forward(message)) => {
            let mut commands = message.commands.iter();
            commands.all(|command| decode_envelope(command).is_ok())
        }
        Some(
            Request::Snapshot(_) | Request::ReadIndex(_) | Request::Status(_) | Request::Change(_),
        ) => true,
        None => false,
    }
}

/// What another member answers.
pub fn response(bytes: &[u8]) -> bool {
    let Ok(response) = Frame::unwrap::<wire::PeerResponse>(bytes) else {
        return false;
    };
    match response.response {
        Some(Response::Append(message)) => {
            survives(message, append_response_from, |read| append_response(read))
        }
        Some(Response::Vote(message)) => {
            survives(message, vote_response_from, |read| vote_response(read))
        }
        Some(Response::Transfer(message)) => survives(message, transfer_response_from, |read| {
            transfer_response(read)
        }),
        Some(
            Response::Snapshot(_)
            | Response::Forward(_)
            | Response::ReadIndex(_)
            | Response::Status(_)
            | Response::Change(_),
        ) => true,
        None => false,
    }
}

/// Whether a message can be read; what was read is written as a message that reads the same.
fn survives<M: prost::Message + Clone + std::fmt::Debug + PartialEq, T>(
    message: M,
    read: impl Fn(M) -> Result<T, DecodeError>,
    write: impl Fn(&T) -> M,
) -> bool {
    let Ok(value) = read(message) else {
        return false;
    };
    let written = write(&value);
    let again = read(written.clone()).map(|value| write(&value));
    assert_eq!(again.ok(), Some(written));
    true
}
