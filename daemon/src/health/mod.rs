//! Whether the process lives and is ready, by subsystem and with reasons, and the HTTP listener that tells.
//!
//! A subsystem counts as not ready from its registration until it says otherwise, so what has not started
//! yet cannot be overlooked.

mod endpoint;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::warn;

pub use self::endpoint::{BindError, Endpoint, bind};
use crate::supervisor::Shutdown;

/// The `health_checks` block of a config: where to listen and under which paths.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Options {
    /// Host name or IP address.
    pub bind_address: String,
    /// TCP port; 0 takes a free one.
    pub bind_port: u16,
    /// The path that tells of life.
    pub live_path: String,
    /// The path that tells of readiness.
    pub ready_path: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bind_address: "localhost".to_owned(),
            bind_port: 80,
            live_path: "/live".to_owned(),
            ready_path: "/ready".to_owned(),
        }
    }
}

/// The subsystems of a process and how they are.
#[derive(Clone, Debug, Default)]
pub struct Checks(Arc<Mutex<Reasons>>);

/// Why each subsystem is not ready; `None` if it is.
type Reasons = BTreeMap<&'static str, Option<String>>;

impl Checks {
    /// No subsystem yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a subsystem, which is not ready; adding it again makes it so again.
    pub fn register(&self, name: &'static str) -> Check {
        let unready = Some("not checked yet".to_owned());
        self.reasons().insert(name, unready);
        Check {
            name,
            checks: self.clone(),
        }
    }

    /// All subsystems, alive: one that is beyond recovery ends the process, which then answers nobody.
    #[must_use]
    pub fn liveness(&self) -> Report {
        let alive = self.reasons().keys().map(|name| (*name, None)).collect();
        Report(alive)
    }

    /// Whether every subsystem is ready, and those that are not with their reasons.
    #[must_use]
    pub fn readiness(&self) -> Report {
        Report(self.reasons().clone())
    }

    fn reasons(&self) -> MutexGuard<'_, Reasons> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How each subsystem is; `None` is well.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report(Reasons);

impl Report {
    /// Whether all are well.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.0.values().all(Option::is_none)
    }

    /// SPIRE's body: an object a subsystem, with a `reason` where it fails.
    #[must_use]
    pub fn to_json(&self) -> String {
        let object = self.0.iter().map(|(name, reason)| {
            let details = match reason {
                Some(reason) => serde_json::json!({ "reason": reason }),
                None => serde_json::json!({}),
            };
            ((*name).to_owned(), details)
        });
        serde_json::Value::Object(object.collect()).to_string()
    }
}

/// One subsystem's voice.
#[derive(Clone, Debug)]
pub struct Check {
    name: &'static str,
    checks: Checks,
}

impl Check {
    /// Ready.
    pub fn set_ready(&self) {
        self.set(None);
    }

    /// Of no use at the moment.
    pub fn set_unready(&self, reason: impl Into<String>) {
        self.set(Some(reason.into()));
    }

    /// Probes the subsystem until `shutdown`: every second while it is not ready, then every minute.
    ///
    /// A probe that takes longer than ten seconds counts as failed.
    pub async fn follow<F>(self, probe: impl Fn() -> F, shutdown: Shutdown)
    where
        F: Future<Output = Result<(), String>>,
    {
        let mut told = None;
        loop {
            let outcome = tokio::select! {
                outcome = tokio::time::timeout(PROBE_DEADLINE, probe()) => outcome,
                () = shutdown.requested() => return,
            };
            let pause = match outcome {
                Ok(Ok(())) => {
                    told = None;
                    self.set_ready();
                    PAUSE_WHEN_READY
                }
                Ok(Err(reason)) => self.fail(reason, &mut told),
                Err(_) => self.fail("probe did not end in time".to_owned(), &mut told),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.requested() => return,
            }
        }
    }

    /// What fails for one reason for long is told once a minute.
    fn fail(&self, reason: String, told: &mut Option<(String, Instant)>) -> Duration {
        let is_known =
            |(known, at): &(String, Instant)| *known == reason && at.elapsed() < TOLD_AGAIN_AFTER;
        if !told.as_ref().is_some_and(is_known) {
            *told = Some((reason.clone(), Instant::now()));
            warn!(
                subsystem_name = "health",
                check = self.name,
                reason,
                "health check failed"
            );
        }
        self.set_unready(reason);
        PAUSE_WHEN_UNREADY
    }

    fn set(&self, reason: Option<String>) {
        self.checks.reasons().insert(self.name, reason);
    }
}

const PROBE_DEADLINE: Duration = Duration::from_secs(10);
const PAUSE_WHEN_READY: Duration = Duration::from_secs(60);
const PAUSE_WHEN_UNREADY: Duration = Duration::from_secs(1);
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failure_that_lasts_is_told_once_a_minute() {
        let check = Checks::new().register("server.ca");
        let mut told = None;
        let mut lines = Vec::new();
        for reason in ["no key"; 120].into_iter().chain(["no room"]) {
            check.fail(reason.to_owned(), &mut told);
            lines.extend(told.clone());
            tokio::time::advance(PAUSE_WHEN_UNREADY).await;
        }
        lines.dedup();
        let reasons = lines.iter().map(|(reason, _)| reason.as_str());
        assert_eq!(reasons.collect::<Vec<_>>(), ["no key", "no key", "no room"]);
    }

    #[test]
    fn registered_subsystem_is_unready_until_it_speaks() {
        let checks = Checks::new();
        assert!(checks.readiness().is_ok());
        let ca = checks.register("server.ca");
        checks.register("server").set_ready();
        assert!(checks.liveness().is_ok());
        assert_eq!(
            checks.readiness().to_json(),
            r#"{"server":{},"server.ca":{"reason":"not checked yet"}}"#
        );
        ca.set_ready();
        assert_eq!(
            checks.readiness().to_json(),
            r#"{"server":{},"server.ca":{}}"#
        );
        ca.set_unready("no key");
        assert!(checks.liveness().is_ok());
        assert_eq!(
            checks.readiness().to_json(),
            r#"{"server":{},"server.ca":{"reason":"no key"}}"#
        );
    }

    #[tokio::test(start_paused = true)]
    async fn probe_runs_each_second_until_ready_then_each_minute() {
        let checks = Checks::new();
        let calls = AtomicUsize::new(0);
        let started = Instant::now();
        let probe = || {
            let call = calls.fetch_add(1, Ordering::Relaxed);
            let at_s = started.elapsed().as_secs();
            async move {
                match call {
                    0 | 1 => Err(format!("call {call}")),
                    2 => {
                        assert_eq!(at_s, 2);
                        Ok(())
                    }
                    _ => {
                        assert_eq!(at_s, 62);
                        std::future::pending().await
                    }
                }
            }
        };
        let follow = checks.register("x").follow(probe, Shutdown::new());
        let ended = tokio::time::timeout(Duration::from_secs(61), follow).await;
        assert!(ended.is_err());
        assert!(checks.readiness().is_ok());
        assert_eq!(calls.load(Ordering::Relaxed), 3);
    }
}
