//! A member that was removed stops by itself: once it has applied its removal, or was told of it
//! because it was away meanwhile.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::forward::address_of;
use super::member::{Shared, Stopped};

/// Returns once this member was removed and has no part in consensus any more: until then its vote may be needed, for
/// its removal itself.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut due = interval(EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let own_id = shared.identity.member_id;
    while !shared.is_recorded_as_removed(own_id) && !shared.links.is_expelled() {
        due.tick().await;
    }
    let begun = Instant::now();
    let mut is_told = false;
    // The word that consensus goes on without it may not come here: nobody sends to it any more. Then it asks for
    // votes, and is told.
    while address_of(&shared.raft, own_id).is_some() && !shared.links.is_expelled() {
        if begun.elapsed() > LAST_ACTS && !std::mem::replace(&mut is_told, true) {
            tracing::warn!(
                "this member was removed, and goes on until the others say that they no longer need its vote"
            );
        }
        due.tick().await;
    }
    // Whoever removed it here gets an answer.
    tokio::time::sleep(LAST_ANSWERS).await;
    tracing::warn!("this member was removed from the cluster");
    shared.end(Stopped::removed());
}

const EVERY: Duration = Duration::from_millis(100);

/// How long a removed member normally goes on at most.
const LAST_ACTS: Duration = Duration::from_secs(3);

/// Time for answers that are on their way.
const LAST_ANSWERS: Duration = Duration::from_millis(500);
