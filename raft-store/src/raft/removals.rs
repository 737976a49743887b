//! Removals of members that a leader has decided and that its state does not show yet.
//!
//! Must hold: no removal is decided without regard to those that are under way. In its own term a leader knows all of
//! them; what was under way before its first entry is either in the state by then or never will be.

use std::collections::BTreeSet;

use parking_lot::Mutex;
use wire::change_response::Result as Answer;

use crate::codec::wire;

/// Who is on the way out.
#[derive(Debug, Default)]
pub(super) struct Removals(Mutex<UnderWay>);

#[derive(Debug, Default)]
struct UnderWay {
    term: u64,
    members: BTreeSet<u64>,
}

/// What becomes of the wish to remove a member.
#[derive(Debug)]
pub(super) enum Judged {
    Goes,
    /// It leads, and another has to first.
    HandOver,
    Refused(Answer),
}

impl Removals {
    /// Judges a removal by those under way. One that goes is under way from then on, until its end is told or the
    /// term is over.
    pub(super) fn judge(
        &self,
        term: u64,
        member_id: u64,
        judge: impl FnOnce(&BTreeSet<u64>) -> Judged,
    ) -> Judged {
        let mut under_way = self.0.lock();
        if under_way.term != term {
            *under_way = UnderWay {
                term,
                members: BTreeSet::new(),
            };
        }
        let judged = judge(&under_way.members);
        if matches!(judged, Judged::Goes) {
            under_way.members.insert(member_id);
        }
        judged
    }

    /// The state shows this removal, or never will.
    pub(super) fn end(&self, member_id: u64) {
        self.0.lock().members.remove(&member_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_removal_reckons_with_those_under_way_in_its_term() {
        let removals = Removals::default();
        let going = |term, member_id, judged| {
            let mut seen = Vec::new();
            removals.judge(term, member_id, |going| {
                seen.extend(going.iter().copied());
                judged
            });
            seen
        };
        assert!(going(1, 4, Judged::Goes).is_empty());
        assert_eq!(going(1, 7, Judged::Refused(Answer::LastMember(true))), [4]);
        assert_eq!(going(1, 9, Judged::HandOver), [4]);
        assert_eq!(going(1, 7, Judged::Goes), [4]);
        removals.end(4);
        assert_eq!(going(1, 9, Judged::Goes), [7]);
        assert!(going(2, 1, Judged::Goes).is_empty());
    }
}
