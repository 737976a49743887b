//! What the leader knows of each endpoint: when to look next, and how the last looks went. It waits
//! for nothing and asks nobody.

use std::collections::{BTreeMap, BTreeSet};

use identity::bundle::Bundle;
use identity::federation::{BundleEndpoint, EndpointProfile};
use identity::trust_domain::TrustDomain;
use tokio::time::Instant;
use tracing::{debug, info};

use super::{StaticRelationships, schedule};

/// The endpoints to look at.
#[derive(Debug, Default)]
pub(super) struct Polls(BTreeMap<TrustDomain, Poll>);

#[derive(Debug)]
struct Poll {
    endpoint: BundleEndpoint,
    due: Instant,
    is_running: bool,
    /// Looks in a row that found nothing.
    failures: u32,
    /// Looks in a row that found something older than what is held.
    behind: u32,
}

/// What a look found.
pub(super) enum Found<'a> {
    /// A bundle, whether or not it is another than the one that is held.
    Bundle(&'a Bundle),
    /// An older one than the one that is held.
    Older(&'a Bundle),
    /// Nothing; beside it what is held.
    Nothing(Option<&'a Bundle>),
}

impl Polls {
    /// Looks at these endpoints and no others. New and changed ones are due at once.
    pub(super) fn manage(&mut self, endpoints: &StaticRelationships, now: Instant) {
        self.0.retain(|trust_domain, _| {
            let is_wanted = endpoints.contains_key(trust_domain);
            if !is_wanted {
                info!(%trust_domain, subsystem_name = SUBSYSTEM, "Trust domain no longer managed");
            }
            is_wanted
        });
        for (trust_domain, endpoint) in endpoints {
            let known = self.0.get(trust_domain);
            if known.is_some_and(|poll| poll.endpoint == *endpoint) {
                continue;
            }
            let text = match known {
                Some(_) => "Updated configuration for managed trust domain",
                None => "Trust domain is now managed",
            };
            info!(
                bundle_endpoint_url = endpoint.url.as_str(),
                bundle_endpoint_profile = endpoint.profile.name(),
                %trust_domain,
                subsystem_name = SUBSYSTEM,
                "{text}"
            );
            let poll = Poll {
                endpoint: endpoint.clone(),
                due: now,
                is_running: false,
                failures: 0,
                behind: 0,
            };
            self.0.insert(trust_domain.clone(), poll);
        }
    }

    /// Who failed for want of one of these bundles need not wait any longer.
    pub(super) fn bundles_changed(&mut self, of: &BTreeSet<TrustDomain>, now: Instant) {
        for poll in self.0.values_mut() {
            if let EndpointProfile::HttpsSpiffe { endpoint_spiffe_id } = &poll.endpoint.profile
                && poll.failures > 0
                && of.contains(endpoint_spiffe_id.trust_domain())
            {
                poll.due = now;
            }
        }
    }

    /// Forgets everything: another member looks at the endpoints now.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Up to `room` endpoints that are due, which are looked at from now on.
    pub(super) fn start(
        &mut self,
        now: Instant,
        room: usize,
    ) -> Vec<(TrustDomain, BundleEndpoint)> {
        let due = self
            .0
            .iter_mut()
            .filter(|(_, poll)| !poll.is_running && poll.due <= now);
        due.take(room)
            .map(|(trust_domain, poll)| {
                poll.is_running = true;
                (trust_domain.clone(), poll.endpoint.clone())
            })
            .collect()
    }

    /// When the next endpoint is due that is not being looked at.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let waiting = self.0.values().filter(|poll| !poll.is_running);
        waiting.map(|poll| poll.due).min()
    }

    /// Whether what was found at `endpoint` still counts, and an older bundle than the one that is
    /// held, too: several servers may answer at one address, of which one may lag, but who answers
    /// so again and again has gone back.
    pub(super) fn takes(
        &self,
        trust_domain: &TrustDomain,
        endpoint: &BundleEndpoint,
        found: &Found<'_>,
    ) -> bool {
        let Some(poll) = self.0.get(trust_domain) else {
            return false;
        };
        let is_believed = match found {
            Found::Bundle(_) => true,
            Found::Older(_) => poll.behind + 1 >= BEHIND_IS_BELIEVED,
            Found::Nothing(_) => false,
        };
        is_believed && poll.endpoint == *endpoint
    }

    /// Takes note of what a look at `endpoint` found.
    pub(super) fn ended(
        &mut self,
        trust_domain: &TrustDomain,
        endpoint: &BundleEndpoint,
        found: &Found<'_>,
        now: Instant,
    ) {
        let Some(poll) = self.0.get_mut(trust_domain) else {
            return;
        };
        if poll.endpoint != *endpoint {
            return;
        }
        let wait = match found {
            Found::Bundle(bundle) => {
                (poll.failures, poll.behind) = (0, 0);
                schedule::after_success(bundle)
            }
            Found::Older(bundle) => {
                (poll.failures, poll.behind) = (0, poll.behind.saturating_add(1));
                schedule::after_success(bundle)
            }
            Found::Nothing(held) => {
                poll.failures = poll.failures.saturating_add(1);
                schedule::after_failure(poll.failures, *held)
            }
        };
        let wait = schedule::jittered(wait, uuid::Uuid::new_v4().as_bytes()[0]);
        poll.is_running = false;
        poll.due = now + wait;
        debug!(%trust_domain, wait_s = wait.as_secs(), "Scheduling next bundle refresh");
    }

    #[cfg(test)]
    fn wait(&self, trust_domain: &TrustDomain, now: Instant) -> std::time::Duration {
        self.0[trust_domain].due - now
    }
}

/// Until so many looks in a row found an older bundle, the newer one is kept.
const BEHIND_IS_BELIEVED: u32 = 3;

pub(super) const SUBSYSTEM: &str = "bundle_client";

#[cfg(test)]
mod tests {
    use identity::federation::BundleEndpointUrl;
    use identity::spiffe_id::SpiffeId;

    use super::*;

    fn name(name: &str) -> TrustDomain {
        TrustDomain::parse(name).unwrap()
    }

    fn endpoint(url: &str, id: Option<&str>) -> BundleEndpoint {
        BundleEndpoint {
            url: BundleEndpointUrl::parse(url).unwrap(),
            profile: match id {
                None => EndpointProfile::HttpsWeb,
                Some(id) => EndpointProfile::HttpsSpiffe {
                    endpoint_spiffe_id: SpiffeId::parse(id).unwrap(),
                },
            },
        }
    }

    fn started(polls: &mut Polls, now: Instant, room: usize) -> Vec<TrustDomain> {
        let started = polls.start(now, room).into_iter();
        started.map(|(trust_domain, _)| trust_domain).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn endpoints_are_due_when_new_or_changed_and_a_few_at_a_time() {
        let now = Instant::now();
        let mut polls = Polls::default();
        let mut wanted = StaticRelationships::new();
        for number in 0..3 {
            wanted.insert(
                name(&format!("{number}.test")),
                endpoint("https://a/", None),
            );
        }
        polls.manage(&wanted, now);
        assert_eq!(
            started(&mut polls, now, 2),
            [name("0.test"), name("1.test")]
        );
        assert_eq!(started(&mut polls, now, 2), [name("2.test")]);
        assert_eq!(polls.next_due(), None);

        let bundle = Bundle::empty(name("0.test"));
        let zero = endpoint("https://a/", None);
        polls.ended(&name("0.test"), &zero, &Found::Bundle(&bundle), now);
        polls.manage(&wanted, now);
        let wait = polls.wait(&name("0.test"), now);
        assert!((270..=330).contains(&wait.as_secs()), "{wait:?}");
        assert_eq!(polls.next_due(), Some(now + wait));

        // Changed while it is looked at: what comes of that no longer counts.
        let old = wanted
            .insert(name("1.test"), endpoint("https://b/", None))
            .unwrap();
        wanted.remove(&name("2.test"));
        polls.manage(&wanted, now);
        assert_eq!(started(&mut polls, now, 9), [name("1.test")]);
        let found = Found::Bundle(&bundle);
        assert!(!polls.takes(&name("1.test"), &old, &found));
        polls.ended(&name("1.test"), &old, &found, now);
        assert!(polls.0[&name("1.test")].is_running);
        assert!(!polls.takes(&name("2.test"), &old, &found));
        assert!(polls.takes(&name("1.test"), &endpoint("https://b/", None), &found));
    }

    #[tokio::test(start_paused = true)]
    async fn who_failed_for_want_of_a_bundle_is_due_when_it_comes() {
        let now = Instant::now();
        let mut polls = Polls::default();
        let (partner, web) = (name("partner.test"), name("web.test"));
        let spiffe = endpoint("https://a/", Some("spiffe://third.test/s"));
        let wanted = StaticRelationships::from([
            (partner.clone(), spiffe.clone()),
            (web.clone(), endpoint("https://b/", None)),
        ]);
        polls.manage(&wanted, now);
        polls.start(now, 9);
        polls.ended(&partner, &spiffe, &Found::Nothing(None), now);
        polls.ended(&web, &wanted[&web], &Found::Nothing(None), now);
        polls.bundles_changed(&BTreeSet::from([partner.clone()]), now);
        assert_eq!(started(&mut polls, now, 9), []);
        polls.bundles_changed(&BTreeSet::from([name("third.test")]), now);
        assert_eq!(started(&mut polls, now, 9), [partner]);
    }

    #[tokio::test(start_paused = true)]
    async fn an_older_bundle_is_believed_the_third_time_in_a_row() {
        let now = Instant::now();
        let mut polls = Polls::default();
        let (partner, at) = (name("partner.test"), endpoint("https://a/", None));
        polls.manage(
            &StaticRelationships::from([(partner.clone(), at.clone())]),
            now,
        );
        let bundle = Bundle::empty(partner.clone());
        let mut look = |found: Found<'_>| {
            let takes = polls.takes(&partner, &at, &found);
            polls.ended(&partner, &at, &found, now);
            takes
        };
        assert!(!look(Found::Older(&bundle)));
        assert!(!look(Found::Older(&bundle)));
        assert!(look(Found::Bundle(&bundle)));
        assert!(!look(Found::Older(&bundle)));
        assert!(!look(Found::Nothing(None)));
        assert!(!look(Found::Older(&bundle)));
        assert!(look(Found::Older(&bundle)));
    }
}
