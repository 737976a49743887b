//! Threads of their own for what members say to each other, so that no load of signing delays a
//! heartbeat and with it costs a leader.

use std::io;
use std::sync::Once;

use tokio::runtime::{Builder, Handle, Runtime};

/// The runtime; ends without waiting when it is dropped.
#[derive(Debug)]
pub struct PeerRuntime(Option<Runtime>);

impl PeerRuntime {
    /// Starts the threads.
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

/// One may wait for a disk or a lock, and a sign of life must not. With more of them, what one write takes step by step
/// is handed from thread to thread, which costs more than the steps.
const THREADS: usize = 2;

/// The lower, the sooner it runs; 0 is what all others have.
const NICE: i32 = -10;
