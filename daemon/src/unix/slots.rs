//! How many connections each user may have at once.
//!
//! A socket that every process of the host may connect to must not be taken by one user: the others, and
//! the process itself, would run out of file descriptors.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use rustix::process::{Resource, getrlimit};

/// The connections of a listener by user. Holds no more users than there are connections.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    limit: usize,
    taken: Arc<Mutex<HashMap<u32, usize>>>,
}

impl Slots {
    /// Gives each user a quarter of the files that this process may open, within reason.
    pub(super) fn by_open_files() -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let quarter = usize::try_from(files / 4).unwrap_or(usize::MAX);
        Self::new(quarter.clamp(MIN_PER_USER, MAX_PER_USER))
    }

    fn new(limit: usize) -> Self {
        Self {
            limit,
            taken: Arc::default(),
        }
    }

    /// A place for a connection of `uid`; `None` if the user has no more.
    pub(super) fn take(&self, uid: u32) -> Option<Slot> {
        // The numbers are right at every moment, so a panic elsewhere does not make them wrong.
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(uid).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        Some(Slot {
            uid,
            slots: self.clone(),
        })
    }

    fn give_back(&self, uid: u32) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&uid) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&uid);
            }
        }
    }
}

/// The place of one connection, free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    uid: u32,
    slots: Slots,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.give_back(self.uid);
    }
}

const MIN_PER_USER: usize = 64;
const MAX_PER_USER: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_does_not_take_the_places_of_another() {
        let slots = Slots::new(2);
        let first = slots.take(1000);
        let second = slots.take(1000);
        assert!(first.is_some() && second.is_some());
        assert!(slots.take(1000).is_none());
        assert!(slots.take(0).is_some());
        drop(first);
        assert!(slots.take(1000).is_some());
    }

    #[test]
    fn users_without_connections_are_forgotten() {
        let slots = Slots::new(2);
        for uid in 0..1000 {
            drop(slots.take(uid));
        }
        assert!(slots.taken.lock().unwrap().is_empty());
    }
}
