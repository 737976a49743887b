//! No private key and no seal key lies anywhere in the clear: in data, snapshots, backups, logs, core files, or on the
//! wire between members. The search first finds a key that was planted.

use std::{
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use identity::secret::{KeyType, PrivateKey};
use rustix::process::Signal;
use tokio::time::sleep;

use super::{
    Scenario, Stage,
    busy::{Busy, Pace},
};
use crate::{
    client::{Operator, stranger::Stranger},
    cluster::{Cluster, process::words},
    fault::capture::Capture,
    figures::count,
    report::Bound,
    scan::{PublicPoints, Scan},
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "secret-scan",
    summary: "private keys and seal keys searched for in data, snapshots, backups, logs, cores, wire",
    wants_network: false,
    run: |stage| Box::pin(run(stage)),
};

const EXIT_DEADLINE: Duration = Duration::from_secs(10);

async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let folder = stage.folder.join("cluster");
    let mut cluster = stage.plan("cluster", 3)?;
    // The last member may leave a core as large as it likes, if it wants to.
    cluster.members[2].wrap(words([&"prlimit", &"--core=unlimited", &"--"]));
    let wire = stage.folder.join("cluster/peers.pcap");
    let capture = Capture::start(&cluster, &wire).await?;
    cluster.begin().await?;
    let busy = Busy::start(stage, cluster, Pace::default()).await?;
    sleep(stage.time(Duration::from_secs(5))).await;
    let member = &busy.cluster.members[1];
    member.command(&["cluster", "rotate-seal"]).await?;
    let backup = folder.join("cluster.backup");
    member
        .command(&["cluster", "backup", "-file", &backup.display().to_string()])
        .await?;
    let points = shown_points(&busy.cluster).await?;
    stop_capture(stage, capture).await?;
    let mut cluster = busy.finish_early(stage).await?;
    crash(stage, &mut cluster).await?;
    for member in cluster
        .members
        .iter_mut()
        .filter(|member| member.is_started())
    {
        member.terminate().await?;
    }
    drop(cluster);
    stage.report.require(backup.is_file(), "no backup was made");
    prove(stage, &folder, points.clone())?;
    search(stage, &folder, points)
}

async fn stop_capture(stage: &mut Stage, capture: Result<Capture, String>) -> anyhow::Result<()> {
    match capture {
        Ok(capture) => capture.stop().await,
        Err(reason) => {
            stage.report.require(false, reason);
            Ok(())
        }
    }
}

/// The public keys that clients and peers are shown: of roots, intermediates, servers, members, tokens.
async fn shown_points(cluster: &Cluster) -> anyhow::Result<PublicPoints> {
    let mut points = PublicPoints::default();
    let operator = Operator::new(cluster.any_admin().await?);
    let bundle = operator.bundle().await?;
    for authority in &bundle.x509_authorities {
        points.collect(&authority.certificate);
    }
    for authority in &bundle.jwt_authorities {
        points.collect(&authority.public_key);
    }
    for certificate in operator.mint("/seen").await?.chain() {
        points.collect(certificate);
    }
    for member in &cluster.members {
        for (address, alpn) in [
            (member.place.api, "h2"),
            (member.place.peer, "conclave-join/1"),
        ] {
            let stranger = Stranger { svid: None, alpn };
            for certificate in stranger.chain_of(address).await? {
                points.collect(&certificate);
            }
        }
    }
    Ok(points)
}

/// Makes the last member dump core, and sees that there is none.
async fn crash(stage: &mut Stage, cluster: &mut Cluster) -> anyhow::Result<()> {
    let status = cluster.members[2].abort(EXIT_DEADLINE).await?;
    stage.report.require(
        status.signal() == Some(Signal::ABORT.as_raw()),
        format!("SIGABRT ended the member otherwise: {status}"),
    );
    let names = fs::read_dir(cluster.members[2].folder())?;
    let cores = names
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("core"));
    stage.report.none_of(
        "core files of a crashed member",
        cores.count() + usize::from(status.core_dumped()),
    );
    Ok(())
}

/// Hides a key in a copy of a real file, and lets the search find it.
fn prove(stage: &mut Stage, folder: &Path, mut points: PublicPoints) -> anyhow::Result<()> {
    let key = PrivateKey::generate(KeyType::EcP256)?;
    points.collect(key.public_key_der());
    let document = key.pkcs8().expose();
    let mark = b"\x02\x01\x01\x04\x20";
    let at = document
        .windows(mark.len())
        .position(|window| window == mark);
    let at = at.context("the planted key has no scalar")? + mark.len();
    let planted = stage.folder.join("planted");
    fs::create_dir_all(&planted)?;
    let carrier = fs::read(folder.join("member-0/server.log"))?;
    let (first, second) = carrier.split_at(carrier.len() / 2);
    let hidden = [first, &document[at..at + 32], second].concat();
    fs::write(planted.join("server.log"), hidden)?;
    let found = Scan {
        points,
        secrets: Vec::new(),
        except: &[],
        budget: stage.time(Duration::from_secs(60)),
    }
    .run(&[planted])?;
    stage
        .report
        .require(found.secrets.len() == 1, "the planted key was not found");
    stage
        .report
        .figure("planted keys found", count(found.secrets.len()), "");
    Ok(())
}

fn search(stage: &mut Stage, folder: &Path, points: PublicPoints) -> anyhow::Result<()> {
    let own: Vec<PathBuf> = (0..3)
        .map(|number| folder.join(format!("member-{number}/seal.key")))
        .collect();
    let seal_key = fs::read(&own[0]).context("no seal key")?;
    let found = Scan {
        points,
        secrets: vec![("the seal key".to_owned(), seal_key)],
        except: &own,
        budget: SEARCH_TIME,
    }
    .run(&[folder.to_owned()])?;
    let report = &mut stage.report;
    report.figure("files searched", count(found.files), "");
    report.figure("bytes searched", count(found.bytes), "");
    report.figure("public keys known", count(found.public_keys), "");
    report.figure("possible keys", count(found.candidates), "");
    let share = count(found.tried) * 100.0 / count(found.candidates.max(1));
    report.promise("of them multiplied out", share, "%", Bound::AtLeast(100.0));
    report.none_of("secrets in the clear", found.secrets.len());
    for secret in found.secrets.iter().take(10) {
        report.note(secret.clone());
    }
    Ok(())
}

const SEARCH_TIME: Duration = Duration::from_secs(540);
