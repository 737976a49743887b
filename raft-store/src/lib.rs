//! The replicated registry: everything that a Conclave cluster knows and agrees on.
//!
//! Commands go in through the log, [`State::apply`](state::State) makes them effective in the same
//! order on every member, and changes come out. Neither the consensus library nor a generated
//! message shows in this crate's public interface.

pub mod backup;
mod change;
mod codec;
mod command;
mod feed;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod peer;
mod raft;
mod record;
pub mod recover;
mod seal;
mod state;
mod storage;
mod store;

pub use crate::change::{Change, ChangeKind};
pub use crate::codec::DecodeError;
#[cfg(feature = "next-format")]
pub use crate::command::SetNote;
pub use crate::command::{
    ActivateAuthority, ActivateRoot, AddDataKey, AdmitMember, AdmitOutcome, AnnounceMember,
    AnnounceOutcome, AppendAuthorities, AttestAgent, AttestOutcome, AuthorityOutcome, BanAgent,
    BeginEpoch, BundleChange, Command, CreateEntries, CreateEntryOutcome, CreateInvite,
    CreateJoinToken, CreateJoinTokenOutcome, CreateRelationship, CreateRelationshipOutcome,
    DeleteAgent, DeleteBundleMode, DeleteBundleOutcome, DeleteEntries, DeleteFederatedBundle,
    DeleteRelationship, DiscardJoinToken, EntryChange, EntryRule, FORMATS, KeepAcmeSecret,
    KeepAcmeSecretOutcome, Operation, Outcome, PrepareAuthority, PrepareBelowUpstream,
    PrepareSuccessor, PromoteAgentSerial, PromoteOutcome, PruneAgents, PruneBundle,
    PruneBundleOutcome, PruneEntries, PruneInvites, PruneJoinTokens, PublishAuthority,
    RedeemJoinToken, RemoveAuthority, RemoveDataKey, RemoveMember, RemoveOutcome, RenewAgent,
    RenewOutcome, RequestId, ResealAuthority, ResealOutcome, RevokeAuthority,
    RevokeUpstreamAuthority, SetAgentVersion, SetBundleMode, SetBundleOutcome, SetClusterVersion,
    SetFederatedBundle, SetSetting, SetSettingOutcome, SetVersionOutcome, SyncUpstreamBundle,
    TaintAuthority, TaintUpstreamAuthority, UpdateBundleOutcome, UpdateEntries, UpdateEntryOutcome,
    UpdateFederatedBundle, UpdateRelationship, UpdateRelationshipOutcome, UpstreamOutcome,
};
pub use crate::feed::{Changes, Compacted, Signal, Topic};
pub use crate::peer::{
    Lane, MAX_PEER_FRAME_LEN_BYTES, NoPeers, PeerAddress, PeerConnection, PeerConnector, PeerError,
};
pub use crate::raft::{
    AnswerError, ClockVerdict, ClusterStatus, DiskState, Leadership, MemberStatus, Membership,
    MembershipChange, MissingVoters, Role,
};
pub use crate::record::{
    AcmeSecret, AcmeSecretKind, Admission, AgentRecord, AuthorityKind, AuthorityRecord,
    AuthorityState, DataKey, InviteId, InviteRecord, JoinTokenHash, MemberProfile, MemberRecord,
    PublicKeyHash, Revision, Sealed, Sequence,
};
pub use crate::seal::{FileSeal, RecordName, SealError, SealProvider, SealProviderError, Wrapped};
pub use crate::state::{LoadError, State, StateHash};
pub use crate::storage::{StorageError, all_closed_within};
pub use crate::store::{
    CloseError, Driver, Identity, Limits, MembershipError, OpenError, Options, Proposal,
    ProposeError, ReadError, RotateError, Rotation, Start, Status, StoppedError, Store,
};
