//! Many clients share the syncs of the log.
//!
//! `RAFT_STORE_FIGURES=1 cargo test -p raft-store --test it -- --nocapture throughput` measures more
//! and prints it.
#![expect(clippy::print_stderr, reason = "figures are to be seen")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use raft_store::{CreateEntries, State, Store};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::fixture::{close, entry, open, proposal};
use crate::net::Cluster;

/// Anonymous memory: the program text of a test binary is not what a server would have.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("RssAnon"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

async fn load(store: &Store, clients: u64, batch: u64, total: u64, name: &str) -> f64 {
    let before = store.status().unwrap();
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (store, next, name) = (store.clone(), Arc::clone(&next), name.to_owned());
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            loop {
                let from = next.fetch_add(batch, Ordering::Relaxed);
                if from >= total {
                    return latencies;
                }
                let entries = (from..from + batch).map(|n| entry(&format!("{name}-{n}")));
                let entries = entries.collect();
                let begun = Instant::now();
                store
                    .propose(CreateEntries { entries }, proposal())
                    .await
                    .unwrap();
                latencies.push(begun.elapsed());
            }
        });
    }
    let mut latencies: Vec<Duration> = tasks.join_all().await.concat();
    let elapsed = start.elapsed();
    latencies.sort();
    let after = store.status().unwrap();
    let syncs = after.wal_syncs - before.wal_syncs;
    let total = f64::from(u32::try_from(total).unwrap());
    let syncs_per_entry = f64::from(u32::try_from(syncs).unwrap()) / total;
    if std::env::var_os(FIGURES).is_some() {
        eprintln!(
            "{clients} clients, batches of {batch}: {:.0} entries/s, p50 {:?}, p99 {:?}, {syncs_per_entry:.4} syncs per entry",
            total / elapsed.as_secs_f64(),
            latencies[latencies.len() / 2],
            latencies[latencies.len() * 99 / 100],
        );
    }
    syncs_per_entry
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throughput_of_many_clients_takes_few_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    assert!(load(&store, 1, 1, 100, "one").await >= 1.0);
    let shared = load(&store, 256, 1, 4_000, "many").await;
    assert!(shared < 0.25, "{shared} syncs per entry");
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throughput_memory_and_restart_in_figures() {
    if std::env::var_os(FIGURES).is_none() {
        return;
    }
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let (store, driver) = open(dir.path()).await.unwrap();
    eprintln!("empty: {} KiB resident", resident_kib());
    load(&store, 16, 1, 6_000, "sixteen").await;
    load(&store, 64, 1, 20_000, "sixtyfour").await;
    load(&store, 256, 1, 24_000, "many").await;
    load(&store, 4, 500, 50_000, "batch").await;
    eprintln!("100,000 entries: {} KiB resident", resident_kib());
    let hash = store.read(State::state_hash);
    close(store, driver).await;
    let start = Instant::now();
    let (store, driver) = open(dir.path()).await.unwrap();
    eprintln!("restart with 100,000 entries: {:?}", start.elapsed());
    assert_eq!(store.read(State::state_hash), hash);
    close(store, driver).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throughput_of_three_members_in_figures() {
    if std::env::var_os(FIGURES).is_none() {
        return;
    }
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let follower = cluster.followers_of(leader)[0];
    for (part, id) in [("leader", leader), ("follower", follower)] {
        eprintln!("taken by the {part}:");
        let store = cluster.store(id);
        load(store, 1, 1, 500, &format!("{part}-one")).await;
        load(store, 64, 1, 10_000, &format!("{part}-sixtyfour")).await;
        load(store, 256, 1, 20_000, &format!("{part}-many")).await;
    }
    cluster.stop().await;
}

/// With a directory in `RAFT_STORE_FIGURES_DIR`: the first run fills it, the next ones start from
/// it, so that the memory of a start is seen alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throughput_cold_start_with_a_million_entries_in_figures() {
    let Some(dir) = std::env::var_os(FIGURES_DIR).map(std::path::PathBuf::from) else {
        return;
    };
    let is_filled = dir.join("filled").exists();
    let before = resident_kib();
    let start = Instant::now();
    let (store, driver) = open(&dir).await.unwrap();
    let entries = store.read(State::entry_count);
    let took = start.elapsed();
    let resident = resident_kib() - before;
    eprintln!("start with {entries} entries: {took:?}, {resident} KiB resident");
    if !is_filled {
        load(&store, 4, 1000, 1_000_000, "million").await;
    }
    close(store, driver).await;
    std::fs::write(dir.join("filled"), "").unwrap();
}

const FIGURES: &str = "RAFT_STORE_FIGURES";
const FIGURES_DIR: &str = "RAFT_STORE_FIGURES_DIR";
