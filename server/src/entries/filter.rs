//! Owns what a filter of entries admits. The parts of a filter are joined by *and*.

use std::collections::BTreeSet;

use identity::entry::RegistrationEntry;
use identity::selector::{MatchBehavior, matches};
use identity::trust_domain::TrustDomain;
use proto::convert::entry::EntryFilter;

/// Whether `filter` admits every entry there is.
pub(super) fn is_all(filter: &EntryFilter) -> bool {
    let EntryFilter {
        spiffe_id,
        parent_id,
        selectors,
        federates_with,
        hint,
        downstream,
    } = filter;
    spiffe_id.is_none()
        && parent_id.is_none()
        && selectors.is_none()
        && federates_with.is_none()
        && hint.is_none()
        && *downstream != Some(true)
}

/// Whether `filter` admits `entry`.
pub(super) fn admits(filter: &EntryFilter, entry: &RegistrationEntry) -> bool {
    is_none_or_equal(filter.spiffe_id.as_ref(), &entry.spiffe_id)
        && is_none_or_equal(filter.parent_id.as_ref(), &entry.parent_id)
        && is_none_or_equal(filter.hint.as_ref(), &entry.hint)
        // As in SPIRE, whose command line always sends it: `false` is no condition.
        && (filter.downstream != Some(true) || entry.downstream)
        && filter
            .selectors
            .as_ref()
            .is_none_or(|(behavior, wanted)| matches(*behavior, &entry.selectors, wanted))
        && filter
            .federates_with
            .as_ref()
            .is_none_or(|(behavior, wanted)| federates(*behavior, entry, wanted))
}

fn is_none_or_equal<T: PartialEq>(wanted: Option<&T>, have: &T) -> bool {
    wanted.is_none_or(|wanted| wanted == have)
}

fn federates(
    behavior: MatchBehavior,
    entry: &RegistrationEntry,
    wanted: &BTreeSet<TrustDomain>,
) -> bool {
    let have: BTreeSet<&TrustDomain> = entry.federates_with.iter().collect();
    let is_subset = || have.iter().all(|name| wanted.contains(*name));
    let is_superset = || wanted.iter().all(|name| have.contains(name));
    match behavior {
        MatchBehavior::Exact => is_subset() && is_superset(),
        MatchBehavior::Subset => !have.is_empty() && is_subset(),
        MatchBehavior::Superset => is_superset(),
        MatchBehavior::Any => have.iter().any(|name| wanted.contains(*name)),
    }
}

#[cfg(test)]
mod tests {
    use crate::entries::testing::entry;

    use super::*;

    fn domains(names: &[&str]) -> BTreeSet<TrustDomain> {
        names
            .iter()
            .map(|name| TrustDomain::parse(name).unwrap())
            .collect()
    }

    #[test]
    fn parts_of_a_filter_are_joined_by_and() {
        let entry = entry("/web", "/agent", &["unix:uid:1"]);
        let mut filter = EntryFilter::default();
        assert!(is_all(&filter));
        assert!(admits(&filter, &entry));
        filter.spiffe_id = Some(entry.spiffe_id.clone());
        filter.parent_id = Some(entry.parent_id.clone());
        assert!(!is_all(&filter));
        assert!(admits(&filter, &entry));
        filter.hint = Some("other".into());
        assert!(!admits(&filter, &entry));
    }

    #[test]
    fn downstream_entries_can_be_asked_for_but_not_left_out() {
        let plain = entry("/web", "/agent", &["a:1"]);
        let mut downstream = entry("/down", "/agent", &["a:1"]);
        downstream.downstream = true;
        let mut filter = EntryFilter {
            downstream: Some(false),
            ..EntryFilter::default()
        };
        assert!(is_all(&filter));
        assert!(admits(&filter, &plain) && admits(&filter, &downstream));
        filter.downstream = Some(true);
        assert!(!admits(&filter, &plain) && admits(&filter, &downstream));
    }

    #[test]
    fn federated_trust_domains_match_as_sets() {
        let mut entry = entry("/web", "/agent", &["a:1"]);
        entry.federates_with = vec![
            TrustDomain::parse("b.test").unwrap(),
            TrustDomain::parse("a.test").unwrap(),
        ];
        let admits = |behavior, names: &[&str]| {
            let filter = EntryFilter {
                federates_with: Some((behavior, domains(names))),
                ..EntryFilter::default()
            };
            admits(&filter, &entry)
        };
        assert!(admits(MatchBehavior::Exact, &["a.test", "b.test"]));
        assert!(!admits(MatchBehavior::Exact, &["a.test"]));
        assert!(admits(
            MatchBehavior::Subset,
            &["a.test", "b.test", "c.test"]
        ));
        assert!(!admits(MatchBehavior::Subset, &["a.test"]));
        assert!(admits(MatchBehavior::Superset, &["a.test"]));
        assert!(!admits(MatchBehavior::Superset, &["a.test", "c.test"]));
        assert!(admits(MatchBehavior::Any, &["c.test", "b.test"]));
        assert!(!admits(MatchBehavior::Any, &["c.test"]));
    }
}
