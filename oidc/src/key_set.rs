//! The keys that were found last, and when.

use std::time::SystemTime;

use arc_swap::ArcSwap;
use identity::{
    bundle::{JwtAuthority, KeyUse, openid_jwks},
    clock::Clock,
};
use std::sync::Arc;
use tokio::time::Instant;

/// What the source gave; written by the source's task, read by requests.
#[derive(Debug)]
pub struct KeySet {
    clock: Arc<dyn Clock>,
    key_use: KeyUse,
    found: ArcSwap<Found>,
}

/// What is known at one moment.
#[derive(Debug)]
struct Found {
    published: Option<Arc<Published>>,
    /// The last time that the source answered.
    polled: Option<Instant>,
}

/// A key set as it is served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Published {
    /// The authorities that it was made from.
    authorities: Vec<JwtAuthority>,
    /// The document.
    pub json: Vec<u8>,
    /// When these keys were found first.
    pub modified: SystemTime,
}

impl Published {
    /// Whether there is no key at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.authorities.is_empty()
    }
}

impl KeySet {
    /// Nothing found yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, key_use: KeyUse) -> Self {
        Self {
            clock,
            key_use,
            found: ArcSwap::from_pointee(Found {
                published: None,
                polled: None,
            }),
        }
    }

    /// Takes what the source gave just now.
    pub fn store(&self, authorities: Vec<JwtAuthority>) {
        let known = self.published();
        let published = match known {
            Some(known) if known.authorities == authorities => known,
            _ => Arc::new(Published {
                json: openid_jwks(&authorities, self.key_use),
                authorities,
                modified: self.clock.now().into(),
            }),
        };
        self.found.store(Arc::new(Found {
            published: Some(published),
            polled: Some(Instant::now()),
        }));
    }

    /// The keys, if the source ever answered.
    #[must_use]
    pub fn published(&self) -> Option<Arc<Published>> {
        self.found.load().published.clone()
    }

    /// The last time that the source answered.
    #[must_use]
    pub fn last_polled(&self) -> Option<Instant> {
        self.found.load().polled
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use identity::{
        clock::{FakeClock, UnixTime},
        secret::{KeyType, PrivateKey},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keys_that_stay_the_same_keep_the_time_they_were_found() {
        let clock = Arc::new(FakeClock::new(UnixTime::from_secs(1000)));
        let keys = KeySet::new(clock.clone(), KeyUse::Unsaid);
        assert_eq!((keys.published(), keys.last_polled()), (None, None));
        let key = PrivateKey::generate(KeyType::EcP256).unwrap();
        let authority = JwtAuthority {
            key_id: "a".into(),
            public_key: key.public_key_der().to_vec(),
            expires_at: None,
            tainted: false,
        };
        keys.store(vec![authority.clone()]);
        let first = keys.published().unwrap();
        let polled = keys.last_polled().unwrap();
        clock.advance(Duration::from_secs(5));
        tokio::time::advance(Duration::from_secs(5)).await;
        keys.store(vec![authority]);
        assert_eq!(keys.published().unwrap(), first);
        assert_eq!(keys.last_polled().unwrap() - polled, Duration::from_secs(5));
        keys.store(vec![]);
        let third = keys.published().unwrap();
        assert!(third.is_empty());
        let at = |secs| SystemTime::from(UnixTime::from_secs(secs));
        assert_eq!((first.modified, third.modified), (at(1000), at(1005)));
    }
}
