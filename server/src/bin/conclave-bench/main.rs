//! Measures what this server can do at most: signatures on one core, writes with all of them, and
//! what it costs to tell agents of changes.
//!
//! A development tool. `cargo run --release -p server --bin conclave-bench`; it needs nothing and
//! leaves nothing behind. Signing is measured by the CPU time of its thread, so that neighbours on
//! the machine change little; writes are measured by the clock, and depend on the disk.

mod signing;
mod streams;
mod world;
mod writes;

use crate::world::World;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "a tool that prints its results")]
async fn main() -> anyhow::Result<()> {
    identity::tls::install_crypto_provider();
    let directory = std::env::temp_dir().join(format!("conclave-bench-{}", std::process::id()));
    let world = World::create(&directory).await?;
    let ca = world.ca.clone();
    let rows = tokio::task::spawn_blocking(move || signing::measure(&ca)).await??;
    println!(
        "{:<44} {:>12} {:>8}",
        "signing, one core", "per CPU-s", "ratio"
    );
    for row in rows {
        println!(
            "{:<44} {:>12.0} {:>8}",
            row.what,
            row.per_second,
            row.ratio()
        );
    }
    println!();
    println!(
        "{:<44} {:>12} {:>8} {:>14}",
        "entry creates", "per second", "p99 ms", "fsyncs/entry"
    );
    for clients in [1, 16, 256] {
        let row = writes::measure(&world.store, clients).await?;
        let what = format!("{clients} clients");
        println!(
            "{what:<44} {:>12.0} {:>8.2} {:>14.3}",
            row.per_second, row.p99_ms, row.syncs_per_entry
        );
    }
    println!();
    println!(
        "{:<60} {:>10} {:>8}",
        "changes told to agents, 100,000 entries", "CPU ms", "p99 ms"
    );
    for row in streams::measure(&world.store).await? {
        println!("{:<60} {:>10.3} {:>8.2}", row.what, row.cpu_ms, row.p99_ms);
    }
    world.close().await?;
    std::fs::remove_dir_all(&directory)?;
    Ok(())
}
