//! A thread of its own for what members say to each other, so that no load of signing delays a
//! heartbeat and with it costs a leader.
//!
//! Must hold: nothing there waits for a disk, but for what the system's cache takes, nor for long under a lock.

use std::io;
use std::sync::Once;

use tokio::runtime::{Builder, Handle, Runtime};

/// The runtime; ends without waiting when it is dropped.
#[derive(Debug)]
pub struct PeerRuntime(Option<Runtime>);

impl PeerRuntime {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives none.
    pub fn start() -> io::Result<Self> {
        let has_complained = Once::new();
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("peers")
            .on_thread_start(move || prefer(&has_complained))
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Where to run something.
    pub fn handle(&self) -> Handle {
        let runtime = self.0.as_ref();
        runtime.expect("it is there until drop").handle().clone()
    }
}

impl Drop for PeerRuntime {
    fn drop(&mut self) {
        // Dropping a runtime waits, which is not allowed where others are served.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Puts this thread before the ones that sign, if the system allows it; says so once if not.
fn prefer(has_complained: &Once) {
    // Linux takes no process for the calling thread.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        has_complained.call_once(|| {
            tracing::info!(
                %error,
                "threads for other members run like all others: CAP_SYS_NICE would let them go first"
            );
        });
    }
}

/// What one write takes are many small steps of several tasks. With a second thread they are handed to and fro, which
/// costs more than the steps: a write after the other takes 14 % longer, and no more of them are done at once.
const THREADS: usize = 1;

/// The lower, the sooner it runs; 0 is what all others have.
const NICE: i32 = -10;
