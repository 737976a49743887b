//! Owns a process's long tasks: starts them, stops all of them when one ends or the process is told to stop,
//! and waits for them.
//!
//! No task outlives [`Supervisor::run`], and none ends unnoticed.

use std::{collections::HashMap, error::Error as StdError, future::Future, io, time::Duration};

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, warn};

use crate::stop_signals;

/// The tasks of one process.
///
/// SIGTERM and SIGINT request the shutdown for as long as it lives: whoever makes it first and has much to do before
/// [`Supervisor::run`] should look at the shutdown meanwhile. Must be made within a tokio runtime.
#[derive(Debug)]
pub struct Supervisor {
    shutdown: Shutdown,
    /// Requested by a further signal.
    forced: Shutdown,
    /// What forwards the signals.
    signals: io::Result<JoinSet<()>>,
    tasks: JoinSet<Result<(), BoxError>>,
    names: HashMap<Id, &'static str>,
}

type BoxError = Box<dyn StdError + Send + Sync>;

impl Supervisor {
    /// A supervisor without tasks.
    #[must_use]
    pub fn new() -> Self {
        Self::stopped_by(Shutdown::new())
    }

    /// A supervisor that also stops when somebody else requests `shutdown`.
    #[must_use]
    pub fn stopped_by(shutdown: Shutdown) -> Self {
        let forced = Shutdown::new();
        Self {
            signals: stop_signals::forward(shutdown.clone(), forced.clone()),
            shutdown,
            forced,
            tasks: JoinSet::new(),
            names: HashMap::new(),
        }
    }

    /// What tasks started here are told to stop by.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Starts a task; it must run until its [`Shutdown`] is requested, then return soon.
    ///
    /// Must be called within a tokio runtime. The name appears in errors and logs. What the task logs carries the
    /// fields of the span in which it was started.
    pub fn start<F, E>(&mut self, name: &'static str, task: impl FnOnce(Shutdown) -> F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let future = task(self.shutdown());
        let task = async { future.await.map_err(Into::into) };
        let handle = self.tasks.spawn(task.in_current_span());
        self.names.insert(handle.id(), name);
    }

    /// Runs until SIGTERM, SIGINT, a requested shutdown, or the end of any task; then asks all tasks to stop
    /// and waits for them.
    ///
    /// Tasks still running after `grace`, or at a second signal more than a second after the first, are aborted. With
    /// a paused tokio clock the grace follows that clock.
    ///
    /// # Errors
    /// The first failure: a task that returned an error, ended without being asked to, or panicked; else
    /// [`SupervisorError::GraceExceeded`] or [`SupervisorError::Forced`] if tasks had to be aborted.
    pub async fn run(mut self, grace: Duration) -> Result<(), SupervisorError> {
        if let Err(error) = self.signals {
            return Err(SupervisorError::Signals(error));
        }
        let (shutdown, forced) = (self.shutdown(), self.forced.clone());
        let mut outcome = tokio::select! {
            () = shutdown.requested() => Ok(()),
            outcome = self.next_end() => outcome,
        };
        shutdown.request();
        let patience = tokio::select! {
            drained = tokio::time::timeout(grace, self.drain(&mut outcome)) => {
                drained.map_err(|_elapsed| Impatience::Grace)
            }
            () = forced.requested() => Err(Impatience::Signal),
        };
        if let Err(why) = patience {
            let aborted = self.abort_rest(why);
            keep_first(&mut outcome, aborted);
        }
        self.tasks.shutdown().await;
        outcome
    }

    /// Waits for any task to end; pends when there is none.
    async fn next_end(&mut self) -> Result<(), SupervisorError> {
        match self.tasks.join_next_with_id().await {
            Some(end) => match self.name_and_result(end) {
                (name, Ok(())) if !self.shutdown.is_requested() => {
                    Err(SupervisorError::EndedEarly { name })
                }
                (_, result) => result,
            },
            None => std::future::pending().await,
        }
    }

    /// Waits for all tasks to end. Cancel-safe: what those ended with that have is in `outcome`.
    async fn drain(&mut self, outcome: &mut Result<(), SupervisorError>) {
        while let Some(end) = self.tasks.join_next_with_id().await {
            let (_name, result) = self.name_and_result(end);
            keep_first(outcome, result);
        }
    }

    fn name_and_result(
        &mut self,
        end: Result<(Id, Result<(), BoxError>), JoinError>,
    ) -> (&'static str, Result<(), SupervisorError>) {
        let id = match &end {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let name = self
            .names
            .remove(&id)
            .expect("invariant: every started task is named");
        let result = match end {
            Ok((_, Ok(()))) => Ok(()),
            Ok((_, Err(source))) => Err(SupervisorError::Failed { name, source }),
            Err(source) => Err(SupervisorError::Panicked { name, source }),
        };
        (name, result)
    }

    fn abort_rest(&mut self, why: Impatience) -> Result<(), SupervisorError> {
        let mut tasks: Vec<_> = self.names.values().copied().collect();
        tasks.sort_unstable();
        self.tasks.abort_all();
        match why {
            _ if tasks.is_empty() => Ok(()),
            Impatience::Grace => Err(SupervisorError::GraceExceeded { tasks }),
            Impatience::Signal => Err(SupervisorError::Forced { tasks }),
        }
    }
}

impl Default for Supervisor {
    fn default() -> Self {
        Self::new()
    }
}

/// Why tasks are not waited for any longer.
#[derive(Clone, Copy)]
enum Impatience {
    Grace,
    Signal,
}

/// The first failure is the outcome; those after it are logged, since nobody else hears of them.
fn keep_first(outcome: &mut Result<(), SupervisorError>, next: Result<(), SupervisorError>) {
    match (&outcome, next) {
        (Ok(()), next) => *outcome = next,
        (Err(_), Err(error)) => warn!(error = %chain(&error), "failed while stopping"),
        (Err(_), Ok(())) => {}
    }
}

/// The order to stop, shared by everything that must follow it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown(CancellationToken);

impl Shutdown {
    /// An order not yet given.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the order; giving it again changes nothing.
    pub fn request(&self) {
        self.0.cancel();
    }

    /// Returns once the order was given. Cancel-safe.
    pub async fn requested(&self) {
        self.0.cancelled().await;
    }

    /// Whether the order was given.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.is_cancelled()
    }
}

/// Why a supervised process ended otherwise than by being told to.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The operating system refused the signal handlers.
    #[error("listen for signals")]
    Signals(#[source] io::Error),
    /// A task failed.
    #[error("{name} failed")]
    Failed {
        /// The task.
        name: &'static str,
        /// Its error.
        #[source]
        source: BoxError,
    },
    /// A task panicked, which is a defect.
    #[error("{name} panicked")]
    Panicked {
        /// The task.
        name: &'static str,
        /// The panic.
        #[source]
        source: JoinError,
    },
    /// A task returned although nobody asked it to stop.
    #[error("{name} ended early")]
    EndedEarly {
        /// The task.
        name: &'static str,
    },
    /// Tasks did not stop in time and were aborted.
    #[error("{} did not stop in time", tasks.join(", "))]
    GraceExceeded {
        /// The tasks, sorted.
        tasks: Vec<&'static str>,
    },
    /// A second signal came before these tasks had stopped; they were aborted.
    #[error("a second signal came before {} had stopped", tasks.join(", "))]
    Forced {
        /// The tasks, sorted.
        tasks: Vec<&'static str>,
    },
}

/// The texts of an error and of its causes, joined as `what: why: why`.
#[must_use]
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const GRACE: Duration = Duration::from_secs(5);

    async fn wait_for(shutdown: Shutdown) -> Result<(), io::Error> {
        shutdown.requested().await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_logs_in_the_span_that_it_was_started_in() {
        let subscriber = tracing_subscriber::registry();
        let _in_force = tracing::subscriber::set_default(subscriber);
        let span = tracing::info_span!("member", id = 7);
        let expected = span.id();
        assert!(expected.is_some());
        let (told, seen) = tokio::sync::oneshot::channel();
        let mut supervisor = Supervisor::new();
        span.in_scope(|| {
            supervisor.start("steady", |shutdown| async move {
                told.send(tracing::Span::current().id()).ok();
                wait_for(shutdown).await
            });
        });
        assert_eq!(seen.await.unwrap(), expected);
    }

    #[tokio::test(start_paused = true)]
    async fn first_failure_stops_the_rest_and_is_reported() {
        let mut supervisor = Supervisor::new();
        let shutdown = supervisor.shutdown();
        supervisor.start("steady", wait_for);
        supervisor.start("broken", |_| async {
            Err::<(), _>(io::Error::other("disk on fire"))
        });
        let error = supervisor.run(GRACE).await.unwrap_err();
        assert_eq!(chain(&error), "broken failed: disk on fire");
        assert!(shutdown.is_requested());
    }

    #[tokio::test(start_paused = true)]
    async fn requested_shutdown_ends_well() {
        let shutdown = Shutdown::new();
        let mut supervisor = Supervisor::stopped_by(shutdown.clone());
        supervisor.start("steady", wait_for);
        shutdown.request();
        assert!(matches!(supervisor.run(GRACE).await, Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn task_that_returns_unasked_is_a_failure() {
        let mut supervisor = Supervisor::new();
        supervisor.start("hasty", |_| async { Ok::<(), io::Error>(()) });
        supervisor.start("steady", wait_for);
        let error = supervisor.run(GRACE).await.unwrap_err();
        assert_eq!(error.to_string(), "hasty ended early");
    }

    #[tokio::test(start_paused = true)]
    async fn panic_is_a_failure_with_a_name() {
        let mut supervisor = Supervisor::new();
        supervisor.start("fragile", |_| async {
            if std::hint::black_box(true) {
                panic!("planted");
            }
            Ok::<(), io::Error>(())
        });
        let error = supervisor.run(GRACE).await.unwrap_err();
        assert!(matches!(
            error,
            SupervisorError::Panicked {
                name: "fragile",
                ..
            }
        ));
    }

    #[tokio::test(start_paused = true)]
    async fn failure_while_stopping_outlasts_a_deaf_task() {
        let shutdown = Shutdown::new();
        let mut supervisor = Supervisor::stopped_by(shutdown.clone());
        supervisor.start("deaf", |_| std::future::pending::<Result<(), io::Error>>());
        supervisor.start("broken", |shutdown| async move {
            shutdown.requested().await;
            Err::<(), _>(io::Error::other("not saved"))
        });
        shutdown.request();
        let error = supervisor.run(GRACE).await.unwrap_err();
        assert_eq!(chain(&error), "broken failed: not saved");
    }

    #[tokio::test(start_paused = true)]
    async fn every_failure_after_the_first_is_logged() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let options = crate::log::Options {
            file: Some(log.path().to_owned()),
            ..crate::log::Options::default()
        };
        let (layer, _control) = crate::log::layer(options).unwrap();
        let subscriber = tracing_subscriber::Registry::default();
        let subscriber = tracing_subscriber::layer::SubscriberExt::with(subscriber, layer);
        let _in_force = tracing::subscriber::set_default(subscriber);
        let mut supervisor = Supervisor::new();
        supervisor.start("first", |_| async {
            Err::<(), _>(io::Error::other("disk on fire"))
        });
        supervisor.start("second", |shutdown| async move {
            shutdown.requested().await;
            Err::<(), _>(io::Error::other("not saved"))
        });
        supervisor.start("deaf", |_| std::future::pending::<Result<(), io::Error>>());
        let error = supervisor.run(GRACE).await.unwrap_err();
        assert_eq!(chain(&error), "first failed: disk on fire");
        let log = std::fs::read_to_string(log.path()).unwrap();
        for told in ["second failed: not saved", "deaf did not stop in time"] {
            assert!(log.contains(told), "{log}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn task_deaf_to_shutdown_is_aborted_after_the_grace() {
        let shutdown = Shutdown::new();
        let mut supervisor = Supervisor::stopped_by(shutdown.clone());
        supervisor.start("steady", wait_for);
        supervisor.start("deaf", |_| std::future::pending::<Result<(), io::Error>>());
        shutdown.request();
        let started = tokio::time::Instant::now();
        let error = supervisor.run(GRACE).await.unwrap_err();
        assert_eq!(error.to_string(), "deaf did not stop in time");
        assert_eq!(started.elapsed(), GRACE);
    }

    #[tokio::test(start_paused = true)]
    async fn task_deaf_to_shutdown_is_aborted_at_a_second_signal_and_told_as_such() {
        let mut supervisor = Supervisor::new();
        let (shutdown, forced) = (supervisor.shutdown(), supervisor.forced.clone());
        supervisor.start("deaf", |_| std::future::pending::<Result<(), io::Error>>());
        shutdown.request();
        forced.request();
        let started = tokio::time::Instant::now();
        let error = supervisor.run(GRACE).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "a second signal came before deaf had stopped"
        );
        assert_eq!(started.elapsed(), Duration::ZERO);
    }
}
