//! Tells when files are closed: those of one directory, so that it can be taken again, and those of the whole
//! process, so that it can end.
//!
//! The storage engine works with statics of its own, which the process's exit handlers take away: a thread that is in
//! the engine then aborts the process.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio_util::sync::CancellationToken;

/// Held by what has a directory. When it is gone, no file in there is open and the directory is free.
#[derive(Debug)]
pub(crate) struct OpenGuard {
    closed: CancellationToken,
    count: &'static OpenCount,
}

/// Tells when a guard is gone.
#[derive(Clone, Debug)]
pub(crate) struct FilesClosed(CancellationToken);

impl OpenGuard {
    /// A guard, and what tells when it is gone.
    pub(crate) fn new() -> (Self, FilesClosed) {
        Self::counted_by(&OF_PROCESS)
    }

    fn counted_by(count: &'static OpenCount) -> (Self, FilesClosed) {
        count.enter();
        let closed = CancellationToken::new();
        let told = FilesClosed(closed.clone());
        (Self { closed, count }, told)
    }
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        self.count.leave();
        self.closed.cancel();
    }
}

impl FilesClosed {
    /// Returns once the files are closed.
    pub(crate) async fn wait(&self) {
        self.0.cancelled().await;
    }
}

/// Waits until no store in this process has files open, and tells whether it came to that within `patience`. Blocks the
/// thread: for `main`, when all else has ended. A process that must not wait longer must leave without its exit
/// handlers.
#[must_use]
pub fn all_closed_within(patience: Duration) -> bool {
    OF_PROCESS.none_within(patience)
}

/// How many guards there are.
#[derive(Debug)]
struct OpenCount {
    count: Mutex<usize>,
    left: Condvar,
}

impl OpenCount {
    const fn new() -> Self {
        Self {
            count: Mutex::new(0),
            left: Condvar::new(),
        }
    }

    fn enter(&self) {
        *self.count.lock() += 1;
    }

    fn leave(&self) {
        *self.count.lock() -= 1;
        self.left.notify_all();
    }

    fn none_within(&self, patience: Duration) -> bool {
        let mut count = self.count.lock();
        let waited = self
            .left
            .wait_while_for(&mut count, |count| *count > 0, patience);
        !waited.timed_out()
    }
}

static OF_PROCESS: OpenCount = OpenCount::new();

#[cfg(test)]
mod tests {
    use super::*;

    /// Others than the process's, which other tests hold.
    static OF_TEST: OpenCount = OpenCount::new();

    #[test]
    fn the_process_waits_for_the_last_guard() {
        assert!(OF_TEST.none_within(Duration::ZERO));
        let (first, first_closed) = OpenGuard::counted_by(&OF_TEST);
        let (second, second_closed) = OpenGuard::counted_by(&OF_TEST);
        drop(first);
        assert!(first_closed.0.is_cancelled());
        assert!(!second_closed.0.is_cancelled());
        assert!(!OF_TEST.none_within(Duration::ZERO));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| OF_TEST.none_within(Duration::from_secs(60)));
            drop(second);
            assert!(waiting.join().unwrap());
        });
        assert!(second_closed.0.is_cancelled());
    }
}
