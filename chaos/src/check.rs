//! Whether what clients were told is true: acknowledged writes are there, once, everywhere; refused ones are not.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proto::spire::api::types::Entry;
use tokio::time::Instant;

use crate::{client::Outcome, history::Call, load::writes::Write};

/// What a check of the writes found. Each list holds one line per offence.
#[derive(Debug, Default)]
pub struct Findings {
    /// Writes that were acknowledged.
    pub acknowledged: usize,
    /// Writes whose outcome their client did not learn.
    pub undecided: usize,
    /// Why their outcome was not learnt, each reason once.
    pub doubts: BTreeSet<String>,
    /// Writes that were refused.
    pub refused: usize,
    /// Undecided writes that turned out to have been made.
    pub made_undecided: usize,
    /// Acknowledged writes that a member does not have.
    pub lost: Vec<String>,
    /// Writes that had their effect more than once, or although they were refused.
    pub wrong: Vec<String>,
    /// Members that hold something else than the first.
    pub diverged: Vec<String>,
}

/// Checks the writes against what each member lists in the end.
#[must_use]
pub fn writes(calls: &[Call<Write>], counters: &[String], members: &[Vec<Entry>]) -> Findings {
    let mut findings = Findings::default();
    for call in calls {
        match &call.outcome {
            Outcome::Done(()) => findings.acknowledged += 1,
            Outcome::Refused(_) => findings.refused += 1,
            Outcome::Undecided(text) => {
                findings.undecided += 1;
                findings.doubts.insert(text.clone());
            }
        }
    }
    for (number, entries) in members.iter().enumerate() {
        check_creations(calls, number, entries, &mut findings);
        check_counters(calls, counters, number, entries, &mut findings);
    }
    compare(members, &mut findings);
    findings
}

fn check_creations(
    calls: &[Call<Write>],
    number: usize,
    entries: &[Entry],
    findings: &mut Findings,
) {
    let mut held: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in entries {
        if let Some(id) = &entry.spiffe_id {
            *held.entry(&id.path).or_default() += 1;
        }
    }
    for call in calls {
        let Write::Create { path } = &call.about else {
            continue;
        };
        let times = held.get(path.as_str()).copied().unwrap_or(0);
        match (&call.outcome, times) {
            (Outcome::Done(()), 0) => {
                findings.lost.push(format!("member {number} lost {path}"));
            }
            (Outcome::Refused(text), 1..) => {
                let text = format!("member {number} has {path}, which was refused: {text}");
                findings.wrong.push(text);
            }
            (_, 2..) => findings
                .wrong
                .push(format!("member {number} has {path} {times} times")),
            (Outcome::Undecided(_), 1) if number == 0 => findings.made_undecided += 1,
            (Outcome::Done(()) | Outcome::Undecided(_), 1) | (_, 0) => {}
        }
    }
}

/// A counter's revision moves by one with each effect. So between two acknowledged raises it moves by one, and by at
/// most one more for each raise between them whose outcome nobody learnt.
fn check_counters(
    calls: &[Call<Write>],
    counters: &[String],
    number: usize,
    entries: &[Entry],
    findings: &mut Findings,
) {
    for (index, id) in counters.iter().enumerate() {
        let raises = calls.iter().filter_map(|call| match &call.about {
            Write::Raise { counter, revision } if *counter == index => {
                Some((*revision, &call.outcome))
            }
            Write::Raise { .. } | Write::Create { .. } => None,
        });
        let (mut at, mut open) = (0, 0);
        for (revision, outcome) in raises {
            match (revision, outcome) {
                (Some(revision), _) => {
                    if !(at + 1..=at + 1 + open).contains(&revision) {
                        let text = format!(
                            "counter {index} went from {at} to {revision} with {open} raises undecided"
                        );
                        findings.wrong.push(text);
                    }
                    (at, open) = (revision, 0);
                }
                (None, Outcome::Undecided(_)) => open += 1,
                (None, Outcome::Done(()) | Outcome::Refused(_)) => {}
            }
        }
        let held = entries.iter().find(|entry| entry.id == *id);
        let held = held.map_or(-1, |entry| entry.revision_number);
        if held < at {
            findings.lost.push(format!(
                "member {number} has counter {index} at {held}, not {at}"
            ));
        } else if held > at + open {
            let text =
                format!("member {number} has counter {index} at {held}, beyond {at} + {open}");
            findings.wrong.push(text);
        }
    }
}

fn compare(members: &[Vec<Entry>], findings: &mut Findings) {
    let names = |entries: &[Entry]| -> BTreeSet<(String, i64)> {
        let of = |entry: &Entry| (entry.id.clone(), entry.revision_number);
        entries.iter().map(of).collect()
    };
    let Some((first, others)) = members.split_first() else {
        return;
    };
    let first = names(first);
    for (index, other) in others.iter().enumerate() {
        let other = names(other);
        let differing = first.symmetric_difference(&other).count();
        if differing > 0 {
            let text = format!(
                "member {} differs from member 0 in {differing} entries",
                index + 1
            );
            findings.diverged.push(text);
        }
    }
}

/// The longest time without an acknowledgement that reaches beyond `from`, looked for until `until`.
#[must_use]
pub fn longest_silence<T>(calls: &[Call<T>], from: Instant, until: Instant) -> Duration {
    let done = calls.iter().filter(|call| call.outcome.is_done());
    let mut moments: Vec<_> = done.map(|call| call.ended).collect();
    moments.sort_unstable();
    let before = moments
        .iter()
        .rev()
        .find(|moment| **moment <= from)
        .copied();
    let mut last = before.unwrap_or(from);
    let mut longest = Duration::ZERO;
    for moment in moments
        .into_iter()
        .filter(|moment| (from..until).contains(moment))
    {
        longest = longest.max(moment - last);
        last = moment;
    }
    longest.max(until.saturating_duration_since(last))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::operator::entry;

    fn call(about: Write, outcome: Outcome<()>) -> Call<Write> {
        let now = Instant::now();
        Call {
            about,
            target: 0,
            started: now,
            ended: now,
            outcome,
        }
    }

    fn create(path: &str, outcome: Outcome<()>) -> Call<Write> {
        call(
            Write::Create {
                path: path.to_owned(),
            },
            outcome,
        )
    }

    fn raise(revision: Option<i64>, outcome: Outcome<()>) -> Call<Write> {
        call(
            Write::Raise {
                counter: 0,
                revision,
            },
            outcome,
        )
    }

    fn undecided() -> Outcome<()> {
        Outcome::Undecided("no answer".to_owned())
    }

    fn held(path: &str) -> Entry {
        Entry {
            id: path.to_owned(),
            ..entry(path, "/writes", ("a", "b"))
        }
    }

    #[test]
    fn a_lost_write_is_found_on_the_member_that_lost_it() {
        let calls = [create("/a", Outcome::Done(())), create("/b", undecided())];
        let members = [vec![held("/a"), held("/b")], vec![held("/b")]];
        let findings = writes(&calls, &[], &members);
        assert_eq!(findings.lost, ["member 1 lost /a"]);
        assert_eq!(
            findings.diverged,
            ["member 1 differs from member 0 in 1 entries"]
        );
        assert_eq!(
            (
                findings.acknowledged,
                findings.undecided,
                findings.made_undecided
            ),
            (1, 1, 1)
        );
        assert!(findings.wrong.is_empty());
    }

    #[test]
    fn a_doubled_or_refused_write_that_was_made_is_found() {
        let refused = Outcome::Refused("PermissionDenied: no".to_owned());
        let calls = [create("/a", Outcome::Done(())), create("/b", refused)];
        let findings = writes(&calls, &[], &[vec![held("/a"), held("/a"), held("/b")]]);
        assert_eq!(
            findings.wrong,
            [
                "member 0 has /a 2 times",
                "member 0 has /b, which was refused: PermissionDenied: no"
            ]
        );
    }

    #[test]
    fn a_raise_with_two_effects_is_found() {
        let counter = |revision_number| Entry {
            id: "c".to_owned(),
            revision_number,
            ..Entry::default()
        };
        let done = || Outcome::Done(());
        let check = |calls: &[Call<Write>], revision| {
            let findings = writes(calls, &["c".to_owned()], &[vec![counter(revision)]]);
            (findings.lost, findings.wrong)
        };
        let right = [
            raise(Some(1), done()),
            raise(None, undecided()),
            raise(Some(3), done()),
        ];
        assert_eq!(check(&right, 3), (vec![], vec![]));
        let doubled = [raise(Some(1), done()), raise(Some(3), done())];
        let text = "counter 0 went from 1 to 3 with 0 raises undecided";
        assert_eq!(check(&doubled, 3).1, [text]);
        assert_eq!(check(&right, 2).0, ["member 0 has counter 0 at 2, not 3"]);
        assert_eq!(
            check(&right, 4).1,
            ["member 0 has counter 0 at 4, beyond 3 + 0"]
        );
    }

    #[test]
    fn silence_counts_from_the_last_acknowledgement_before_and_to_the_end_without_any() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let calls: Vec<_> = [10, 90, 500, 510]
            .map(|ms| Call {
                ended: at(ms),
                ..create("/a", Outcome::Done(()))
            })
            .into();
        assert_eq!(
            longest_silence(&calls, at(100), at(600)),
            Duration::from_millis(410)
        );
        assert_eq!(
            longest_silence(&calls, at(520), at(2_000)),
            Duration::from_millis(1_490)
        );
    }
}
