//! A follower is away: killed, then stopped so that its connections stay and nothing answers. Meanwhile that costs the
//! leader nothing and slows no write, and when it is back it has what the others have.

use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use super::{Scenario, Stage, busy::judge};
use crate::{
    cluster::{Cluster, status::Status},
    figures::{Times, ms},
    history::History,
    load::{Background, target::Targets, wait_for, writes::Writers},
    report::{Bound, Report},
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "member-away",
    summary: "a follower away for 30 seconds, killed and then stopped: the leader's CPU time and the writes meanwhile",
    wants_network: false,
    run: |stage| Box::pin(run(stage)),
};

const SIZE: usize = 3;
/// Between two writes.
const PACE: Duration = Duration::from_millis(20);
/// Calls on a member's own connections end before it goes away.
const LEAVE: Duration = Duration::from_millis(300);
/// What a change of the load, or a member that leaves or comes, sets in motion is not what is measured.
const SETTLE: Duration = Duration::from_secs(1);
const BACK_DEADLINE: Duration = Duration::from_secs(60);

/// The part of a core that an idle leader may use while a member is away.
const IDLE_CORES: f64 = 0.1;
/// Under load it may use as much as before, as far as that can be measured.
const LOADED_FACTOR: f64 = 1.5;
const LOADED_CORES: f64 = 0.05;
/// Without one member every write waits for the slower of the others, and no longer.
const LATENCY_FACTOR: f64 = 3.0;
/// What may always pass: on a disk that others write to, the slowest writes of one phase say little about the next.
const LATENCY_MS: f64 = 500.0;

/// How a member is away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Absence {
    Killed,
    Stopped,
}

impl Absence {
    const fn name(self) -> &'static str {
        match self {
            Self::Killed => "one killed",
            Self::Stopped => "one stopped",
        }
    }
}

async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    // Half of the time that a member is away there is load.
    let phase = stage.time(Duration::from_secs(30)) / 2;
    let cluster = stage.cluster("cluster", SIZE, None).await?;
    let (leader, first) = cluster.leader().await?;
    let away = (leader + 1) % SIZE;
    let writers = Writers {
        clients: cluster.operators().await?,
        targets: Targets::all(SIZE),
        history: History::default(),
        unread: parking_lot::Mutex::default().into(),
    };
    let mut load = Background::new();
    writers.create(&mut load, PACE);
    let mut trial = Trial {
        cluster,
        writers,
        leader,
        away,
    };
    let begun = Instant::now();
    let whole = trial.measure(phase, &[0, 1, 2]).await?;
    whole.tell(&mut stage.report, "all up");
    for absence in [Absence::Killed, Absence::Stopped] {
        let spent = trial.be_without(stage, absence, phase).await;
        let spent = spent.with_context(|| absence.name())?;
        spent.promise(&mut stage.report, absence.name(), &whole);
    }
    let last = trial.cluster.whole().await?;
    stage.report.require(
        (first.term(), first.leader()) == (last.term(), last.leader()),
        "the lead changed, so the figures are not one leader's",
    );
    load.stop().await;
    let took = begun.elapsed();
    let calls = trial.writers.history.calls();
    let failed = calls.iter().filter_map(|call| call.outcome.failure());
    let failed: Vec<_> = failed.collect();
    stage.report.none_of("failed writes", failed.len());
    for text in failed.iter().take(3) {
        stage.report.note(format!("failed write: {text}"));
    }
    let (cluster, writers) = (&trial.cluster, &trial.writers);
    judge(&mut stage.report, cluster, writers, &[], took).await
}

/// A cluster under a light load, and who of it goes away.
struct Trial {
    cluster: Cluster,
    writers: Writers,
    leader: usize,
    away: usize,
}

/// What the leader used, and how long writes took.
struct Measured {
    idle_cores: f64,
    loaded_cores: f64,
    writes: Times,
}

impl Trial {
    /// A phase under load on these members and one without any.
    async fn measure(&self, phase: Duration, members: &[usize]) -> anyhow::Result<Measured> {
        for member in members {
            self.writers.targets.take_in(*member);
        }
        sleep(SETTLE).await;
        let begun = Instant::now();
        let loaded_cores = self.cores(phase).await?;
        let ended = Instant::now();
        for member in members {
            self.writers.targets.leave_out(*member);
        }
        sleep(SETTLE).await;
        let idle_cores = self.cores(phase).await?;
        let calls = self.writers.history.calls().into_iter();
        let calls = calls.filter(|call| call.started >= begun && call.started < ended);
        Ok(Measured {
            idle_cores,
            loaded_cores,
            writes: calls.map(|call| call.took()).collect(),
        })
    }

    /// How many cores the leader keeps busy.
    async fn cores(&self, time: Duration) -> anyhow::Result<f64> {
        let process = self.cluster.members[self.leader].process()?;
        let (begun, before) = (Instant::now(), process.cpu_time()?);
        sleep(time).await;
        let used = process.cpu_time()?.saturating_sub(before);
        Ok(used.as_secs_f64() / begun.elapsed().as_secs_f64())
    }

    /// Has the member go away, measures, and waits until it is back and has everything.
    async fn be_without(
        &mut self,
        stage: &mut Stage,
        absence: Absence,
        phase: Duration,
    ) -> anyhow::Result<Measured> {
        let others: Vec<usize> = (0..SIZE).filter(|number| *number != self.away).collect();
        self.writers.targets.leave_out(self.away);
        sleep(LEAVE).await;
        match absence {
            Absence::Killed => self.cluster.members[self.away].kill().await?,
            Absence::Stopped => self.cluster.members[self.away].pause().await?,
        }
        let measured = self.measure(phase, &others).await?;
        let (_, status) = self.cluster.leader().await?;
        let peer = self.cluster.members[self.away].place.peer.to_string();
        let is_away = |status: &Status| {
            let members = &status.0.members;
            let found = members.iter().find(|member| member.peer_address == peer);
            found.is_some_and(|member| !member.is_reachable)
        };
        stage.report.require(
            is_away(&status),
            format!("{}: it answered meanwhile", absence.name()),
        );
        let returned = Instant::now();
        match absence {
            Absence::Killed => {
                self.cluster.members[self.away].start()?;
                self.cluster.members[self.away].serving().await?;
            }
            Absence::Stopped => self.cluster.members[self.away].resume()?,
        }
        let differing = self.caught_up().await?;
        let report = &mut stage.report;
        let name = |what: &str| format!("{what}, {}", absence.name());
        report.figure(
            name("back until it has everything"),
            ms(returned.elapsed()),
            "ms",
        );
        report.none_of(name("states that differ then"), differing);
        // Its connections break with it; that is not what is measured.
        for client in &self.writers.clients[self.away] {
            wait_for("an answer of it", BACK_DEADLINE, async || {
                client.count().await.ok()
            })
            .await?;
        }
        Ok(measured)
    }

    /// Waits until all members are at the same revision, and tells how many have another state than the first.
    async fn caught_up(&self) -> anyhow::Result<usize> {
        let level = wait_for("all are at the same revision", BACK_DEADLINE, async || {
            let status = self.cluster.whole().await.ok()?;
            let members = &status.0.members;
            let first = members.first().map(|member| member.revision);
            let is_level = members.iter().all(|member| Some(member.revision) == first);
            is_level.then_some(status)
        });
        let status = level.await?;
        let mut hashes = status.0.members.iter().map(|member| &member.state_hash);
        let first = hashes.next().context("no members")?;
        Ok(hashes.filter(|hash| *hash != first).count())
    }
}

impl Measured {
    fn tell(&self, report: &mut Report, when: &str) {
        report.figure(format!("leader idle, {when}"), self.idle_cores, "cores");
        report.figure(
            format!("leader under load, {when}"),
            self.loaded_cores,
            "cores",
        );
        report.figure(format!("write p50, {when}"), ms(self.writes.p50()), "ms");
        report.figure(format!("write p99, {when}"), ms(self.writes.p99()), "ms");
        report.require(
            self.writes.len() >= MIN_WRITES,
            format!("{when}: fewer than {MIN_WRITES} writes were made"),
        );
    }

    /// What it may be beside what it was with all members.
    fn promise(&self, report: &mut Report, when: &str, whole: &Self) {
        let mut promise = |what: &str, value, unit, most| {
            report.promise(format!("{what}, {when}"), value, unit, Bound::AtMost(most));
        };
        promise("leader idle", self.idle_cores, "cores", IDLE_CORES);
        let most = whole.loaded_cores * LOADED_FACTOR + LOADED_CORES;
        promise(
            "leader under load",
            self.loaded_cores,
            "cores",
            rounded(most),
        );
        let most = (ms(whole.writes.p99()) * LATENCY_FACTOR).max(LATENCY_MS);
        promise("write p99", ms(self.writes.p99()), "ms", rounded(most));
        report.figure(format!("write p50, {when}"), ms(self.writes.p50()), "ms");
        report.require(
            self.writes.len() >= MIN_WRITES,
            format!("{when}: fewer than {MIN_WRITES} writes were made"),
        );
    }
}

/// As precise as figures are shown.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

const MIN_WRITES: usize = 50;
