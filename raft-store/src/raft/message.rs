//! What members say to each other, between the library's types and our messages.

use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::Types;
use super::convert::{entry_bytes, entry_from_bytes, log_id, position, vote_from, vote_message};
use crate::codec::{DecodeError, wire};

pub(super) fn append_request(request: &AppendEntriesRequest<Types>) -> wire::AppendRequest {
    wire::AppendRequest {
        vote: Some(vote_message(&request.vote)),
        previous: request.prev_log_id.as_ref().map(position),
        records: request.entries.iter().map(entry_bytes).collect(),
        committed: request.leader_commit.as_ref().map(position),
    }
}

pub(super) fn append_request_from(
    message: wire::AppendRequest,
) -> Result<AppendEntriesRequest<Types>, DecodeError> {
    let records = message.records.iter();
    Ok(AppendEntriesRequest {
        vote: vote_from(&message.vote.ok_or(DecodeError::Field("vote"))?),
        prev_log_id: message.previous.map(log_id),
        entries: records
            .map(|record| entry_from_bytes(record))
            .collect::<Result<_, _>>()?,
        leader_commit: message.committed.map(log_id),
    })
}

pub(super) fn append_response(response: &AppendEntriesResponse<Types>) -> wire::AppendResponse {
    use wire::append_response::Result as Answer;
    let result = match response {
        AppendEntriesResponse::Success => Answer::Success(true),
        AppendEntriesResponse::PartialSuccess(through) => {
            let through = through.as_ref().map(position);
            Answer::Partial(wire::PartialAppend { through })
        }
        AppendEntriesResponse::Conflict => Answer::Conflict(true),
        AppendEntriesResponse::HigherVote(vote) => Answer::HigherVote(vote_message(vote)),
    };
    wire::AppendResponse {
        result: Some(result),
    }
}

pub(super) fn append_response_from(
    message: wire::AppendResponse,
) -> Result<AppendEntriesResponse<Types>, DecodeError> {
    use wire::append_response::Result as Answer;
    Ok(match message.result.ok_or(DecodeError::Field("result"))? {
        Answer::Success(_) => AppendEntriesResponse::Success,
        Answer::Partial(partial) => {
            AppendEntriesResponse::PartialSuccess(partial.through.map(log_id))
        }
        Answer::Conflict(_) => AppendEntriesResponse::Conflict,
        Answer::HigherVote(vote) => AppendEntriesResponse::HigherVote(vote_from(&vote)),
    })
}

pub(super) fn vote_request(request: &VoteRequest<Types>) -> wire::VoteRequest {
    wire::VoteRequest {
        vote: Some(vote_message(&request.vote)),
        last: request.last_log_id.as_ref().map(position),
        is_leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn vote_request_from(
    message: wire::VoteRequest,
) -> Result<VoteRequest<Types>, DecodeError> {
    let vote = vote_from(&message.vote.ok_or(DecodeError::Field("vote"))?);
    let mut request = VoteRequest::new(vote, message.last.map(log_id));
    request.leadership_transfer = message.is_leadership_transfer;
    Ok(request)
}

pub(super) fn vote_response(response: &VoteResponse<Types>) -> wire::VoteResponse {
    wire::VoteResponse {
        vote: Some(vote_message(&response.vote)),
        granted: response.vote_granted,
        last: response.last_log_id.as_ref().map(position),
    }
}

pub(super) fn vote_response_from(
    message: wire::VoteResponse,
) -> Result<VoteResponse<Types>, DecodeError> {
    let vote = vote_from(&message.vote.ok_or(DecodeError::Field("vote"))?);
    let last = message.last.map(log_id);
    Ok(VoteResponse::new(vote, last, message.granted))
}

pub(super) fn transfer_request(request: &TransferLeaderRequest<Types>) -> wire::TransferRequest {
    wire::TransferRequest {
        leader: Some(vote_message(request.from_leader())),
        to: *request.to_node_id(),
        last: request.last_log_id().map(position),
    }
}

pub(super) fn transfer_request_from(
    message: wire::TransferRequest,
) -> Result<TransferLeaderRequest<Types>, DecodeError> {
    let leader = vote_from(&message.leader.ok_or(DecodeError::Field("leader"))?);
    let last = message.last.map(log_id);
    Ok(TransferLeaderRequest::new(leader, message.to, last))
}

pub(super) fn transfer_response(
    response: &TransferLeaderResponse<Types>,
) -> wire::TransferResponse {
    use wire::transfer_response::Result as Answer;
    let result = match response {
        Ok(()) => Answer::Accepted(true),
        Err(TransferLeaderError::VoteChanged { actual, .. }) => {
            Answer::VoteChanged(vote_message(actual))
        }
        Err(TransferLeaderError::LogNotFlushed { expected, actual }) => {
            Answer::LogNotFlushed(wire::LogNotFlushed {
                expected: expected.as_ref().map(position),
                actual: actual.as_ref().map(position),
            })
        }
    };
    wire::TransferResponse {
        result: Some(result),
    }
}

pub(super) fn transfer_response_from(
    message: wire::TransferResponse,
) -> Result<TransferLeaderResponse<Types>, DecodeError> {
    use wire::transfer_response::Result as Answer;
    Ok(match message.result.ok_or(DecodeError::Field("result"))? {
        Answer::Accepted(_) => Ok(()),
        Answer::VoteChanged(vote) => {
            let actual = vote_from(&vote);
            Err(TransferLeaderError::VoteChanged {
                expected: actual,
                actual,
            })
        }
        Answer::LogNotFlushed(wire::LogNotFlushed { expected, actual }) => {
            Err(TransferLeaderError::LogNotFlushed {
                expected: expected.map(log_id),
                actual: actual.map(log_id),
            })
        }
    })
}
