//! Write load: entries that are each created once, and counters that are each raised by one client.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Background, target::Targets};
use crate::{
    client::{Operator, Outcome, operator::entry},
    history::{Call, History},
};

/// One write, as it was asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write {
    /// A new entry with this path.
    Create {
        /// The path of its SPIFFE ID, used by no other write.
        path: String,
    },
    /// The next value of a counter.
    Raise {
        /// The entry that counts, by its revision.
        counter: usize,
        /// The revision that was acknowledged, if one was.
        revision: Option<i64>,
    },
}

/// The clients of each member, who are sent there in turn.
#[derive(Clone)]
pub struct Writers {
    /// For each member, its clients: one over the admin socket and one over TLS.
    pub clients: Vec<Vec<Operator>>,
    /// Who is sent clients now.
    pub targets: Targets,
    /// Where the outcomes go.
    pub history: History<Write>,
    /// Acknowledged writes that the member which acknowledged them did not have a moment later.
    pub unread: Arc<Mutex<Vec<String>>>,
}

impl Writers {
    /// Creates entries at `pause`, over all clients of the members that are targets.
    pub fn create(&self, load: &mut Background, pause: Duration) {
        let writers = self.clone();
        load.every(pause, move |number| {
            let writers = writers.clone();
            async move { writers.create_one(number).await }
        });
    }

    async fn create_one(&self, number: u64) {
        let Some(target) = self.targets.turn(number) else {
            return;
        };
        let clients = &self.clients[target];
        let member_turn = usize::try_from(number).unwrap_or(0) / self.clients.len();
        let client = &clients[member_turn % clients.len()];
        let path = format!("/write/{number}");
        let started = Instant::now();
        let made = entry(&path, "/writes", ("chaos", &path));
        let outcome = client.create(made).await;
        // Read your writes: what this member acknowledged, this member has.
        let outcome = match outcome {
            Outcome::Done(created) => {
                let ended = Instant::now();
                self.note(
                    Write::Create { path },
                    target,
                    (started, ended),
                    Outcome::Done(()),
                );
                return self.read_back(client, &created.id, target).await;
            }
            other => other.and_then(|_entry| Outcome::Done(())),
        };
        self.note(
            Write::Create { path },
            target,
            (started, Instant::now()),
            outcome,
        );
    }

    async fn read_back(&self, client: &Operator, id: &str, target: usize) {
        let read = client.entry(id).await;
        if let Outcome::Refused(text) = read {
            let offence = format!("member {target} does not have {id}: {text}");
            self.unread.lock().push(offence);
        }
    }

    /// Raises `counters` at `pause` each: entry ids, each used by nobody else.
    pub fn raise(&self, load: &mut Background, counters: Vec<String>, pause: Duration) {
        for (counter, id) in counters.into_iter().enumerate() {
            let writers = self.clone();
            load.run(|stop| async move {
                for number in 0_u64.. {
                    if stop.is_cancelled() {
                        return;
                    }
                    writers.raise_one(counter, &id, number).await;
                    tokio::time::sleep(pause).await;
                }
            });
        }
    }

    async fn raise_one(&self, counter: usize, id: &str, number: u64) {
        let Some(target) = self.targets.turn(number) else {
            return;
        };
        let started = Instant::now();
        let hint = format!("{number}");
        let outcome = self.clients[target][0].set_hint(id, hint).await;
        let (revision, outcome) = match outcome {
            Outcome::Done(entry) => (Some(entry.revision_number), Outcome::Done(())),
            other => (None, other.and_then(|_entry| Outcome::Done(()))),
        };
        let times = (started, Instant::now());
        self.note(Write::Raise { counter, revision }, target, times, outcome);
    }

    fn note(&self, about: Write, target: usize, times: (Instant, Instant), outcome: Outcome<()>) {
        self.history.record(Call {
            about,
            target,
            started: times.0,
            ended: times.1,
            outcome,
        });
    }
}
