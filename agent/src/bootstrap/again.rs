//! What becomes of an agent whose bundle vouches for no server that it meets: after a while it
//! forgets its bundle and its SVID, and begins anew.
//!
//! Only agents do so that can attest again at any time; and not at once, since the servers may be
//! wrong and not the bundle.

use std::time::Duration;

use identity::clock::UnixTime;
use tracing::{info, warn};

use crate::config::Rebootstrap;

/// Decides when to begin anew.
#[derive(Clone, Copy, Debug)]
pub struct Rebootstrapper(Option<Rebootstrap>);

/// What to do about a server that the bundle does not vouch for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It cannot be helped: the agent never begins anew.
    Final,
    /// To try again.
    Wait,
    /// To forget what there is and begin anew.
    StartOver,
}

impl Rebootstrapper {
    /// As the config says; `None` for never.
    pub fn new(settings: Option<Rebootstrap>) -> Self {
        Self(settings)
    }

    /// Whether it can come to a new beginning.
    pub fn is_enabled(&self) -> bool {
        self.0.is_some()
    }

    /// Itself, for an agent of which the server says whether it is `reattestable`.
    ///
    /// # Errors
    /// It is not, and the config says that this must not be.
    pub fn for_agent(self, reattestable: bool) -> Result<Self, NotReattestable> {
        match self.0 {
            Some(settings) if !reattestable && settings.is_required => Err(NotReattestable),
            Some(_) if !reattestable => {
                warn!("{NotReattestable}. Disabling");
                Ok(Self(None))
            }
            Some(_) | None => Ok(self),
        }
    }

    /// What to do at `now` when no server has been believed since `since`.
    pub fn judge(&self, since: UnixTime, now: UnixTime) -> Verdict {
        let Some(settings) = self.0 else {
            return Verdict::Final;
        };
        let passed = now.saturating_duration_since(since);
        let time_left = settings.delay.saturating_sub(passed);
        if time_left > Duration::ZERO {
            info!(
                ?time_left,
                "Trust Bundle and Server don't agree, ignoring for now"
            );
            return Verdict::Wait;
        }
        warn!("Trust Bundle and Server don't agree, rebootstrapping");
        Verdict::StartOver
    }
}

/// An agent that is to begin anew when it has to, and could not.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "you have requested rebootstrap support but the NodeAttestor plugin or the spire server \
     configuration is not allowing it"
)]
pub struct NotReattestable;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_anew_takes_its_time() {
        let check = |settings, passed_secs: i64, expected| {
            let verdict = Rebootstrapper::new(settings).judge(
                UnixTime::from_secs(1000),
                UnixTime::from_secs(1000 + passed_secs),
            );
            assert_eq!(verdict, expected, "after {passed_secs} s");
        };
        let settings = Some(Rebootstrap {
            delay: Duration::from_secs(600),
            is_required: false,
        });
        check(None, 9999, Verdict::Final);
        check(settings, 0, Verdict::Wait);
        check(settings, 599, Verdict::Wait);
        check(settings, 600, Verdict::StartOver);
        // The clock was set back.
        check(settings, -5, Verdict::Wait);
    }

    #[test]
    fn agents_that_cannot_attest_again_never_begin_anew() {
        let settings = |is_required| {
            Rebootstrapper::new(Some(Rebootstrap {
                delay: Duration::ZERO,
                is_required,
            }))
        };
        let enabled = |one: Result<Rebootstrapper, _>| one.map(|one| one.is_enabled());
        assert_eq!(enabled(settings(false).for_agent(true)), Ok(true));
        assert_eq!(enabled(settings(false).for_agent(false)), Ok(false));
        assert_eq!(enabled(settings(true).for_agent(true)), Ok(true));
        assert_eq!(
            enabled(settings(true).for_agent(false)),
            Err(NotReattestable)
        );
        assert_eq!(
            enabled(Rebootstrapper::new(None).for_agent(false)),
            Ok(false)
        );
    }
}
