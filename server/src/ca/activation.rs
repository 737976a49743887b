//! Tells waiters that the signer was given other authorities.

use std::sync::Arc;

use tokio::sync::watch;

/// The announcement of a change of issuers. A clone is the same announcement.
#[derive(Clone, Debug)]
pub(super) struct Activation(Arc<watch::Sender<()>>);

impl Default for Activation {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(())))
    }
}

impl Activation {
    /// Tells every waiter.
    pub(super) fn announce(&self) {
        self.0.send_replace(());
    }

    /// Sees every announcement made from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }

    /// Waits until `condition`, which must change only with an announcement, holds. Cancel-safe.
    pub(super) async fn wait_until(&self, condition: impl Fn() -> bool) {
        let mut announcements = self.subscribe();
        while !condition() {
            // The sender lives as long as `self`.
            announcements
                .changed()
                .await
                .expect("self keeps the sender");
        }
    }
}
