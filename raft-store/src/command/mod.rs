//! Everything that can change the replicated state: the list of commands and what each answers.
//!
//! A command is applied by every member, so it carries all that is not in the state already: time,
//! ids and random values are chosen by the proposer.

mod acme;
mod agent;
mod authority;
mod bundle;
mod entry;
mod federation;
mod join_token;
mod member;
mod rotation;
mod setting;
mod upstream;

use std::ops::RangeInclusive;

use identity::clock::UnixTime;

pub use self::acme::{KeepAcmeSecret, KeepAcmeSecretOutcome};
pub use self::agent::{
    AttestAgent, AttestOutcome, BanAgent, DeleteAgent, PromoteAgentSerial, PromoteOutcome,
    PruneAgents, RedeemJoinToken, RenewAgent, RenewOutcome, SetAgentVersion,
};
pub use self::authority::{
    ActivateAuthority, AuthorityOutcome, PrepareAuthority, PublishAuthority, RemoveAuthority,
    ResealAuthority, ResealOutcome,
};
pub use self::bundle::{
    AppendAuthorities, BundleChange, DeleteBundleMode, DeleteBundleOutcome, DeleteFederatedBundle,
    PruneBundle, PruneBundleOutcome, SetBundleMode, SetBundleOutcome, SetFederatedBundle,
    UpdateBundleOutcome, UpdateFederatedBundle,
};
pub use self::entry::{
    CreateEntries, CreateEntryOutcome, DeleteEntries, EntryChange, EntryRule, PruneEntries,
    UpdateEntries, UpdateEntryOutcome,
};
pub use self::federation::{
    CreateRelationship, CreateRelationshipOutcome, DeleteRelationship, UpdateRelationship,
    UpdateRelationshipOutcome,
};
pub use self::join_token::{
    CreateJoinToken, CreateJoinTokenOutcome, DiscardJoinToken, PruneJoinTokens,
};
pub use self::member::{
    AdmitMember, AdmitOutcome, AnnounceMember, AnnounceOutcome, BeginEpoch, CreateInvite,
    PruneInvites, RemoveMember, RemoveOutcome, SetClusterVersion, SetVersionOutcome,
};
pub use self::rotation::{ActivateRoot, PrepareSuccessor, RevokeAuthority, TaintAuthority};
#[cfg(feature = "next-format")]
pub use self::setting::SetNote;
pub use self::setting::{AddDataKey, RemoveDataKey, SetSetting, SetSettingOutcome};
pub use self::upstream::{
    PrepareBelowUpstream, RevokeUpstreamAuthority, SyncUpstreamBundle, TaintUpstreamAuthority,
    UpstreamOutcome,
};

/// Command formats that this program understands. A command is proposed once every member
/// understands its format.
pub const FORMATS: RangeInclusive<u32> = 1..=NEWEST_FORMAT;

#[cfg(not(feature = "next-format"))]
pub(crate) const NEWEST_FORMAT: u32 = 2;
#[cfg(feature = "next-format")]
pub(crate) const NEWEST_FORMAT: u32 = 3;

/// Names one intent to change something: every retry of it carries the same id and so takes effect
/// once.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// A fresh id, random.
    #[must_use]
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().into_bytes())
    }

    /// The id with these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes, as stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// A command with what every command carries.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Envelope {
    /// Names the intent.
    pub(crate) request_id: RequestId,
    /// The proposer's time: apply has no clock of its own.
    pub(crate) at: UnixTime,
    /// What to do.
    pub(crate) command: Command,
}

/// A command that can be proposed, and what it answers.
pub trait Operation: Into<Command> + Send + 'static {
    /// What the caller learns.
    type Outcome: Send + 'static;

    /// The cluster's version from which on it can be proposed.
    const FORMAT: u32;

    /// This operation's part of an outcome, or `None` when the outcome is of another operation:
    /// the request id had been used for that one.
    fn outcome(outcome: Outcome) -> Option<Self::Outcome>;
}

macro_rules! operations {
    ($(
        $(#[doc = $doc:literal])*
        $(#[cfg($cfg:meta)])?
        $name:ident = $number:literal, format $format:literal => $outcome:ty;
    )*) => {
        /// Every change that the replicated state knows.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Command {
            $($(#[doc = $doc])* $(#[cfg($cfg)])? $name($name),)*
        }

        /// What a command did, by command.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Outcome {
            $(
                #[doc = concat!("Of [`", stringify!($name), "`].")]
                $(#[cfg($cfg)])?
                $name($outcome),
            )*
            /// Of none: the request id had named another kind of command. Nothing changed.
            RequestReused,
        }

        impl Outcome {
            /// Number of the command in `Envelope.op`; never changes.
            #[must_use]
            pub const fn operation_number(&self) -> u32 {
                match self {
                    $($(#[cfg($cfg)])? Self::$name(_) => $number,)*
                    Self::RequestReused => 0,
                }
            }
        }

        impl Command {
            /// Number of the command in `Envelope.op`; never changes.
            #[must_use]
            pub const fn operation_number(&self) -> u32 {
                match self { $($(#[cfg($cfg)])? Self::$name(_) => $number,)* }
            }

            /// The command's name, for logs.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $($(#[cfg($cfg)])? Self::$name(_) => stringify!($name),)* }
            }

            /// The first format that has this command; never changes.
            #[must_use]
            pub const fn format(&self) -> u32 {
                match self { $($(#[cfg($cfg)])? Self::$name(_) => $format,)* }
            }

            /// The names of all commands.
            #[cfg(test)]
            pub(crate) const NAMES: &[(&str, u32)] =
                &[$($(#[cfg($cfg)])? (stringify!($name), $format),)*];
        }

        $(
            $(#[cfg($cfg)])?
            impl From<$name> for Command {
                fn from(operation: $name) -> Self {
                    Self::$name(operation)
                }
            }

            $(#[cfg($cfg)])?
            impl Operation for $name {
                type Outcome = $outcome;

                const FORMAT: u32 = $format;

                fn outcome(outcome: Outcome) -> Option<Self::Outcome> {
                    match outcome {
                        Outcome::$name(outcome) => Some(outcome),
                        _ => None,
                    }
                }
            }
        )*
    };
}

operations! {
    /// Registration entries come into being.
    CreateEntries = 16, format 1 => Vec<CreateEntryOutcome>;
    /// Registration entries change.
    UpdateEntries = 17, format 1 => Vec<UpdateEntryOutcome>;
    /// Registration entries go. The answer says for each id whether it was there.
    DeleteEntries = 18, format 1 => Vec<bool>;
    /// Expired registration entries go. The answer lists them.
    PruneEntries = 19, format 1 => Vec<identity::entry::EntryId>;
    /// An agent proved its node.
    AttestAgent = 20, format 1 => AttestOutcome;
    /// An agent got a new certificate that it has not shown yet.
    RenewAgent = 21, format 1 => RenewOutcome;
    /// An agent showed its new certificate: the old one ends.
    PromoteAgentSerial = 22, format 1 => PromoteOutcome;
    /// An agent is banned. The answer says whether it was there.
    BanAgent = 23, format 1 => bool;
    /// An agent is forgotten. The answer says whether it was there.
    DeleteAgent = 24, format 1 => bool;
    /// An agent told its version. The answer says whether it was there.
    SetAgentVersion = 25, format 1 => bool;
    /// Agents long expired are forgotten. The answer lists them.
    PruneAgents = 26, format 1 => Vec<identity::spiffe_id::SpiffeId>;
    /// A join token may be used once.
    CreateJoinToken = 27, format 1 => CreateJoinTokenOutcome;
    /// Expired join tokens go. The answer counts them.
    PruneJoinTokens = 28, format 1 => u64;
    /// Authorities join the own bundle.
    AppendAuthorities = 29, format 1 => std::sync::Arc<identity::bundle::Bundle>;
    /// A federated bundle is stored as given.
    SetFederatedBundle = 30, format 1 => SetBundleOutcome;
    /// Parts of a federated bundle change.
    UpdateFederatedBundle = 31, format 1 => UpdateBundleOutcome;
    /// A federated bundle goes.
    DeleteFederatedBundle = 32, format 1 => DeleteBundleOutcome;
    /// Expired authorities leave a bundle.
    PruneBundle = 33, format 1 => PruneBundleOutcome;
    /// A new authority, not yet public.
    PrepareAuthority = 34, format 1 => AuthorityOutcome;
    /// An authority's public part enters the own bundle.
    PublishAuthority = 35, format 1 => AuthorityOutcome;
    /// An authority begins to sign; the one before it becomes old.
    ActivateAuthority = 36, format 1 => AuthorityOutcome;
    /// An authority and its key go.
    RemoveAuthority = 37, format 1 => AuthorityOutcome;
    /// A data key joins the ring. The answer says whether its id was free.
    AddDataKey = 38, format 1 => bool;
    /// A setting is stored.
    SetSetting = 39, format 1 => SetSettingOutcome;
    /// A join token is used up for nothing. The answer says whether it was there.
    DiscardJoinToken = 40, format 1 => bool;
    /// A host is invited to join. The answer says whether the invitation stands: its id was free
    /// and its data key is known.
    CreateInvite = 41, format 1 => bool;
    /// Expired invitations go. The answer counts them.
    PruneInvites = 42, format 1 => u64;
    /// An invitation is used up and its bearer becomes a member.
    AdmitMember = 43, format 1 => AdmitOutcome;
    /// A member tells what it is.
    AnnounceMember = 44, format 1 => AnnounceOutcome;
    /// A member is sent away.
    RemoveMember = 45, format 1 => RemoveOutcome;
    /// Commands of a newer format may be proposed.
    SetClusterVersion = 46, format 1 => SetVersionOutcome;
    /// A data key leaves the ring. The answer is false while something is sealed with it, or it
    /// is the one that seals, or there is none.
    RemoveDataKey = 47, format 1 => bool;
    /// An authority's key is sealed anew.
    ResealAuthority = 48, format 1 => ResealOutcome;
    /// A new cluster begins with this state.
    BeginEpoch = 49, format 1 => ();
    /// A new authority enters the own bundle, in place of one that was on its way.
    PrepareSuccessor = 70, format 2 => AuthorityOutcome;
    /// A root begins to sign, through an intermediate of its own.
    ActivateRoot = 71, format 2 => AuthorityOutcome;
    /// What an old authority signed is to be replaced.
    TaintAuthority = 72, format 2 => AuthorityOutcome;
    /// A tainted authority leaves the own bundle.
    RevokeAuthority = 73, format 2 => AuthorityOutcome;
    /// The bundle of another trust domain is found at an address.
    CreateRelationship = 80, format 2 => CreateRelationshipOutcome;
    /// A relationship changes.
    UpdateRelationship = 81, format 2 => UpdateRelationshipOutcome;
    /// A relationship goes. The answer says whether it was there.
    DeleteRelationship = 82, format 2 => bool;
    /// An intermediate that an upstream signed joins, and its roots enter the own bundle.
    PrepareBelowUpstream = 90, format 2 => AuthorityOutcome;
    /// The own bundle follows that of an upstream. The answer is the own bundle.
    SyncUpstreamBundle = 91, format 2 => std::sync::Arc<identity::bundle::Bundle>;
    /// What stands below a root of an upstream is to be replaced.
    TaintUpstreamAuthority = 92, format 2 => UpstreamOutcome;
    /// A tainted root of an upstream leaves the own bundle.
    RevokeUpstreamAuthority = 93, format 2 => UpstreamOutcome;
    /// What an ACME server gave is kept.
    KeepAcmeSecret = 100, format 2 => KeepAcmeSecretOutcome;
    /// An agent showed its join token, perhaps again.
    RedeemJoinToken = 110, format 2 => AttestOutcome;
    /// What the next format adds, in tests of a rolling upgrade. The answer is the note before.
    #[cfg(feature = "next-format")]
    SetNote = 1000, format 3 => Box<str>;
}
