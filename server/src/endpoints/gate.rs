//! Owns whether calls are let through yet. The Unix socket listens before the server can answer
//! rightly, so that its operator learns there what it waits for.
//!
//! Must hold: while the gate is closed, only what is true of a server that waits is answered.

use std::fmt;
use std::time::Duration;

use tokio::sync::watch;

/// What a server waits for before it serves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Waiting {
    /// Enough other members.
    Quorum,
    /// Keys to sign with.
    Authorities,
}

impl fmt::Display for Waiting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Quorum => {
                "it waits for a quorum: a majority of the members must run and reach each other"
            }
            Self::Authorities => "it waits for authorities to sign with",
        })
    }
}

/// Lets calls through, or not yet; a clone is the same gate.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<Option<Waiting>>);

impl Gate {
    /// A gate that is closed.
    pub fn closed(waiting: Waiting) -> Self {
        Self(watch::Sender::new(Some(waiting)))
    }

    /// Says what is waited for now.
    pub fn wait_for(&self, waiting: Waiting) {
        self.0.send_replace(Some(waiting));
    }

    /// Opens it, for good.
    pub fn open(&self) {
        self.0.send_replace(None);
    }

    /// What the server waits for; `None` if it serves.
    pub fn waiting(&self) -> Option<Waiting> {
        *self.0.borrow()
    }

    /// Returns once calls are let through, and waits for that a little. Cancel-safe.
    ///
    /// # Errors
    /// What the server waits for still.
    pub(super) async fn pass(&self) -> Result<(), Waiting> {
        let Some(waiting) = self.waiting() else {
            return Ok(());
        };
        let mut watched = self.0.subscribe();
        let opened = watched.wait_for(Option::is_none);
        match tokio::time::timeout(A_LITTLE, opened).await {
            Ok(_opened) => Ok(()),
            Err(_elapsed) => Err(self.waiting().unwrap_or(waiting)),
        }
    }
}

/// A script that calls as soon as the socket is there gets its answer from a server that only starts.
const A_LITTLE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_call_waits_a_little_and_is_told_what_for() {
        let gate = Gate::closed(Waiting::Quorum);
        let (passed, ()) = tokio::join!(gate.pass(), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            gate.open();
        });
        assert_eq!(passed, Ok(()));
        assert_eq!(gate.waiting(), None);

        let gate = Gate::closed(Waiting::Quorum);
        let (refused, ()) = tokio::join!(gate.pass(), async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            gate.wait_for(Waiting::Authorities);
        });
        assert_eq!(refused, Err(Waiting::Authorities));
    }
}
