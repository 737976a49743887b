//! The stream behind a streaming call.

use std::pin::Pin;
use std::sync::Arc;

use daemon::supervisor::Shutdown;
use futures_util::Stream;
use futures_util::stream::unfold;
use identity::clock::Clock;
use tokio::sync::watch;
use tonic::Status;

use super::SERVICE;
use super::render::Message;
use crate::cache::WorkloadView;
use crate::caller::Caller;
use crate::endpoints::stopping;

/// What tonic serves.
pub(super) type Updates<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// Whether a caller without any identity gets an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Strangers {
    /// `PermissionDenied`.
    Denied,
    /// The bundle of the own trust domain.
    Served,
}

/// One open stream.
pub(super) struct Subscription<M> {
    pub(super) view: watch::Receiver<Arc<WorkloadView>>,
    pub(super) caller: Caller,
    pub(super) method: &'static str,
    pub(super) strangers: Strangers,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) shutdown: Shutdown,
    pub(super) sent: Option<M>,
    pub(super) on_sent: fn(&M),
}

impl<M: Message + Clone + Send + Sync + 'static> Subscription<M> {
    /// Messages until the last identity goes or the agent stops; the error is the last item.
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
            if let Some(message) = self.unsent()? {
                return Ok(message);
            }
            tokio::select! {
                () = self.shutdown.requested() => return Err(stopping()),
                changed = self.view.changed() => {
                    // The sender goes only together with the cache.
                    changed.map_err(|_gone| stopping())?;
                }
            }
        }
    }

    /// The message that the view makes now, if it is complete and not the one sent last.
    fn unsent(&mut self) -> Result<Option<M>, Status> {
        let view = Arc::clone(&self.view.borrow_and_update());
        if !view.has_identity() && self.strangers == Strangers::Denied {
            return Err(self.caller.denied(SERVICE, self.method));
        }
        let message = M::render(&view, self.clock.now());
        let Some(message) = message.filter(|message| self.sent.as_ref() != Some(message)) else {
            return Ok(None);
        };
        (self.on_sent)(&message);
        self.sent = Some(message.clone());
        Ok(Some(message))
    }
}
