//! Entry creates through the store: how many, how fast, and how many of them share an fsync.

use std::time::Duration;

use anyhow::Context;
use identity::clock::{Clock, SystemClock};
use identity::entry::{EntryId, RegistrationEntry};
use identity::selector::Selector;
use identity::spiffe_id::SpiffeId;
use raft_store::{CreateEntries, CreateEntryOutcome, Proposal, Store};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// One figure.
pub(crate) struct Row {
    pub(crate) per_second: f64,
    pub(crate) p99_ms: f64,
    pub(crate) syncs_per_entry: f64,
}

/// Creates entries from so many clients at once, each waiting for its answer.
pub(crate) async fn measure(store: &Store, clients: u32) -> anyhow::Result<Row> {
    run(store, clients, WARM_UP).await?;
    let syncs_before = syncs(store)?;
    let start = Instant::now();
    let mut latencies = run(store, clients, RUN).await?;
    let elapsed = start.elapsed().as_secs_f64();
    let synced = syncs(store)? - syncs_before;
    latencies.sort_unstable();
    let count = f64::from(u32::try_from(latencies.len())?);
    let slow = latencies
        .get(latencies.len() * 99 / 100)
        .context("nothing was written")?;
    Ok(Row {
        per_second: count / elapsed,
        p99_ms: slow.as_secs_f64() * 1e3,
        syncs_per_entry: f64::from(u32::try_from(synced)?) / count,
    })
}

/// How long each create took.
async fn run(store: &Store, clients: u32, duration: Duration) -> anyhow::Result<Vec<Duration>> {
    let end = Instant::now() + duration;
    let mut running = JoinSet::new();
    for _ in 0..clients {
        let store = store.clone();
        running.spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < end {
                let start = Instant::now();
                create(&store).await?;
                latencies.push(start.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut all = Vec::new();
    while let Some(ended) = running.join_next().await {
        all.extend(ended??);
    }
    Ok(all)
}

async fn create(store: &Store) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let id = EntryId::random();
    let entry = RegistrationEntry {
        spiffe_id: SpiffeId::parse(&format!("spiffe://example.org/workload/{id}"))?,
        id,
        parent_id: SpiffeId::parse("spiffe://example.org/spire/agent/join_token/bench")?,
        selectors: [
            Selector::parse("unix:uid:1000")?,
            Selector::parse("unix:gid:1000")?,
        ]
        .into_iter()
        .collect(),
        x509_svid_ttl_s: 0,
        jwt_svid_ttl_s: 0,
        federates_with: Vec::new(),
        admin: false,
        downstream: false,
        expires_at: None,
        dns_names: Vec::new(),
        revision: 0,
        store_svid: false,
        hint: "".into(),
        additional_attributes: None,
        created_at: now,
    };
    let operation = CreateEntries {
        entries: vec![entry],
    };
    let outcomes = store.propose(operation, Proposal::new(now)).await?;
    anyhow::ensure!(
        matches!(outcomes.as_slice(), [CreateEntryOutcome::Created(_)]),
        "an entry was not created: {outcomes:?}"
    );
    Ok(())
}

fn syncs(store: &Store) -> anyhow::Result<u64> {
    Ok(store.status().context("the store stopped")?.wal_syncs)
}

const WARM_UP: Duration = Duration::from_millis(500);
const RUN: Duration = Duration::from_secs(3);
