//! The log as the library wants it: appends are readable at once, and durable when told so.
//!
//! Must hold: log and votes share one write-ahead log and one flusher queue, so neither overtakes
//! the other. Recent entries stay in memory: apply and replication normally read no disk.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

use futures_util::stream::{Stream, TryStreamExt as _, iter, try_unfold};
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend, RaftLogReader};
use parking_lot::Mutex;

use super::convert::{
    entry_bytes, entry_from_bytes, log_id_from_bytes, position_bytes, vote_bytes, vote_from_bytes,
};
use super::{Entry, LogId, Types, Vote};
use crate::storage::flusher::{Flusher, Stall};
use crate::storage::log_db::{LogDb, Meta};
use crate::storage::{StorageError, crash};

/// A handle on the log; clones share it.
#[derive(Clone)]
pub(super) struct LogStore {
    db: Arc<LogDb>,
    flusher: Flusher,
    shared: Arc<Mutex<Shared>>,
}

/// What is known without reading the disk.
struct Shared {
    /// The latest entries, without a gap up to the last one.
    recent: VecDeque<Entry>,
    recent_len_bytes: usize,
    /// Index of the oldest entry, if there is any.
    first: Option<u64>,
    last: Option<LogId>,
    purged: Option<LogId>,
    vote: Option<Vote>,
}

impl LogStore {
    pub(super) fn open(db: Arc<LogDb>) -> Result<Self, StorageError> {
        let unreadable = StorageError::unreadable;
        let purged = db.meta(Meta::Purged)?.unwrap_or_default();
        let purged = log_id_from_bytes(&purged).map_err(unreadable("the log's start"))?;
        let first = db.first(purged.map_or(0, |purged| purged.index() + 1))?;
        let last = db.last()?;
        let last = last.map(|record| entry_from_bytes(&record)).transpose();
        let last = last.map_err(unreadable("the last log record"))?;
        let vote = db.meta(Meta::Vote)?;
        let vote = vote.map(|bytes| vote_from_bytes(&bytes)).transpose();
        let vote = vote.map_err(unreadable("the vote"))?;
        let flusher = Flusher::start(Arc::clone(&db)).map_err(|source| StorageError::File {
            doing: "start the flusher of",
            path: "raft".into(),
            source,
        })?;
        let shared = Shared {
            recent: VecDeque::new(),
            recent_len_bytes: 0,
            first,
            last: last.map(|entry| entry.log_id).or(purged),
            purged,
            vote,
        };
        Ok(Self {
            db,
            flusher,
            shared: Arc::new(Mutex::new(shared)),
        })
    }

    /// Since when the disk has kept a write waiting.
    pub(super) fn stall(&self) -> Stall {
        self.flusher.stall()
    }

    /// The last entry, or if there is none, the last that was purged.
    pub(super) fn last(&self) -> Option<LogId> {
        self.shared.lock().last
    }

    pub(super) fn purged(&self) -> Option<LogId> {
        self.shared.lock().purged
    }

    pub(super) fn vote(&self) -> Option<Vote> {
        self.shared.lock().vote
    }

    /// The first entries in `from..end`, of so many bytes together, but at least one if there is any.
    fn read(&self, len_bytes: usize, from: u64, end: u64) -> io::Result<Vec<Entry>> {
        let (from, end) = {
            let shared = self.shared.lock();
            let end = end.min(shared.last.map_or(0, |last| last.index() + 1));
            let from = from.max(shared.first.unwrap_or(end));
            if from >= end {
                return Ok(Vec::new());
            }
            if let Some(entries) = shared.recent_from(len_bytes, from, end) {
                return Ok(entries);
            }
            (from, end)
        };
        let read = self.db.read_up_to(len_bytes, from, end)?;
        let entries: Vec<Entry> = read
            .records
            .iter()
            .map(|record| entry_from_bytes(record).map_err(io::Error::other))
            .collect::<Result<_, _>>()?;
        let expected = usize::try_from(end - from).unwrap_or(usize::MAX);
        if !read.is_cut && entries.len() != expected {
            let found = entries.len();
            return Err(io::Error::other(format!(
                "log has {found} of {expected} entries from {from}"
            )));
        }
        Ok(entries)
    }

    async fn flushed(&self) -> io::Result<()> {
        let (done, waiting) = tokio::sync::oneshot::channel();
        let completion = move |result| {
            // Nobody waits any more: then nobody needs to know.
            drop(done.send(result));
        };
        self.flusher.flush(Box::new(completion)).await?;
        let lost = |_| io::Error::other("the log flusher has ended");
        waiting.await.map_err(lost)?
    }
}

impl Shared {
    /// The first entries in `from..end`, of so many bytes together but at least one, if they are held.
    fn recent_from(&self, len_bytes: usize, from: u64, end: u64) -> Option<Vec<Entry>> {
        let first = self.recent.front()?.log_id.index();
        let skip = usize::try_from(from.checked_sub(first)?).ok()?;
        let count = usize::try_from(end.saturating_sub(from)).ok()?;
        let mut left = Some(len_bytes);
        let held = self.recent.iter().skip(skip).take(count);
        let fitting = held.enumerate().take_while(|(number, entry)| {
            left = left.and_then(|left| left.checked_sub(self::len_bytes(entry)));
            *number == 0 || left.is_some()
        });
        Some(fitting.map(|(_, entry)| entry.clone()).collect())
    }

    fn push(&mut self, entry: Entry) {
        self.first.get_or_insert_with(|| entry.log_id.index());
        self.last = Some(entry.log_id);
        self.recent_len_bytes += len_bytes(&entry);
        self.recent.push_back(entry);
        while self.recent_len_bytes > MAX_RECENT_LEN_BYTES && self.recent.len() > 1 {
            if let Some(oldest) = self.recent.pop_front() {
                self.recent_len_bytes -= len_bytes(&oldest);
            }
        }
    }

    fn truncate(&mut self, last: Option<LogId>) {
        let from = last.map_or(0, |last| last.index() + 1);
        while self
            .recent
            .back()
            .is_some_and(|entry| entry.log_id.index() >= from)
        {
            if let Some(entry) = self.recent.pop_back() {
                self.recent_len_bytes -= len_bytes(&entry);
            }
        }
        self.first = self.first.filter(|first| *first < from);
        self.last = self.last.min(last).max(self.purged);
    }

    fn purge(&mut self, through: LogId) {
        while self
            .recent
            .front()
            .is_some_and(|entry| entry.log_id.index() <= through.index())
        {
            if let Some(entry) = self.recent.pop_front() {
                self.recent_len_bytes -= len_bytes(&entry);
            }
        }
        self.purged = Some(through);
        let next = through.index() + 1;
        if self.last > self.purged {
            self.first = self.first.map(|first| first.max(next));
        } else {
            self.first = None;
            self.last = self.purged;
        }
    }
}

fn len_bytes(entry: &Entry) -> usize {
    payload_len_bytes(entry) + size_of::<Entry>()
}

/// Bytes of the command, if it is one.
pub(super) fn payload_len_bytes(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(command) => command.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => 0,
    }
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(from) => *from,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    (from, end)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R>(&mut self, range: R) -> io::Result<Vec<Entry>>
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, end) = bounds(&range);
        self.read(usize::MAX, from, end)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.vote())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(
            MAX_READ_LEN_BYTES,
            start,
            end.min(start.saturating_add(MAX_READ)),
        )
    }

    async fn entries_stream<R>(
        &mut self,
        range: R,
    ) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        R: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, end) = bounds(&range);
        // Part by part: all of them may be more than there is memory for.
        try_unfold((self.clone(), from), move |(log, from)| {
            let read = log.read(
                MAX_READ_LEN_BYTES,
                from,
                end.min(from.saturating_add(MAX_READ)),
            );
            std::future::ready(read.map(|entries| {
                let next = entries.last()?.log_id.index() + 1;
                Some((iter(entries.into_iter().map(Ok)), (log, next)))
            }))
        })
        .try_flatten()
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let shared = self.shared.lock();
        Ok(LogState {
            last_purged_log_id: shared.purged,
            last_log_id: shared.last,
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        crash::point("vote.before_write");
        self.db.set_meta(Meta::Vote, &vote_bytes(vote))?;
        self.flushed().await?;
        self.shared.lock().vote = Some(*vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        // Not synced: it may lag behind, and shares its order with the entries before it.
        self.db.note_committed(position_bytes(committed.as_ref()));
        Ok(())
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        let bytes = self.db.committed()?.unwrap_or_default();
        log_id_from_bytes(&bytes).map_err(io::Error::other)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let records: Vec<_> = entries
            .iter()
            .map(|entry| (entry.log_id.index(), entry_bytes(entry)))
            .collect();
        crash::point("append.before_write");
        self.db.append(&records)?;
        crash::point("append.after_write");
        {
            let mut shared = self.shared.lock();
            entries.into_iter().for_each(|entry| shared.push(entry));
        }
        let completion = move |result| callback.io_completed(result);
        self.flusher.flush(Box::new(completion)).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> io::Result<()> {
        self.db.truncate(last.map_or(0, |last| last.index() + 1))?;
        self.shared.lock().truncate(last);
        self.flushed().await
    }

    async fn purge(&mut self, through: LogId) -> io::Result<()> {
        crash::point("purge.before_write");
        let bytes = position_bytes(Some(&through));
        self.db.purge(through.index(), &bytes)?;
        self.shared.lock().purge(through);
        crash::point("purge.after_write");
        Ok(())
    }
}

/// Recent entries held in memory, in bytes.
const MAX_RECENT_LEN_BYTES: usize = 4 << 20;

/// Entries handed to one replication request, or read at once to be applied.
const MAX_READ: u64 = 1024;

/// Their size, but for a single larger one.
const MAX_READ_LEN_BYTES: usize = 1 << 20;
