//! What a joiner met on its way: told once for each member, and again when that is something else.
//!
//! Whoever waits for the joiner reads it, so there is an end to it whatever members answer.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What members answered, or why they did not.
pub(super) struct Setbacks<'a> {
    tell: &'a mut (dyn FnMut(&str) + Send),
    /// The last one by the member's address.
    causes: BTreeMap<String, String>,
    lines_left: u32,
}

impl<'a> Setbacks<'a> {
    pub(super) fn told_to(tell: &'a mut (dyn FnMut(&str) + Send)) -> Self {
        Self {
            tell,
            causes: BTreeMap::new(),
            lines_left: MAX_LINES,
        }
    }

    /// Tells of one that was met at `address`, unless it is the last one there again.
    pub(super) fn meet(&mut self, address: &str, cause: String) {
        if self.causes.get(address) == Some(&cause) {
            return;
        }
        if let Some(left) = self.lines_left.checked_sub(1) {
            self.lines_left = left;
            (self.tell)(&cause);
        }
        self.causes.insert(address.to_owned(), cause);
    }

    /// The last one of each member.
    pub(super) fn summary(&self) -> String {
        let mut causes = String::new();
        for cause in self.causes.values() {
            let separator = if causes.is_empty() { "" } else { "; " };
            write!(causes, "{separator}{cause}").expect("a String takes every write");
        }
        causes
    }
}

/// More than the members of an invite, so that each is heard of, and then some.
const MAX_LINES: u32 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_is_told_of_once_until_it_answers_something_else() {
        let mut told = Vec::new();
        let mut tell = |cause: &str| told.push(cause.to_owned());
        let mut setbacks = Setbacks::told_to(&mut tell);
        for (address, cause) in [
            ("b:1", "b is away"),
            ("a:1", "a is away"),
            ("b:1", "b is away"),
            ("a:1", "a has no quorum"),
            ("a:1", "a has no quorum"),
            ("b:1", "b is away"),
        ] {
            setbacks.meet(address, cause.to_owned());
        }
        assert_eq!(setbacks.summary(), "a has no quorum; b is away");
        assert_eq!(told, ["b is away", "a is away", "a has no quorum"]);
    }

    #[test]
    fn member_that_never_answers_the_same_is_told_of_so_often_at_most() {
        let mut told = 0;
        let mut tell = |_cause: &str| told += 1;
        let mut setbacks = Setbacks::told_to(&mut tell);
        for number in 0..100 {
            setbacks.meet("a:1", number.to_string());
        }
        assert_eq!(setbacks.summary(), "99");
        assert_eq!(told, MAX_LINES);
    }
}
