//! Many nodes show the same join token at once, all over the cluster, while the leader dies: one is admitted.

use std::time::Duration;

use anyhow::Context as _;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Scenario, Stage};
use crate::{
    client::{Operator, Outcome, attest, dial::Caller},
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

/// What all rounds came to.
#[derive(Default)]
struct Tally {
    kills: usize,
    one: usize,
    one_at_second_try: usize,
    used_up_by_an_undecided: usize,
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
    report.figure("rounds with one success at once", count(tally.one), "");
    report.figure(
        "rounds with one success at a second try",
        count(tally.one_at_second_try),
        "",
    );
    report.figure(
        "rounds used up by an undecided try",
        count(tally.used_up_by_an_undecided),
        "",
    );
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
    let mut outcomes = Vec::new();
    while let Some(outcome) = racers.join_next().await {
        outcomes.push(outcome?);
    }
    tally.took.push(began.elapsed());
    if !cluster.members[leader].is_started() {
        cluster.members[leader].start()?;
        cluster.members[leader].serving().await?;
    }
    let after = second_try(cluster, &caller, &token).await?;
    let admitted = admitted(cluster, &token).await?;
    tally.judge(round, &outcomes, &after, admitted);
    Ok(())
}

/// Each racer has a connection of its own, in turn to every member.
fn start_racers(
    cluster: &Cluster,
    caller: &Caller,
    token: &str,
) -> anyhow::Result<JoinSet<Outcome<()>>> {
    let mut racers = JoinSet::new();
    let addresses = cluster.api_addresses();
    for number in 0..RACERS {
        let channel = caller.channel(addresses[number % addresses.len()])?;
        let token = token.to_owned();
        racers.spawn(async move {
            let attested = attest(channel, &token, ATTEST_DEADLINE).await;
            attested.and_then(|_svid| Outcome::Done(()))
        });
    }
    Ok(racers)
}

/// One more try, of which the outcome is known.
async fn second_try(
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
    fn judge(&mut self, round: u32, first: &[Outcome<()>], second: &Outcome<()>, admitted: usize) {
        let won = first.iter().filter(|outcome| outcome.is_done()).count();
        let undecided = first
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Undecided(_)))
            .count();
        let verdict = match (won, undecided, second) {
            (1, _, Outcome::Refused(_)) => Some(&mut self.one),
            (0, 1.., Outcome::Done(())) => Some(&mut self.one_at_second_try),
            (0, 1.., Outcome::Refused(_)) => Some(&mut self.used_up_by_an_undecided),
            _ => None,
        };
        match verdict {
            Some(tally) if admitted == 1 => *tally += 1,
            _ => {
                let second = second.failure().unwrap_or("success");
                let example = first.iter().find_map(Outcome::failure).unwrap_or("none");
                self.offences.push(format!(
                    "round {round}: {won} successes, {undecided} undecided, then {second}; \
                     {admitted} agents have the id; first failure: {example}"
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_successes_or_none_without_a_doubt_are_offences() {
        let done = || Outcome::Done(());
        let refused = || Outcome::Refused("used".to_owned());
        let undecided = || Outcome::Undecided("gone".to_owned());
        let mut tally = Tally::default();
        tally.judge(0, &[done(), refused(), undecided()], &refused(), 1);
        tally.judge(1, &[undecided(), refused()], &refused(), 1);
        tally.judge(2, &[undecided(), refused()], &done(), 1);
        assert!(tally.offences.is_empty(), "{:?}", tally.offences);
        assert_eq!(
            (
                tally.one,
                tally.used_up_by_an_undecided,
                tally.one_at_second_try
            ),
            (1, 1, 1)
        );
        tally.judge(3, &[done(), done()], &refused(), 1);
        tally.judge(4, &[refused(), refused()], &refused(), 0);
        tally.judge(5, &[done(), refused()], &done(), 1);
        assert_eq!(tally.offences.len(), 3);
    }
}
