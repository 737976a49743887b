//! Who waits for which command: apply tells the outcome to whoever proposed it here, whichever way
//! the command came into the log.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::command::{Outcome, RequestId};

/// The waiting proposals of this member. Bounded by its proposals on their way.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    waiting: Mutex<BTreeMap<RequestId, Vec<Told>>>,
    /// So that apply looks for nobody while nobody waits.
    count: AtomicUsize,
}

#[derive(Debug)]
struct Told {
    token: u64,
    outcome: oneshot::Sender<Outcome>,
}

impl Waiters {
    /// Waits for the outcome of this request, from now on.
    pub(crate) fn wait(&self, request_id: RequestId) -> Waiting<'_> {
        let (outcome, waiting) = oneshot::channel();
        let mut all = self.waiting.lock();
        let same = all.entry(request_id).or_default();
        let token = same.last().map_or(0, |last| last.token + 1);
        same.push(Told { token, outcome });
        self.count.fetch_add(1, Ordering::SeqCst);
        Waiting {
            waiters: self,
            request_id,
            token,
            outcome: waiting,
        }
    }

    /// Tells the outcome to those who wait for it.
    pub(crate) fn tell(&self, request_id: RequestId, outcome: Outcome) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let Some(mut same) = self.waiting.lock().remove(&request_id) else {
            return;
        };
        self.count.fetch_sub(same.len(), Ordering::SeqCst);
        let last = same.pop();
        for told in same {
            // Whoever has gone needs no answer.
            drop(told.outcome.send(outcome.clone()));
        }
        if let Some(told) = last {
            drop(told.outcome.send(outcome));
        }
    }

    fn forget(&self, request_id: RequestId, token: u64) {
        let mut all = self.waiting.lock();
        let Some(same) = all.get_mut(&request_id) else {
            return;
        };
        let before = same.len();
        same.retain(|told| told.token != token);
        self.count.fetch_sub(before - same.len(), Ordering::SeqCst);
        if same.is_empty() {
            all.remove(&request_id);
        }
    }
}

/// One who waits.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    waiters: &'a Waiters,
    request_id: RequestId,
    token: u64,
    outcome: oneshot::Receiver<Outcome>,
}

impl Waiting<'_> {
    /// The outcome, once the command was applied here. Never, if it is not. Cancel-safe.
    pub(crate) async fn outcome(&mut self) -> Outcome {
        match (&mut self.outcome).await {
            Ok(outcome) => outcome,
            // The sender is dropped only by this value's own drop.
            Err(_) => std::future::pending().await,
        }
    }

    /// The outcome, if it is there.
    pub(crate) fn try_outcome(&mut self) -> Option<Outcome> {
        self.outcome.try_recv().ok()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waiters.forget(self.request_id, self.token);
    }
}
