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

#[cfg(test)]
mod tests {
    use super::*;

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
