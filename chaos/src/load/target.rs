//! Which members clients are sent to at the moment.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// A set of members that the run adds to and takes from while load goes on; a clone is the same set.
#[derive(Clone, Debug)]
pub struct Targets(Arc<[AtomicBool]>);

impl Targets {
    /// All of `count` members.
    #[must_use]
    pub fn all(count: usize) -> Self {
        Self((0..count).map(|_| AtomicBool::new(true)).collect())
    }

    /// Sends no more clients to a member.
    pub fn leave_out(&self, member: usize) {
        self.0[member].store(false, Ordering::Relaxed);
    }

    /// Sends clients to a member again.
    pub fn take_in(&self, member: usize) {
        self.0[member].store(true, Ordering::Relaxed);
    }

    /// Whether clients are sent to a member.
    #[must_use]
    pub fn has(&self, member: usize) -> bool {
        self.0[member].load(Ordering::Relaxed)
    }

    /// The member for the call `number`, in turn; none when all are left out.
    #[must_use]
    pub fn turn(&self, number: u64) -> Option<usize> {
        let members: Vec<_> = (0..self.0.len())
            .filter(|member| self.has(*member))
            .collect();
        let count = u64::try_from(members.len()).ok()?;
        let turn = usize::try_from(number.checked_rem(count)?).ok()?;
        members.get(turn).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_left_out_gets_no_turn() {
        let targets = Targets::all(3);
        targets.leave_out(1);
        let turns: Vec<_> = (0..4).map(|number| targets.turn(number).unwrap()).collect();
        assert_eq!(turns, [0, 2, 0, 2]);
        targets.take_in(1);
        assert_eq!(targets.turn(1), Some(1));
    }
}
