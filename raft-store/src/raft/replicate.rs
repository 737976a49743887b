//! Entries on their way to one follower: several requests at once, answered in their order.
//!
//! The next entries need not wait until those before are durable at the follower. That more is committed is told with
//! the next entries, if they come soon: a request of its own costs as much as one with entries, at the very moment
//! when the next write comes.

use std::collections::VecDeque;
use std::time::Duration;

use futures_util::stream::{BoxStream, unfold};
use futures_util::{Stream, StreamExt as _};
use openraft::errors::RPCError;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, StreamAppendResult};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};
use wire::peer_request::Request;
use wire::peer_response::Response;

use super::line::Line;
use super::links::LinkError;
use super::log_store::payload_len_bytes;
use super::message::{append_request, append_response_from};
use super::network::unreachable;
use super::{LogId, Types, Vote};
use crate::codec::wire;

/// The library's requests, and what the follower has not answered of them.
struct Replication<S> {
    line: Line,
    member_id: u64,
    /// Dropped once it has ended.
    requests: Option<S>,
    unanswered: VecDeque<Sent>,
    unanswered_len_bytes: usize,
    /// The last entry that was sent, once any request was.
    last: Option<Option<LogId>>,
    /// Says only that more is committed, and may wait a little for entries to go with.
    held: Option<Held>,
    /// When to look whether the follower is late.
    due: Interval,
}

struct Held {
    request: AppendEntriesRequest<Types>,
    until: Instant,
}

/// One request on its way.
struct Sent {
    /// When it is late.
    late_at: Instant,
    len_bytes: usize,
    vote: Vote,
    previous: Option<LogId>,
    last: Option<LogId>,
}

/// What the library wants to hear of one request.
pub(super) type Answer = Result<StreamAppendResult<Types>, RPCError<Types>>;

/// Sends `requests` and gives their answers. Ends after the first that does not accept all of its entries.
pub(super) fn replicate<'a, S>(line: Line, member_id: u64, requests: S) -> BoxStream<'a, Answer>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'a,
{
    let mut due = interval(LOOK_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let replication = Replication {
        line,
        member_id,
        requests: Some(requests),
        unanswered: VecDeque::with_capacity(MAX_UNANSWERED),
        unanswered_len_bytes: 0,
        last: None,
        held: None,
        due,
    };
    unfold(Some(replication), async |replication| {
        let mut replication = replication?;
        let (answer, accepted_all) = match replication.next().await? {
            Ok((answer, accepted_all)) => (Ok(answer), accepted_all),
            Err(error) => (Err(unreachable(&error)), false),
        };
        Some((answer, accepted_all.then_some(replication)))
    })
    .boxed()
}

impl<S> Replication<S>
where
    S: Stream<Item = AppendEntriesRequest<Types>> + Unpin,
{
    /// The next answer, and whether all entries of its request were accepted; `None` when all is answered.
    async fn next(&mut self) -> Option<Result<(StreamAppendResult<Types>, bool), LinkError>> {
        loop {
            let has_room = self.unanswered.len() < MAX_UNANSWERED;
            tokio::select! {
                biased;
                answer = self.line.answer(), if !self.unanswered.is_empty() => {
                    return Some(answer.and_then(|answer| self.take(answer)));
                }
                request = next(&mut self.requests), if has_room && self.requests.is_some() => {
                    match request {
                        Some(request) if self.may_wait(&request) => self.hold(request),
                        Some(request) => {
                            // It says all that what was held says.
                            self.held = None;
                            if let Err(error) = self.send(&request) {
                                return Some(Err(error));
                            }
                        }
                        None => self.requests = None,
                    }
                }
                request = due(&mut self.held), if has_room && self.held.is_some() => {
                    if let Err(error) = self.send(&request) {
                        return Some(Err(error));
                    }
                }
                _ = self.due.tick(), if !self.unanswered.is_empty() => {
                    let oldest = self.unanswered.front();
                    if oldest.is_some_and(|sent| sent.late_at <= Instant::now()) {
                        self.line.ledger().note_untaken(self.member_id);
                        return Some(Err(self.line.timed_out()));
                    }
                }
                else => return None,
            }
        }
    }

    /// Whether a request only tells that more is committed, and nobody at the follower waits for that.
    fn may_wait(&self, request: &AppendEntriesRequest<Types>) -> bool {
        request.entries.is_empty()
            && self.last == Some(request.prev_log_id)
            && !self.line.has_asked_lately()
    }

    /// Keeps a request for a while. No answer to it is needed: that to a later one says as much.
    fn hold(&mut self, request: AppendEntriesRequest<Types>) {
        let until = match self.held.take() {
            Some(held) => held.until,
            None => Instant::now() + MAX_HELD,
        };
        self.held = Some(Held { request, until });
    }

    fn send(&mut self, request: &AppendEntriesRequest<Types>) -> Result<(), LinkError> {
        let last = request.entries.last().map(|entry| entry.log_id);
        let last = last.or(request.prev_log_id);
        self.last = Some(last);
        let len_bytes = request.entries.iter().map(payload_len_bytes).sum();
        self.unanswered_len_bytes += len_bytes;
        let transit = self.note_on_the_way();
        self.unanswered.push_back(Sent {
            late_at: Instant::now() + ANSWER_DEADLINE + transit,
            len_bytes,
            vote: request.vote,
            previous: request.prev_log_id,
            last,
        });
        self.line.send(Request::Append(append_request(request)))
    }

    fn take(&mut self, answer: Response) -> Result<(StreamAppendResult<Types>, bool), LinkError> {
        let unexpected = || LinkError::unexpected(self.member_id);
        let sent = self.unanswered.pop_front().ok_or_else(unexpected)?;
        self.unanswered_len_bytes -= sent.len_bytes;
        self.note_on_the_way();
        let Response::Append(response) = answer else {
            return Err(unexpected());
        };
        let response = append_response_from(response).map_err(|_unreadable| unexpected())?;
        // The library takes a conflict at the very beginning for a broken invariant.
        if response.is_conflict() && sent.previous.is_none() {
            return Err(unexpected());
        }
        let accepted = match &response {
            AppendEntriesResponse::Success => Some(sent.last),
            AppendEntriesResponse::PartialSuccess(through) => Some(*through),
            AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => None,
        };
        self.note(&sent, &response, accepted.flatten());
        let accepted_all = accepted == Some(sent.last);
        let result = response.into_stream_result(sent.previous, sent.last);
        Ok((result, accepted_all))
    }

    /// Notes how long what is on its way may travel, and tells it.
    fn note_on_the_way(&self) -> Duration {
        let transit = transit(self.unanswered_len_bytes);
        self.line.ledger().note_transit(self.member_id, transit);
        transit
    }

    fn note(&self, sent: &Sent, response: &AppendEntriesResponse<Types>, accepted: Option<LogId>) {
        let ledger = self.line.ledger();
        if let Some(through) = accepted {
            ledger.note_accepted(self.member_id, &sent.vote, through.index());
        }
        if let (AppendEntriesResponse::Conflict, Some(previous)) = (response, sent.previous) {
            ledger.note_conflict(self.member_id, &sent.vote, previous.index());
        }
    }
}

impl<S> Drop for Replication<S> {
    fn drop(&mut self) {
        let nothing = Duration::ZERO;
        self.line.ledger().note_transit(self.member_id, nothing);
    }
}

/// How long so many bytes may be on their way.
fn transit(len_bytes: usize) -> Duration {
    let len_bytes = u64::try_from(len_bytes).unwrap_or(u64::MAX);
    Duration::from_millis(len_bytes / MIN_BYTES_PER_MILLISECOND)
}

async fn next<S: Stream + Unpin>(requests: &mut Option<S>) -> Option<S::Item> {
    requests.as_mut()?.next().await
}

/// Gives what is held once it has been for long enough. Cancel-safe.
async fn due(held: &mut Option<Held>) -> AppendEntriesRequest<Types> {
    loop {
        match held.take_if(|held| held.until <= Instant::now()) {
            Some(held) => return held.request,
            None => match held {
                Some(held) => sleep_until(held.until).await,
                None => std::future::pending().await,
            },
        }
    }
}

/// Requests on their way to one follower at most. The more wait, the larger the next ones are.
pub(super) const MAX_UNANSWERED: usize = 4;

/// How slow a connection may be: a megabit a second.
const MIN_BYTES_PER_MILLISECOND: u64 = 125;

/// How long a follower may take to make entries durable, once it has them.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// How much later than that it may be noticed.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long a follower is left to wait for what is committed, but for what the clock rounds up.
const MAX_HELD: Duration = Duration::from_millis(1);
