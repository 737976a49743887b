//! Outcomes as they are remembered: a code and what it names, item by item, without the records.

use std::sync::Arc;

use identity::entry::RegistrationEntry;
use prost::Message as _;

use super::{DecodeError, Record as _, wire};
use crate::command::{
    AdmitOutcome, AnnounceOutcome, AttestOutcome, AuthorityOutcome, CreateEntryOutcome,
    CreateJoinTokenOutcome, CreateRelationshipOutcome, DeleteBundleOutcome, EntryRule,
    KeepAcmeSecretOutcome, Outcome, PromoteOutcome, PruneBundleOutcome, RemoveOutcome,
    RenewOutcome, ResealOutcome, SetBundleOutcome, SetSettingOutcome, SetVersionOutcome,
    UpdateBundleOutcome, UpdateEntryOutcome, UpdateRelationshipOutcome, UpstreamOutcome,
};
use crate::record::AuthorityState;

pub(crate) use wire::OutcomeItem;

/// The remembered form of an outcome.
pub(crate) fn outcome_to_bytes(outcome: &Outcome) -> Box<[u8]> {
    let message = wire::Outcome {
        operation: outcome.operation_number(),
        items: items(outcome),
    };
    message.encode_to_vec().into_boxed_slice()
}

/// The operation number and the items of a remembered outcome.
pub(crate) fn items_from_bytes(bytes: &[u8]) -> Result<(u32, Vec<OutcomeItem>), DecodeError> {
    let message = wire::Outcome::decode(bytes).map_err(DecodeError::Malformed)?;
    Ok((message.operation, message.items))
}

fn items(outcome: &Outcome) -> Vec<OutcomeItem> {
    match outcome {
        Outcome::CreateEntries(outcomes) => outcomes.iter().map(created).collect(),
        Outcome::UpdateEntries(outcomes) => outcomes.iter().map(updated).collect(),
        Outcome::DeleteEntries(outcomes) => outcomes.iter().map(|&was| flag(was)).collect(),
        Outcome::PruneEntries(ids) => ids.iter().map(|id| named(1, id.as_str())).collect(),
        Outcome::PruneAgents(ids) => ids.iter().map(|id| named(1, id.as_str())).collect(),
        Outcome::RequestReused => Vec::new(),
        single => vec![item(single)],
    }
}

fn item(outcome: &Outcome) -> OutcomeItem {
    match outcome {
        Outcome::AttestAgent(outcome) | Outcome::RedeemJoinToken(outcome) => code(match outcome {
            AttestOutcome::Attested => 1,
            AttestOutcome::Banned => 2,
            AttestOutcome::TokenNotRedeemable => 3,
            AttestOutcome::TokenExpired => 4,
        }),
        Outcome::RenewAgent(outcome) => code(match outcome {
            RenewOutcome::Renewed => 1,
            RenewOutcome::NotFound => 2,
            RenewOutcome::Banned => 3,
        }),
        Outcome::PromoteAgentSerial(outcome) => code(match outcome {
            PromoteOutcome::Promoted => 1,
            PromoteOutcome::Stale => 2,
        }),
        Outcome::BanAgent(was)
        | Outcome::DeleteAgent(was)
        | Outcome::SetAgentVersion(was)
        | Outcome::DiscardJoinToken(was)
        | Outcome::AddDataKey(was)
        | Outcome::RemoveDataKey(was)
        | Outcome::CreateInvite(was)
        | Outcome::DeleteRelationship(was) => flag(*was),
        Outcome::CreateJoinToken(outcome) => token_created(outcome),
        Outcome::PruneJoinTokens(count) | Outcome::PruneInvites(count) => numbered(1, *count),
        Outcome::AdmitMember(_)
        | Outcome::AnnounceMember(_)
        | Outcome::RemoveMember(_)
        | Outcome::SetClusterVersion(_)
        | Outcome::BeginEpoch(()) => on_member(outcome),
        Outcome::AppendAuthorities(_) | Outcome::SyncUpstreamBundle(_) => code(1),
        Outcome::TaintUpstreamAuthority(outcome) | Outcome::RevokeUpstreamAuthority(outcome) => {
            code(match outcome {
                UpstreamOutcome::Done(_) => 1,
                UpstreamOutcome::NotFound => 2,
                UpstreamOutcome::AlreadyTainted => 3,
                UpstreamOutcome::NotTainted => 4,
                UpstreamOutcome::InUse => 5,
            })
        }
        Outcome::SetFederatedBundle(_)
        | Outcome::UpdateFederatedBundle(_)
        | Outcome::DeleteFederatedBundle(_)
        | Outcome::PruneBundle(_)
        | Outcome::CreateRelationship(_)
        | Outcome::UpdateRelationship(_) => on_bundle(outcome),
        Outcome::PrepareAuthority(outcome)
        | Outcome::PublishAuthority(outcome)
        | Outcome::ActivateAuthority(outcome)
        | Outcome::RemoveAuthority(outcome)
        | Outcome::PrepareSuccessor(outcome)
        | Outcome::ActivateRoot(outcome)
        | Outcome::TaintAuthority(outcome)
        | Outcome::RevokeAuthority(outcome)
        | Outcome::PrepareBelowUpstream(outcome) => authority(outcome),
        Outcome::ResealAuthority(outcome) => resealed(*outcome),
        Outcome::KeepAcmeSecret(outcome) => acme_kept(*outcome),
        Outcome::SetSetting(outcome) => set(outcome),
        #[cfg(feature = "next-format")]
        Outcome::SetNote(before) => named(1, before),
        Outcome::CreateEntries(_)
        | Outcome::UpdateEntries(_)
        | Outcome::DeleteEntries(_)
        | Outcome::PruneEntries(_)
        | Outcome::PruneAgents(_)
        | Outcome::RequestReused => OutcomeItem::default(),
    }
}

fn created(outcome: &CreateEntryOutcome) -> OutcomeItem {
    match outcome {
        CreateEntryOutcome::Created(_) => code(1),
        CreateEntryOutcome::Similar(entry) => entry_named(2, entry),
        CreateEntryOutcome::IdTaken => code(3),
        CreateEntryOutcome::UnknownFederatedBundle(name) => named(4, name.as_str()),
        CreateEntryOutcome::Invalid(rule) => numbered(5, rule_number(*rule)),
    }
}

fn updated(outcome: &UpdateEntryOutcome) -> OutcomeItem {
    match outcome {
        UpdateEntryOutcome::Updated(_) => code(1),
        UpdateEntryOutcome::NotFound => code(2),
        UpdateEntryOutcome::Similar(entry) => entry_named(3, entry),
        UpdateEntryOutcome::UnknownFederatedBundle(name) => named(4, name.as_str()),
        UpdateEntryOutcome::Invalid(rule) => numbered(5, rule_number(*rule)),
    }
}

fn token_created(outcome: &CreateJoinTokenOutcome) -> OutcomeItem {
    match outcome {
        CreateJoinTokenOutcome::Created => code(1),
        CreateJoinTokenOutcome::Exists => code(2),
        CreateJoinTokenOutcome::AliasSimilar(entry) => entry_named(3, entry),
        CreateJoinTokenOutcome::AliasIdTaken => code(4),
        CreateJoinTokenOutcome::AliasInvalid(rule) => numbered(5, rule_number(*rule)),
    }
}

fn authority(outcome: &AuthorityOutcome) -> OutcomeItem {
    match outcome {
        AuthorityOutcome::Done(record) => valued(1, record.to_bytes()),
        AuthorityOutcome::NotFound => code(2),
        AuthorityOutcome::WrongState(state) => numbered(3, state_number(*state)),
        AuthorityOutcome::SlotTaken => code(4),
        AuthorityOutcome::UnknownDataKey => code(5),
        AuthorityOutcome::Full => code(6),
    }
}

fn resealed(outcome: ResealOutcome) -> OutcomeItem {
    code(match outcome {
        ResealOutcome::Resealed => 1,
        ResealOutcome::NotFound => 2,
        ResealOutcome::UnknownDataKey => 3,
    })
}

fn acme_kept(outcome: KeepAcmeSecretOutcome) -> OutcomeItem {
    code(match outcome {
        KeepAcmeSecretOutcome::Kept => 1,
        KeepAcmeSecretOutcome::UnknownDataKey => 2,
        KeepAcmeSecretOutcome::Overtaken => 3,
    })
}

fn set(outcome: &SetSettingOutcome) -> OutcomeItem {
    match outcome {
        SetSettingOutcome::Set => code(1),
        SetSettingOutcome::Present(value) => valued(2, value.clone()),
    }
}

fn on_bundle(outcome: &Outcome) -> OutcomeItem {
    match outcome {
        Outcome::SetFederatedBundle(outcome) => code(match outcome {
            SetBundleOutcome::Created(_) => 1,
            SetBundleOutcome::Set(_) => 2,
            SetBundleOutcome::Exists => 3,
        }),
        Outcome::UpdateFederatedBundle(outcome) => code(match outcome {
            UpdateBundleOutcome::Updated(_) => 1,
            UpdateBundleOutcome::NotFound => 2,
        }),
        Outcome::DeleteFederatedBundle(outcome) => match outcome {
            DeleteBundleOutcome::Deleted => code(1),
            DeleteBundleOutcome::NotFound => code(2),
            DeleteBundleOutcome::InUse(count) => numbered(3, *count),
        },
        Outcome::PruneBundle(outcome) => code(match outcome {
            PruneBundleOutcome::Pruned(_) => 1,
            PruneBundleOutcome::Unchanged => 2,
            PruneBundleOutcome::NotFound => 3,
            PruneBundleOutcome::WouldBeEmpty => 4,
        }),
        Outcome::CreateRelationship(outcome) => code(match outcome {
            CreateRelationshipOutcome::Created(_) => 1,
            CreateRelationshipOutcome::Exists => 2,
        }),
        Outcome::UpdateRelationship(outcome) => code(match outcome {
            UpdateRelationshipOutcome::Updated(_) => 1,
            UpdateRelationshipOutcome::NotFound => 2,
        }),
        _ => code(1),
    }
}

fn on_member(outcome: &Outcome) -> OutcomeItem {
    match outcome {
        Outcome::AdmitMember(outcome) => match outcome {
            AdmitOutcome::Admitted { member_id } => numbered(1, *member_id),
            AdmitOutcome::NoSuchInvite => code(2),
            AdmitOutcome::Expired => code(3),
            AdmitOutcome::AddressTaken { by } => numbered(4, *by),
            AdmitOutcome::FormatUnsupported { cluster_version } => {
                numbered(5, (*cluster_version).into())
            }
        },
        Outcome::AnnounceMember(outcome) => match outcome {
            AnnounceOutcome::Stored => code(1),
            AnnounceOutcome::Unchanged => code(2),
            AnnounceOutcome::Removed => code(3),
            AnnounceOutcome::AddressTaken { by } => numbered(4, *by),
        },
        Outcome::RemoveMember(outcome) => code(match outcome {
            RemoveOutcome::Removed => 1,
            RemoveOutcome::NotFound => 2,
            RemoveOutcome::AlreadyRemoved => 3,
        }),
        Outcome::SetClusterVersion(outcome) => match outcome {
            SetVersionOutcome::Set => code(1),
            SetVersionOutcome::NotReady { by } => numbered(2, *by),
            SetVersionOutcome::Unchanged => code(3),
        },
        _ => code(1),
    }
}

const fn rule_number(rule: EntryRule) -> u64 {
    match rule {
        EntryRule::SelectorMissing => 1,
        EntryRule::StoreSvidSelectorTypes => 2,
        EntryRule::StoreSvidWithoutPrefetch => 3,
        EntryRule::FederationUnknown => 4,
    }
}

/// The rule that `rule_number` numbers.
pub(crate) const fn rule(number: u64) -> Option<EntryRule> {
    Some(match number {
        1 => EntryRule::SelectorMissing,
        2 => EntryRule::StoreSvidSelectorTypes,
        3 => EntryRule::StoreSvidWithoutPrefetch,
        4 => EntryRule::FederationUnknown,
        _ => return None,
    })
}

const fn state_number(state: AuthorityState) -> u64 {
    match state {
        AuthorityState::Prepared => 1,
        AuthorityState::Published => 2,
        AuthorityState::Active => 3,
        AuthorityState::Old => 4,
        AuthorityState::Tainted => 5,
        AuthorityState::Revoked => 6,
    }
}

/// The state that `state_number` numbers.
pub(crate) const fn state(number: u64) -> Option<AuthorityState> {
    Some(match number {
        1 => AuthorityState::Prepared,
        2 => AuthorityState::Published,
        3 => AuthorityState::Active,
        4 => AuthorityState::Old,
        5 => AuthorityState::Tainted,
        6 => AuthorityState::Revoked,
        _ => return None,
    })
}

fn code(code: u32) -> OutcomeItem {
    OutcomeItem {
        code,
        ..OutcomeItem::default()
    }
}

fn flag(was: bool) -> OutcomeItem {
    code(u32::from(was))
}

fn named(code: u32, subject: &str) -> OutcomeItem {
    OutcomeItem {
        code,
        subject: subject.to_owned(),
        ..OutcomeItem::default()
    }
}

fn entry_named(code: u32, entry: &Arc<RegistrationEntry>) -> OutcomeItem {
    named(code, entry.id.as_str())
}

fn numbered(code: u32, number: u64) -> OutcomeItem {
    OutcomeItem {
        code,
        number,
        ..OutcomeItem::default()
    }
}

fn valued(code: u32, value: Vec<u8>) -> OutcomeItem {
    OutcomeItem {
        code,
        value,
        ..OutcomeItem::default()
    }
}
