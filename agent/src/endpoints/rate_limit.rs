//! Limits on how often workloads may call, for hosts where one of them could keep the agent busy.
//!
//! All callers with the same selectors share what they may do. The number of remembered callers is
//! bounded (`MAX_CALLERS`). The agent itself is never limited, or a busy host would look unwell.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::Duration;

use identity::selector::SelectorSet;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::Status;
use tracing::info;

use crate::caller::Caller;

/// A method that can be limited.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Method {
    /// X509-SVIDs from the Workload API.
    FetchX509Svid,
    /// JWT-SVIDs from the Workload API.
    FetchJwtSvid,
    /// X.509 bundles from the Workload API.
    FetchX509Bundles,
    /// JWT bundles from the Workload API.
    FetchJwtBundles,
    /// A stream of secrets for an Envoy.
    StreamSecrets,
    /// Secrets for an Envoy, once.
    FetchSecrets,
}

impl Method {
    /// Every one of them.
    pub const ALL: [Self; 6] = [
        Self::FetchX509Svid,
        Self::FetchJwtSvid,
        Self::FetchX509Bundles,
        Self::FetchJwtBundles,
        Self::StreamSecrets,
        Self::FetchSecrets,
    ];

    /// What the log calls it: the last part of its path.
    pub(crate) fn name(self) -> &'static str {
        let path = self.path();
        path.rsplit_once('/').map_or(path, |(_, name)| name)
    }

    /// The path of the call.
    fn path(self) -> &'static str {
        match self {
            Self::FetchX509Svid => "/SpiffeWorkloadAPI/FetchX509SVID",
            Self::FetchJwtSvid => "/SpiffeWorkloadAPI/FetchJWTSVID",
            Self::FetchX509Bundles => "/SpiffeWorkloadAPI/FetchX509Bundles",
            Self::FetchJwtBundles => "/SpiffeWorkloadAPI/FetchJWTBundles",
            Self::StreamSecrets => "/envoy.service.secret.v3.SecretDiscoveryService/StreamSecrets",
            Self::FetchSecrets => "/envoy.service.secret.v3.SecretDiscoveryService/FetchSecrets",
        }
    }
}

/// Calls per second of each method; those that are not there have no limit.
pub type CallsPerSecond = HashMap<Method, NonZeroU32>;

/// The limits, and how far each caller has come.
#[derive(Debug, Default)]
pub struct RateLimits {
    per_second: CallsPerSecond,
    callers: Mutex<Callers>,
}

/// What is remembered of callers: when each would have its whole second's worth again. One that
/// has it is as good as unknown.
#[derive(Debug, Default)]
struct Callers(HashMap<(Method, SelectorSet), Instant>);

impl RateLimits {
    /// Limits of `per_second`, which are also the most that may come at once.
    pub fn new(per_second: CallsPerSecond) -> Self {
        for method in Method::ALL {
            if let Some(limit) = per_second.get(&method) {
                let method = method.path();
                info!(method, limit, "Workload API/SDS rate limiting enabled");
            }
        }
        Self {
            per_second,
            callers: Mutex::default(),
        }
    }

    /// Lets one call of `caller` through.
    ///
    /// # Errors
    /// The status to answer with: there were too many.
    pub(crate) fn check(&self, method: Method, caller: &Caller) -> Result<(), Status> {
        match caller.is_agent() || self.takes(method, &caller.selectors, Instant::now()) {
            true => Ok(()),
            false => {
                let method = method.path();
                let text = format!("rate limit exceeded for {method}");
                Err(Status::unavailable(text))
            }
        }
    }

    fn takes(&self, method: Method, selectors: &SelectorSet, now: Instant) -> bool {
        let Some(per_second) = self.per_second.get(&method) else {
            return true;
        };
        let cost = Duration::from_secs(1) / per_second.get();
        let key = (method, selectors.clone());
        let mut callers = self.callers.lock();
        let full_at = callers.0.get(&key).map_or(now, |at| *at.max(&now)) + cost;
        if full_at > now + Duration::from_secs(1) {
            return false;
        }
        callers.make_room(now);
        callers.0.insert(key, full_at);
        true
    }
}

impl Callers {
    fn make_room(&mut self, now: Instant) {
        if self.0.len() < MAX_CALLERS {
            return;
        }
        self.0.retain(|_, full_at| *full_at > now);
        if self.0.len() >= MAX_CALLERS {
            // Nobody has that many at once but an attacker, who gains a second's worth.
            self.0.clear();
        }
    }
}

/// Hosts have some hundred workloads.
const MAX_CALLERS: usize = 4096;

#[cfg(test)]
mod tests {
    use identity::selector::Selector;

    use super::*;

    fn selectors(uid: usize) -> SelectorSet {
        [Selector::new("unix", &format!("uid:{uid}")).unwrap()]
            .into_iter()
            .collect()
    }

    fn limits(per_second: u32) -> RateLimits {
        let limit = NonZeroU32::new(per_second).unwrap();
        RateLimits::new([(Method::FetchJwtSvid, limit)].into())
    }

    #[tokio::test(start_paused = true)]
    async fn a_second_has_its_worth_and_no_more() {
        let limits = limits(3);
        let takes = || limits.takes(Method::FetchJwtSvid, &selectors(1), Instant::now());
        assert_eq!(
            [takes(), takes(), takes(), takes()],
            [true, true, true, false]
        );
        tokio::time::advance(Duration::from_millis(334)).await;
        assert_eq!([takes(), takes()], [true, false]);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(
            [takes(), takes(), takes(), takes()],
            [true, true, true, false]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn others_and_other_methods_are_not_in_the_way() {
        let limits = limits(1);
        let now = Instant::now();
        assert!(limits.takes(Method::FetchJwtSvid, &selectors(1), now));
        assert!(!limits.takes(Method::FetchJwtSvid, &selectors(1), now));
        assert!(limits.takes(Method::FetchJwtSvid, &selectors(2), now));
        assert!(limits.takes(Method::FetchJwtSvid, &SelectorSet::default(), now));
        for _ in 0..9 {
            assert!(limits.takes(Method::FetchX509Svid, &selectors(1), now));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn remembered_callers_are_bounded() {
        let limits = limits(1);
        let now = Instant::now();
        for uid in 0..3 * MAX_CALLERS {
            assert!(limits.takes(Method::FetchJwtSvid, &selectors(uid), now));
            assert!(limits.callers.lock().0.len() <= MAX_CALLERS);
        }
    }
}
