//! Commands as they stand in the log: `u8 frame version | prost Envelope`.

use wire::envelope::Op;

use super::field::{request_id, time};
use super::{DecodeError, Stored, wire};
use crate::command::{Command, Envelope, NEWEST_FORMAT};

/// What precedes every stored message: one byte that says how the rest is laid out.
pub(crate) struct Frame;

impl Frame {
    /// One prost message follows.
    pub(crate) const VERSION: u8 = 1;

    /// `message`, framed.
    pub(crate) fn wrap(message: &impl prost::Message) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + message.encoded_len());
        bytes.push(Self::VERSION);
        message
            .encode(&mut bytes)
            .expect("a vector grows, so encoding into it cannot run out of room");
        bytes
    }

    /// The framed message.
    pub(crate) fn unwrap<M: prost::Message + Default>(bytes: &[u8]) -> Result<M, DecodeError> {
        match bytes.split_first() {
            Some((&Self::VERSION, message)) => M::decode(message).map_err(DecodeError::Malformed),
            Some((&found, _)) => Err(DecodeError::NewerFormat {
                found: found.into(),
                known: Self::VERSION.into(),
            }),
            None => Err(DecodeError::Field("frame")),
        }
    }
}

/// The log bytes of a command.
pub(crate) fn encode_envelope(envelope: &Envelope) -> Vec<u8> {
    Frame::wrap(&wire::Envelope {
        format_version: envelope.command.format(),
        request_id: envelope.request_id.as_bytes().to_vec(),
        at: envelope.at.as_secs(),
        op: Some(op(&envelope.command)),
    })
}

/// The command of log bytes.
pub(crate) fn decode_envelope(bytes: &[u8]) -> Result<Envelope, DecodeError> {
    let envelope: wire::Envelope = Frame::unwrap(bytes)?;
    if envelope.format_version > NEWEST_FORMAT {
        return Err(DecodeError::NewerFormat {
            found: envelope.format_version,
            known: NEWEST_FORMAT,
        });
    }
    if envelope.format_version == 0 {
        return Err(DecodeError::Field("format version"));
    }
    Ok(Envelope {
        request_id: request_id(&envelope.request_id)?,
        at: time(envelope.at),
        command: command(envelope.op.ok_or(DecodeError::UnknownCommand)?)?,
    })
}

macro_rules! commands {
    ($($(#[cfg($cfg:meta)])? $name:ident)*) => {
        fn op(command: &Command) -> Op {
            match command {
                $($(#[cfg($cfg)])? Command::$name(command) => Op::$name(command.to_message()),)*
            }
        }

        fn command(op: Op) -> Result<Command, DecodeError> {
            Ok(match op {
                $(
                    $(#[cfg($cfg)])?
                    Op::$name(command) => Command::$name(Stored::from_message(command)?),
                )*
                #[cfg(not(feature = "next-format"))]
                Op::SetNote(_) => return Err(DecodeError::UnknownCommand),
            })
        }
    };
}

commands! {
    CreateEntries UpdateEntries DeleteEntries PruneEntries
    AttestAgent RenewAgent PromoteAgentSerial BanAgent DeleteAgent SetAgentVersion PruneAgents
    CreateJoinToken DiscardJoinToken PruneJoinTokens
    AppendAuthorities SetFederatedBundle UpdateFederatedBundle DeleteFederatedBundle PruneBundle
    PrepareAuthority PublishAuthority ActivateAuthority RemoveAuthority
    AddDataKey SetSetting
    CreateInvite PruneInvites AdmitMember AnnounceMember RemoveMember SetClusterVersion
    RemoveDataKey ResealAuthority BeginEpoch
    PrepareSuccessor ActivateRoot TaintAuthority RevokeAuthority
    CreateRelationship UpdateRelationship DeleteRelationship
    PrepareBelowUpstream SyncUpstreamBundle TaintUpstreamAuthority RevokeUpstreamAuthority
    KeepAcmeSecret RedeemJoinToken
    #[cfg(feature = "next-format")]
    SetNote
}
