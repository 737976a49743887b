//! What `agent list` and `agent count` select agents by.

use anyhow::Context as _;
use daemon::flags::{FlagSet, Parsed};
use proto::spire::api::server::agent::v1::{count_agents_request, list_agents_request};
use time::{OffsetDateTime, macros::format_description};

use crate::cli::shared_flags::{selector, selector_match};

pub(super) fn flags(flags: FlagSet) -> FlagSet {
    flags
        .list(
            "selector",
            "Only agents that match these selectors. May be repeated.",
        )
        .string(
            "matchSelectorsOn",
            "superset",
            "How selectors match: exact, any, superset or subset.",
        )
        .string(
            "attestationType",
            "",
            "Only agents that attested in this way, as join_token.",
        )
        .value(
            "canReattest",
            "",
            |_any| Ok(()),
            "Only agents that can attest again (true) or cannot (false).",
        )
        .value(
            "banned",
            "",
            |_any| Ok(()),
            "Only banned agents (true) or others (false).",
        )
        .string(
            "expiresBefore",
            "",
            "Only agents whose SVID ends before this time, as \"2006-01-02 15:04:05 -0700 -07\".",
        )
}

/// The conditions of the flags.
pub(super) fn filter(parsed: &Parsed) -> anyhow::Result<list_agents_request::Filter> {
    let selectors = parsed
        .list("selector")
        .iter()
        .map(|text| selector(text).with_context(|| format!("error parsing selector {text:?}")));
    let selectors = selectors.collect::<anyhow::Result<Vec<_>>>()?;
    Ok(list_agents_request::Filter {
        by_attestation_type: parsed.string("attestationType").to_owned(),
        by_selector_match: selector_match(selectors, parsed.string("matchSelectorsOn"))?,
        by_banned: choice(parsed.string("banned")),
        by_can_reattest: choice(parsed.string("canReattest")),
        by_expires_before: checked_time(parsed.string("expiresBefore"))?.to_owned(),
    })
}

/// The same conditions for counting.
pub(super) fn count_filter(parsed: &Parsed) -> anyhow::Result<count_agents_request::Filter> {
    let filter = filter(parsed)?;
    Ok(count_agents_request::Filter {
        by_attestation_type: filter.by_attestation_type,
        by_selector_match: filter.by_selector_match,
        by_banned: filter.by_banned,
        by_can_reattest: filter.by_can_reattest,
        by_expires_before: filter.by_expires_before,
    })
}

/// Anything but the two truth values is no condition.
fn choice(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// The server takes the text and passes over what it cannot read, so it is checked here.
fn checked_time(text: &str) -> anyhow::Result<&str> {
    let with_zone = format_description!(
        "[year]-[month]-[day] [hour]:[minute]:[second] [offset_hour sign:mandatory][offset_minute]"
    );
    if text.is_empty() {
        return Ok(text);
    }
    let time = text.rsplit_once(' ').map_or(text, |(time, _zone)| time);
    OffsetDateTime::parse(time, with_zone).map_err(|_reason| {
        anyhow::anyhow!(
            "date is not valid: {text:?} is not of the form \"2006-01-02 15:04:05 -0700 -07\""
        )
    })?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_must_have_the_form_the_server_reads() {
        let good = "2100-01-01 00:00:00 +0000 +00";
        assert_eq!(checked_time(good).unwrap(), good);
        assert_eq!(checked_time("").unwrap(), "");
        let error = checked_time("2100-01-01T00:00:00Z").unwrap_err();
        assert_eq!(
            error.to_string(),
            "date is not valid: \"2100-01-01T00:00:00Z\" is not of the form \"2006-01-02 15:04:05 -0700 -07\""
        );
    }
}
