//! What a repeated request answers: what it answered first.
//!
//! The memory of a request holds codes and names, not records: those it creates stand in the
//! repeated command itself, others are looked up as they are now.

use std::sync::Arc;

use identity::bundle::Bundle;
use identity::entry::{EntryId, RegistrationEntry};
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;

use crate::codec::{
    OutcomeItem, Record as _, items_from_bytes, rule_from_number, state_from_number,
};
use crate::command::{
    AdmitOutcome, AnnounceOutcome, AttestOutcome, AuthorityOutcome, Command, CreateEntryOutcome,
    CreateJoinTokenOutcome, CreateRelationshipOutcome, DeleteBundleOutcome, Envelope,
    KeepAcmeSecretOutcome, Outcome, PromoteOutcome, PruneBundleOutcome, RemoveOutcome,
    RenewOutcome, ResealOutcome, SetBundleOutcome, SetSettingOutcome, SetVersionOutcome,
    UpdateBundleOutcome, UpdateEntryOutcome, UpdateRelationshipOutcome, UpstreamOutcome,
};
use crate::record::AuthorityRecord;
use crate::state::State;

impl State {
    /// The outcome of this request if it was applied before.
    pub(super) fn replay(&self, envelope: &Envelope) -> Option<Outcome> {
        let record = self.requests.find(envelope.request_id)?;
        let outcome = match items_from_bytes(&record.outcome) {
            Ok((operation, items)) if operation == envelope.command.operation_number() => {
                self.revive(&envelope.command, &items)
            }
            Ok(_) | Err(_) => None,
        };
        Some(outcome.unwrap_or(Outcome::RequestReused))
    }

    /// Names every command, and none by default: a new one cannot be overlooked.
    fn revive(&self, command: &Command, items: &[OutcomeItem]) -> Option<Outcome> {
        let first = items.first();
        let is_done = first.is_some_and(|item| item.code == 1);
        Some(match command {
            Command::CreateEntries(c) => Outcome::CreateEntries(
                pairs(items, &c.entries)?
                    .map(|(item, entry)| self.revive_created(item, entry))
                    .collect::<Option<_>>()?,
            ),
            Command::UpdateEntries(c) => Outcome::UpdateEntries(
                pairs(items, &c.changes)?
                    .map(|(item, change)| self.revive_updated(item, &change.id))
                    .collect::<Option<_>>()?,
            ),
            Command::DeleteEntries(_) => {
                Outcome::DeleteEntries(items.iter().map(|item| item.code == 1).collect())
            }
            Command::PruneEntries(_) => {
                Outcome::PruneEntries(subjects(items, |text| EntryId::parse(text).ok())?)
            }
            Command::PruneAgents(_) => {
                Outcome::PruneAgents(subjects(items, |text| SpiffeId::parse(text).ok())?)
            }
            Command::AttestAgent(_) => Outcome::AttestAgent(attested(first?)?),
            Command::RedeemJoinToken(_) => Outcome::RedeemJoinToken(attested(first?)?),
            Command::RenewAgent(_) => Outcome::RenewAgent(renewed(first?)?),
            Command::PromoteAgentSerial(_) => Outcome::PromoteAgentSerial(promoted(is_done)),
            Command::BanAgent(_) => Outcome::BanAgent(is_done),
            Command::DeleteAgent(_) => Outcome::DeleteAgent(is_done),
            Command::SetAgentVersion(_) => Outcome::SetAgentVersion(is_done),
            Command::DiscardJoinToken(_) => Outcome::DiscardJoinToken(is_done),
            Command::AddDataKey(_) => Outcome::AddDataKey(is_done),
            Command::RemoveDataKey(_) => Outcome::RemoveDataKey(is_done),
            Command::DeleteRelationship(_) => Outcome::DeleteRelationship(is_done),
            Command::CreateInvite(_) => Outcome::CreateInvite(is_done),
            Command::PruneInvites(_) => Outcome::PruneInvites(first?.number),
            Command::AdmitMember(_)
            | Command::AnnounceMember(_)
            | Command::RemoveMember(_)
            | Command::SetClusterVersion(_)
            | Command::BeginEpoch(_) => on_member(command, first?)?,
            Command::CreateJoinToken(_) => Outcome::CreateJoinToken(self.revive_token(first?)?),
            Command::PruneJoinTokens(_) => Outcome::PruneJoinTokens(first?.number),
            Command::AppendAuthorities(_)
            | Command::SyncUpstreamBundle(_)
            | Command::TaintUpstreamAuthority(_)
            | Command::RevokeUpstreamAuthority(_)
            | Command::SetFederatedBundle(_)
            | Command::UpdateFederatedBundle(_)
            | Command::DeleteFederatedBundle(_)
            | Command::PruneBundle(_) => self.revive_bundle(command, first?)?,
            Command::CreateRelationship(_) | Command::UpdateRelationship(_) => {
                self.revive_relationship(command, first?)?
            }
            Command::PrepareAuthority(_)
            | Command::PublishAuthority(_)
            | Command::ActivateAuthority(_)
            | Command::RemoveAuthority(_)
            | Command::PrepareSuccessor(_)
            | Command::ActivateRoot(_)
            | Command::TaintAuthority(_)
            | Command::RevokeAuthority(_)
            | Command::PrepareBelowUpstream(_)
            | Command::ResealAuthority(_) => on_authority(command, first?)?,
            #[cfg(feature = "next-format")]
            Command::SetNote(_) => Outcome::SetNote(first?.subject.as_str().into()),
            Command::SetSetting(_) => Outcome::SetSetting(set(first?)),
            Command::KeepAcmeSecret(_) => Outcome::KeepAcmeSecret(kept(first?)),
        })
    }

    fn revive_created(
        &self,
        item: &OutcomeItem,
        entry: &RegistrationEntry,
    ) -> Option<CreateEntryOutcome> {
        Some(match item.code {
            1 => CreateEntryOutcome::Created(Arc::new(RegistrationEntry {
                revision: 0,
                ..entry.clone()
            })),
            2 => CreateEntryOutcome::Similar(self.named_or(item, entry)?),
            3 => CreateEntryOutcome::IdTaken,
            4 => {
                CreateEntryOutcome::UnknownFederatedBundle(TrustDomain::parse(&item.subject).ok()?)
            }
            5 => CreateEntryOutcome::Invalid(rule_from_number(item.number)?),
            _ => return None,
        })
    }

    /// The entry that the item names; if that is gone, an entry with the name and what made it
    /// similar.
    fn named_or(
        &self,
        item: &OutcomeItem,
        entry: &RegistrationEntry,
    ) -> Option<Arc<RegistrationEntry>> {
        let id = EntryId::parse(&item.subject).ok()?;
        Some(match self.entry(&id) {
            Some(named) => Arc::clone(named),
            None => Arc::new(RegistrationEntry {
                id,
                ..entry.clone()
            }),
        })
    }

    fn revive_updated(&self, item: &OutcomeItem, id: &EntryId) -> Option<UpdateEntryOutcome> {
        let or_gone = |id: &EntryId, outcome: fn(Arc<RegistrationEntry>) -> UpdateEntryOutcome| {
            let entry = self.entry(id).map(|entry| outcome(Arc::clone(entry)));
            entry.unwrap_or(UpdateEntryOutcome::NotFound)
        };
        Some(match item.code {
            1 => or_gone(id, UpdateEntryOutcome::Updated),
            2 => UpdateEntryOutcome::NotFound,
            3 => or_gone(
                &EntryId::parse(&item.subject).ok()?,
                UpdateEntryOutcome::Similar,
            ),
            4 => {
                UpdateEntryOutcome::UnknownFederatedBundle(TrustDomain::parse(&item.subject).ok()?)
            }
            5 => UpdateEntryOutcome::Invalid(rule_from_number(item.number)?),
            _ => return None,
        })
    }

    fn revive_token(&self, item: &OutcomeItem) -> Option<CreateJoinTokenOutcome> {
        Some(match item.code {
            1 => CreateJoinTokenOutcome::Created,
            2 => CreateJoinTokenOutcome::Exists,
            3 => {
                let id = EntryId::parse(&item.subject).ok()?;
                match self.entry(&id) {
                    Some(similar) => CreateJoinTokenOutcome::AliasSimilar(Arc::clone(similar)),
                    None => CreateJoinTokenOutcome::AliasIdTaken,
                }
            }
            4 => CreateJoinTokenOutcome::AliasIdTaken,
            5 => CreateJoinTokenOutcome::AliasInvalid(rule_from_number(item.number)?),
            _ => return None,
        })
    }

    fn revive_bundle(&self, command: &Command, item: &OutcomeItem) -> Option<Outcome> {
        let now = |trust_domain: &TrustDomain| self.bundle(trust_domain).cloned();
        Some(match command {
            Command::AppendAuthorities(c) => Outcome::AppendAuthorities(now(&c.trust_domain)?),
            Command::SyncUpstreamBundle(c) => Outcome::SyncUpstreamBundle(now(&c.trust_domain)?),
            Command::TaintUpstreamAuthority(c) => {
                Outcome::TaintUpstreamAuthority(upstream(item, now(&c.trust_domain))?)
            }
            Command::RevokeUpstreamAuthority(c) => {
                Outcome::RevokeUpstreamAuthority(upstream(item, now(&c.trust_domain))?)
            }
            Command::SetFederatedBundle(c) => Outcome::SetFederatedBundle(match item.code {
                1 => SetBundleOutcome::Created(Arc::new(c.bundle.clone())),
                2 => SetBundleOutcome::Set(Arc::new(c.bundle.clone())),
                _ => SetBundleOutcome::Exists,
            }),
            Command::UpdateFederatedBundle(c) => {
                let bundle = now(&c.trust_domain).filter(|_| item.code == 1);
                Outcome::UpdateFederatedBundle(match bundle {
                    Some(bundle) => UpdateBundleOutcome::Updated(bundle),
                    None => UpdateBundleOutcome::NotFound,
                })
            }
            Command::DeleteFederatedBundle(_) => Outcome::DeleteFederatedBundle(match item.code {
                1 => DeleteBundleOutcome::Deleted,
                2 => DeleteBundleOutcome::NotFound,
                _ => DeleteBundleOutcome::InUse(item.number),
            }),
            Command::PruneBundle(c) => Outcome::PruneBundle(match item.code {
                1 => match now(&c.trust_domain) {
                    Some(bundle) => PruneBundleOutcome::Pruned(bundle),
                    None => PruneBundleOutcome::NotFound,
                },
                2 => PruneBundleOutcome::Unchanged,
                3 => PruneBundleOutcome::NotFound,
                _ => PruneBundleOutcome::WouldBeEmpty,
            }),
            _ => return None,
        })
    }

    fn revive_relationship(&self, command: &Command, item: &OutcomeItem) -> Option<Outcome> {
        Some(match command {
            Command::CreateRelationship(c) => Outcome::CreateRelationship(match item.code {
                1 => CreateRelationshipOutcome::Created(Arc::new(c.relationship.clone())),
                _ => CreateRelationshipOutcome::Exists,
            }),
            Command::UpdateRelationship(c) => {
                let now = self.relationship(&c.trust_domain).cloned();
                Outcome::UpdateRelationship(match now.filter(|_| item.code == 1) {
                    Some(now) => UpdateRelationshipOutcome::Updated(now),
                    None => UpdateRelationshipOutcome::NotFound,
                })
            }
            _ => return None,
        })
    }
}

fn pairs<'a, T>(
    items: &'a [OutcomeItem],
    inputs: &'a [T],
) -> Option<impl Iterator<Item = (&'a OutcomeItem, &'a T)>> {
    (items.len() == inputs.len()).then(|| items.iter().zip(inputs))
}

fn subjects<T>(items: &[OutcomeItem], parse: fn(&str) -> Option<T>) -> Option<Vec<T>> {
    items.iter().map(|item| parse(&item.subject)).collect()
}

const fn promoted(is_done: bool) -> PromoteOutcome {
    match is_done {
        true => PromoteOutcome::Promoted,
        false => PromoteOutcome::Stale,
    }
}

const fn kept(item: &OutcomeItem) -> KeepAcmeSecretOutcome {
    match item.code {
        1 => KeepAcmeSecretOutcome::Kept,
        2 => KeepAcmeSecretOutcome::UnknownDataKey,
        _ => KeepAcmeSecretOutcome::Overtaken,
    }
}

fn attested(item: &OutcomeItem) -> Option<AttestOutcome> {
    Some(match item.code {
        1 => AttestOutcome::Attested,
        2 => AttestOutcome::Banned,
        3 => AttestOutcome::TokenNotRedeemable,
        4 => AttestOutcome::TokenExpired,
        _ => return None,
    })
}

fn set(item: &OutcomeItem) -> SetSettingOutcome {
    match item.code {
        1 => SetSettingOutcome::Set,
        _ => SetSettingOutcome::Present(item.value.clone()),
    }
}

fn renewed(item: &OutcomeItem) -> Option<RenewOutcome> {
    Some(match item.code {
        1 => RenewOutcome::Renewed,
        2 => RenewOutcome::NotFound,
        3 => RenewOutcome::Banned,
        _ => return None,
    })
}

fn authority(item: &OutcomeItem) -> Option<AuthorityOutcome> {
    Some(match item.code {
        1 => AuthorityOutcome::Done(Arc::new(AuthorityRecord::from_bytes(&item.value).ok()?)),
        2 => AuthorityOutcome::NotFound,
        3 => AuthorityOutcome::WrongState(state_from_number(item.number)?),
        4 => AuthorityOutcome::SlotTaken,
        5 => AuthorityOutcome::UnknownDataKey,
        6 => AuthorityOutcome::Full,
        _ => return None,
    })
}

fn upstream(item: &OutcomeItem, now: Option<Arc<Bundle>>) -> Option<UpstreamOutcome> {
    Some(match item.code {
        1 => UpstreamOutcome::Done(now?),
        2 => UpstreamOutcome::NotFound,
        3 => UpstreamOutcome::AlreadyTainted,
        4 => UpstreamOutcome::NotTainted,
        5 => UpstreamOutcome::InUse,
        _ => return None,
    })
}

fn on_authority(command: &Command, item: &OutcomeItem) -> Option<Outcome> {
    Some(match command {
        Command::PrepareAuthority(_) => Outcome::PrepareAuthority(authority(item)?),
        Command::PublishAuthority(_) => Outcome::PublishAuthority(authority(item)?),
        Command::ActivateAuthority(_) => Outcome::ActivateAuthority(authority(item)?),
        Command::RemoveAuthority(_) => Outcome::RemoveAuthority(authority(item)?),
        Command::PrepareSuccessor(_) => Outcome::PrepareSuccessor(authority(item)?),
        Command::ActivateRoot(_) => Outcome::ActivateRoot(authority(item)?),
        Command::TaintAuthority(_) => Outcome::TaintAuthority(authority(item)?),
        Command::RevokeAuthority(_) => Outcome::RevokeAuthority(authority(item)?),
        Command::PrepareBelowUpstream(_) => Outcome::PrepareBelowUpstream(authority(item)?),
        Command::ResealAuthority(_) => Outcome::ResealAuthority(match item.code {
            1 => ResealOutcome::Resealed,
            2 => ResealOutcome::NotFound,
            _ => ResealOutcome::UnknownDataKey,
        }),
        _ => return None,
    })
}

fn on_member(command: &Command, item: &OutcomeItem) -> Option<Outcome> {
    let number = item.number;
    Some(match command {
        Command::AdmitMember(_) => Outcome::AdmitMember(match item.code {
            1 => AdmitOutcome::Admitted { member_id: number },
            2 => AdmitOutcome::NoSuchInvite,
            3 => AdmitOutcome::Expired,
            4 => AdmitOutcome::AddressTaken { by: number },
            5 => AdmitOutcome::FormatUnsupported {
                cluster_version: u32::try_from(number).ok()?,
            },
            _ => return None,
        }),
        Command::AnnounceMember(_) => Outcome::AnnounceMember(match item.code {
            1 => AnnounceOutcome::Stored,
            2 => AnnounceOutcome::Unchanged,
            3 => AnnounceOutcome::Removed,
            4 => AnnounceOutcome::AddressTaken { by: number },
            _ => return None,
        }),
        Command::RemoveMember(_) => Outcome::RemoveMember(match item.code {
            1 => RemoveOutcome::Removed,
            2 => RemoveOutcome::NotFound,
            3 => RemoveOutcome::AlreadyRemoved,
            _ => return None,
        }),
        Command::SetClusterVersion(_) => Outcome::SetClusterVersion(match item.code {
            1 => SetVersionOutcome::Set,
            2 => SetVersionOutcome::NotReady { by: number },
            3 => SetVersionOutcome::Unchanged,
            _ => return None,
        }),
        Command::BeginEpoch(_) => Outcome::BeginEpoch(()),
        _ => return None,
    })
}
