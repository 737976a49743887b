//! Agents on the wire, and the filters of their lists.

use identity::clock::UnixTime;
use identity::selector::{MatchBehavior, SelectorSet};
use identity::spiffe_id::SpiffeId;

use crate::convert::{ConvertError, go_time, id, selector};
use crate::spire::api::server::agent::v1::{count_agents_request, list_agents_request};
use crate::spire::api::types;

/// The mask that chooses every field.
pub const EVERY_FIELD: types::AgentMask = types::AgentMask {
    attestation_type: true,
    x509svid_serial_number: true,
    x509svid_expires_at: true,
    selectors: true,
    banned: true,
    can_reattest: true,
    agent_version: true,
};

/// An agent as the server knows it.
#[derive(Clone, Copy, Debug)]
pub struct AgentView<'a> {
    /// Its identity.
    pub spiffe_id: &'a SpiffeId,
    /// The name of the attestor that admitted it.
    pub attestation_type: &'a str,
    /// The serial number of its SVID in decimal; empty when banned.
    pub serial: &'a str,
    /// When its SVID expires.
    pub not_after: UnixTime,
    /// What attestation found out about its node.
    pub selectors: &'a SelectorSet,
    /// Whether it attests again instead of renewing.
    pub can_reattest: bool,
    /// What it last said its version is.
    pub agent_version: &'a str,
}

impl AgentView<'_> {
    /// The wire form, cut to the fields of the mask; the id is always there.
    pub fn to_wire(&self, mask: Option<&types::AgentMask>) -> types::Agent {
        let mask = mask.unwrap_or(&EVERY_FIELD);
        let mut wire = types::Agent {
            id: Some(id::to_wire(self.spiffe_id)),
            banned: mask.banned && self.is_banned(),
            can_reattest: mask.can_reattest && self.can_reattest,
            ..types::Agent::default()
        };
        if mask.attestation_type {
            self.attestation_type.clone_into(&mut wire.attestation_type);
        }
        if mask.x509svid_serial_number {
            self.serial.clone_into(&mut wire.x509svid_serial_number);
        }
        if mask.x509svid_expires_at {
            wire.x509svid_expires_at = self.not_after.as_secs();
        }
        if mask.selectors {
            wire.selectors = selector::to_wire(self.selectors);
        }
        if mask.agent_version {
            self.agent_version.clone_into(&mut wire.agent_version);
        }
        wire
    }

    fn is_banned(&self) -> bool {
        self.serial.is_empty()
    }
}

/// Conditions that must all hold; what is `None` is no condition.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AgentFilter {
    /// The name of the attestor.
    pub attestation_type: Option<Box<str>>,
    /// How the agent's selectors compare with these. An empty set is for the service to refuse.
    pub selectors: Option<(MatchBehavior, SelectorSet)>,
    /// Whether it is banned.
    pub banned: Option<bool>,
    /// Whether it attests again instead of renewing.
    pub can_reattest: Option<bool>,
    /// Its SVID expires before this time.
    pub expires_before: Option<UnixTime>,
}

impl AgentFilter {
    /// Whether an agent meets all conditions.
    pub fn admits(&self, agent: &AgentView<'_>) -> bool {
        self.attestation_type
            .as_deref()
            .is_none_or(|wanted| wanted == agent.attestation_type)
            && self.banned.is_none_or(|wanted| wanted == agent.is_banned())
            && self
                .can_reattest
                .is_none_or(|wanted| wanted == agent.can_reattest)
            && self
                .expires_before
                .is_none_or(|wanted| agent.not_after < wanted)
            && self.selectors.as_ref().is_none_or(|(behavior, wanted)| {
                identity::selector::matches(*behavior, agent.selectors, wanted)
            })
    }
}

/// The filter of a list. A time that cannot be read is no condition.
///
/// # Errors
/// The selectors: one is broken ([`ConvertError::Selector`]) or there are none
/// ([`ConvertError::EmptySelectorFilter`]).
pub fn list_filter(
    wire: Option<&list_agents_request::Filter>,
) -> Result<AgentFilter, ConvertError> {
    let Some(wire) = wire else {
        return Ok(AgentFilter::default());
    };
    Ok(AgentFilter {
        attestation_type: named(&wire.by_attestation_type),
        selectors: selectors(wire.by_selector_match.as_ref())?,
        banned: wire.by_banned,
        can_reattest: wire.by_can_reattest,
        expires_before: go_time::parse(&wire.by_expires_before),
    })
}

/// The filter of a count; otherwise as [`list_filter`].
///
/// # Errors
/// As [`list_filter`].
pub fn count_filter(
    wire: Option<&count_agents_request::Filter>,
) -> Result<AgentFilter, ConvertError> {
    let Some(wire) = wire else {
        return Ok(AgentFilter::default());
    };
    Ok(AgentFilter {
        attestation_type: named(&wire.by_attestation_type),
        selectors: selectors(wire.by_selector_match.as_ref())?,
        banned: wire.by_banned,
        can_reattest: wire.by_can_reattest,
        expires_before: go_time::parse(&wire.by_expires_before),
    })
}

fn named(text: &str) -> Option<Box<str>> {
    (!text.is_empty()).then(|| text.into())
}

fn selectors(
    wire: Option<&types::SelectorMatch>,
) -> Result<Option<(MatchBehavior, SelectorSet)>, ConvertError> {
    wire.map(selector::filter).transpose()
}

#[cfg(test)]
mod tests {
    use identity::selector::Selector;

    use super::*;

    fn spiffe_id() -> SpiffeId {
        SpiffeId::parse("spiffe://example.org/spire/agent/join_token/x").unwrap()
    }

    fn selectors_of(values: &[&str]) -> SelectorSet {
        values
            .iter()
            .map(|value| Selector::new("a", value).unwrap())
            .collect()
    }

    fn agent<'a>(spiffe_id: &'a SpiffeId, selectors: &'a SelectorSet) -> AgentView<'a> {
        AgentView {
            spiffe_id,
            attestation_type: "join_token",
            serial: "17",
            not_after: UnixTime::from_secs(1_700_000_000),
            selectors,
            can_reattest: false,
            agent_version: "1.0",
        }
    }

    #[test]
    fn agent_without_a_serial_number_is_banned() {
        let (id, selectors) = (spiffe_id(), selectors_of(&["1"]));
        let view = agent(&id, &selectors);
        assert!(!view.to_wire(None).banned);
        let banned = AgentView { serial: "", ..view };
        assert!(banned.to_wire(None).banned);
    }

    #[test]
    fn mask_leaves_the_id_and_what_it_chooses() {
        let (id, selectors) = (spiffe_id(), selectors_of(&["1"]));
        let mask = types::AgentMask {
            attestation_type: true,
            ..types::AgentMask::default()
        };
        let expected = types::Agent {
            id: Some(id::to_wire(&id)),
            attestation_type: "join_token".to_owned(),
            ..types::Agent::default()
        };
        assert_eq!(agent(&id, &selectors).to_wire(Some(&mask)), expected);
    }

    #[test]
    fn conditions_must_all_hold() {
        let (id, selectors) = (spiffe_id(), selectors_of(&["1", "2"]));
        let view = agent(&id, &selectors);
        let check = |wire: list_agents_request::Filter, expected: bool| {
            let filter = list_filter(Some(&wire)).unwrap();
            assert_eq!(filter.admits(&view), expected, "{wire:?}");
        };
        let filter = |change: fn(&mut list_agents_request::Filter)| {
            let mut wire = list_agents_request::Filter::default();
            change(&mut wire);
            wire
        };
        check(filter(|_| {}), true);
        check(
            filter(|wire| wire.by_attestation_type = "join_token".to_owned()),
            true,
        );
        check(
            filter(|wire| wire.by_attestation_type = "x509pop".to_owned()),
            false,
        );
        check(filter(|wire| wire.by_banned = Some(true)), false);
        check(filter(|wire| wire.by_can_reattest = Some(false)), true);
        check(
            filter(|wire| wire.by_expires_before = "2100-01-01 00:00:00 +0000 +00".to_owned()),
            true,
        );
        check(
            filter(|wire| wire.by_expires_before = "2000-01-01 00:00:00 +0000 +00".to_owned()),
            false,
        );
        check(
            filter(|wire| wire.by_expires_before = "garbage".to_owned()),
            true,
        );
        check(
            filter(|wire| {
                wire.by_attestation_type = "join_token".to_owned();
                wire.by_banned = Some(true);
            }),
            false,
        );
    }

    #[test]
    fn selector_filter_compares_sets_and_is_never_empty() {
        let (id, selectors) = (spiffe_id(), selectors_of(&["1", "2"]));
        let wanted = |values: &[&str]| count_agents_request::Filter {
            by_selector_match: Some(types::SelectorMatch {
                selectors: selector::to_wire(&selectors_of(values)),
                r#match: 2,
            }),
            ..Default::default()
        };
        let admits = |values: &[&str]| {
            let filter = count_filter(Some(&wanted(values))).unwrap();
            filter.admits(&agent(&id, &selectors))
        };
        assert!(admits(&["1"]));
        assert!(!admits(&["1", "3"]));
        assert_eq!(
            count_filter(Some(&wanted(&[]))),
            Err(ConvertError::EmptySelectorFilter)
        );
    }
}
