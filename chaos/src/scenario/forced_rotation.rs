//! The X.509 authority is rotated by hand while workloads of many agents shake hands with each other all the time:
//! none of them may notice.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use parking_lot::Mutex;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{Scenario, Stage};
use crate::{
    client::{
        Operator,
        authority::Authority,
        mutual::{Held, Peer},
        operator::own_entry,
    },
    cluster::{Cluster, agent::Agent},
    figures::{Times, count, ms, rate},
    load::{Background, wait_for},
    random::Random,
    report::Bound,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "forced-rotation",
    summary: "the X.509 authority rotated by hand under 50 agents (--rounds): no handshake fails",
    wants_network: false,
    run: |stage| Box::pin(run(stage)),
};

const AGENTS: u32 = 50;
/// Handshakes are begun at this pace.
const PAUSE: Duration = Duration::from_millis(10);
/// What an operator waits between two steps.
const BETWEEN: Duration = Duration::from_secs(3);
const DEADLINE: Duration = Duration::from_secs(60);

async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let cluster = stage.cluster("cluster", 3, None).await?;
    let (agents, peers, mut lives) = fleet(stage, &cluster).await?;
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut load = Background::new();
    shake_hands(&mut load, &peers, &tally, stage.arguments.seed);
    sleep(BETWEEN).await;

    let begun = Instant::now();
    let steps = rotate(&cluster, &peers).await;
    sleep(BETWEEN).await;
    let took = begun.elapsed();
    load.stop().await;
    let steps = steps?;
    if let Some(ended) = lives.try_join_next() {
        ended?.context("a workload lost its agent")?;
    }
    lives.shutdown().await;
    drop(agents);

    let tally = tally.lock();
    let report = &mut stage.report;
    report.figure("agents", count(peers.len()), "");
    report.figure("handshakes", count(tally.done), "");
    report.figure("handshakes a second", rate(tally.done, took), "");
    report.none_of("failed handshakes", tally.failures.len());
    for failure in tally.failures.iter().take(5) {
        report.note(format!("failed handshake: {failure}"));
    }
    for (name, times) in [
        ("prepare to the root at a workload", &steps.prepared),
        ("revoke to the root gone from a workload", &steps.revoked),
    ] {
        report.figure(format!("{name} p50"), ms(times.p50()), "ms");
        report.figure(format!("{name} max"), ms(times.max()), "ms");
    }
    let tainted = &steps.tainted;
    report.figure(
        "taint to a workload's new SVID p50",
        ms(tainted.p50()),
        "ms",
    );
    report.promise(
        "taint to a workload's new SVID max",
        ms(tainted.max()),
        "ms",
        Bound::AtMost(2_000.0),
    );
    report.figure("taint to the last agent's new SVID", ms(steps.agents), "ms");
    report.require(
        tally.done > 100 * peers.len() / 50,
        "too few handshakes to tell anything",
    );
    Ok(())
}

/// Agents with one workload each, and what keeps the workloads going.
async fn fleet(
    stage: &Stage,
    cluster: &Cluster,
) -> anyhow::Result<(Vec<Agent>, Vec<Peer>, JoinSet<anyhow::Result<()>>)> {
    let (mut agents, mut peers, mut lives) = (Vec::new(), Vec::new(), JoinSet::new());
    let mut servers = cluster.api_addresses();
    for number in 0..stage.rounds(AGENTS) {
        // Each member gets its share of the agents.
        servers.rotate_left(1);
        let name = format!("agent-{number}");
        let agent = Agent::start(cluster, &stage.arguments.agent, &name, &servers).await?;
        let operator = Operator::new(cluster.any_admin().await?);
        let entry = own_entry(&format!("/workload/{number}"), &agent.parent_path);
        operator.create(entry).await.required()?;
        let (peer, life) = Peer::new(&agent.socket()).await?;
        lives.spawn(life.run());
        agents.push(agent);
        peers.push(peer);
    }
    Ok((agents, peers, lives))
}

#[derive(Default)]
struct Tally {
    done: usize,
    failures: Vec<String>,
}

/// Lets any two of the peers shake hands, again and again.
fn shake_hands(load: &mut Background, peers: &[Peer], tally: &Arc<Mutex<Tally>>, seed: u64) {
    let random = Mutex::new(Random::new(seed));
    let (peers, tally) = (peers.to_vec(), Arc::clone(tally));
    load.every(PAUSE, move |_| {
        let pick = || {
            let bound = u64::try_from(peers.len()).unwrap_or(u64::MAX);
            let place = random.lock().below(bound);
            peers[usize::try_from(place).unwrap_or(0)].clone()
        };
        let (one, other, tally) = (pick(), pick(), Arc::clone(&tally));
        async move {
            let shaken = one.shake_hands(&other).await;
            let mut tally = tally.lock();
            match shaken {
                Ok(()) => tally.done += 1,
                Err(error) => tally.failures.push(format!("{error:#}")),
            }
        }
    });
}

/// How long each step took to arrive, for each workload.
struct Steps {
    prepared: Times,
    tainted: Times,
    revoked: Times,
    agents: Duration,
}

/// Every step through another member.
async fn rotate(cluster: &Cluster, peers: &[Peer]) -> anyhow::Result<Steps> {
    let mut members = Vec::new();
    for member in &cluster.members {
        members.push(Authority::new(member.admin().await?));
    }
    let [first, second, third] = members.as_mut_slice() else {
        anyhow::bail!("a cluster of three is needed");
    };
    let operator = Operator::new(cluster.any_admin().await?);
    let old = first.active().await?;
    let begun = Instant::now();
    let new = second.prepare().await?;
    let prepared = arrivals(peers, begun, |held| held.roots == 2).await;
    let prepared = prepared.context("the new root does not reach the workloads")?;
    sleep(BETWEEN).await;
    third.activate(&new).await?;
    sleep(BETWEEN).await;

    let before = serials(&operator).await?;
    let begun = Instant::now();
    first.taint(&old).await?;
    let tainted = arrivals(peers, begun, move |held| held.root == new).await;
    let tainted = tainted.context("SVIDs are not replaced")?;
    wait_for("agents replace their own SVIDs", DEADLINE, async || {
        let now = serials(&operator).await.ok()?;
        let kept = now.iter().filter(|serial| before.contains(serial));
        (kept.count() == 0).then_some(())
    })
    .await?;
    let agents = begun.elapsed();
    sleep(BETWEEN).await;

    let begun = Instant::now();
    second.revoke(&old).await?;
    let revoked = arrivals(peers, begun, |held| held.roots == 1).await;
    Ok(Steps {
        prepared,
        tainted,
        revoked: revoked.context("the old root does not leave the workloads")?,
        agents,
    })
}

/// How long after `begun` each workload came to hold what is waited for.
async fn arrivals(
    peers: &[Peer],
    begun: Instant,
    is_there: impl Fn(&Held) -> bool + Clone + Send + Sync + 'static,
) -> anyhow::Result<Times> {
    let mut waits = JoinSet::new();
    for peer in peers {
        let (mut held, is_there) = (peer.held(), is_there.clone());
        waits.spawn(async move {
            timeout(DEADLINE, held.wait_for(|held| is_there(held))).await??;
            anyhow::Ok(begun.elapsed())
        });
    }
    let mut times = Times::default();
    while let Some(waited) = waits.join_next().await {
        times.push(waited??);
    }
    Ok(times)
}

/// The serial numbers of the agents' SVIDs.
async fn serials(operator: &Operator) -> anyhow::Result<Vec<String>> {
    let agents = operator.agents().await?.into_iter();
    Ok(agents.map(|agent| agent.x509svid_serial_number).collect())
}
