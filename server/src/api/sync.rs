//! Owns the Sync service on the wire: renders what [`crate::sync`] has to tell an agent, in messages
//! of a bounded size, with a sign of life when there is nothing to tell.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use identity::bundle::Bundle;
use identity::clock::{Clock, UnixTime};
use identity::entry::{EntryId, RegistrationEntry};
use identity::trust_domain::TrustDomain;
use prost::Message as _;
use proto::conclave::sync::v1 as wire;
use proto::convert;
use raft_store::Revision;
use tonic::{Request, Response, Status};

use crate::api::{caller, status};
use crate::endpoints::{AgentRefusal, Caller, ConnectionLife};
use crate::sync::{Batch, Ended, Sync, Watch};

/// The Sync service.
#[derive(Clone, Debug)]
pub struct SyncApi {
    sync: Sync,
    clock: Arc<dyn Clock>,
}

impl SyncApi {
    /// The service over `sync`, which judges certificates by `clock`.
    pub fn new(sync: Sync, clock: Arc<dyn Clock>) -> Self {
        Self { sync, clock }
    }
}

#[tonic::async_trait]
impl wire::sync_server::Sync for SyncApi {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<wire::WatchResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<wire::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let agent = caller::agent(&request)?;
        let life = request.extensions().get::<ConnectionLife>().cloned();
        let life = life.unwrap_or_default();
        let peer = request.extensions().get().and_then(Caller::identity);
        let serial = peer.map_or("", |peer| peer.serial.as_str());
        let ends_at = peer.map(|peer| peer.not_after);
        let after = Revision::new(request.get_ref().revision);
        let watch = self.sync.watch(&agent.spiffe_id, serial, after).await;
        let watch = watch.map_err(|error| status::not_watched(&error))?;
        life.carry_stream();
        let telling = Telling {
            watch,
            life,
            clock: Arc::clone(&self.clock),
            ends_at,
            rendering: None,
        };
        let messages = futures_util::stream::try_unfold(telling, Telling::next);
        Ok(Response::new(Box::pin(messages)))
    }
}

/// The answers of one call.
struct Telling {
    watch: Watch,
    life: ConnectionLife,
    clock: Arc<dyn Clock>,
    /// End of the certificate that the agent showed.
    ends_at: Option<UnixTime>,
    rendering: Option<Rendering>,
}

impl Telling {
    async fn next(mut self) -> Result<Option<(wire::WatchResponse, Self)>, Status> {
        if self.rendering.is_none() {
            if self.ends_at.is_some_and(|end| self.clock.now() > end) {
                let expired = Ended::Refused(AgentRefusal::Expired);
                return Err(status::watch_ended(expired));
            }
            let batch = tokio::select! {
                biased;
                () = self.life.ending() => return Err(status::connection_ends()),
                batch = self.watch.next(SIGN_OF_LIFE) => batch,
            };
            let batch = batch.map_err(status::watch_ended)?;
            self.rendering = Some(Rendering::new(batch));
        }
        let Some(rendering) = self.rendering.as_mut() else {
            return Ok(None);
        };
        let message = rendering.next_message();
        if message.is_last {
            self.rendering = None;
        }
        Ok(Some((message, self)))
    }
}

/// A batch on its way out, rendered message by message, so that a long one is never held twice.
struct Rendering {
    revision: u64,
    is_reset: bool,
    bundles: std::vec::IntoIter<Arc<Bundle>>,
    removed_bundles: std::vec::IntoIter<TrustDomain>,
    removed_entries: std::vec::IntoIter<EntryId>,
    entries: std::vec::IntoIter<Arc<RegistrationEntry>>,
}

impl Rendering {
    fn new(batch: Batch) -> Self {
        Self {
            revision: batch.revision.as_u64(),
            is_reset: batch.is_reset,
            bundles: batch.bundles.into_iter(),
            removed_bundles: batch.removed_bundles.into_iter(),
            removed_entries: batch.removed_entries.into_iter(),
            entries: batch.entries.into_iter(),
        }
    }

    /// The next message: as much as fits, at least one record if there is any.
    fn next_message(&mut self) -> wire::WatchResponse {
        let mut message = wire::WatchResponse {
            revision: self.revision,
            reset: self.is_reset,
            ..wire::WatchResponse::default()
        };
        let mut room = Room::default();
        while room.is_left()
            && let Some(bundle) = self.bundles.next()
        {
            let bundle = convert::bundle::to_wire(&bundle, None);
            room.take(bundle.encoded_len());
            message.bundles.push(bundle);
        }
        while room.is_left()
            && let Some(trust_domain) = self.removed_bundles.next()
        {
            let name = trust_domain.as_str().to_owned();
            room.take(name.len());
            message.removed_bundles.push(name);
        }
        while room.is_left()
            && let Some(id) = self.removed_entries.next()
        {
            let id = id.as_str().to_owned();
            room.take(id.len());
            message.removed_entry_ids.push(id);
        }
        while room.is_left()
            && let Some(entry) = self.entries.next()
        {
            let entry = convert::entry::to_wire(&entry, None);
            room.take(entry.encoded_len());
            message.entries.push(entry);
        }
        message.is_last = self.bundles.len() == 0
            && self.removed_bundles.len() == 0
            && self.removed_entries.len() == 0
            && self.entries.len() == 0;
        message
    }
}

/// What a message can still take.
struct Room {
    records: usize,
    len_bytes: usize,
}

impl Room {
    const fn is_left(&self) -> bool {
        self.records > 0 && self.len_bytes > 0
    }

    const fn take(&mut self, len_bytes: usize) {
        self.records = self.records.saturating_sub(1);
        self.len_bytes = self.len_bytes.saturating_sub(len_bytes);
    }
}

impl Default for Room {
    fn default() -> Self {
        Self {
            records: MESSAGE_RECORDS,
            len_bytes: MESSAGE_LEN_BYTES,
        }
    }
}

/// How long an agent hears nothing at most.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// A message has at most so many records, and ends with the one that makes it this long.
const MESSAGE_RECORDS: usize = 1_000;
const MESSAGE_LEN_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use crate::entries::testing::entry;

    use super::*;

    fn lens(batch: Batch) -> Vec<usize> {
        let mut rendering = Rendering::new(batch);
        let mut lens = Vec::new();
        loop {
            let message = rendering.next_message();
            assert_eq!((message.revision, message.reset), (7, true));
            lens.push(message.entries.len());
            if message.is_last {
                return lens;
            }
        }
    }

    fn batch(entries: Vec<RegistrationEntry>) -> Batch {
        Batch {
            is_reset: true,
            entries: entries.into_iter().map(Arc::new).collect(),
            ..Batch::empty(Revision::new(7))
        }
    }

    #[test]
    fn batch_is_cut_by_number_and_by_size_and_its_end_is_told() {
        let some = |count: usize| (0..count).map(|_| entry("/w", "/agent", &["a:1"]));
        assert_eq!(lens(batch(Vec::new())), [0]);
        assert_eq!(lens(batch(some(1_000).collect())), [1_000]);
        assert_eq!(lens(batch(some(2_001).collect())), [1_000, 1_000, 1]);
        let large = |mut entry: RegistrationEntry| {
            entry.hint = "x".repeat(600 << 10).into();
            entry
        };
        assert_eq!(lens(batch(some(5).map(large).collect())), [2, 2, 1]);
    }
}
