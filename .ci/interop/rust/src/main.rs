//! A Rust service's view of the Workload API, through the `spiffe` crate: an X509Source through
//! rotations, and JWT-SVIDs fetched, verified offline and at the agent. Usage: conclave-interop ROTATIONS

use std::time::Duration;

use anyhow::{Context, ensure};
use spiffe::{JwtSvid, WorkloadApiClient, X509Source};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let rotations: usize = std::env::args().nth(1).context("usage: conclave-interop ROTATIONS")?.parse()?;
    tokio::time::timeout(Duration::from_secs(150), run(rotations)).await?
}

async fn run(rotations: usize) -> anyhow::Result<()> {
    let source = X509Source::new().await?;
    let mut updates = source.updated();
    let mut leaves = vec![source.svid()?.leaf().as_bytes().to_vec()];
    while leaves.len() <= rotations {
        updates.changed().await?;
        let leaf = source.svid()?.leaf().as_bytes().to_vec();
        if !leaves.contains(&leaf) {
            leaves.push(leaf);
        }
    }
    let id = source.svid()?.spiffe_id().clone();
    let domain = id.trust_domain().clone();
    ensure!(source.bundle_set()?.get(&domain).is_some(), "no X.509 bundle for {domain}");

    let client = WorkloadApiClient::connect_env().await?;
    let token = client.fetch_jwt_token(["audience"], None).await?;
    let bundles = client.fetch_jwt_bundles().await?;
    let svid = JwtSvid::parse_and_validate(&token, &bundles, &["audience"])?;
    ensure!(*svid.spiffe_id() == id, "the token names {}", svid.spiffe_id());
    client.validate_jwt_token("audience", &token).await?;
    ensure!(client.validate_jwt_token("nobody", &token).await.is_err(), "a token for another audience was taken");
    println!("rust-spiffe: {id} followed through {rotations} rotations, JWT fetched and verified");
    Ok(())
}
