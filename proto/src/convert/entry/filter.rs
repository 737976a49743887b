//! Which entries a list or a count is about.

use std::collections::BTreeSet;

use identity::selector::{MatchBehavior, SelectorSet};
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;

use crate::convert::error::InPart as _;
use crate::convert::{ConvertError, id, selector};
use crate::spire::api::server::entry::v1::{count_entries_request, list_entries_request};
use crate::spire::api::types;

/// Conditions that must all hold; what is `None` is no condition.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct EntryFilter {
    /// The identity.
    pub spiffe_id: Option<SpiffeId>,
    /// The parent.
    pub parent_id: Option<SpiffeId>,
    /// How the entry's selectors compare with these.
    pub selectors: Option<(MatchBehavior, SelectorSet)>,
    /// How the trust domains that the entry federates with compare with these.
    pub federates_with: Option<(MatchBehavior, BTreeSet<TrustDomain>)>,
    /// The hint; never the empty one.
    pub hint: Option<Box<str>>,
    /// The downstream mark.
    pub downstream: Option<bool>,
}

/// The filter of a list.
pub fn list_filter(
    own: &TrustDomain,
    wire: Option<&list_entries_request::Filter>,
) -> Result<EntryFilter, ConvertError> {
    let Some(wire) = wire else {
        return Ok(EntryFilter::default());
    };
    Parts {
        spiffe_id: wire.by_spiffe_id.as_ref(),
        parent_id: wire.by_parent_id.as_ref(),
        selectors: wire.by_selectors.as_ref(),
        federates_with: wire.by_federates_with.as_ref(),
        hint: wire.by_hint.as_deref(),
        downstream: wire.by_downstream,
    }
    .parse(own)
}

/// The filter of a count.
pub fn count_filter(
    own: &TrustDomain,
    wire: Option<&count_entries_request::Filter>,
) -> Result<EntryFilter, ConvertError> {
    let Some(wire) = wire else {
        return Ok(EntryFilter::default());
    };
    Parts {
        spiffe_id: wire.by_spiffe_id.as_ref(),
        parent_id: wire.by_parent_id.as_ref(),
        selectors: wire.by_selectors.as_ref(),
        federates_with: wire.by_federates_with.as_ref(),
        hint: wire.by_hint.as_deref(),
        downstream: wire.by_downstream,
    }
    .parse(own)
}

/// What the two messages, alike in all but name, have in common.
struct Parts<'a> {
    spiffe_id: Option<&'a types::Spiffeid>,
    parent_id: Option<&'a types::Spiffeid>,
    selectors: Option<&'a types::SelectorMatch>,
    federates_with: Option<&'a types::FederatesWithMatch>,
    hint: Option<&'a str>,
    downstream: Option<bool>,
}

impl Parts<'_> {
    fn parse(self, own: &TrustDomain) -> Result<EntryFilter, ConvertError> {
        Ok(EntryFilter {
            parent_id: self
                .parent_id
                .map(|wire| id::member_id(own, Some(wire)))
                .transpose()
                .in_part("malformed parent ID filter")?,
            spiffe_id: self
                .spiffe_id
                .map(|wire| id::workload_id(own, Some(wire)))
                .transpose()
                .in_part("malformed SPIFFE ID filter")?,
            selectors: self
                .selectors
                .map(selector::filter)
                .transpose()
                .in_part("malformed selectors filter")?,
            federates_with: self
                .federates_with
                .map(trust_domains)
                .transpose()
                .in_part("malformed federates with filter")?,
            hint: self.hint.filter(|hint| !hint.is_empty()).map(Box::from),
            downstream: self.downstream,
        })
    }
}

fn trust_domains(
    wire: &types::FederatesWithMatch,
) -> Result<(MatchBehavior, BTreeSet<TrustDomain>), ConvertError> {
    if wire.trust_domains.is_empty() {
        return Err(ConvertError::EmptyTrustDomainFilter);
    }
    let wanted = wire
        .trust_domains
        .iter()
        .map(|name| Ok(TrustDomain::parse(name)?))
        .collect::<Result<_, ConvertError>>()?;
    Ok((selector::trust_domain_behavior(wire.r#match)?, wanted))
}
