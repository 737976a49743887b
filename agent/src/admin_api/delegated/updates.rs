//! The stream behind a subscription of a delegate.

use std::pin::Pin;
use std::sync::Arc;

use daemon::supervisor::Shutdown;
use futures_util::Stream;
use futures_util::stream::unfold;
use identity::clock::{Clock, UnixTime};
use tokio::sync::watch;
use tonic::Status;

use super::service::Delegate;
use crate::endpoints::stopping;

/// What tonic serves.
pub(super) type Updates<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// One open stream of what `source` holds.
pub(super) struct Subscription<T, M> {
    pub(super) delegate: Delegate,
    pub(super) source: watch::Receiver<Arc<T>>,
    /// The message for what there is; `None` while it would be incomplete.
    pub(super) render: fn(&T, UnixTime) -> Option<M>,
    pub(super) on_sent: fn(&M),
    pub(super) clock: Arc<dyn Clock>,
    pub(super) shutdown: Shutdown,
    pub(super) sent: Option<M>,
}

impl<T, M> Subscription<T, M>
where
    T: Send + Sync + 'static,
    M: Clone + PartialEq + Send + Sync + 'static,
{
    /// Messages until the caller is a delegate no more or the agent stops; the error is the last
    /// item.
    pub(super) fn into_stream(self) -> Updates<M> {
        Box::pin(unfold(Some(self), |subscription| async {
            let mut subscription = subscription?;
            let item = subscription.next().await;
            let rest = item.is_ok().then_some(subscription);
            Some((item, rest))
        }))
    }

    async fn next(&mut self) -> Result<M, Status> {
        loop {
            self.delegate.check()?;
            if let Some(message) = self.unsent() {
                return Ok(message);
            }
            tokio::select! {
                () = self.shutdown.requested() => return Err(stopping()),
                changed = self.delegate.changed() => changed?,
                // The sender goes only together with the cache.
                changed = self.source.changed() => changed.map_err(|_gone| stopping())?,
            }
        }
    }

    /// The message that there is now, if it is complete and not the one sent last.
    fn unsent(&mut self) -> Option<M> {
        let source = Arc::clone(&self.source.borrow_and_update());
        let message = (self.render)(&source, self.clock.now())?;
        if self.sent.as_ref() == Some(&message) {
            return None;
        }
        (self.on_sent)(&message);
        self.sent = Some(message.clone());
        Some(message)
    }
}
