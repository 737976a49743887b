//! How often strangers may be complained of in the log: whoever reaches the peer port could fill a disk with it.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lines that may still be written: so many in half a minute.
#[derive(Debug)]
pub(super) struct Complaints(Mutex<Allowance>);

#[derive(Debug)]
struct Allowance {
    lines: u32,
    renewed_at: Instant,
    left_out: u64,
}

impl Complaints {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Allowance {
            lines: AT_ONCE,
            renewed_at: Instant::now(),
            left_out: 0,
        }))
    }

    /// How many lines were left out before this one, if this one may be written.
    pub(super) fn allow(&self) -> Option<u64> {
        let mut allowance = self.0.lock();
        if allowance.renewed_at.elapsed() >= RENEWED_AFTER {
            allowance.lines = AT_ONCE;
            allowance.renewed_at = Instant::now();
        }
        match allowance.lines.checked_sub(1) {
            Some(lines) => {
                allowance.lines = lines;
                Some(std::mem::take(&mut allowance.left_out))
            }
            None => {
                allowance.left_out = allowance.left_out.saturating_add(1);
                None
            }
        }
    }
}

const AT_ONCE: u32 = 5;
const RENEWED_AFTER: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_left_out_is_counted_in_the_next_line() {
        let complaints = Complaints::new();
        let told = (0..100).filter_map(|_| complaints.allow());
        assert_eq!(told.collect::<Vec<_>>(), [0; 5]);
        tokio::time::advance(RENEWED_AFTER).await;
        assert_eq!(complaints.allow(), Some(95));
        assert_eq!(complaints.allow(), Some(0));
    }
}
