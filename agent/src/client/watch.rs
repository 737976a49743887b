//! Watch: how an agent learns of changes the moment they are made, where the server offers that.
//!
//! A batch is handed out whole. Revisions only grow, except with a batch that replaces everything.

use std::sync::Arc;
use std::time::Duration;

use identity::bundle::Bundle;
use identity::entry::EntryId;
use identity::trust_domain::TrustDomain;
use proto::conclave::sync::v1::sync_client::SyncClient;
use proto::conclave::sync::v1::{WatchRequest, WatchResponse};
use proto::convert;
use proto::convert::entry::{AuthorizedEntry, authorized};
use tonic::{Code, Status, Streaming};

use super::link::{Link, LinkId};
use super::{CALL_DEADLINE, CallError, MAX_ANSWER_LEN_BYTES, Malformed, ServerClient};

/// A server that says nothing for this long is given up; it gives a sign of life each 5 s.
const SILENCE: Duration = Duration::from_secs(12);

/// Entries and bundles in one batch, those that are gone among them. More than an agent can use, but not more than
/// it can hold.
const MAX_BATCH: usize = 2_000_000;

/// What changed at once. Nothing at all is a sign of life.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The store's version with these changes.
    pub revision: u64,
    /// Whether this is everything that there is, instead of a change.
    pub is_reset: bool,
    /// Entries that are new or differ.
    pub entries: Vec<Arc<AuthorizedEntry>>,
    /// Entries that are gone.
    pub removed_entries: Vec<EntryId>,
    /// Bundles that are new or differ.
    pub bundles: Vec<Bundle>,
    /// Bundles that are gone.
    pub removed_bundles: Vec<TrustDomain>,
}

/// A server's answer to the wish to be told of changes.
#[derive(Debug)]
pub enum Offer {
    /// It tells them.
    Changes(Box<Watch>),
    /// The server at the other end of this connection has to be asked again and again.
    Unimplemented(LinkId),
}

/// An open stream of changes.
#[derive(Debug)]
pub struct Watch {
    client: ServerClient,
    link: Arc<Link>,
    answers: Streaming<WatchResponse>,
    assembly: Assembly,
}

impl ServerClient {
    /// Opens a stream of the changes after `revision`, or of everything after 0.
    ///
    /// # Errors
    /// No server opened one; none that says it cannot.
    pub async fn watch(&self, revision: u64) -> Result<Offer, CallError> {
        let offer = self
            .call(CALL_DEADLINE, |link| async move {
                let mut client =
                    SyncClient::new(link.channel()).max_decoding_message_size(MAX_ANSWER_LEN_BYTES);
                match client.watch(WatchRequest { revision }).await {
                    Ok(answer) => Ok((link, Some(answer.into_inner()))),
                    Err(status) if is_unimplemented(&status) => Ok((link, None)),
                    Err(status) => Err(status.into()),
                }
            })
            .await?;
        Ok(match offer {
            (link, None) => Offer::Unimplemented(link.id()),
            (link, Some(answers)) => Offer::Changes(Box::new(Watch {
                client: self.clone(),
                link,
                answers,
                assembly: Assembly::after(revision),
            })),
        })
    }
}

impl Watch {
    /// The next batch. Cancel-safe: parts that have come are kept.
    ///
    /// # Errors
    /// The stream is over: open another one.
    pub async fn next(&mut self) -> Result<Batch, CallError> {
        loop {
            let part = tokio::select! {
                part = tokio::time::timeout(SILENCE, self.answers.message()) => part,
                () = self.link.ended() => {
                    let status = Status::unavailable("connection was replaced");
                    return Err(CallError::Superseded(Box::new(status)));
                }
            };
            let part = match part {
                Ok(Ok(Some(part))) => part,
                Ok(Ok(None)) => return Err(self.settled(ended("server ended the stream")).await),
                Ok(Err(status)) => return Err(self.settled(status.into()).await),
                Err(_elapsed) => {
                    // It may well answer others, but not in time.
                    self.client.0.pool.give_up(&self.link);
                    return Err(CallError::Deadline(SILENCE));
                }
            };
            match self.assembly.take(part) {
                Ok(None) => {}
                Ok(Some(batch)) => return Ok(batch),
                Err(malformed) => return Err(self.settled(malformed.into()).await),
            }
        }
    }

    async fn settled(&self, error: CallError) -> CallError {
        let error = self.client.judged(error, &self.link).await;
        self.client.settle(&error, &self.link);
        error
    }
}

fn ended(reason: &str) -> CallError {
    CallError::Status(Box::new(Status::unavailable(reason)))
}

fn is_unimplemented(status: &Status) -> bool {
    status.code() == Code::Unimplemented
}

/// Batches from their parts.
#[derive(Debug)]
struct Assembly {
    revision: u64,
    batch: Option<Batch>,
}

impl Assembly {
    fn after(revision: u64) -> Self {
        Self {
            revision,
            batch: None,
        }
    }

    /// The batch that `part` is the last part of.
    fn take(&mut self, part: WatchResponse) -> Result<Option<Batch>, Malformed> {
        if part.revision < self.revision && !part.reset {
            return Err(Malformed::Unexpected("revision that goes back"));
        }
        let has_more = !part.is_last && (self.batch.is_some() || !is_sign_of_life(&part));
        let mut batch = self.batch.take().unwrap_or_default();
        if part.reset && !batch.is_reset {
            batch = Batch {
                is_reset: true,
                ..Batch::default()
            };
        }
        batch.revision = part.revision;
        append(&mut batch, part)?;
        if has_more {
            self.batch = Some(batch);
            return Ok(None);
        }
        self.revision = batch.revision;
        Ok(Some(batch))
    }
}

/// The batches of a stream of changes after `revision`, up to the first part that breaks the protocol.
#[cfg(feature = "fuzzing")]
pub fn batches(
    revision: u64,
    parts: impl IntoIterator<Item = WatchResponse>,
) -> (Vec<Batch>, Result<(), Malformed>) {
    let mut assembly = Assembly::after(revision);
    let mut batches = Vec::new();
    for part in parts {
        match assembly.take(part) {
            Ok(batch) => batches.extend(batch),
            Err(malformed) => return (batches, Err(malformed)),
        }
    }
    (batches, Ok(()))
}

fn is_sign_of_life(part: &WatchResponse) -> bool {
    let WatchResponse {
        revision: _,
        is_last: _,
        reset,
        entries,
        removed_entry_ids,
        bundles,
        removed_bundles,
    } = part;
    !reset
        && entries.is_empty()
        && removed_entry_ids.is_empty()
        && bundles.is_empty()
        && removed_bundles.is_empty()
}

fn append(batch: &mut Batch, part: WatchResponse) -> Result<(), Malformed> {
    for one in part.entries {
        match authorized(&one) {
            Ok(entry) => batch.entries.push(Arc::new(entry)),
            Err(error) => {
                tracing::warn!(entry = %one.id, %error, "Received malformed entry from server");
                // What the agent holds under that name is not what the server says.
                batch.removed_entries.extend(EntryId::parse(&one.id));
            }
        }
    }
    for id in &part.removed_entry_ids {
        let id = EntryId::parse(id).map_err(convert::ConvertError::from)?;
        batch.removed_entries.push(id);
    }
    for one in &part.bundles {
        batch.bundles.push(convert::bundle::received(one)?);
    }
    for name in &part.removed_bundles {
        let name = TrustDomain::parse(name).map_err(convert::ConvertError::from)?;
        batch.removed_bundles.push(name);
    }
    let changed = batch.entries.len() + batch.bundles.len();
    let removed = batch.removed_entries.len() + batch.removed_bundles.len();
    if changed + removed > MAX_BATCH {
        return Err(Malformed::Unexpected("size of a batch"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proto::spire::api::types;

    use super::*;

    fn entry(id: &str) -> types::Entry {
        types::Entry {
            id: id.to_owned(),
            spiffe_id: Some(types::Spiffeid {
                trust_domain: "example.org".to_owned(),
                path: "/web".to_owned(),
            }),
            selectors: vec![types::Selector {
                r#type: "unix".to_owned(),
                value: "uid:1".to_owned(),
            }],
            ..types::Entry::default()
        }
    }

    fn part(revision: u64, ids: &[&str]) -> WatchResponse {
        WatchResponse {
            revision,
            entries: ids.iter().map(|id| entry(id)).collect(),
            ..WatchResponse::default()
        }
    }

    fn ids(batch: &Batch) -> Vec<&str> {
        batch
            .entries
            .iter()
            .map(|entry| entry.id.as_str())
            .collect()
    }

    #[test]
    fn batch_is_handed_out_with_its_last_part() {
        let mut assembly = Assembly::after(0);
        let first = WatchResponse {
            reset: true,
            ..part(7, &["a"])
        };
        assert!(assembly.take(first).unwrap().is_none());
        let last = WatchResponse {
            reset: true,
            is_last: true,
            ..part(7, &["b"])
        };
        let batch = assembly.take(last).unwrap().unwrap();
        assert_eq!((batch.revision, batch.is_reset), (7, true));
        assert_eq!(ids(&batch), ["a", "b"]);

        let change = WatchResponse {
            is_last: true,
            removed_entry_ids: vec!["a".to_owned()],
            ..part(8, &[])
        };
        let batch = assembly.take(change).unwrap().unwrap();
        assert_eq!((batch.revision, batch.is_reset), (8, false));
        assert_eq!(batch.removed_entries, [EntryId::parse("a").unwrap()]);
    }

    #[test]
    fn empty_message_is_a_sign_of_life_that_moves_the_revision() {
        let mut assembly = Assembly::after(7);
        let batch = assembly.take(part(9, &[])).unwrap().unwrap();
        let alive = Batch {
            revision: 9,
            ..Batch::default()
        };
        assert_eq!(batch, alive);
    }

    #[test]
    fn sign_of_life_does_not_end_a_batch() {
        let mut assembly = Assembly::after(7);
        assert!(assembly.take(part(8, &["a"])).unwrap().is_none());
        assert!(assembly.take(part(8, &[])).unwrap().is_none());
        let last = WatchResponse {
            is_last: true,
            ..part(8, &["b"])
        };
        assert_eq!(ids(&assembly.take(last).unwrap().unwrap()), ["a", "b"]);
    }

    #[test]
    fn revision_goes_back_only_with_everything() {
        let mut assembly = Assembly::after(7);
        let back = WatchResponse {
            is_last: true,
            ..part(6, &["a"])
        };
        let error = assembly.take(back.clone()).unwrap_err();
        assert_eq!(error.to_string(), "unexpected revision that goes back");
        let everything = WatchResponse {
            reset: true,
            ..back
        };
        let batch = assembly.take(everything).unwrap().unwrap();
        assert_eq!(batch.revision, 6);
    }

    #[test]
    fn entry_that_cannot_be_read_counts_as_removed() {
        let mut assembly = Assembly::after(7);
        let mut change = part(8, &["a", "b"]);
        change.is_last = true;
        change.entries[0].selectors.clear();
        let batch = assembly.take(change).unwrap().unwrap();
        assert_eq!(ids(&batch), ["b"]);
        assert_eq!(batch.removed_entries, [EntryId::parse("a").unwrap()]);
    }
}
