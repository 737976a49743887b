//! A member that was removed stops by itself: once it has applied its removal, or was told of it
//! because it was away meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::forward::address_of;
use super::member::{Shared, Stopped};

/// Returns once this member was removed and has no part in consensus any more.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !shared.is_removed() && !shared.links.is_expelled() {
        due.tick().await;
    }
    // Whoever removed it here gets an answer, and a leader hands over. The word that consensus
    // goes on without it may not come here: nobody sends to it any more.
    let deadline = Instant::now() + LAST_ACTS;
    let own_id = shared.identity.member_id;
    while address_of(&shared.raft, own_id).is_some()
        && !shared.links.is_expelled()
        && Instant::now() < deadline
    {
        due.tick().await;
    }
    tokio::time::sleep(LAST_ANSWERS).await;
    tracing::warn!("this member was removed from the cluster");
    shared.end(Stopped::removed());
}

const EVERY: Duration = Duration::from_millis(100);

/// How long a removed member goes on at most.
const LAST_ACTS: Duration = Duration::from_secs(3);

/// Time for answers that are on their way.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
