//! Owns the paged protocol of `SyncAuthorizedEntries`.
//!
//! A short list is sent whole and the stream ends. A long one is sent as pages of revisions; the
//! agent then asks by id for the entries that it lacks, as often as it likes, and every request is
//! answered with pages of which the last one, even if empty, says that there is no more. What the
//! agent may see is asked anew for each request, so an entry that went meanwhile is left out.

use std::collections::{HashSet, VecDeque};
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use identity::entry::RegistrationEntry;
use proto::convert;
use proto::spire::api::server::entry::v1::{
    EntryRevision, SyncAuthorizedEntriesRequest, SyncAuthorizedEntriesResponse,
};
use proto::spire::api::types::EntryMask;
use tonic::{Status, Streaming};

use crate::api::status;
use crate::endpoints::ConnectionLife;

/// The answers of one call.
pub(super) type Answers =
    Pin<Box<dyn Stream<Item = Result<SyncAuthorizedEntriesResponse, Status>> + Send>>;

type Authorized = Vec<Arc<RegistrationEntry>>;

/// Answers the requests of one call, the first of which was read already. `authorized` says what
/// the agent may see at the time; `None` if it is no agent any more.
pub(super) fn answer(
    first: Option<SyncAuthorizedEntriesRequest>,
    requests: Streaming<SyncAuthorizedEntriesRequest>,
    authorized: impl Fn() -> Option<Authorized> + Send + 'static,
    life: ConnectionLife,
) -> Result<Answers, Status> {
    let Some(first) = first else {
        return Ok(Box::pin(futures_util::stream::empty()));
    };
    let mask = check_first(first)?;
    let entries = authorized().ok_or_else(no_longer_admitted)?;
    if entries.len() <= PAGE_LEN {
        let whole = entry_pages(&entries, mask.as_ref());
        return Ok(Box::pin(futures_util::stream::iter(
            whole.into_iter().map(Ok),
        )));
    }
    let conversation = Conversation {
        requests,
        authorized,
        life,
        mask,
        pending: revision_pages(&entries).into(),
    };
    Ok(Box::pin(futures_util::stream::try_unfold(
        conversation,
        Conversation::next,
    )))
}

fn check_first(first: SyncAuthorizedEntriesRequest) -> Result<Option<EntryMask>, Status> {
    if !first.ids.is_empty() {
        return Err(Status::invalid_argument(
            "specifying IDs on initial request is not supported",
        ));
    }
    if first
        .output_mask
        .as_ref()
        .is_some_and(|mask| !mask.revision_number)
    {
        return Err(Status::invalid_argument("revision number cannot be masked"));
    }
    Ok(first.output_mask)
}

/// The part of a call that follows the revisions.
struct Conversation<F> {
    requests: Streaming<SyncAuthorizedEntriesRequest>,
    authorized: F,
    life: ConnectionLife,
    mask: Option<EntryMask>,
    pending: VecDeque<SyncAuthorizedEntriesResponse>,
}

impl<F: Fn() -> Option<Authorized>> Conversation<F> {
    async fn next(mut self) -> Result<Option<(SyncAuthorizedEntriesResponse, Self)>, Status> {
        if self.pending.is_empty() {
            let request = tokio::select! {
                request = self.requests.message() => request?,
                () = self.life.stopping() => return Err(status::connection_ends()),
            };
            let Some(request) = request else {
                return Ok(None);
            };
            let authorized = (self.authorized)().ok_or_else(no_longer_admitted)?;
            let wanted = select(&authorized, &request.ids);
            self.pending = entry_pages(&wanted, self.mask.as_ref()).into();
        }
        let page = self.pending.pop_front();
        Ok(page.map(|page| (page, self)))
    }
}

/// A call was admitted when it began, and may outlive a ban or a deletion. It ends here in a way
/// that makes the agent call again, and the judgement about that call tells it what to do.
fn no_longer_admitted() -> Status {
    Status::unavailable("agent was banned or deleted during the call")
}

/// Those of `entries` that `ids` names; however often it does, an entry is sent once.
fn select(entries: &Authorized, ids: &[String]) -> Authorized {
    let wanted: HashSet<&str> = ids.iter().map(String::as_str).collect();
    let is_wanted = |entry: &&Arc<RegistrationEntry>| wanted.contains(entry.id.as_str());
    entries.iter().filter(is_wanted).cloned().collect()
}

/// At least one page; only the last says that there is no more.
fn entry_pages(
    entries: &[Arc<RegistrationEntry>],
    mask: Option<&EntryMask>,
) -> Vec<SyncAuthorizedEntriesResponse> {
    pages(entries, |page| SyncAuthorizedEntriesResponse {
        entries: page
            .iter()
            .map(|entry| convert::entry::to_wire(entry, mask))
            .collect(),
        ..SyncAuthorizedEntriesResponse::default()
    })
}

fn revision_pages(entries: &[Arc<RegistrationEntry>]) -> Vec<SyncAuthorizedEntriesResponse> {
    pages(entries, |page| SyncAuthorizedEntriesResponse {
        entry_revisions: page
            .iter()
            .map(|entry| EntryRevision {
                id: entry.id.as_str().to_owned(),
                revision_number: entry.revision,
                created_at: entry.created_at.as_secs(),
            })
            .collect(),
        ..SyncAuthorizedEntriesResponse::default()
    })
}

fn pages(
    entries: &[Arc<RegistrationEntry>],
    render: impl Fn(&[Arc<RegistrationEntry>]) -> SyncAuthorizedEntriesResponse,
) -> Vec<SyncAuthorizedEntriesResponse> {
    let mut pages: Vec<_> = entries.chunks(PAGE_LEN).map(render).collect();
    if pages.is_empty() {
        pages.push(SyncAuthorizedEntriesResponse::default());
    }
    let last = pages.len() - 1;
    for page in &mut pages[..last] {
        page.more = true;
    }
    pages
}

/// Entries or revisions in one message. Agents take the length of the first page of revisions as
/// the number of ids that they may ask for at once.
const PAGE_LEN: usize = 500;

#[cfg(test)]
mod tests {
    use crate::entries::testing::entry;

    use super::*;

    fn some(count: usize) -> Authorized {
        (0..count)
            .map(|number| Arc::new(entry(&format!("/w{number}"), "/agent", &["a:1"])))
            .collect()
    }

    #[test]
    fn only_the_last_page_says_that_there_is_no_more() {
        for (count, lens) in [
            (0, vec![0]),
            (1, vec![1]),
            (500, vec![500]),
            (501, vec![500, 1]),
            (1_200, vec![500, 500, 200]),
        ] {
            let pages = revision_pages(&some(count));
            let found: Vec<usize> = pages
                .iter()
                .map(|page| page.entry_revisions.len())
                .collect();
            assert_eq!(found, lens);
            let more: Vec<bool> = pages.iter().map(|page| page.more).collect();
            let mut expected = vec![true; lens.len()];
            expected[lens.len() - 1] = false;
            assert_eq!(more, expected);
        }
    }

    #[test]
    fn unauthorized_ids_are_skipped_and_repeated_ones_sent_once() {
        let entries = some(3);
        let [first, _, last] = entries.as_slice() else {
            panic!("three entries were made");
        };
        let ids = [
            "nope",
            last.id.as_str(),
            first.id.as_str(),
            last.id.as_str(),
        ];
        let selected = select(&entries, &ids.map(str::to_owned));
        assert_eq!(selected, [Arc::clone(first), Arc::clone(last)]);
    }

    #[test]
    fn first_request_has_no_ids_and_does_not_mask_revisions() {
        let refused = |request| check_first(request).unwrap_err().message().to_owned();
        let with_ids = SyncAuthorizedEntriesRequest {
            ids: vec!["x".to_owned()],
            output_mask: None,
        };
        assert_eq!(
            refused(with_ids),
            "specifying IDs on initial request is not supported"
        );
        let without_revision = SyncAuthorizedEntriesRequest {
            ids: Vec::new(),
            output_mask: Some(EntryMask {
                spiffe_id: true,
                ..EntryMask::default()
            }),
        };
        assert_eq!(
            refused(without_revision),
            "revision number cannot be masked"
        );
    }
}
