//! How long to wait before the next try.

use std::time::Duration;

/// Waits that grow by half with every failure, up to a bound.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    initial: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts at `initial` and never exceeds `max` by more than the jitter.
    pub(crate) fn new(initial: Duration, max: Duration) -> Self {
        Self {
            initial,
            max,
            next: initial,
        }
    }

    /// The wait after one more failure, moved by up to a tenth by `jitter` in -1.0..=1.0.
    pub(crate) fn next(&mut self, jitter: f64) -> Duration {
        let wait = self.next;
        self.next = (self.next + self.next / 2).min(self.max);
        wait.mul_f64(1.0 + 0.1 * jitter.clamp(-1.0, 1.0))
    }

    /// Starts again, after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.initial;
    }
}

/// Waits of any length up to a bound that doubles with every failure: many agents that lost their
/// servers at one moment come back at moments of their own.
#[derive(Clone, Debug)]
pub(crate) struct FullJitter {
    initial: Duration,
    max: Duration,
    bound: Duration,
}

impl FullJitter {
    /// The first wait is up to `initial`, the longest up to `max`.
    pub(crate) fn new(initial: Duration, max: Duration) -> Self {
        Self {
            initial,
            max,
            bound: initial,
        }
    }

    /// The wait after one more failure: `jitter` in -1.0..=1.0 picks it between nothing and the
    /// bound.
    pub(crate) fn next(&mut self, jitter: f64) -> Duration {
        let wait = self
            .bound
            .mul_f64(f64::midpoint(jitter.clamp(-1.0, 1.0), 1.0));
        self.bound = (self.bound * 2).min(self.max);
        wait
    }

    /// Starts again, after a success.
    pub(crate) fn reset(&mut self) {
        self.bound = self.initial;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_jitter_is_anywhere_below_a_bound_that_doubles() {
        let millis = Duration::from_millis;
        let mut backoff = FullJitter::new(millis(100), millis(300));
        assert_eq!(backoff.next(1.0), millis(100));
        assert_eq!(backoff.next(-1.0), Duration::ZERO);
        assert_eq!(backoff.next(0.0), millis(150));
        assert_eq!(backoff.next(1.0), millis(300));
        backoff.reset();
        assert_eq!(backoff.next(0.0), millis(50));
    }

    #[test]
    fn waits_grow_to_the_bound_and_start_again() {
        let secs = Duration::from_secs;
        let mut backoff = Backoff::new(secs(4), secs(8));
        assert_eq!(backoff.next(0.0), secs(4));
        assert_eq!(backoff.next(0.0), secs(6));
        assert_eq!(backoff.next(0.0), secs(8));
        assert_eq!(backoff.next(1.0), Duration::from_millis(8800));
        backoff.reset();
        assert_eq!(backoff.next(-1.0), Duration::from_millis(3600));
    }
}
