//! Entries created through three members beside values of the same size put into a three-member etcd, with the same
//! numbers of clients, in turn on the same machine and disk.
//!
//! Both sides prove and encrypt alike: each client has a connection of its own with mutual TLS, members speak mutual
//! TLS with each other, and all certificates come from one authority. The first client of each is at the leader, the
//! next ones at the other members in turn.

use std::{sync::Arc, time::Duration};

use prost::Message as _;
use tokio::{sync::Barrier, task::JoinSet, time::Instant};

use super::{Scenario, Stage};
use crate::{
    client::{Operator, Outcome, operator::entry},
    cluster::{Cluster, process::own_cpu_time},
    etcd::Etcd,
    fault::tracer::SyncTrace,
    figures::{Times, count, ms, rate},
    report::Bound,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "etcd",
    summary: "entries created a second at 1, 64 and 256 clients, as a ratio to etcd's puts, mutual TLS on both; syncs, CPU",
    wants_network: false,
    run: |stage| Box::pin(run(stage)),
};

const SIZE: usize = 3;
const CLIENTS: [usize; 3] = [1, 64, 256];

/// One phase of load.
struct Phase {
    done: usize,
    failed: Vec<String>,
    took: Duration,
    times: Times,
    used: Used,
}

/// Processor time that was used.
#[derive(Clone, Copy)]
struct Used {
    members: Duration,
    load: Duration,
}

impl Phase {
    fn rate(&self) -> f64 {
        rate(self.done, self.took)
    }

    /// What one call took of `time`, in microseconds.
    fn each_us(&self, time: Duration) -> f64 {
        ms(time) * 1_000.0 / count(self.done.max(1))
    }
}

async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let Some(program) = Etcd::program() else {
        stage.report.require(
            false,
            "no etcd is installed (package etcd-server): nothing to compare with",
        );
        return Ok(());
    };
    let time = stage.time(Duration::from_secs(10));
    let cluster = stage.cluster("cluster", SIZE, None).await?;
    let etcd = Etcd::start(&program, &stage.folder.join("etcd"), &cluster).await?;
    for clients in CLIENTS {
        // Once without counting: connections, caches, files.
        create_phase(&cluster, clients, time / 5).await?;
        put_phase(&etcd, clients, time / 5).await?;
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let (before, mut puts) = (etcd.syncs().await?, 0);
        for _ in 0..stage.rounds(3) {
            let one = create_phase(&cluster, clients, time).await?;
            let other = put_phase(&etcd, clients, time).await?;
            puts += other.done;
            ratios.push(one.rate() / other.rate());
            ours.push(one);
            theirs.push(other);
        }
        let after = etcd.syncs().await?;
        let syncs = after.log + after.state - before.log - before.state;
        tell(stage, &format!("{clients} clients: conclave"), &ours);
        tell(stage, &format!("{clients} clients: etcd"), &theirs);
        let per_put = count(usize::try_from(syncs)?) / count(puts);
        stage.report.figure(
            format!("{clients} clients: etcd, syncs of all members per put"),
            per_put,
            "",
        );
        let ratio = median(ratios);
        stage.report.promise(
            format!("{clients} clients: ratio"),
            ratio,
            "x",
            Bound::AtLeast(1.0),
        );
    }
    drop((cluster, etcd));
    trace_syncs(stage, time / 2).await
}

/// The same load again on a cluster whose syncs are counted, which slows it.
async fn trace_syncs(stage: &mut Stage, time: Duration) -> anyhow::Result<()> {
    if !SyncTrace::is_available() {
        stage
            .report
            .note("no strace is installed: syncs per entry were not counted");
        return Ok(());
    }
    let mut cluster = stage.cluster("traced", SIZE, None).await?;
    let mut traces = Vec::new();
    for member in &mut cluster.members {
        let trace = SyncTrace::new(&member.folder().join("syncs"));
        member.wrap(trace.prefix());
        traces.push(trace);
        member.terminate().await?;
        member.start()?;
        member.serving().await?;
    }
    cluster.whole().await?;
    let all = |traces: &[SyncTrace]| {
        traces
            .iter()
            .map(SyncTrace::count)
            .sum::<anyhow::Result<usize>>()
    };
    for clients in CLIENTS {
        let before = all(&traces)?;
        let phase = create_phase(&cluster, clients, time).await?;
        let syncs = all(&traces)? - before;
        let name = format!("{clients} clients: conclave, syncs of all members per entry");
        stage
            .report
            .figure(name, count(syncs) / count(phase.done), "");
        stage
            .report
            .require(syncs > 0, "no sync was seen: is this a real disk?");
    }
    Ok(())
}

fn tell(stage: &mut Stage, name: &str, phases: &[Phase]) {
    let report = &mut stage.report;
    let failed: Vec<_> = phases.iter().flat_map(|phase| &phase.failed).collect();
    if let Some(first) = failed.first() {
        report.note(format!("{name}: {} calls failed: {first}", failed.len()));
    }
    report.figure(
        format!("{name} a second"),
        median(phases.iter().map(Phase::rate)),
        "/s",
    );
    report.figure(
        format!("{name} p50"),
        median(phases.iter().map(|phase| ms(phase.times.p50()))),
        "ms",
    );
    report.figure(
        format!("{name} p99"),
        median(phases.iter().map(|phase| ms(phase.times.p99()))),
        "ms",
    );
    let each = |used: fn(&Used) -> Duration| {
        median(phases.iter().map(|phase| phase.each_us(used(&phase.used))))
    };
    let (members, load) = (each(|used| used.members), each(|used| used.load));
    report.figure(format!("{name}, CPU of all members a call"), members, "us");
    report.figure(format!("{name}, CPU of the load a call"), load, "us");
}

fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// A small entry; `tag` makes it one of its own.
fn small_entry(tag: &str) -> proto::spire::api::types::Entry {
    entry(
        &format!("/compared/{tag}"),
        "/compared",
        ("unix", &format!("user:{tag}")),
    )
}

async fn create_phase(cluster: &Cluster, clients: usize, time: Duration) -> anyhow::Result<Phase> {
    let tag = cluster_tag(cluster).await?;
    let administrator = cluster.administrator().await?;
    let (leader, _) = cluster.leader().await?;
    let mut channels = Vec::new();
    for number in 0..clients {
        let member = &cluster.members[(leader + number) % SIZE];
        channels.push(Operator::new(administrator.channel(member.place.api)?));
    }
    let calls = channels.into_iter().enumerate().map(|(client, operator)| {
        let tag = tag.clone();
        move |number: u64| {
            let (operator, tag) = (operator.clone(), format!("{tag}-{client}-{number}"));
            async move {
                operator
                    .create(small_entry(&tag))
                    .await
                    .and_then(|_entry| Outcome::Done(()))
            }
        }
    });
    closed_loop(calls, time, || cluster.cpu_time()).await
}

/// What tells the entries of this phase from those before it.
async fn cluster_tag(cluster: &Cluster) -> anyhow::Result<String> {
    let held = Operator::new(cluster.any_admin().await?).count().await?;
    Ok(format!("{held}"))
}

async fn put_phase(etcd: &Etcd, clients: usize, time: Duration) -> anyhow::Result<Phase> {
    let leader = etcd.leader().await?;
    let mut channels = Vec::new();
    for number in 0..clients {
        channels.push(etcd.client((leader + number) % SIZE)?);
    }
    let calls = channels
        .into_iter()
        .enumerate()
        .map(|(client, connection)| {
            move |number: u64| {
                let connection = connection.clone();
                let tag = format!("{client}-{number}");
                let value = small_entry(&tag).encode_to_vec();
                async move {
                    connection
                        .put(format!("/compared/{tag:0>26}").into_bytes(), value)
                        .await
                }
            }
        });
    closed_loop(calls, time, || etcd.cpu_time()).await
}

/// Each client makes its next call when it has the answer to the one before. The first call of each, which connects,
/// does not count.
async fn closed_loop<F>(
    clients: impl ExactSizeIterator<Item = impl Fn(u64) -> F + Send + 'static>,
    time: Duration,
    members_cpu: impl Fn() -> anyhow::Result<Duration>,
) -> anyhow::Result<Phase>
where
    F: Future<Output = Outcome<()>> + Send + 'static,
{
    let start = Arc::new(Barrier::new(clients.len() + 1));
    let mut tasks = JoinSet::new();
    for call in clients {
        let start = Arc::clone(&start);
        tasks.spawn(async move {
            let (mut times, mut failed) = (Vec::new(), Vec::new());
            if let Some(text) = call(0).await.failure() {
                failed.push(text.to_owned());
            }
            start.wait().await;
            let begun = Instant::now();
            for number in 1.. {
                let started = Instant::now();
                if started - begun >= time {
                    break;
                }
                let outcome = call(number).await;
                match outcome.failure() {
                    None => times.push(started.elapsed()),
                    Some(text) => failed.push(text.to_owned()),
                }
            }
            (times, failed)
        });
    }
    let used = || {
        anyhow::Ok(Used {
            members: members_cpu()?,
            load: own_cpu_time()?,
        })
    };
    start.wait().await;
    let (begun, before) = (Instant::now(), used()?);
    let (mut all, mut failures) = (Vec::new(), Vec::new());
    while let Some(ended) = tasks.join_next().await {
        let (times, failed) = ended?;
        all.extend(times);
        failures.extend(failed);
    }
    let (took, after) = (begun.elapsed(), used()?);
    Ok(Phase {
        done: all.len(),
        failed: failures,
        took,
        times: all.into_iter().collect(),
        used: Used {
            members: after.members.saturating_sub(before.members),
            load: after.load.saturating_sub(before.load),
        },
    })
}
