//! What recent requests answered, so that a retry finds its answer instead of acting twice.
//!
//! Must hold: the window is part of the replicated state, so it slides by count, size and command
//! time alone, the same on every member.

use std::sync::Arc;

use identity::clock::UnixTime;

use crate::codec::DecodeError;
use crate::command::RequestId;
use crate::record::Sequence;
use crate::state::journal::Journal;
use crate::state::rows::StateHash;
use crate::state::table::{HashIndex, Table};

/// A request that was applied. Its answer refers to records instead of holding them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RequestRecord {
    pub(crate) id: RequestId,
    pub(crate) at: UnixTime,
    /// Encoded `Outcome` message.
    pub(crate) outcome: Box<[u8]>,
}

#[derive(Debug, Default)]
pub(crate) struct Requests {
    table: Table<RequestRecord>,
    by_id: HashIndex,
    outcome_len_bytes: usize,
}

impl Requests {
    pub(crate) fn find(&self, id: RequestId) -> Option<&Arc<RequestRecord>> {
        let mut candidates = self.by_id.candidates(&id, None);
        candidates.find_map(|sequence| {
            let record = self.table.record(&sequence)?;
            (record.id == id).then_some(record)
        })
    }

    pub(crate) fn push(&mut self, record: RequestRecord, journal: &mut Journal) {
        let now = record.at;
        let next = self.table.last_key().map_or(1, |last| last.as_u64() + 1);
        self.outcome_len_bytes += record.outcome.len();
        self.by_id.insert(&record.id, Sequence::new(next));
        self.table
            .put(Sequence::new(next), Arc::new(record), journal);
        while self.is_oldest_due(now) {
            self.drop_oldest(journal);
        }
    }

    pub(crate) fn load(&mut self, key: &[u8], value: &[u8]) -> Result<StateHash, DecodeError> {
        let (sequence, record, hash) = self.table.load(key, value)?;
        self.outcome_len_bytes += record.outcome.len();
        self.by_id.insert(&record.id, sequence);
        Ok(hash)
    }

    fn is_oldest_due(&self, now: UnixTime) -> bool {
        let Some((_, oldest)) = self.table.iter().next() else {
            return false;
        };
        self.table.len() > MAX_REQUESTS
            || self.outcome_len_bytes > MAX_OUTCOME_LEN_BYTES && self.table.len() > 1
            || now.as_secs().saturating_sub(oldest.at.as_secs()) > MAX_AGE_S
    }

    fn drop_oldest(&mut self, journal: &mut Journal) {
        let Some(oldest) = self.table.iter().next().map(|(sequence, _)| *sequence) else {
            return;
        };
        if let Some(record) = self.table.remove(&oldest, journal) {
            self.outcome_len_bytes -= record.outcome.len();
            self.by_id.remove(&record.id, oldest);
        }
    }
}

/// Requests remembered at most. At 6,500 a second this is five seconds, longer than a proposal's
/// deadline.
const MAX_REQUESTS: usize = 32_768;

/// Answers remembered at most, in encoded bytes.
const MAX_OUTCOME_LEN_BYTES: usize = 4 << 20;

/// How long a request is remembered at most. No retry comes later.
const MAX_AGE_S: i64 = 600;
