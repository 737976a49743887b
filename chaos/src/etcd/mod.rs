//! A three-member etcd from the distribution's package, as something to compare with.

pub mod client;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use self::client::Client;
use crate::{
    cluster::{
        place::Place,
        process::{Process, words},
    },
    load::wait_for,
};

/// The members; gone when dropped.
pub struct Etcd {
    members: Vec<(Place, Process)>,
}

/// What one member counted since it started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Syncs {
    /// Syncs of the log.
    pub log: u64,
    /// Commits of the state's database, which sync too.
    pub state: u64,
}

const START_DEADLINE: Duration = Duration::from_secs(30);
const METRICS_DEADLINE: Duration = Duration::from_secs(5);

impl Etcd {
    /// Where the program is, if it is installed.
    #[must_use]
    pub fn program() -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        let mut folders = std::env::split_paths(&path);
        folders.find_map(|folder| Some(folder.join("etcd")).filter(|program| program.is_file()))
    }

    /// Starts `size` members on the loopback with etcd's defaults, and waits until they take writes.
    ///
    /// # Errors
    /// A member does not start.
    pub async fn start(program: &Path, folder: &Path, size: usize) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let places = (0..size).map(|_| Place::on_loopback());
        let places = places.collect::<anyhow::Result<Vec<_>>>()?;
        let listed = places.iter().enumerate();
        let listed: Vec<_> = listed
            .map(|(number, place)| format!("m{number}=http://{}", place.peer))
            .collect();
        let initial = listed.join(",");
        let mut members = Vec::new();
        for (number, place) in places.into_iter().enumerate() {
            let (api, peer) = (
                format!("http://{}", place.api),
                format!("http://{}", place.peer),
            );
            let command = words([
                &program,
                &"--name",
                &format!("m{number}"),
                &"--data-dir",
                &folder.join(format!("m{number}")),
                &"--listen-client-urls",
                &api,
                &"--advertise-client-urls",
                &api,
                &"--listen-peer-urls",
                &peer,
                &"--initial-advertise-peer-urls",
                &peer,
                &"--initial-cluster",
                &initial,
                &"--log-level",
                &"error",
            ]);
            let log = folder.join(format!("m{number}.log"));
            members.push((place, Process::start("etcd", &command, &log)?));
        }
        let etcd = Self { members };
        for number in 0..size {
            wait_for("etcd takes a write", START_DEADLINE, async || {
                let client = etcd.client(number).await.ok()?;
                client.put(b"ready".to_vec(), Vec::new()).await.done()
            })
            .await?;
        }
        Ok(etcd)
    }

    /// A client of one member, with a connection of its own.
    ///
    /// # Errors
    /// It does not listen.
    pub async fn client(&self, number: usize) -> anyhow::Result<Client> {
        Client::connect(self.members[number].0.api).await
    }

    /// What all members counted together.
    ///
    /// # Errors
    /// A member does not tell.
    pub async fn syncs(&self) -> anyhow::Result<Syncs> {
        let mut all = Syncs::default();
        for (place, _) in &self.members {
            let text = timeout(METRICS_DEADLINE, metrics(place.api)).await??;
            all.log += metric(&text, "etcd_disk_wal_fsync_duration_seconds_count")?;
            all.state += metric(&text, "etcd_disk_backend_commit_duration_seconds_count")?;
        }
        Ok(all)
    }
}

async fn metrics(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"GET /metrics HTTP/1.0\r\nHost: etcd\r\n\r\n")
        .await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

fn metric(text: &str, name: &str) -> anyhow::Result<u64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.with_context(|| format!("etcd tells no {name}"))?;
    value
        .trim()
        .parse()
        .with_context(|| format!("{name} is {value}"))
}
