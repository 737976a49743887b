//! Owns the walk over many records of the state. It goes in parts, so that nobody waits for the whole of it:
//! whoever reads the state holds up what is applied to it, and that holds up all other readers.
//!
//! A walk is therefore no picture of one moment. A record that is there, and is found by, all the while is shown
//! once; what comes, goes or changes meanwhile may be shown as it was or as it is, or not at all.

use std::ops::ControlFlow;
use std::sync::Arc;

use raft_store::{Sequence, State, Store};

/// Records of one kind, in the order of their creation.
pub(crate) type Rows<'a, R> = Box<dyn Iterator<Item = (Sequence, &'a Arc<R>)> + 'a>;

/// How many records of those that `rows` finds after nothing are admitted.
pub(crate) async fn count<R>(
    store: &Store,
    rows: impl for<'a> Fn(&'a State, Option<Sequence>) -> Rows<'a, R>,
    admits: impl Fn(&R) -> bool,
) -> usize {
    let mut count = 0;
    let visit = |_, record: &Arc<R>| {
        count += usize::from(admits(record));
        ControlFlow::Continue(())
    };
    walk(store, None, rows, visit).await;
    count
}

/// Up to `limit` admitted records, from the one after `after` on, and the place of the last.
pub(crate) async fn page<R>(
    store: &Store,
    after: Option<Sequence>,
    limit: usize,
    rows: impl for<'a> Fn(&'a State, Option<Sequence>) -> Rows<'a, R>,
    admits: impl Fn(&R) -> bool,
) -> (Vec<Arc<R>>, Option<Sequence>) {
    let (mut records, mut last) = (Vec::new(), None);
    let visit = |sequence, record: &Arc<R>| {
        if admits(record) {
            records.push(Arc::clone(record));
            last = Some(sequence);
            if records.len() >= limit {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    };
    walk(store, after, rows, visit).await;
    (records, last)
}

/// Shows `visit` the records after `after` until it has seen enough. `rows` finds those after a sequence; it is asked
/// again for each part.
async fn walk<R>(
    store: &Store,
    mut after: Option<Sequence>,
    rows: impl for<'a> Fn(&'a State, Option<Sequence>) -> Rows<'a, R>,
    mut visit: impl FnMut(Sequence, &Arc<R>) -> ControlFlow<()>,
) {
    while let Some(last) = store.read(|state| walk_part(rows(state, after), &mut visit)) {
        after = Some(last);
        tokio::task::yield_now().await;
    }
}

/// Shows `visit` a part of the rows; tells after which one to go on, unless there is no need.
fn walk_part<'a, R: 'a>(
    rows: impl Iterator<Item = (Sequence, &'a Arc<R>)>,
    mut visit: impl FnMut(Sequence, &Arc<R>) -> ControlFlow<()>,
) -> Option<Sequence> {
    for (looked_at, (sequence, record)) in (1..).zip(rows) {
        if visit(sequence, record).is_break() {
            return None;
        }
        if looked_at == PART {
            return Some(sequence);
        }
    }
    None
}

/// Rows looked at under one lock.
pub(crate) const PART: usize = 4_096;
