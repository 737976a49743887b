//! Selectors on the wire, and filters on sets of them.

use identity::selector::{MatchBehavior, Selector, SelectorSet};

use crate::convert::ConvertError;
use crate::spire::api::types;

/// A set in which no selector may occur twice.
pub fn set(wire: &[types::Selector]) -> Result<SelectorSet, ConvertError> {
    Ok(SelectorSet::try_from(list(wire)?)?)
}

/// The set of what is listed, each once.
pub fn merged(wire: &[types::Selector]) -> Result<SelectorSet, ConvertError> {
    Ok(list(wire)?.into_iter().collect())
}

/// The wire form, sorted by type and value.
pub fn to_wire(selectors: &SelectorSet) -> Vec<types::Selector> {
    selectors
        .iter()
        .map(|selector| types::Selector {
            r#type: selector.kind().to_owned(),
            value: selector.value().to_owned(),
        })
        .collect()
}

/// A filter on selectors, which must name at least one.
pub fn filter(wire: &types::SelectorMatch) -> Result<(MatchBehavior, SelectorSet), ConvertError> {
    let wanted = merged(&wire.selectors)?;
    if wanted.is_empty() {
        return Err(ConvertError::EmptySelectorFilter);
    }
    Ok((selector_behavior(wire.r#match)?, wanted))
}

fn selector_behavior(number: i32) -> Result<MatchBehavior, ConvertError> {
    use types::selector_match::MatchBehavior as Wire;
    match Wire::try_from(number) {
        Ok(Wire::MatchExact) => Ok(MatchBehavior::Exact),
        Ok(Wire::MatchSubset) => Ok(MatchBehavior::Subset),
        Ok(Wire::MatchSuperset) => Ok(MatchBehavior::Superset),
        Ok(Wire::MatchAny) => Ok(MatchBehavior::Any),
        Err(prost::UnknownEnumValue(number)) => Err(ConvertError::MatchBehavior(number)),
    }
}

/// How a filter on trust domains compares; the numbers are those of selectors.
pub(super) fn trust_domain_behavior(number: i32) -> Result<MatchBehavior, ConvertError> {
    selector_behavior(number)
}

fn list(wire: &[types::Selector]) -> Result<Vec<Selector>, ConvertError> {
    wire.iter()
        .map(|selector| Ok(Selector::new(&selector.r#type, &selector.value)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(kind: &str, value: &str) -> types::Selector {
        types::Selector {
            r#type: kind.to_owned(),
            value: value.to_owned(),
        }
    }

    fn refused(kind: &str, value: &str, expected: &str) {
        let error = set(&[wire(kind, value)]).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn broken_selectors_are_named() {
        refused("", "1", "missing selector type");
        refused("a:b", "1", "selector type contains ':'");
        refused("a", "", "missing selector value");
    }

    #[test]
    fn selector_given_twice_is_refused_in_a_set_and_merged_in_a_filter() {
        let twice = [wire("unix", "uid:1"), wire("unix", "uid:1")];
        assert_eq!(
            set(&twice).unwrap_err().to_string(),
            r#"selector "unix:uid:1" is given twice"#
        );
        assert_eq!(merged(&twice).unwrap().len(), 1);
    }

    #[test]
    fn sets_are_answered_in_order() {
        let sorted = vec![wire("a", "2"), wire("b", "1")];
        let shuffled = [wire("b", "1"), wire("a", "2")];
        assert_eq!(to_wire(&set(&shuffled).unwrap()), sorted);
    }

    #[test]
    fn filter_needs_selectors_and_a_known_behavior() {
        let mut wanted = types::SelectorMatch {
            selectors: vec![],
            r#match: 3,
        };
        assert_eq!(
            filter(&wanted).unwrap_err().to_string(),
            "empty selector set"
        );
        wanted.selectors.push(wire("a", "1"));
        assert_eq!(filter(&wanted).unwrap().0, MatchBehavior::Any);
        wanted.r#match = 9;
        assert_eq!(filter(&wanted), Err(ConvertError::MatchBehavior(9)));
    }
}
