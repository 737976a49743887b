//! Flags that several groups of commands read alike: selectors, SPIFFE IDs and match behaviours.

use anyhow::Context as _;
use identity::spiffe_id::SpiffeId;
use proto::{
    convert,
    spire::api::types::{
        FederatesWithMatch, Selector, SelectorMatch, Spiffeid, federates_with_match, selector_match,
    },
};

/// A `-selector type:value`.
pub(super) fn selector(text: &str) -> anyhow::Result<Selector> {
    // Only the form is checked here; what a selector may be is the server's to say.
    let (kind, value) = text
        .split_once(':')
        .with_context(|| format!("selector {text:?} must be formatted as type:value"))?;
    Ok(Selector {
        r#type: kind.to_owned(),
        value: value.to_owned(),
    })
}

pub(super) fn selectors(texts: &[String]) -> anyhow::Result<Vec<Selector>> {
    texts.iter().map(|text| selector(text)).collect()
}

/// A SPIFFE ID in its wire form.
pub(super) fn spiffe_id(text: &str) -> anyhow::Result<Spiffeid> {
    Ok(convert::id::to_wire(&SpiffeId::parse(text)?))
}

/// A SPIFFE ID as text; `(none)` if it is absent.
pub(super) fn spiffe_id_text(id: Option<&Spiffeid>) -> String {
    id.map_or_else(
        || "(none)".to_owned(),
        |id| format!("spiffe://{}{}", id.trust_domain, id.path),
    )
}

/// The filter of `-selector` and `-matchSelectorsOn`, if any selector is given.
pub(super) fn selector_match(
    selectors: Vec<Selector>,
    behavior: &str,
) -> anyhow::Result<Option<SelectorMatch>> {
    use selector_match::MatchBehavior;
    if selectors.is_empty() {
        return Ok(None);
    }
    let behavior = match behavior {
        "exact" => MatchBehavior::MatchExact,
        "any" => MatchBehavior::MatchAny,
        "superset" => MatchBehavior::MatchSuperset,
        "subset" => MatchBehavior::MatchSubset,
        unknown => anyhow::bail!("match behavior {unknown:?} unknown"),
    };
    Ok(Some(SelectorMatch {
        selectors,
        r#match: behavior.into(),
    }))
}

/// The filter of `-federatesWith` and `-matchFederatesWithOn`, if any trust domain is given.
pub(super) fn federates_with_match(
    trust_domains: &[String],
    behavior: &str,
) -> anyhow::Result<Option<FederatesWithMatch>> {
    use federates_with_match::MatchBehavior;
    if trust_domains.is_empty() {
        return Ok(None);
    }
    let behavior = match behavior {
        "exact" => MatchBehavior::MatchExact,
        "any" => MatchBehavior::MatchAny,
        "superset" => MatchBehavior::MatchSuperset,
        "subset" => MatchBehavior::MatchSubset,
        unknown => anyhow::bail!("match behavior {unknown:?} unknown"),
    };
    Ok(Some(FederatesWithMatch {
        trust_domains: trust_domains.to_vec(),
        r#match: behavior.into(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_is_split_at_its_first_colon() {
        let selector = selector("unix:uid:1000").unwrap();
        assert_eq!(
            (selector.r#type.as_str(), selector.value.as_str()),
            ("unix", "uid:1000")
        );
        let error = super::selector("nocolon").unwrap_err();
        assert_eq!(
            error.to_string(),
            "selector \"nocolon\" must be formatted as type:value"
        );
    }

    #[test]
    fn an_unknown_match_behavior_is_refused_only_with_something_to_match() {
        assert!(selector_match(Vec::new(), "nope").unwrap().is_none());
        let one = vec![selector("a:1").unwrap()];
        let error = selector_match(one, "nope").unwrap_err();
        assert_eq!(error.to_string(), "match behavior \"nope\" unknown");
    }
}
