//! SyncAuthorizedEntries: how an agent learns which entries it is authorised for.
//!
//! A server answers with all entries if they are few. Otherwise it names them with their revisions,
//! and the agent asks for those that it does not hold in that state.

use std::collections::BTreeMap;
use std::sync::Arc;

use identity::clock::UnixTime;
use identity::entry::EntryId;
use proto::convert::ConvertError;
use proto::convert::entry::{AuthorizedEntry, authorized, authorized_mask};
use proto::spire::api::server::entry::v1::entry_client::EntryClient;
use proto::spire::api::server::entry::v1::{
    SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse,
};
use proto::spire::api::types;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::{CALL_DEADLINE, CallError, MAX_ANSWER_LEN_BYTES, Malformed, ServerClient};

/// The entries that the agent holds, by id.
pub type KnownEntries = BTreeMap<EntryId, Arc<AuthorizedEntry>>;

/// One state of one entry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct EntryRevision {
    /// The entry.
    pub id: EntryId,
    /// Grows with every update.
    pub revision: i64,
    /// Tells an entry from a later one with the same id.
    pub created_at: UnixTime,
}

/// More than an agent can use, but not more than it can hold.
const MAX_ENTRIES: usize = 2_000_000;

/// The most ids in one request, whatever the size of the server's pages.
const MAX_IDS: usize = 500;

impl ServerClient {
    /// All entries that the agent is authorised for now. Those that `known` holds in the same state
    /// are the same ones; an entry that cannot be read is left out with a warning.
    ///
    /// # Errors
    /// The call failed or broke the protocol; `known` still tells what was authorised last.
    pub async fn sync_entries(&self, known: &KnownEntries) -> Result<KnownEntries, CallError> {
        self.call(CALL_DEADLINE, |link| sync(link.channel(), known))
            .await
    }
}

async fn sync(channel: Channel, known: &KnownEntries) -> Result<KnownEntries, CallError> {
    let mut client = EntryClient::new(channel).max_decoding_message_size(MAX_ANSWER_LEN_BYTES);
    let (requests, outgoing) = mpsc::channel(1);
    let first = SyncAuthorizedEntriesRequest {
        output_mask: Some(authorized_mask()),
        ids: Vec::new(),
    };
    send(&requests, first).await?;
    let mut answers = client
        .sync_authorized_entries(ReceiverStream::new(outgoing))
        .await?
        .into_inner();
    let first = next(&mut answers).await?;
    let page_size = first.entry_revisions.len();
    if page_size == 0 {
        return Ok(read_entries(first.entries, known));
    }
    let revisions = read_revisions(first, &mut answers).await?;
    let (mut entries, stale) = split_by_state(revisions, known);
    for ids in stale.chunks(page_size.min(MAX_IDS)) {
        let request = SyncAuthorizedEntriesRequest {
            output_mask: None,
            ids: ids.iter().map(|id| id.as_str().to_owned()).collect(),
        };
        send(&requests, request).await?;
        loop {
            let page = next(&mut answers).await?;
            if !page.entry_revisions.is_empty() {
                return Err(Malformed::Unexpected("entry revisions").into());
            }
            entries.append(&mut read_entries(page.entries, known));
            within_bounds(entries.len())?;
            if !page.more {
                break;
            }
        }
    }
    Ok(entries)
}

/// A server that never comes to an end must not fill the memory meanwhile.
fn within_bounds(entries: usize) -> Result<(), Malformed> {
    match entries <= MAX_ENTRIES {
        true => Ok(()),
        false => Err(Malformed::Unexpected("number of entries")),
    }
}

async fn send(
    requests: &mpsc::Sender<SyncAuthorizedEntriesRequest>,
    request: SyncAuthorizedEntriesRequest,
) -> Result<(), CallError> {
    let sent = requests.send(request).await;
    sent.map_err(|_closed| CallError::from(tonic::Status::unavailable("sync stream was closed")))
}

async fn next(
    answers: &mut Streaming<SyncAuthorizedEntriesResponse>,
) -> Result<SyncAuthorizedEntriesResponse, CallError> {
    let answer = answers.message().await?;
    answer.ok_or_else(|| Malformed::Unexpected("end of stream").into())
}

/// All pages of revisions, the first one of which is there already.
async fn read_revisions(
    first: SyncAuthorizedEntriesResponse,
    answers: &mut Streaming<SyncAuthorizedEntriesResponse>,
) -> Result<Vec<EntryRevision>, CallError> {
    let mut revisions = Vec::new();
    let mut page = first;
    loop {
        if !page.entries.is_empty() {
            return Err(Malformed::Unexpected("entries").into());
        }
        for revision in &page.entry_revisions {
            revisions.push(EntryRevision {
                id: EntryId::parse(&revision.id).map_err(ConvertError::from)?,
                revision: revision.revision_number,
                created_at: UnixTime::from_secs(revision.created_at),
            });
        }
        within_bounds(revisions.len())?;
        if !page.more {
            return Ok(revisions);
        }
        page = next(answers).await?;
    }
}

/// The entries that are held in the state that the server names, and the sorted ids of the others.
fn split_by_state(
    revisions: Vec<EntryRevision>,
    known: &KnownEntries,
) -> (KnownEntries, Vec<EntryId>) {
    let mut held = KnownEntries::new();
    let mut stale = Vec::new();
    for named in revisions {
        match known.get(&named.id) {
            Some(entry)
                if entry.revision == named.revision && entry.created_at == named.created_at =>
            {
                held.insert(named.id, Arc::clone(entry));
            }
            Some(_) | None => stale.push(named.id),
        }
    }
    stale.sort_unstable();
    stale.dedup();
    (held, stale)
}

/// Entries off the wire; one that equals the held one is the held one, and one that cannot be read is
/// left out.
fn read_entries(wire: Vec<types::Entry>, known: &KnownEntries) -> KnownEntries {
    let mut entries = KnownEntries::new();
    for one in wire {
        match authorized(&one) {
            Ok(entry) => {
                let held = known.get(&entry.id).filter(|held| ***held == entry);
                let entry = held.map_or_else(|| Arc::new(entry), Arc::clone);
                entries.insert(entry.id.clone(), entry);
            }
            Err(error) => {
                tracing::warn!(entry = %one.id, %error, "Received malformed entry from server");
            }
        }
    }
    entries
}
