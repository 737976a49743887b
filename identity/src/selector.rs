//! Selectors: facts about a workload or node, and sets of them.

use std::fmt;

/// One fact, such as `unix:uid:1000`: a kind (`unix`) and a value (`uid:1000`).
///
/// Invariant: the kind is not empty and has no `:`; the value is not empty. The order is that of
/// (kind, value).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Selector {
    /// `kind:value`, in one piece: a server holds millions.
    text: Box<str>,
}

impl Selector {
    /// A selector of the given kind and value.
    ///
    /// # Errors
    /// A part is missing, or the kind has a `:`.
    pub fn new(kind: &str, value: &str) -> Result<Self, SelectorError> {
        if kind.is_empty() {
            return Err(SelectorError::MissingKind);
        }
        if kind.contains(':') {
            return Err(SelectorError::ColonInKind);
        }
        if value.is_empty() {
            return Err(SelectorError::MissingValue);
        }
        let text = [kind, ":", value].concat().into();
        Ok(Self { text })
    }

    /// Parses `kind:value`; the first colon splits.
    ///
    /// # Errors
    /// [`SelectorError::Form`] without a colon, otherwise as [`Selector::new`].
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let (kind, value) = text
            .split_once(':')
            .ok_or_else(|| SelectorError::Form(text.into()))?;
        Self::new(kind, value)
    }

    /// What attested the fact; the API calls it the type.
    pub fn kind(&self) -> &str {
        self.parts().0
    }

    /// The fact.
    pub fn value(&self) -> &str {
        self.parts().1
    }

    fn parts(&self) -> (&str, &str) {
        self.text
            .split_once(':')
            .expect("a selector is made with a colon between its parts")
    }
}

impl Ord for Selector {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for Selector {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A set of selectors.
///
/// Invariant: sorted, each one once; so equality of two sets is equality of the slices.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct SelectorSet(Box<[Selector]>);

impl SelectorSet {
    /// The selectors in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Selector> {
        self.0.iter()
    }

    /// How many selectors there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `selector` is in the set.
    pub fn contains(&self, selector: &Selector) -> bool {
        self.0.binary_search(selector).is_ok()
    }

    /// Whether each of these selectors is in `other`.
    pub fn is_subset(&self, other: &Self) -> bool {
        // Both are sorted, so one pass over `other` suffices.
        let mut rest = other.0.iter();
        self.len() <= other.len() && self.0.iter().all(|wanted| rest.any(|have| have == wanted))
    }

    /// Whether each selector of `other` is in this set.
    pub fn is_superset(&self, other: &Self) -> bool {
        other.is_subset(self)
    }

    /// Whether the two sets have a selector in common.
    pub fn intersects(&self, other: &Self) -> bool {
        let (few, many) = if self.len() <= other.len() {
            (self, other)
        } else {
            (other, self)
        };
        few.0.iter().any(|selector| many.contains(selector))
    }

    /// These selectors and those of `other`.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other).cloned().collect()
    }
}

impl TryFrom<Vec<Selector>> for SelectorSet {
    type Error = SelectorError;

    /// Refuses a list that names a selector twice.
    fn try_from(mut selectors: Vec<Selector>) -> Result<Self, SelectorError> {
        selectors.sort_unstable();
        if let Some([one, _]) = selectors.array_windows().find(|[one, next]| one == next) {
            return Err(SelectorError::Duplicate(one.clone()));
        }
        Ok(Self(selectors.into()))
    }
}

impl FromIterator<Selector> for SelectorSet {
    /// Keeps one of each.
    fn from_iter<I: IntoIterator<Item = Selector>>(selectors: I) -> Self {
        let mut selectors: Vec<Selector> = selectors.into_iter().collect();
        selectors.sort_unstable();
        selectors.dedup();
        Self(selectors.into())
    }
}

impl<'a> IntoIterator for &'a SelectorSet {
    type Item = &'a Selector;
    type IntoIter = std::slice::Iter<'a, Selector>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// How a set that something has is compared with a set that is asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MatchBehavior {
    /// The sets are equal.
    Exact,
    /// What it has is a non-empty part of what is asked for.
    Subset,
    /// It has everything that is asked for.
    Superset,
    /// It has at least one of what is asked for.
    Any,
}

/// Whether `have` matches `wanted`.
pub fn matches(behavior: MatchBehavior, have: &SelectorSet, wanted: &SelectorSet) -> bool {
    match behavior {
        MatchBehavior::Exact => have == wanted,
        MatchBehavior::Subset => !have.is_empty() && have.is_subset(wanted),
        MatchBehavior::Superset => have.is_superset(wanted),
        MatchBehavior::Any => have.intersects(wanted),
    }
}

/// Why something is not a selector, or not a set of them.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SelectorError {
    /// The kind is empty.
    #[error("missing selector type")]
    MissingKind,
    /// The kind has a colon, so the text form would not split where it should.
    #[error("selector type contains ':'")]
    ColonInKind,
    /// The value is empty.
    #[error("missing selector value")]
    MissingValue,
    /// The text form has no colon.
    #[error("selector {0:?} must be formatted as type:value")]
    Form(Box<str>),
    /// A list has a selector twice.
    #[error("selector \"{0}\" is given twice")]
    Duplicate(Selector),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(texts: &[&str]) -> SelectorSet {
        texts
            .iter()
            .map(|text| Selector::parse(text).unwrap())
            .collect()
    }

    #[test]
    fn the_order_is_that_of_kind_then_value() {
        // As texts, `-` comes before `:`.
        let texts = ["a:c", "a-b:a", "b:a"];
        let sorted: SelectorSet = texts
            .iter()
            .map(|text| Selector::parse(text).unwrap())
            .collect();
        let shown: Vec<String> = sorted.iter().map(ToString::to_string).collect();
        assert_eq!(shown, texts);
    }

    #[test]
    fn the_first_colon_splits() {
        let selector = Selector::parse("unix:uid:0").unwrap();
        assert_eq!((selector.kind(), selector.value()), ("unix", "uid:0"));
        assert_eq!(selector.to_string(), "unix:uid:0");
    }

    #[test]
    fn incomplete_selectors_are_refused() {
        assert_eq!(Selector::new("", "v"), Err(SelectorError::MissingKind));
        assert_eq!(Selector::new("a:b", "v"), Err(SelectorError::ColonInKind));
        assert_eq!(Selector::new("a", ""), Err(SelectorError::MissingValue));
        assert_eq!(
            Selector::parse("nocolon").unwrap_err().to_string(),
            r#"selector "nocolon" must be formatted as type:value"#
        );
    }

    #[test]
    fn order_does_not_matter_and_a_duplicate_is_named() {
        assert_eq!(set(&["a:1", "b:2"]), set(&["b:2", "a:1", "b:2"]));
        let twice = ["b:2", "a:1", "b:2"].map(|text| Selector::parse(text).unwrap());
        assert_eq!(
            SelectorSet::try_from(twice.to_vec())
                .unwrap_err()
                .to_string(),
            r#"selector "b:2" is given twice"#
        );
        assert_eq!(
            SelectorSet::try_from(twice[..2].to_vec()),
            Ok(set(&["a:1", "b:2"]))
        );
    }

    #[test]
    fn sets_match_by_the_behavior_asked_for() {
        use MatchBehavior::{Any, Exact, Subset, Superset};
        let wanted = set(&["a:1", "b:2"]);
        let check = |have: &[&str], expected: [bool; 4]| {
            let have = set(have);
            let matched = [Exact, Subset, Superset, Any].map(|b| matches(b, &have, &wanted));
            assert_eq!(matched, expected, "{have:?}");
        };
        check(&["a:1", "b:2"], [true, true, true, true]);
        check(&["a:1"], [false, true, false, true]);
        check(&["a:1", "b:2", "c:3"], [false, false, true, true]);
        check(&["a:1", "c:3"], [false, false, false, true]);
        check(&["c:3"], [false, false, false, false]);
        check(&[], [false, false, false, false]);
    }
}
