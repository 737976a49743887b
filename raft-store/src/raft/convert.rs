//! Between the library's types and our stored messages.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::entry::RaftEntry as _;
use openraft::impls::leader_id_adv::LeaderId;
use openraft::{EntryPayload, Membership};
use prost::Message as _;

use super::{CommandBytes, Entry, LogId, Peer, StoredMembership, Vote};
use crate::codec::{DecodeError, Frame, wire};

pub(super) fn position(id: &LogId) -> wire::LogPosition {
    wire::LogPosition {
        term: id.committed_leader_id().term,
        leader: id.committed_leader_id().node_id,
        index: id.index(),
    }
}

pub(super) fn log_id(position: wire::LogPosition) -> LogId {
    let leader = LeaderId {
        term: position.term,
        node_id: position.leader,
    };
    LogId::new(leader, position.index)
}

pub(super) fn position_bytes(id: Option<&LogId>) -> Vec<u8> {
    id.map_or_else(Vec::new, |id| position(id).encode_to_vec())
}

pub(super) fn log_id_from_bytes(bytes: &[u8]) -> Result<Option<LogId>, DecodeError> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let position = wire::LogPosition::decode(bytes).map_err(DecodeError::Malformed)?;
    Ok(Some(log_id(position)))
}

pub(super) fn vote_message(vote: &Vote) -> wire::Vote {
    wire::Vote {
        term: vote.leader_id().term,
        candidate: vote.leader_id().node_id,
        committed: vote.is_committed(),
    }
}

pub(super) fn vote_bytes(vote: &Vote) -> Vec<u8> {
    Frame::wrap(&vote_message(vote))
}

pub(super) fn vote_from_bytes(bytes: &[u8]) -> Result<Vote, DecodeError> {
    Frame::unwrap(bytes).map(|vote| vote_from(&vote))
}

pub(super) fn vote_from(vote: &wire::Vote) -> Vote {
    if vote.committed {
        Vote::new_committed(vote.term, vote.candidate)
    } else {
        Vote::new(vote.term, vote.candidate)
    }
}

pub(super) fn membership(
    position: Option<&LogId>,
    membership: &Membership<u64, Peer>,
) -> wire::Membership {
    let voters = membership.get_joint_config().iter();
    wire::Membership {
        position: position.map(self::position),
        voters: voters
            .map(|ids| wire::VoterSet {
                ids: ids.iter().copied().collect(),
            })
            .collect(),
        members: membership
            .nodes()
            .map(|(id, peer)| wire::Member {
                id: *id,
                address: peer.address.clone(),
            })
            .collect(),
    }
}

pub(super) fn stored_membership(stored: &StoredMembership) -> wire::Membership {
    membership(stored.log_id().as_ref(), stored.membership())
}

pub(super) fn stored_membership_from(
    message: wire::Membership,
) -> Result<StoredMembership, DecodeError> {
    let position = message.position.map(log_id);
    Ok(StoredMembership::new(position, membership_from(message)?))
}

fn membership_from(message: wire::Membership) -> Result<Membership<u64, Peer>, DecodeError> {
    if message.voters.is_empty() && message.members.is_empty() {
        return Ok(Membership::default());
    }
    let voters: Vec<BTreeSet<u64>> = message
        .voters
        .into_iter()
        .map(|set| set.ids.into_iter().collect())
        .collect();
    let members: BTreeMap<u64, Peer> = message
        .members
        .into_iter()
        .map(|member| {
            let address = member.address;
            (member.id, Peer { address })
        })
        .collect();
    Membership::new(voters, members)
        .ok()
        .ok_or(DecodeError::Field("membership"))
}

pub(super) fn entry_bytes(entry: &Entry) -> Vec<u8> {
    use wire::log_record::Payload;
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank(wire::Blank {}),
        EntryPayload::Normal(command) => Payload::Command(command.0.to_vec()),
        EntryPayload::Membership(change) => Payload::Membership(membership(None, change)),
    };
    Frame::wrap(&wire::LogRecord {
        position: Some(position(&entry.log_id)),
        payload: Some(payload),
    })
}

pub(super) fn entry_from_bytes(bytes: &[u8]) -> Result<Entry, DecodeError> {
    use wire::log_record::Payload;
    let record: wire::LogRecord = Frame::unwrap(bytes)?;
    let id = log_id(record.position.ok_or(DecodeError::Field("position"))?);
    let payload = match record.payload.ok_or(DecodeError::Field("payload"))? {
        Payload::Blank(_) => EntryPayload::Blank,
        Payload::Command(bytes) => EntryPayload::Normal(CommandBytes(Bytes::from(bytes))),
        Payload::Membership(change) => EntryPayload::Membership(membership_from(change)?),
    };
    Ok(Entry::new(id, payload))
}
