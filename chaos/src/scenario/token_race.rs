//! Many nodes show the same join token at once, all over the cluster, while the leader dies: one is admitted, and
//! gets its answer. A node that has no answer asks another member, for the same key, as an agent does.

use std::time::Duration;

use anyhow::Context as _;
use identity::secret::{KeyType, PrivateKey};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};
use tonic::transport::Channel;

use super::{Scenario, Stage};
use crate::{
    client::{Operator, Outcome, attest, attest_with, dial::Caller},
    cluster::Cluster,
    figures::{Times, count, ms},
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "token-race",
    summary: "50 attestations at once with one join token, 100 rounds with leader kills: one success each",
    wants_network: false,
    run: |stage| Box::pin(run(stage)),
};

const RACERS: usize = 50;
const ATTEST_DEADLINE: Duration = Duration::from_secs(20);
const CONNECT_TIME: Duration = Duration::from_millis(150);
const PAUSE: Duration = Duration::from_millis(50);

/// What all rounds came to.
#[derive(Default)]
struct Tally {
    kills: usize,
    one: usize,
    asked_again: usize,
    one_when_asked_again: usize,
    offences: Vec<String>,
    took: Times,
}

async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let mut cluster = stage.cluster("cluster", 3, None).await?;
    let mut tally = Tally::default();
    for round in 0..stage.rounds(100) {
        let raced = race(stage, &mut cluster, &mut tally, round).await;
        raced.with_context(|| format!("round {round}"))?;
    }
    let report = &mut stage.report;
    report.figure("rounds", count(tally.took.len()), "");
    report.figure("leader kills during the race", count(tally.kills), "");
    report.figure("rounds with one success", count(tally.one), "");
    report.figure(
        "of which when asked again",
        count(tally.one_when_asked_again),
        "",
    );
    report.figure("nodes that asked again", count(tally.asked_again), "");
    report.figure("race p99", ms(tally.took.p99()), "ms");
    report.none_of("rounds with another outcome", tally.offences.len());
    report.require(tally.kills > 0, "no leader was killed during a race");
    for offence in tally.offences.iter().take(5) {
        report.note(offence.clone());
    }
    Ok(())
}

async fn race(
    stage: &mut Stage,
    cluster: &mut Cluster,
    tally: &mut Tally,
    round: u32,
) -> anyhow::Result<()> {
    cluster.whole().await?;
    let (leader, _) = cluster.leader().await?;
    let operator = Operator::new(cluster.members[leader].admin().await?);
    let token = operator.join_token(600, None).await?;
    let caller = Caller {
        bundle: operator.bundle().await?,
        svid: None,
    };
    let began = Instant::now();
    let mut racers = start_racers(cluster, &caller, &token)?;
    // Anywhere between the first handshake and the last answer.
    sleep(stage.random.between(Duration::ZERO, CONNECT_TIME)).await;
    if !racers.is_empty() {
        cluster.members[leader].kill().await?;
        tally.kills += 1;
    }
    let mut raced = Vec::new();
    while let Some(one) = racers.join_next().await {
        raced.push(one?);
    }
    tally.took.push(began.elapsed());
    if !cluster.members[leader].is_started() {
        cluster.members[leader].start()?;
        cluster.members[leader].serving().await?;
    }
    let late = late_comer(cluster, &caller, &token).await?;
    let admitted = admitted(cluster, &token).await?;
    tally.judge(round, &raced, &late, admitted);
    Ok(())
}

/// What one racer came to.
struct Raced {
    outcome: Outcome<()>,
    attempts: usize,
}

/// Each racer has connections of its own, and begins with another member than the one before it.
fn start_racers(cluster: &Cluster, caller: &Caller, token: &str) -> anyhow::Result<JoinSet<Raced>> {
    let mut racers = JoinSet::new();
    let addresses = cluster.api_addresses();
    for number in 0..RACERS {
        let channels = (0..addresses.len())
            .map(|step| caller.channel(addresses[(number + step) % addresses.len()]))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let key = PrivateKey::generate(KeyType::EcP256)?;
        racers.spawn(run_racer(channels, token.to_owned(), key));
    }
    Ok(racers)
}

/// Asks one member after the other until one decides.
async fn run_racer(channels: Vec<Channel>, token: String, key: PrivateKey) -> Raced {
    let end = Instant::now() + ATTEST_DEADLINE;
    let mut attempts = 0;
    loop {
        let channel = channels[attempts % channels.len()].clone();
        let left = end.saturating_duration_since(Instant::now());
        let outcome = attest_with(channel, &token, key.clone(), left).await;
        attempts += 1;
        let is_over = !matches!(outcome, Outcome::Undecided(_)) || Instant::now() >= end;
        if is_over {
            let outcome = outcome.and_then(|_svid| Outcome::Done(()));
            return Raced { outcome, attempts };
        }
        sleep(PAUSE).await;
    }
}

/// Another node, when all is over.
async fn late_comer(
    cluster: &Cluster,
    caller: &Caller,
    token: &str,
) -> anyhow::Result<Outcome<()>> {
    cluster.whole().await?;
    let channel = caller.channel(cluster.api_addresses()[0])?;
    let attested = attest(channel, token, ATTEST_DEADLINE).await;
    Ok(attested.and_then(|_svid| Outcome::Done(())))
}

/// How many agents have the id that the token gives.
async fn admitted(cluster: &Cluster, token: &str) -> anyhow::Result<usize> {
    let agents = Operator::new(cluster.any_admin().await?).agents().await?;
    let has_it = |path: &str| path.ends_with(token);
    Ok(agents
        .iter()
        .filter_map(|agent| agent.id.as_ref())
        .filter(|id| has_it(&id.path))
        .count())
}

impl Tally {
    fn judge(&mut self, round: u32, raced: &[Raced], late: &Outcome<()>, admitted: usize) {
        let asked_again = |one: &&Raced| one.attempts > 1;
        self.asked_again += raced.iter().filter(asked_again).count();
        let won: Vec<_> = raced.iter().filter(|one| one.outcome.is_done()).collect();
        match (won.as_slice(), late) {
            ([winner], Outcome::Refused(_)) if admitted == 1 => {
                self.one += 1;
                self.one_when_asked_again += usize::from(asked_again(winner));
            }
            (won, late) => {
                let late = late.failure().unwrap_or("success");
                let example = raced.iter().find_map(|one| one.outcome.failure());
                self.offences.push(format!(
                    "round {round}: {} successes, then {late}; {admitted} agents have the id; first failure: {}",
                    won.len(),
                    example.unwrap_or("none")
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_successes_or_none_are_offences() {
        let done = || Outcome::Done(());
        let refused = || Outcome::Refused("used".to_owned());
        let undecided = || Outcome::Undecided("gone".to_owned());
        let first = |outcome| Raced {
            outcome,
            attempts: 1,
        };
        let again = |outcome| Raced {
            outcome,
            attempts: 2,
        };
        let mut tally = Tally::default();
        tally.judge(0, &[first(done()), again(refused())], &refused(), 1);
        tally.judge(1, &[again(done()), first(refused())], &refused(), 1);
        assert!(tally.offences.is_empty(), "{:?}", tally.offences);
        assert_eq!(
            (tally.one, tally.asked_again, tally.one_when_asked_again),
            (2, 2, 1)
        );
        tally.judge(2, &[first(done()), first(done())], &refused(), 1);
        tally.judge(3, &[first(refused()), first(refused())], &refused(), 0);
        tally.judge(4, &[again(undecided()), first(refused())], &refused(), 1);
        tally.judge(5, &[first(done()), first(refused())], &done(), 1);
        tally.judge(6, &[first(done()), first(refused())], &refused(), 2);
        assert_eq!(tally.offences.len(), 5);
    }
}
