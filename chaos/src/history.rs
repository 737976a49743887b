//! What clients asked and were told, with when.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::client::Outcome;

/// One call.
#[derive(Clone, Debug)]
pub struct Call<T> {
    /// What it was about.
    pub about: T,
    /// The member or agent that it went to.
    pub target: usize,
    /// When it was due, which is when it was sent.
    pub started: Instant,
    /// When its outcome was known.
    pub ended: Instant,
    /// What the client may conclude.
    pub outcome: Outcome<()>,
}

impl<T> Call<T> {
    /// How long it took.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.ended - self.started
    }
}

/// Calls in the order of their outcomes; a clone is the same history.
#[derive(Debug)]
pub struct History<T>(Arc<Mutex<Vec<Call<T>>>>);

impl<T> Clone for History<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for History<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> History<T> {
    /// Adds a call.
    pub fn record(&self, call: Call<T>) {
        self.0.lock().push(call);
    }

    /// Every call so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call<T>> {
        self.0.lock().clone()
    }

    /// How many calls have an outcome.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether no call has an outcome.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// When the first call that was acknowledged after `moment` was.
    #[must_use]
    pub fn first_done_after(&self, moment: Instant) -> Option<Instant> {
        let calls = self.0.lock();
        // The history is in the order of `ended`, so the youngest are looked at first.
        let recent = calls.iter().rev().take_while(|call| call.ended > moment);
        recent
            .filter(|call| call.outcome.is_done())
            .map(|call| call.ended)
            .min()
    }
}
