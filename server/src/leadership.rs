//! Owns the question whether this member leads, for the tasks that only one member is to do.
//!
//! The answer may be out of date by the time it is used. What a task then proposes is decided when
//! it is applied, so that two leaders at once change nothing twice.

use raft_store::Store;
use tokio::sync::watch;

/// Whether the member of this store leads.
pub(crate) fn leads(store: &Store) -> bool {
    store.leadership().borrow().is_leader
}

/// Tells when this member comes to lead.
#[derive(Debug)]
pub(crate) struct Leadership {
    told: watch::Receiver<raft_store::Leadership>,
    leads: bool,
}

impl Leadership {
    /// The leadership of the member of `store`, from now on.
    pub(crate) fn of(store: &Store) -> Self {
        let mut told = store.leadership();
        let leads = told.borrow_and_update().is_leader;
        Self { told, leads }
    }

    /// Whether this member leads now; what is waited for next begins here.
    pub(crate) fn leads(&mut self) -> bool {
        self.leads = self.told.borrow_and_update().is_leader;
        self.leads
    }

    /// Returns when this member leads no more. Cancel-safe.
    pub(crate) async fn lost(&mut self) {
        while self.leads() {
            if self.told.changed().await.is_err() {
                return;
            }
        }
    }

    /// Returns when this member has begun to lead. Cancel-safe.
    pub(crate) async fn gained(&mut self) {
        loop {
            if self.told.changed().await.is_err() {
                // The store is closed: nobody leads here any more.
                std::future::pending::<()>().await;
            }
            let led = self.leads;
            self.leads = self.told.borrow_and_update().is_leader;
            if self.leads && !led {
                return;
            }
        }
    }
}
