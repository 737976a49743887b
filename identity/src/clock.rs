//! What time it is: the only way for the domain to learn it.
//!
//! Nothing in this workspace reads the operating system's clock but [`SystemClock`], so that a test
//! can hold time still or move it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whole seconds since 1970-01-01T00:00:00Z; the resolution of certificates, tokens and the API.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct UnixTime(i64);

impl UnixTime {
    /// The time `secs` seconds after (or, if negative, before) 1970.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs)
    }

    /// Seconds since 1970.
    pub const fn as_secs(self) -> i64 {
        self.0
    }

    /// `duration` later, to the whole second; stays at the last representable time.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(duration.as_secs()))
    }

    /// `duration` earlier, to the whole second; stays at the first representable time.
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub_unsigned(duration.as_secs()))
    }

    /// How much later `self` is than `earlier`; zero if it is not.
    pub fn saturating_duration_since(self, earlier: Self) -> Duration {
        let seconds = self.0.saturating_sub(earlier.0);
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
    }
}

impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl From<SystemTime> for UnixTime {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self(0).saturating_add(after),
            Err(before) => Self(0).saturating_sub(before.duration()),
        }
    }
}

impl From<UnixTime> for SystemTime {
    fn from(time: UnixTime) -> Self {
        let distance = Duration::from_secs(time.0.unsigned_abs());
        let moved = if time.0 < 0 {
            UNIX_EPOCH.checked_sub(distance)
        } else {
            UNIX_EPOCH.checked_add(distance)
        };
        moved.unwrap_or(UNIX_EPOCH)
    }
}

/// A source of the current time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> UnixTime;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> UnixTime {
        (**self).now()
    }
}

/// The operating system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that reads the system's clock"
    )]
    fn now(&self) -> UnixTime {
        SystemTime::now().into()
    }
}

/// A clock that stands still until a test moves it.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug)]
pub struct FakeClock(std::sync::atomic::AtomicI64);

#[cfg(any(test, feature = "testing"))]
impl FakeClock {
    /// A clock that shows `now`.
    pub fn new(now: UnixTime) -> Self {
        Self(std::sync::atomic::AtomicI64::new(now.as_secs()))
    }

    /// Moves the clock forward.
    pub fn advance(&self, duration: Duration) {
        self.set(self.now().saturating_add(duration));
    }

    /// Moves the clock to `now`, forward or back.
    pub fn set(&self, now: UnixTime) {
        self.0
            .store(now.as_secs(), std::sync::atomic::Ordering::SeqCst);
    }
}

#[cfg(any(test, feature = "testing"))]
impl Clock for FakeClock {
    fn now(&self) -> UnixTime {
        UnixTime::from_secs(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_to_system_time_and_back() {
        for secs in [0, 1, -1, 1_700_000_000, -62_135_596_800, 253_402_300_799] {
            let time = UnixTime::from_secs(secs);
            assert_eq!(UnixTime::from(SystemTime::from(time)), time, "{secs}");
        }
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        let last = UnixTime::from_secs(i64::MAX);
        assert_eq!(last.saturating_add(Duration::from_secs(9)), last);
        assert_eq!(
            UnixTime::from_secs(5).saturating_duration_since(UnixTime::from_secs(9)),
            Duration::ZERO
        );
        assert_eq!(
            UnixTime::from_secs(9).saturating_duration_since(UnixTime::from_secs(5)),
            Duration::from_secs(4)
        );
    }

    #[test]
    fn a_fake_clock_moves_only_when_told() {
        let clock = Arc::new(FakeClock::new(UnixTime::from_secs(100)));
        assert_eq!(clock.now().as_secs(), 100);
        clock.advance(Duration::from_secs(20));
        assert_eq!(Clock::now(&clock).as_secs(), 120);
        clock.set(UnixTime::from_secs(7));
        assert_eq!(clock.now().as_secs(), 7);
    }
}
