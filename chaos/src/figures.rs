//! Times in order, and what is read off them.

use std::time::Duration;

/// Measured times.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds one.
    pub fn push(&mut self, time: Duration) {
        self.0.push(time);
    }

    /// Adds those of another measurement.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// The smallest time that at least `per_mille` of a thousand of all times do not exceed; 0 without any.
    #[must_use]
    pub fn quantile(&self, per_mille: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * per_mille).div_ceil(1_000).max(1);
        sorted.get(rank - 1).copied().unwrap_or_default()
    }

    /// The median.
    #[must_use]
    pub fn p50(&self) -> Duration {
        self.quantile(500)
    }

    /// The 99th percentile: with under 100 times, the largest.
    #[must_use]
    pub fn p99(&self) -> Duration {
        self.quantile(990)
    }

    /// The largest.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.quantile(1_000)
    }
}

impl FromIterator<Duration> for Times {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        Self(times.into_iter().collect())
    }
}

/// A time in milliseconds.
#[must_use]
pub fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// How many a second, over `time`.
#[must_use]
pub fn rate(count: usize, time: Duration) -> f64 {
    let count = self::count(count);
    if time.is_zero() {
        0.0
    } else {
        count / time.as_secs_f64()
    }
}

/// A count as a figure.
#[must_use]
pub fn count(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_measured_times() {
        let times: Times = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(times.p50(), Duration::from_millis(100));
        assert_eq!(times.p99(), Duration::from_millis(198));
        assert_eq!(times.max(), Duration::from_millis(200));
        let few: Times = [5, 3, 4].map(Duration::from_secs).into_iter().collect();
        assert_eq!(
            (few.p50(), few.p99()),
            (Duration::from_secs(4), Duration::from_secs(5))
        );
        assert_eq!(Times::default().p99(), Duration::ZERO);
    }
}
