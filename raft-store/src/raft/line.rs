//! Requests to another member that follow one another over one connection.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::mpsc;
use wire::peer_request::Request;
use wire::peer_response::Response;

use super::ledger::Ledger;
use super::links::{LinkError, Links, peer_error, read_answer};
use crate::codec::wire;
use crate::peer::{Lane, PeerConnection, PeerError};

/// Sends requests without waiting for the answers to those before; these come in the same order. Who drops it gives
/// up what is not answered.
pub(super) struct Line {
    links: Arc<Links>,
    member_id: u64,
    address: String,
    lane: Lane,
    connection: Arc<dyn PeerConnection>,
    requests: mpsc::Sender<Bytes>,
    answers: BoxStream<'static, Result<Bytes, PeerError>>,
}

impl Line {
    /// A line with room for so many requests that nothing has taken yet.
    pub(super) async fn open(
        links: Arc<Links>,
        member_id: u64,
        address: &str,
        lane: Lane,
        room: usize,
    ) -> Result<Self, LinkError> {
        let connection = links.connection(member_id, address, lane).await;
        let connection = connection.inspect_err(|error| links.note_missed(member_id, error))?;
        let (requests, waiting) = mpsc::channel(room);
        Ok(Self {
            answers: connection.exchange_in_order(waiting),
            links,
            member_id,
            address: address.to_owned(),
            lane,
            connection,
            requests,
        })
    }

    /// Sends a request, in time that depends on no member.
    pub(super) fn send(&self, request: Request) -> Result<(), LinkError> {
        let request = self.links.request(self.member_id, request);
        match self.requests.try_send(request) {
            // Broken off: the answers say why.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(self.timed_out()),
        }
    }

    /// The answer to the first request that has none yet. Cancel-safe.
    pub(super) async fn answer(&mut self) -> Result<Response, LinkError> {
        let (links, member_id) = (&self.links, self.member_id);
        match self.answers.next().await {
            Some(Ok(answer)) => {
                links.note_answered(member_id, self.lane);
                read_answer(member_id, &answer)
            }
            Some(Err(error)) => Err(self.broken(Arc::new(error))),
            None => Err(self.broken(peer_error(member_id, &self.address, None))),
        }
    }

    /// Whether the other member asked for something a moment ago that it may still wait for.
    pub(super) fn has_asked_lately(&self) -> bool {
        self.links.has_asked_lately(self.member_id)
    }

    /// What the other member acknowledged.
    pub(super) fn ledger(&self) -> &Ledger {
        self.links.ledger()
    }

    /// Notes that no answer came in time.
    pub(super) fn timed_out(&self) -> LinkError {
        let late = Some(io::ErrorKind::TimedOut.into());
        self.links.note_silence(self.member_id, self.lane);
        self.missed(peer_error(self.member_id, &self.address, late))
    }

    fn broken(&self, error: Arc<PeerError>) -> LinkError {
        self.links
            .note_broken(self.member_id, self.lane, &self.connection, &error);
        self.missed(error)
    }

    fn missed(&self, error: Arc<PeerError>) -> LinkError {
        let error = LinkError::NoAnswer(error);
        self.links.note_missed(self.member_id, &error);
        error
    }
}
