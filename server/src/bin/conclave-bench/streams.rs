//! What it costs to tell agents of changes: with few and with many streams, for a change that
//! concerns one agent and for one that concerns all.

use std::time::Duration;

use anyhow::Context as _;
use identity::clock::{Clock as _, SystemClock};
use identity::entry::{EntryId, RegistrationEntry};
use identity::selector::Selector;
use identity::spiffe_id::SpiffeId;
use identity::trust_domain::TrustDomain;
use raft_store::{AttestAgent, CreateEntries, Proposal, Revision, Store};
use server::sync::{Sync, Watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// One figure.
pub(crate) struct Row {
    pub(crate) what: String,
    /// CPU time of the whole process for one change, written and told, in ms.
    pub(crate) cpu_ms: f64,
    /// From the proposal until an agent has it.
    pub(crate) p99_ms: f64,
}

/// Fills the store with entries of [`AGENTS`] agents and of an alias that applies to all of them,
/// then measures changes.
pub(crate) async fn measure(store: &Store) -> anyhow::Result<Vec<Row>> {
    fill(store).await?;
    let mut rows = Vec::new();
    let (sync, task) = Sync::new(store.clone(), TrustDomain::parse("example.org")?);
    let shutdown = daemon::supervisor::Shutdown::new();
    let mut tasks = JoinSet::new();
    let requested = shutdown.clone();
    tasks.spawn(async move {
        let Ok(()) = task.run(requested).await;
    });
    let mut streams = Streams::default();
    for count in [1, 10, AGENTS] {
        streams.extend(&sync, count).await?;
        let what = format!("{count} streams, a change for one of them");
        rows.push(streams.change(store, what, &agent(0)?).await?);
    }
    let what = format!("{AGENTS} streams, a change for all");
    rows.push(streams.change(store, what, &alias()?).await?);
    shutdown.request();
    tasks.join_next().await;
    Ok(rows)
}

/// Streams that are read as fast as they come.
#[derive(Default)]
struct Streams {
    first: Option<Watch>,
    others: JoinSet<()>,
}

impl Streams {
    async fn extend(&mut self, sync: &Sync, count: u32) -> anyhow::Result<()> {
        let from = self.others.len() + usize::from(self.first.is_some());
        for number in u32::try_from(from)?..count {
            let agent = agent(number)?;
            let mut watch = sync.watch(&agent, SERIAL, Revision::default()).await?;
            let whole = next(&mut watch).await?;
            anyhow::ensure!(
                whole.entries.len() >= ENTRIES_LEN,
                "an agent lacks entries: {}",
                whole.entries.len()
            );
            if self.first.is_none() {
                self.first = Some(watch);
                continue;
            }
            self.others
                .spawn(async move { while next(&mut watch).await.is_ok() {} });
        }
        Ok(())
    }

    /// Creates entries below `parent`, one after the other, each told before the next.
    async fn change(
        &mut self,
        store: &Store,
        what: String,
        parent: &SpiffeId,
    ) -> anyhow::Result<Row> {
        let first = self.first.as_mut().context("there is a stream")?;
        let mut latencies = Vec::new();
        let before = cpu_time()?;
        for number in 0..CHANGES {
            let entry = entry(&format!("/new/{number}/{}", EntryId::random()), parent)?;
            let id = entry.id.clone();
            let entries = vec![entry];
            let begun = Instant::now();
            let proposal = Proposal::new(SystemClock.now());
            store.propose(CreateEntries { entries }, proposal).await?;
            while !next(first).await?.entries.iter().any(|told| told.id == id) {}
            latencies.push(begun.elapsed());
        }
        let spent = cpu_time()?.saturating_sub(before);
        latencies.sort_unstable();
        let slow = latencies.get(latencies.len() * 99 / 100);
        Ok(Row {
            what,
            cpu_ms: spent.as_secs_f64() * 1e3 / f64::from(CHANGES),
            p99_ms: slow.context("nothing was told")?.as_secs_f64() * 1e3,
        })
    }
}

async fn next(watch: &mut Watch) -> anyhow::Result<server::sync::Batch> {
    let batch = watch.next(Duration::from_secs(5)).await;
    batch.map_err(|ended| anyhow::anyhow!("a stream ended: {ended:?}"))
}

async fn fill(store: &Store) -> anyhow::Result<()> {
    let propose = || Proposal::new(SystemClock.now());
    let node = Selector::parse("bench:node")?;
    let mut alias = entry("/fleet", &SpiffeId::server(&trust_domain()?))?;
    alias.selectors = std::iter::once(node.clone()).collect();
    let entries = vec![alias];
    store.propose(CreateEntries { entries }, propose()).await?;
    for number in 0..AGENTS {
        let attest = AttestAgent {
            spiffe_id: agent(number)?,
            attestation_type: "bench".into(),
            serial: SERIAL.into(),
            not_after: SystemClock.now().saturating_add(Duration::from_secs(3_600)),
            can_reattest: true,
            selectors: std::iter::once(node.clone()).collect(),
            redeem: None,
        };
        store.propose(attest, propose()).await?;
        let parent = agent(number)?;
        let entries = (0..ENTRIES_LEN)
            .map(|place| entry(&format!("/held/{number}/{place}"), &parent))
            .collect::<anyhow::Result<_>>()?;
        store.propose(CreateEntries { entries }, propose()).await?;
    }
    Ok(())
}

fn entry(path: &str, parent: &SpiffeId) -> anyhow::Result<RegistrationEntry> {
    Ok(RegistrationEntry {
        id: EntryId::random(),
        spiffe_id: SpiffeId::from_parts(&trust_domain()?, path)?,
        parent_id: parent.clone(),
        selectors: std::iter::once(Selector::parse("unix:uid:1000")?).collect(),
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
        created_at: SystemClock.now(),
    })
}

fn trust_domain() -> anyhow::Result<TrustDomain> {
    Ok(TrustDomain::parse("example.org")?)
}

fn agent(number: u32) -> anyhow::Result<SpiffeId> {
    let path = format!("/spire/agent/bench/{number}");
    Ok(SpiffeId::from_parts(&trust_domain()?, &path)?)
}

fn alias() -> anyhow::Result<SpiffeId> {
    Ok(SpiffeId::from_parts(&trust_domain()?, "/fleet")?)
}

/// CPU time of the threads of this process.
fn cpu_time() -> anyhow::Result<Duration> {
    let mut spent_ns = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        // A thread may end meanwhile.
        let Ok(schedstat) = std::fs::read_to_string(thread?.path().join("schedstat")) else {
            continue;
        };
        let first = schedstat.split(' ').next().context("schedstat is empty")?;
        spent_ns += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(spent_ns))
}

const SERIAL: &str = "1";
const AGENTS: u32 = 1_000;
/// Entries of each agent.
const ENTRIES_LEN: usize = 100;
const CHANGES: u32 = 300;
