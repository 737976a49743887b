//! Owns the rate limits of the TCP listener: token buckets per client address that let a call wait.
//!
//! A call over the limit waits for its tokens instead of being refused, in the order of arrival.
//! It is refused only when it asks for more than a bucket can hold, or when its deadline would
//! pass first. The number of remembered addresses is bounded (`MAX_ADDRESSES`).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Which bucket a call draws from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LimitClass {
    /// No limit.
    Unlimited,
    /// Node attestation.
    Attestation,
    /// X.509 signing: agents' own certificates, workloads' and downstream authorities' together.
    SigningX509,
    /// JWT signing.
    SigningJwt,
    /// WIT signing.
    SigningWit,
    /// Keys published by downstream servers.
    PublishKey,
    /// Status posts of agents.
    PostStatus,
}

/// Which limits the operator left on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RateLimitOptions {
    /// Limits node attestation.
    pub attestation: bool,
    /// Limits signing.
    pub signing: bool,
}

/// All buckets of a server. Cheap to share; nothing runs in the background.
#[derive(Debug)]
pub struct RateLimits {
    attestation: Option<AddressLimiter>,
    signing_x509: Option<AddressLimiter>,
    signing_jwt: Option<AddressLimiter>,
    signing_wit: Option<AddressLimiter>,
    publish_key: AddressLimiter,
    post_status: AddressLimiter,
}

impl RateLimits {
    /// Limits with SPIRE's rates.
    pub fn new(options: RateLimitOptions) -> Self {
        let signing = || {
            options
                .signing
                .then(|| AddressLimiter::new(SIGNING_PER_SECOND))
        };
        Self {
            attestation: options
                .attestation
                .then(|| AddressLimiter::new(ATTESTATIONS_PER_SECOND)),
            signing_x509: signing(),
            signing_jwt: signing(),
            signing_wit: signing(),
            publish_key: AddressLimiter::new(PUBLISHED_KEYS_PER_SECOND),
            post_status: AddressLimiter::new(STATUS_POSTS_PER_SECOND),
        }
    }

    fn limiter(&self, class: LimitClass) -> Option<&AddressLimiter> {
        match class {
            LimitClass::Unlimited => None,
            LimitClass::Attestation => self.attestation.as_ref(),
            LimitClass::SigningX509 => self.signing_x509.as_ref(),
            LimitClass::SigningJwt => self.signing_jwt.as_ref(),
            LimitClass::SigningWit => self.signing_wit.as_ref(),
            LimitClass::PublishKey => Some(&self.publish_key),
            LimitClass::PostStatus => Some(&self.post_status),
        }
    }
}

/// The limit that applies to one call; the router puts it into the request's extensions.
#[derive(Clone, Debug)]
pub struct CallLimit {
    limits: Arc<RateLimits>,
    class: LimitClass,
    address: IpAddr,
    deadline: Option<Instant>,
}

impl CallLimit {
    /// The limit of `class` for a call from `address` that must be answered by `deadline`.
    pub fn new(
        limits: Arc<RateLimits>,
        class: LimitClass,
        address: IpAddr,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            limits,
            class,
            address,
            deadline,
        }
    }

    /// Waits until `count` tokens are there and takes them.
    ///
    /// Cancel-safe: a call that goes away while it waits gives its tokens back.
    ///
    /// # Errors
    ///
    /// [`RateError`], at once; no token was taken.
    pub async fn take(&self, count: u32) -> Result<(), RateError> {
        let Some(limiter) = self.limits.limiter(self.class) else {
            return Ok(());
        };
        let mut reservation =
            limiter
                .bucket(self.address)
                .reserve(count, Instant::now(), self.deadline)?;
        if let Some(ready_at) = reservation.ready_at {
            tokio::time::sleep_until(ready_at).await;
        }
        reservation.used = true;
        Ok(())
    }
}

/// Buckets of one rate, one per client address.
#[derive(Debug)]
struct AddressLimiter {
    per_second: u32,
    addresses: Mutex<Generations>,
}

/// Addresses seen in this period and in the one before: an idle one is forgotten after one to two
/// periods without anything having to run for it.
#[derive(Debug)]
struct Generations {
    current: HashMap<IpAddr, Arc<Bucket>>,
    previous: HashMap<IpAddr, Arc<Bucket>>,
    turned_at: Instant,
}

impl AddressLimiter {
    fn new(per_second: u32) -> Self {
        Self {
            per_second,
            addresses: Mutex::new(Generations {
                current: HashMap::new(),
                previous: HashMap::new(),
                turned_at: Instant::now(),
            }),
        }
    }

    fn bucket(&self, address: IpAddr) -> Arc<Bucket> {
        let now = Instant::now();
        let mut addresses = self.addresses.lock();
        if now.duration_since(addresses.turned_at) >= FORGET_AFTER
            || addresses.current.len() >= MAX_ADDRESSES
        {
            addresses.previous = std::mem::take(&mut addresses.current);
            addresses.turned_at = now;
        }
        if let Some(bucket) = addresses.current.get(&address) {
            return Arc::clone(bucket);
        }
        let bucket = addresses
            .previous
            .remove(&address)
            .unwrap_or_else(|| Arc::new(Bucket::new(self.per_second)));
        addresses.current.insert(address, Arc::clone(&bucket));
        bucket
    }
}

/// A token bucket whose size is one second's worth, kept as the time at which it would be full.
#[derive(Debug)]
struct Bucket {
    per_second: u32,
    full_at: Mutex<Option<Instant>>,
}

impl Bucket {
    fn new(per_second: u32) -> Self {
        Self {
            per_second,
            full_at: Mutex::new(None),
        }
    }

    fn reserve(
        self: Arc<Self>,
        count: u32,
        now: Instant,
        deadline: Option<Instant>,
    ) -> Result<Reservation, RateError> {
        if count > self.per_second {
            return Err(RateError::ExceedsBurst {
                count,
                burst: self.per_second,
            });
        }
        let cost = Duration::from_secs(1) * count / self.per_second;
        let mut full_at = self.full_at.lock();
        let after = full_at.map_or(now, |at| at.max(now)) + cost;
        let ready_at = after - BUCKET_SIZE;
        if deadline.is_some_and(|deadline| ready_at > deadline) {
            return Err(RateError::DeadlineTooShort { count });
        }
        *full_at = Some(after);
        drop(full_at);
        Ok(Reservation {
            bucket: self,
            cost,
            ready_at: (ready_at > now).then_some(ready_at),
            used: false,
        })
    }
}

/// Tokens taken from a bucket, given back unless used.
struct Reservation {
    bucket: Arc<Bucket>,
    cost: Duration,
    ready_at: Option<Instant>,
    used: bool,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.used {
            return;
        }
        if let Some(at) = self.bucket.full_at.lock().as_mut() {
            *at -= self.cost;
        }
    }
}

/// Why a call is refused by a rate limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RateError {
    /// No wait would be long enough.
    #[error("rate ({count}) exceeds burst size ({burst})")]
    ExceedsBurst {
        /// Tokens asked for.
        count: u32,
        /// Tokens that the bucket holds.
        burst: u32,
    },
    /// The caller would be gone before the tokens are there.
    #[error("rate: Wait(n={count}) would exceed context deadline")]
    DeadlineTooShort {
        /// Tokens asked for.
        count: u32,
    },
}

const ATTESTATIONS_PER_SECOND: u32 = 1;
const SIGNING_PER_SECOND: u32 = 500;
const PUBLISHED_KEYS_PER_SECOND: u32 = 500;
const STATUS_POSTS_PER_SECOND: u32 = 10;

/// A bucket holds what flows into it in this time.
const BUCKET_SIZE: Duration = Duration::from_secs(1);

/// How long an address is remembered at least.
const FORGET_AFTER: Duration = Duration::from_secs(60);

/// Addresses a limiter remembers per period; beyond it the period ends early, so memory stays
/// bounded and the busy addresses are carried over by their next call.
const MAX_ADDRESSES: usize = 32_768;

#[cfg(test)]
mod tests {
    use super::*;

    fn limits() -> Arc<RateLimits> {
        Arc::new(RateLimits::new(RateLimitOptions {
            attestation: true,
            signing: true,
        }))
    }

    fn limit(limits: &Arc<RateLimits>, class: LimitClass, address: &str) -> CallLimit {
        CallLimit::new(Arc::clone(limits), class, address.parse().unwrap(), None)
    }

    #[tokio::test(start_paused = true)]
    async fn second_attestation_in_a_second_waits() {
        let limit = limit(&limits(), LimitClass::Attestation, "10.0.0.1");
        let start = Instant::now();
        limit.take(1).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        limit.take(1).await.unwrap();
        assert!(
            start.elapsed() >= Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
        limit.take(1).await.unwrap();
        assert!(
            start.elapsed() >= Duration::from_secs(2),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_and_classes_do_not_share_tokens() {
        let limits = limits();
        let start = Instant::now();
        limit(&limits, LimitClass::Attestation, "10.0.0.1")
            .take(1)
            .await
            .unwrap();
        limit(&limits, LimitClass::Attestation, "10.0.0.2")
            .take(1)
            .await
            .unwrap();
        limit(&limits, LimitClass::Attestation, "fd00::1")
            .take(1)
            .await
            .unwrap();
        limit(&limits, LimitClass::SigningX509, "10.0.0.1")
            .take(500)
            .await
            .unwrap();
        limit(&limits, LimitClass::SigningJwt, "10.0.0.1")
            .take(500)
            .await
            .unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
        limit(&limits, LimitClass::SigningX509, "10.0.0.1")
            .take(250)
            .await
            .unwrap();
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(500), "{waited:?}");
        assert!(waited < Duration::from_millis(510), "{waited:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn more_than_a_bucket_holds_is_refused_and_costs_nothing() {
        let limit = limit(&limits(), LimitClass::SigningX509, "10.0.0.1");
        let refused = limit.take(501).await.unwrap_err();
        assert_eq!(
            refused,
            RateError::ExceedsBurst {
                count: 501,
                burst: 500
            }
        );
        assert_eq!(refused.to_string(), "rate (501) exceeds burst size (500)");
        let start = Instant::now();
        limit.take(500).await.unwrap();
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_before_the_tokens_refuses_at_once() {
        let limits = limits();
        limit(&limits, LimitClass::Attestation, "10.0.0.1")
            .take(1)
            .await
            .unwrap();
        let hurried = CallLimit::new(
            Arc::clone(&limits),
            LimitClass::Attestation,
            "10.0.0.1".parse().unwrap(),
            Some(Instant::now() + Duration::from_millis(900)),
        );
        let start = Instant::now();
        assert_eq!(
            hurried.take(1).await,
            Err(RateError::DeadlineTooShort { count: 1 })
        );
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn call_that_goes_away_gives_its_tokens_back() {
        let limit = limit(&limits(), LimitClass::Attestation, "10.0.0.1");
        limit.take(1).await.unwrap();
        let start = Instant::now();
        let gone = tokio::time::timeout(Duration::from_millis(100), limit.take(1)).await;
        assert!(gone.is_err());
        limit.take(1).await.unwrap();
        assert!(
            start.elapsed() < Duration::from_millis(1_010),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn switched_off_limits_never_wait() {
        let limits = Arc::new(RateLimits::new(RateLimitOptions {
            attestation: false,
            signing: false,
        }));
        let start = Instant::now();
        for _ in 0..10 {
            limit(&limits, LimitClass::Attestation, "10.0.0.1")
                .take(1)
                .await
                .unwrap();
            limit(&limits, LimitClass::SigningX509, "10.0.0.1")
                .take(1_000)
                .await
                .unwrap();
        }
        assert_eq!(start.elapsed(), Duration::ZERO);
        for _ in 0..11 {
            limit(&limits, LimitClass::PostStatus, "10.0.0.1")
                .take(1)
                .await
                .unwrap();
        }
        assert!(
            start.elapsed() >= Duration::from_millis(100),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn remembered_addresses_are_bounded() {
        let limiter = AddressLimiter::new(1);
        for number in 0..u32::try_from(3 * MAX_ADDRESSES).unwrap() {
            limiter.bucket(IpAddr::from(number.to_be_bytes()));
        }
        let addresses = limiter.addresses.lock();
        assert!(addresses.current.len() + addresses.previous.len() <= 2 * MAX_ADDRESSES);
    }
}
