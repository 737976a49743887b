//! What `entry show` and `entry count` select entries by.

use anyhow::Context as _;
use daemon::flags::{FlagSet, Parsed};
use proto::spire::api::{
    server::entry::v1::{count_entries_request, list_entries_request},
    types::Spiffeid,
};

use crate::cli::shared_flags::{federates_with_match, selector_match, selectors, spiffe_id};

pub(super) fn flags(flags: FlagSet) -> FlagSet {
    flags
        .string("parentID", "", "Only entries with this parent.")
        .string("spiffeID", "", "Only entries with this SPIFFE ID.")
        .list(
            "selector",
            "Only entries that match these selectors. May be repeated.",
        )
        .list(
            "federatesWith",
            "Only entries that federate with these trust domains. May be repeated.",
        )
        .boolean("downstream", "Only entries of servers below this one.")
        .string(
            "matchSelectorsOn",
            "superset",
            "How selectors match: exact, any, superset or subset.",
        )
        .string(
            "matchFederatesWithOn",
            "superset",
            "How trust domains match: exact, any, superset or subset.",
        )
        .string("hint", "", "Only entries with this hint.")
}

/// Whether any condition is given.
pub(super) fn is_set(parsed: &Parsed) -> bool {
    ["parentID", "spiffeID", "hint"]
        .iter()
        .any(|flag| !parsed.string(flag).is_empty())
        || ["selector", "federatesWith"]
            .iter()
            .any(|flag| !parsed.list(flag).is_empty())
        || parsed.boolean("downstream")
}

/// The conditions of the flags. Without `-downstream` all entries match, those of servers too.
pub(super) fn filter(parsed: &Parsed) -> anyhow::Result<list_entries_request::Filter> {
    let selectors = selectors(parsed.list("selector")).context("error parsing selectors")?;
    Ok(list_entries_request::Filter {
        by_spiffe_id: id(parsed.string("spiffeID"), "SPIFFE ID")?,
        by_parent_id: id(parsed.string("parentID"), "parent ID")?,
        by_selectors: selector_match(selectors, parsed.string("matchSelectorsOn"))?,
        by_federates_with: federates_with_match(
            parsed.list("federatesWith"),
            parsed.string("matchFederatesWithOn"),
        )?,
        by_hint: Some(parsed.string("hint").to_owned()).filter(|hint| !hint.is_empty()),
        by_downstream: parsed.boolean("downstream").then_some(true),
    })
}

/// The same conditions for counting.
pub(super) fn count_filter(parsed: &Parsed) -> anyhow::Result<count_entries_request::Filter> {
    let filter = filter(parsed)?;
    Ok(count_entries_request::Filter {
        by_spiffe_id: filter.by_spiffe_id,
        by_parent_id: filter.by_parent_id,
        by_selectors: filter.by_selectors,
        by_federates_with: filter.by_federates_with,
        by_hint: filter.by_hint,
        by_downstream: filter.by_downstream,
    })
}

fn id(text: &str, what: &str) -> anyhow::Result<Option<Spiffeid>> {
    if text.is_empty() {
        return Ok(None);
    }
    let id = spiffe_id(text).with_context(|| format!("error parsing {what} {text:?}"))?;
    Ok(Some(id))
}
