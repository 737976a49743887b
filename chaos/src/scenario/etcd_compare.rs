//! Entries created through three members beside values of the same size put into a three-member etcd, with the same
//! numbers of clients, in turn on the same machine.

use std::time::Duration;

use prost::Message as _;
use tokio::{task::JoinSet, time::Instant};

use super::{Scenario, Stage};
use crate::{
    client::{Operator, Outcome, operator::entry},
    cluster::Cluster,
    etcd::Etcd,
    fault::tracer::SyncTrace,
    figures::{Times, count, ms, rate},
    report::Bound,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "etcd",
    summary: "entries created a second at 1, 64 and 256 clients, as a ratio to etcd's puts; syncs",
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
}

impl Phase {
    fn rate(&self) -> f64 {
        rate(self.done, self.took)
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
    let etcd = Etcd::start(&program, &stage.folder.join("etcd"), SIZE).await?;
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
    let mut channels = Vec::new();
    for number in 0..clients {
        channels.push(Operator::new(cluster.members[number % SIZE].admin().await?));
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
    closed_loop(calls, time).await
}

/// What tells the entries of this phase from those before it.
async fn cluster_tag(cluster: &Cluster) -> anyhow::Result<String> {
    let held = Operator::new(cluster.any_admin().await?).count().await?;
    Ok(format!("{held}"))
}

async fn put_phase(etcd: &Etcd, clients: usize, time: Duration) -> anyhow::Result<Phase> {
    let mut channels = Vec::new();
    for number in 0..clients {
        channels.push(etcd.client(number % SIZE).await?);
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
    closed_loop(calls, time).await
}

/// Each client makes its next call when it has the answer to the one before.
async fn closed_loop<F>(
    clients: impl Iterator<Item = impl Fn(u64) -> F + Send + 'static>,
    time: Duration,
) -> anyhow::Result<Phase>
where
    F: Future<Output = Outcome<()>> + Send + 'static,
{
    let begun = Instant::now();
    let mut tasks = JoinSet::new();
    for call in clients {
        tasks.spawn(async move {
            let (mut times, mut failed) = (Vec::new(), Vec::new());
            for number in 0.. {
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
    let (mut all, mut failures) = (Vec::new(), Vec::new());
    while let Some(ended) = tasks.join_next().await {
        let (times, failed) = ended?;
        all.extend(times);
        failures.extend(failed);
    }
    Ok(Phase {
        done: all.len(),
        failed: failures,
        took: begun.elapsed(),
        times: all.into_iter().collect(),
    })
}
