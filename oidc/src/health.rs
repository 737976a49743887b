//! Whether keys are still being found, over HTTP: the answer is the status alone.

use std::{sync::Arc, time::Duration};

use daemon::web::{Answer, Documents, Origin, empty, plain_text};
use http::{Method, StatusCode, request::Parts};
use tokio::time::Instant;

use crate::{config::HealthChecks, key_set::KeySet};

/// What probes are told.
#[derive(Debug)]
pub struct Probes {
    paths: HealthChecks,
    keys: Arc<KeySet>,
    threshold: Duration,
    started: Instant,
}

impl Probes {
    /// Probes of a process that starts now and asks its source every `poll_interval`.
    #[must_use]
    pub fn new(paths: HealthChecks, keys: Arc<KeySet>, poll_interval: Duration) -> Self {
        Self {
            paths,
            keys,
            threshold: (poll_interval * MISSED_POLLS).max(MIN_THRESHOLD),
            started: Instant::now(),
        }
    }

    /// Keys were found, and not too long ago.
    fn is_ready(&self) -> bool {
        let polled = self.keys.last_polled();
        polled.is_some_and(|polled| polled.elapsed() < self.threshold)
    }

    /// As [`Self::is_ready`], or the process started not too long ago.
    fn is_live(&self) -> bool {
        let latest = self.keys.last_polled().unwrap_or(self.started);
        latest.elapsed() < self.threshold
    }
}

impl Documents for Probes {
    fn answer(&self, request: &Parts, _origin: Origin) -> Answer {
        let path = request.uri.path();
        let is_well = match path {
            path if path == self.paths.ready_path => self.is_ready(),
            path if path == self.paths.live_path => self.is_live(),
            _ => return plain_text(StatusCode::NOT_FOUND, "404 page not found"),
        };
        if request.method != Method::GET {
            return plain_text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
        }
        empty(match is_well {
            true => StatusCode::OK,
            false => StatusCode::INTERNAL_SERVER_ERROR,
        })
    }
}

/// How many polls may fail in turn; SPIRE documents this factor and forgets it where polls are rare.
const MISSED_POLLS: u32 = 5;
const MIN_THRESHOLD: Duration = Duration::from_secs(3 * 60);

#[cfg(test)]
mod tests {
    use http::Request;
    use identity::{bundle::KeyUse, clock::SystemClock};

    use super::*;

    fn status(probes: &Probes, method: Method, path: &str) -> u16 {
        let request = Request::builder().method(method).uri(path);
        let (head, ()) = request.body(()).unwrap().into_parts();
        let origin = Origin {
            remote: None,
            is_tls: false,
        };
        probes.answer(&head, origin).status().as_u16()
    }

    fn probes(poll_interval_s: u64) -> Probes {
        let paths = HealthChecks {
            bind_port: 1,
            live_path: "/live".to_owned(),
            ready_path: "/ready".to_owned(),
        };
        let keys = Arc::new(KeySet::new(Arc::new(SystemClock), KeyUse::Unsaid));
        Probes::new(paths, keys, Duration::from_secs(poll_interval_s))
    }

    fn live_and_ready(probes: &Probes) -> (u16, u16) {
        let ask = |path| status(probes, Method::GET, path);
        (ask("/live"), ask("/ready"))
    }

    #[tokio::test(start_paused = true)]
    async fn health_lasts_five_polls_and_three_minutes_at_least() {
        for (poll_interval_s, threshold_s) in [(10, 180), (60, 300)] {
            let probes = probes(poll_interval_s);
            assert_eq!(live_and_ready(&probes), (200, 500));
            tokio::time::advance(Duration::from_secs(threshold_s)).await;
            assert_eq!(live_and_ready(&probes), (500, 500));
            probes.keys.store(vec![]);
            assert_eq!(live_and_ready(&probes), (200, 200));
            tokio::time::advance(Duration::from_secs(threshold_s - 1)).await;
            assert_eq!(live_and_ready(&probes), (200, 200));
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(live_and_ready(&probes), (500, 500));
        }
    }

    #[tokio::test]
    async fn probes_answer_their_paths_and_get_alone() {
        let probes = probes(10);
        assert_eq!(status(&probes, Method::POST, "/live"), 405);
        assert_eq!(status(&probes, Method::GET, "/keys"), 404);
    }
}
