//! Load on a fixed schedule: a call is made when it is due, however long the ones before it take, so that no gap
//! hides behind a client that waits.

pub mod signing;
pub mod target;
pub mod workload;
pub mod writes;

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

/// Tasks that go on until they are told to stop.
#[derive(Debug, Default)]
pub struct Background {
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Background {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `operation` with 0, 1, … at every `pause`.
    pub fn every<F>(&mut self, pause: Duration, operation: impl Fn(u64) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.tasks.spawn(async move {
            let mut due = interval(pause);
            due.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let slots = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
            let mut calls = JoinSet::new();
            for number in 0.. {
                tokio::select! {
                    _ = due.tick() => {}
                    () = stop.cancelled() => break,
                }
                let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
                    break;
                };
                let call = operation(number);
                calls.spawn(async move {
                    call.await;
                    drop(slot);
                });
                while calls.try_join_next().is_some() {}
            }
            calls.join_all().await;
        });
    }

    /// Runs `task`, which ends when the token that it is given is cancelled.
    pub fn run<F>(&mut self, task: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task(self.stop.clone()));
    }

    /// Ends the schedules and waits for the calls that were made.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.join_all().await;
    }
}

/// A server that answers nothing must not make the run grow without bound.
const MAX_IN_FLIGHT: usize = 1_024;

/// Waits until `condition` gives a value.
///
/// # Errors
/// It gives none until the deadline.
pub async fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl AsyncFnMut() -> Option<T>,
) -> anyhow::Result<T> {
    let until = Instant::now() + deadline;
    loop {
        if let Some(value) = condition().await {
            return Ok(value);
        }
        anyhow::ensure!(Instant::now() < until, "{what}: not in {deadline:?}");
        tokio::time::sleep(POLL_PAUSE).await;
    }
}

const POLL_PAUSE: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_slow_call_delays_no_other() {
        let starts = Arc::new(Mutex::new(Vec::new()));
        let begin = Instant::now();
        let mut load = Background::new();
        let seen = Arc::clone(&starts);
        load.every(Duration::from_millis(10), move |_| {
            let seen = Arc::clone(&seen);
            async move {
                seen.lock().push(begin.elapsed());
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        tokio::time::sleep(Duration::from_millis(95)).await;
        load.stop().await;
        let due: Vec<_> = (0..10)
            .map(|number| Duration::from_millis(10 * number))
            .collect();
        assert_eq!(*starts.lock(), due);
    }
}
