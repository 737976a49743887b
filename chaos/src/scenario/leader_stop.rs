//! The leader falls silent without dying: stopped by SIGSTOP, or cut off by dropped packets. The others go on without
//! it, and when it comes back it neither acknowledges nor denies anything on what it once knew.

use std::time::Duration;

use anyhow::Context as _;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Scenario, Stage,
    busy::{Busy, Pace},
};
use crate::{
    check::longest_silence,
    client::{
        Attested, Operator, Outcome, attest, attested::Signer, operator::entry, operator::own_entry,
    },
    fault::network::Network,
    figures::{Times, count, ms},
    history::Call,
    load::{wait_for, writes::Write},
    report::Bound,
};

pub(super) const STOP: Scenario = Scenario {
    name: "leader-stop",
    summary: "SIGSTOP and SIGCONT of the leader: write gap, and what it says when it wakes",
    wants_network: false,
    run: |stage| Box::pin(run(stage, Silence::Stopped)),
};

pub(super) const BLACK_HOLE: Scenario = Scenario {
    name: "leader-blackhole",
    summary: "every packet from and to the leader dropped, in network namespaces (root): the same",
    wants_network: true,
    run: |stage| Box::pin(run(stage, Silence::CutOff)),
};

/// How a leader falls silent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Silence {
    Stopped,
    CutOff,
}

const LEAVE: Duration = Duration::from_millis(300);
const GAP_WINDOW: Duration = Duration::from_secs(4);
const RECOVERY_DEADLINE: Duration = Duration::from_secs(20);
/// How long it is asked after it came back.
const QUESTIONING: Duration = Duration::from_secs(2);
const LATE_WRITES: usize = 5;
const SHORT: Duration = Duration::from_secs(3);

async fn run(stage: &mut Stage, silence: Silence) -> anyhow::Result<()> {
    let network = match (silence, stage.network.clone()) {
        (Silence::Stopped, _) => None,
        (Silence::CutOff, Ok(())) => Some(Network::make(3, &stage.folder).await?),
        (Silence::CutOff, Err(reason)) => {
            stage.report.note(format!("skipped: {reason}"));
            return Ok(());
        }
    };
    let cluster = stage.cluster("cluster", 3, network.as_ref()).await?;
    let busy = Busy::start(stage, cluster, Pace::default()).await?;
    let address = busy.cluster.api_addresses()[0];
    let operator = Operator::new(busy.cluster.any_admin().await?);
    let mut trial = Trial {
        node: Attested::new(&operator, address, "witness").await?,
        busy,
        network,
        offences: Vec::new(),
        late_acknowledged: 0,
        dropped: 0,
    };
    let mut gaps = Times::default();
    for round in 0..stage.rounds(20) {
        let gap = trial.silence_once(stage, round).await;
        gaps.push(gap.with_context(|| format!("round {round}"))?);
    }
    let report = &mut stage.report;
    report.figure("write gap p50", ms(gaps.p50()), "ms");
    report.promise(
        "write gap p99",
        ms(gaps.p99()),
        "ms",
        Bound::AtMost(1_500.0),
    );
    report.figure("silences of a leader", count(gaps.len()), "");
    report.none_of(
        "old leader acknowledged while cut off",
        trial.late_acknowledged,
    );
    report.none_of("old leader answered on old knowledge", trial.offences.len());
    if trial.network.is_some() {
        report.require(trial.dropped > 0, "no packet was dropped");
        report.figure(
            "packets dropped",
            count(usize::try_from(trial.dropped)?),
            "",
        );
    }
    for offence in trial.offences.iter().take(5) {
        report.note(offence.clone());
    }
    trial.busy.finish(stage).await
}

/// The run, and what the silent leader said that it must not have said.
struct Trial {
    busy: Busy,
    network: Option<Network>,
    /// The node for which the old leader is asked to sign.
    node: Attested,
    offences: Vec<String>,
    late_acknowledged: usize,
    dropped: u64,
}

impl Trial {
    async fn silence_once(&mut self, stage: &mut Stage, round: u32) -> anyhow::Result<Duration> {
        self.busy.cluster.whole().await?;
        let (leader, before) = self.busy.cluster.leader().await?;
        let survivor = (leader + 1) % self.busy.cluster.members.len();
        let operator = self.busy.writers.clients[survivor][0].clone();
        let token = operator.join_token(600, None).await?;
        let signer = self
            .node
            .signer(self.busy.cluster.members[leader].place.api)?;
        // The connection stands before the silence, as that of an agent would.
        signer
            .jwt("before".to_owned(), SHORT)
            .await
            .required()
            .context("the leader signs")?;
        self.busy.leave_out(leader);
        sleep(LEAVE).await;

        let silent = Instant::now();
        self.begin(leader).await?;
        let late = self.write_to_the_silent(leader, round);
        let recovered = wait_for("a write is acknowledged", RECOVERY_DEADLINE, async || {
            self.busy
                .writers
                .history
                .first_done_after(silent + Duration::from_millis(20))
        });
        recovered.await?;
        let witness = self
            .change_the_world(&operator, survivor, &token, round)
            .await?;
        let length = stage.random.between(Duration::from_secs(1), GAP_WINDOW);
        sleep_until(silent + GAP_WINDOW.max(length)).await;
        let gap = longest_silence(&self.busy.writes_elsewhere(leader), silent, Instant::now());

        let awake = Instant::now();
        self.end(leader).await?;
        self.question(leader, &signer.for_entry(&witness), &token)
            .await?;
        self.judge_late(late, awake).await;
        let after = self.busy.cluster.whole().await?;
        let changed = after.term() > before.term();
        stage.report.require(
            changed,
            format!("no election when member {leader} fell silent"),
        );
        self.busy.take_in(leader).await?;
        Ok(gap)
    }

    async fn begin(&self, leader: usize) -> anyhow::Result<()> {
        match &self.network {
            Some(network) => network.host(leader).black_hole().await,
            None => self.busy.cluster.members[leader].pause().await,
        }
    }

    async fn end(&mut self, leader: usize) -> anyhow::Result<()> {
        match &self.network {
            Some(network) => self.dropped += network.host(leader).heal().await?,
            None => self.busy.cluster.members[leader].resume()?,
        }
        Ok(())
    }

    /// Writes through the silent leader's own admin socket, which the silence does not close.
    fn write_to_the_silent(&self, leader: usize, round: u32) -> JoinSet<Call<Write>> {
        let mut late = JoinSet::new();
        for number in 0..LATE_WRITES {
            let client = self.busy.writers.clients[leader][0].clone();
            let path = format!("/late/{round}/{number}");
            late.spawn(async move {
                let started = Instant::now();
                let created = client
                    .create(entry(&path, "/writes", ("chaos", &path)))
                    .await;
                Call {
                    about: Write::Create { path },
                    target: leader,
                    started,
                    ended: Instant::now(),
                    outcome: created.and_then(|_entry| Outcome::Done(())),
                }
            });
        }
        late
    }

    /// What the old leader cannot know: a token is used up, and there is a new entry, whose id is returned.
    async fn change_the_world(
        &self,
        operator: &Operator,
        survivor: usize,
        token: &str,
        round: u32,
    ) -> anyhow::Result<String> {
        let mut caller = self.node.caller().clone();
        caller.svid = None;
        let address = self.busy.cluster.members[survivor].place.api;
        let attested = attest(caller.channel(address)?, token, RECOVERY_DEADLINE).await;
        attested
            .required()
            .context("a token is used while the old leader is silent")?;
        let witness = own_entry(&format!("/witness/{round}"), "/node/witness");
        Ok(operator.create(witness).await.required()?.id)
    }

    /// Asks the old leader for what only old knowledge would deny or grant.
    async fn question(
        &mut self,
        leader: usize,
        signer: &Signer,
        token: &str,
    ) -> anyhow::Result<()> {
        let mut caller = self.node.caller().clone();
        caller.svid = None;
        let channel = caller.channel(self.busy.cluster.members[leader].place.api)?;
        let until = Instant::now() + QUESTIONING;
        let mut number = 0_u32;
        while Instant::now() < until {
            number += 1;
            if let Outcome::Refused(text) = signer.jwt(format!("awake-{number}"), SHORT).await {
                self.offences
                    .push(format!("it denied an entry that was there: {text}"));
            }
            if attest(channel.clone(), token, SHORT).await.is_done() {
                self.offences
                    .push("it admitted a node with a token that was used up".to_owned());
            }
        }
        Ok(())
    }

    /// The late writes go into the history; one that was acknowledged before the silence ended had no quorum.
    async fn judge_late(&mut self, late: JoinSet<Call<Write>>, awake: Instant) {
        for call in late.join_all().await {
            if call.outcome.is_done() && call.ended < awake {
                self.late_acknowledged += 1;
            }
            self.busy.writers.history.record(call);
        }
    }
}
