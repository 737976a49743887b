//! Group commit: one thread syncs the log once for all writes that wait, then tells them in order.
//!
//! After a failed sync nothing is known about what is on disk (the kernel may have dropped the
//! pages), so every later write fails, too.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::log_db::LogDb;
use super::{StorageError, crash};

/// Told when what was written before it is durable, or not.
pub(crate) type Completion = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The queue before the flusher thread. Dropping the last of its handles ends the thread and waits
/// for it: the thread holds the database open, which must be closed before the process exits
/// (RocksDB's statics are gone by then, and closing it aborts).
#[derive(Clone, Debug)]
pub(crate) struct Flusher(Arc<FlusherThread>);

/// Tells since when a sync has been under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stall(Arc<Mutex<Option<Instant>>>);

impl Stall {
    /// For how long the sync that is under way has been.
    pub(crate) fn waiting(&self) -> Option<Duration> {
        self.0.lock().map(|since| since.elapsed())
    }

    fn begin(&self) {
        *self.0.lock() = Some(Instant::now());
    }

    fn end(&self) {
        *self.0.lock() = None;
    }
}

#[derive(Debug)]
struct FlusherThread {
    queue: Option<mpsc::Sender<Completion>>,
    thread: Option<JoinHandle<()>>,
    stall: Stall,
}

impl Drop for FlusherThread {
    fn drop(&mut self) {
        self.queue.take();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic in the thread was reported when it happened; there is nobody left to tell.
            thread.join().ok();
        }
    }
}

impl Flusher {
    /// Starts the thread.
    pub(crate) fn start(db: Arc<LogDb>) -> io::Result<Self> {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        let stall = Stall::default();
        let thread = std::thread::Builder::new()
            .name("log-flusher".to_owned())
            .spawn({
                let stall = stall.clone();
                move || run(&db, waiting, &stall)
            })?;
        Ok(Self(Arc::new(FlusherThread {
            queue: Some(queue),
            thread: Some(thread),
            stall,
        })))
    }

    /// Since when a sync has been under way.
    pub(crate) fn stall(&self) -> Stall {
        self.0.stall.clone()
    }

    /// Tells `completion` once everything written until now is durable. Waits while the queue is
    /// full.
    pub(crate) async fn flush(&self, completion: Completion) -> io::Result<()> {
        let closed = || io::Error::other("the log flusher has ended");
        let queue = self.0.queue.as_ref().ok_or_else(closed)?;
        queue.send(completion).await.map_err(|_unsent| closed())
    }
}

fn run(db: &LogDb, mut waiting: mpsc::Receiver<Completion>, stall: &Stall) {
    let mut group = Vec::new();
    let mut failure: Option<StorageError> = None;
    while let Some(first) = waiting.blocking_recv() {
        group.push(first);
        while let Ok(next) = waiting.try_recv() {
            group.push(next);
        }
        stall.begin();
        crash::point("flush.before_sync");
        if failure.is_none()
            && let Err(error) = db.sync()
        {
            tracing::error!(error = %Chain(&error), "log sync failed, no more writes");
            failure = Some(error);
        }
        crash::point("flush.after_sync");
        stall.end();
        // The newest first: those before then say nothing new, and whoever waits is woken once.
        for completion in group.drain(..).rev() {
            completion(match &failure {
                None => Ok(()),
                Some(error) => Err(io::Error::other(Chain(error).to_string())),
            });
        }
    }
}

/// An error with its causes in one line.
struct Chain<'a>(&'a StorageError);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}", self.0)?;
        let mut cause = std::error::Error::source(self.0);
        while let Some(error) = cause {
            write!(formatter, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// Writes that wait for a sync at most.
const MAX_WAITING: usize = 1024;
