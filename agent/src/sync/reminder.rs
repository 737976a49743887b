//! How often a failure that goes on is told.

use std::time::Duration;

use tokio::time::Instant;

/// Retries come every few seconds; lines in the log need not.
const INTERVAL: Duration = Duration::from_secs(30);

/// When the present failure was told last.
#[derive(Debug, Default)]
pub(super) struct Reminder(Option<Instant>);

impl Reminder {
    /// Whether to tell of the failure now.
    pub(super) fn is_due(&mut self) -> bool {
        let is_due = self.0.is_none_or(|at| at.elapsed() >= INTERVAL);
        if is_due {
            self.0 = Some(Instant::now());
        }
        is_due
    }

    /// After a success: says whether there was a failure.
    pub(super) fn reset(&mut self) -> bool {
        self.0.take().is_some()
    }
}
