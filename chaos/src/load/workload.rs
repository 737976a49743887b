//! Workloads that go on asking their agents: fresh JWT-SVIDs, X.509-SVIDs, and one subscription each.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Background;
use crate::{
    client::{Outcome, workload::Workload},
    history::{Call, History},
};

/// What a workload asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ask {
    /// A JWT-SVID for an audience that was never asked for: needs the server.
    FreshJwt,
    /// The X.509-SVIDs: the agent has them.
    X509,
    /// That the subscription goes on.
    Subscription,
}

/// The workloads of some agents.
pub struct Workloads {
    /// A workload at each agent, with the SPIFFE ID of its entry.
    pub at: Vec<(Workload, String)>,
    /// Where the outcomes go.
    pub history: History<Ask>,
}

impl Workloads {
    /// Asks each agent at `pause`, kinds in turn, and subscribes once.
    pub fn ask(&self, load: &mut Background, pause: Duration) {
        for (target, (workload, spiffe_id)) in self.at.iter().cloned().enumerate() {
            let (history, subscriber) = (self.history.clone(), workload.clone());
            load.run(|stop| subscribe(subscriber, target, self.history.clone(), stop));
            load.every(pause, move |number| {
                let (workload, spiffe_id, history) =
                    (workload.clone(), spiffe_id.clone(), history.clone());
                async move {
                    let started = Instant::now();
                    let (about, outcome) = if number.is_multiple_of(4) {
                        let held = workload.x509(DEADLINE).await;
                        (Ask::X509, held.and_then(|_svids| Outcome::Done(())))
                    } else {
                        let audience = format!("fresh-{target}-{number}");
                        (
                            Ask::FreshJwt,
                            workload.jwt(audience, &spiffe_id, DEADLINE).await,
                        )
                    };
                    history.record(Call {
                        about,
                        target,
                        started,
                        ended: Instant::now(),
                        outcome,
                    });
                }
            });
        }
    }
}

/// What a patient workload waits for an answer.
const DEADLINE: Duration = Duration::from_secs(10);

/// Records every message of a subscription, and its end as a failure.
async fn subscribe(
    workload: Workload,
    target: usize,
    history: History<Ask>,
    stop: CancellationToken,
) {
    let note = |started, outcome| {
        history.record(Call {
            about: Ask::Subscription,
            target,
            started,
            ended: Instant::now(),
            outcome,
        });
    };
    let watch = async {
        let started = Instant::now();
        let mut messages = match workload.watch().await {
            Ok(messages) => messages,
            Err(status) => return note(started, Outcome::Undecided(status.to_string())),
        };
        loop {
            let started = Instant::now();
            match messages.message().await {
                Ok(Some(_svids)) => note(started, Outcome::Done(())),
                Ok(None) => {
                    return note(
                        started,
                        Outcome::Undecided("the subscription ended".to_owned()),
                    );
                }
                Err(status) => return note(started, Outcome::Undecided(status.to_string())),
            }
        }
    };
    tokio::select! {
        () = watch => {}
        () = stop.cancelled() => {}
    }
}
