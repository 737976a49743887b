//! Members compare themselves with each other now and then: what a majority says otherwise is believed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::clocks::ClockVerdict;
use super::hashes::contradicted;
use super::member::{Shared, Stopped};
use crate::codec::wire;

/// Ends this member once its state is not that of a majority, and gives up the lead while its clock is not.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        due.tick().await;
        let answers = shared.ask_other_voters(true, ASK_DEADLINE).await;
        let clock = shared.judge_clock(&answers);
        let is_leader = shared.leadership().borrow().is_leader;
        if is_leader && matches!(clock, ClockVerdict::Contradicted { .. }) {
            tracing::warn!("clock is wrong, giving up the lead");
            shared.hand_over(None).await.ok();
        }
        if let Some(index) = differs(&shared, answers) {
            tracing::error!(index, "state differs from that of a majority");
            shared.end(Stopped::differs(index));
            return;
        }
    }
}

/// The newest log entry behind which a majority has another state.
fn differs(shared: &Shared, answers: Vec<wire::StatusResponse>) -> Option<u64> {
    let others: Vec<_> = answers.into_iter().map(|answer| answer.hashes).collect();
    // Taken after the others': what they have noted, this one may have, too.
    let own = shared.model.hashes.all();
    contradicted(&own, &others, shared.raft.voter_ids().count())
}

const EVERY: Duration = Duration::from_secs(5);

const ASK_DEADLINE: Duration = Duration::from_secs(1);
