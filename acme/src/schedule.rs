//! When something is tried again.

use std::time::Duration;

use tokio::time::Instant;

/// The failures of one domain in a row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Failures {
    count: u32,
    retry_at: Option<Instant>,
}

impl Failures {
    /// How long nothing is to be tried yet.
    pub(crate) fn rest(&self, now: Instant) -> Duration {
        let until = self.retry_at.map(|at| at.saturating_duration_since(now));
        until.unwrap_or(Duration::ZERO)
    }

    /// One more; the answer is how long to wait. `random` spreads those who failed together.
    pub(crate) fn count(&mut self, now: Instant, random: u8) -> Duration {
        let wait = jittered(after_failure(self.count), random);
        self.count = self.count.saturating_add(1);
        self.retry_at = Some(now + wait);
        wait
    }
}

/// The wait after so many failures before: three times as long each, so that there are four tries in the first
/// hour. Let's Encrypt turns those away who fail more than five times an hour.
fn after_failure(failures_before: u32) -> Duration {
    let factor = 3_u32.saturating_pow(failures_before.min(MAX_DOUBLINGS));
    (FIRST_RETRY * factor).min(LONGEST_RETRY)
}

/// `wait`, a tenth more or less by `random`.
fn jittered(wait: Duration, random: u8) -> Duration {
    wait.mul_f64(0.9 + 0.2 * f64::from(random) / f64::from(u8::MAX))
}

const FIRST_RETRY: Duration = Duration::from_secs(60);
const LONGEST_RETRY: Duration = Duration::from_secs(3600);
const MAX_DOUBLINGS: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_tried_again_ever_later() {
        let waits = [0, 1, 2, 3, 4, u32::MAX].map(|before| after_failure(before).as_secs());
        assert_eq!(waits, [60, 180, 540, 1620, 3600, 3600]);
        let wait = Duration::from_secs(100);
        assert_eq!(jittered(wait, 0).as_secs(), 90);
        assert_eq!(jittered(wait, u8::MAX).as_secs(), 110);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_rests_until_its_time() {
        let mut failures = Failures::default();
        let now = Instant::now();
        assert_eq!(failures.rest(now), Duration::ZERO);
        let wait = failures.count(now, 0);
        assert_eq!(wait.as_secs(), 54);
        assert_eq!(failures.rest(now), wait);
        assert_eq!(failures.rest(now + wait), Duration::ZERO);
        assert_eq!(failures.count(now, 0).as_secs(), 162);
    }
}
