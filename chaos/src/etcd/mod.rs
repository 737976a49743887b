//! A three-member etcd from the distribution's package, as something to compare with.
//!
//! It speaks mutual TLS with its clients and among its members, as the cluster that it is compared with does. Its
//! certificates are SVIDs of that cluster: keys of the same kind and chains of the same length.

pub mod client;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use identity::{
    dns_name::DnsName,
    pem::{encode_certificates, encode_private_key},
    spiffe_id::SpiffeId,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use self::client::Client;
use crate::{
    client::{Operator, dial::Caller},
    cluster::{
        Cluster,
        place::Place,
        process::{Process, words},
    },
    load::wait_for,
};

/// The members; gone when dropped.
pub struct Etcd {
    members: Vec<Member>,
    /// Who calls them.
    caller: Caller,
    /// Who they are.
    identity: SpiffeId,
}

struct Member {
    place: Place,
    /// Where it tells its counters, without TLS.
    metrics: SocketAddr,
    process: Process,
}

/// What one member counted since it started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Syncs {
    /// Syncs of the log.
    pub log: u64,
    /// Commits of the state's database, which sync too.
    pub state: u64,
}

/// The files with which a member proves what it is.
struct Proof {
    authorities: PathBuf,
    chain: PathBuf,
    key: PathBuf,
}

const START_DEADLINE: Duration = Duration::from_secs(30);
const METRICS_DEADLINE: Duration = Duration::from_secs(5);
const IDENTITY_PATH: &str = "/etcd";
/// etcd checks certificates against the names of hosts.
const HOST: &str = "localhost";

impl Etcd {
    /// Where the program is, if it is installed.
    #[must_use]
    pub fn program() -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        let mut folders = std::env::split_paths(&path);
        folders.find_map(|folder| Some(folder.join("etcd")).filter(|program| program.is_file()))
    }

    /// Starts as many members as `cluster` has on the loopback, with etcd's defaults and certificates of `cluster`,
    /// and waits until they take writes.
    ///
    /// # Errors
    /// A member does not start.
    pub async fn start(program: &Path, folder: &Path, cluster: &Cluster) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let operator = Operator::new(cluster.any_admin().await?);
        let svid = operator
            .mint_named(IDENTITY_PATH, &[DnsName::parse(HOST)?])
            .await?;
        let proof = Proof {
            authorities: folder.join("authorities.pem"),
            chain: folder.join("chain.pem"),
            key: folder.join("key.pem"),
        };
        fs::write(&proof.authorities, operator.bundle_pem().await?)?;
        fs::write(&proof.chain, encode_certificates(svid.chain()))?;
        fs::write(&proof.key, encode_private_key(svid.key()).expose())?;
        let size = cluster.members.len();
        let places = (0..size).map(|_| Ok((Place::on_loopback()?, Place::on_loopback()?.api)));
        let places = places.collect::<anyhow::Result<Vec<_>>>()?;
        let listed = places.iter().enumerate();
        let listed: Vec<_> = listed
            .map(|(number, (place, _))| format!("{}={}", name(number), advertised(place.peer)))
            .collect();
        let initial = listed.join(",");
        let mut members = Vec::new();
        for (number, (place, metrics)) in places.into_iter().enumerate() {
            let command = command(program, folder, number, (&place, metrics), &proof, &initial);
            let log = folder.join(format!("{}.log", name(number)));
            members.push(Member {
                place,
                metrics,
                process: Process::start("etcd", &command, &log)?,
            });
        }
        let etcd = Self {
            members,
            caller: cluster.administrator().await?,
            identity: svid.spiffe_id().clone(),
        };
        for number in 0..size {
            wait_for("etcd takes a write", START_DEADLINE, async || {
                let client = etcd.client(number).ok()?;
                client.put(b"ready".to_vec(), Vec::new()).await.done()
            })
            .await
            .with_context(|| etcd.members[number].process.last_words())?;
        }
        Ok(etcd)
    }

    /// A client of one member, with a connection of its own.
    ///
    /// # Errors
    /// The certificate of the clients cannot be used.
    pub fn client(&self, number: usize) -> anyhow::Result<Client> {
        let address = self.members[number].place.api;
        let channel = self.caller.channel_to(address, self.identity.clone())?;
        Ok(Client::new(channel))
    }

    /// The number of the member that leads.
    ///
    /// # Errors
    /// A member does not tell, or none leads.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        for (number, member) in self.members.iter().enumerate() {
            if metric(&member.told().await?, "etcd_server_is_leader")? == 1 {
                return Ok(number);
            }
        }
        anyhow::bail!("no member of etcd leads")
    }

    /// The processor time that all members have used since they were started.
    ///
    /// # Errors
    /// A member has ended.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        let times = self.members.iter().map(|member| member.process.cpu_time());
        times.sum()
    }

    /// What all members counted together.
    ///
    /// # Errors
    /// A member does not tell.
    pub async fn syncs(&self) -> anyhow::Result<Syncs> {
        let mut all = Syncs::default();
        for member in &self.members {
            let text = member.told().await?;
            all.log += metric(&text, "etcd_disk_wal_fsync_duration_seconds_count")?;
            all.state += metric(&text, "etcd_disk_backend_commit_duration_seconds_count")?;
        }
        Ok(all)
    }
}

impl Member {
    /// Its counters.
    async fn told(&self) -> anyhow::Result<String> {
        timeout(METRICS_DEADLINE, metrics(self.metrics)).await?
    }
}

fn name(number: usize) -> String {
    format!("m{number}")
}

/// How others are told to reach what listens at `address`.
fn advertised(address: SocketAddr) -> String {
    format!("https://{HOST}:{}", address.port())
}

fn command(
    program: &Path,
    folder: &Path,
    number: usize,
    (place, metrics): (&Place, SocketAddr),
    proof: &Proof,
    initial: &str,
) -> Vec<std::ffi::OsString> {
    let name = name(number);
    words([
        &program,
        &"--name",
        &name,
        &"--data-dir",
        &folder.join(&name),
        &"--listen-client-urls",
        &format!("https://{}", place.api),
        &"--advertise-client-urls",
        &advertised(place.api),
        &"--cert-file",
        &proof.chain,
        &"--key-file",
        &proof.key,
        &"--client-cert-auth",
        &"--trusted-ca-file",
        &proof.authorities,
        &"--listen-peer-urls",
        &format!("https://{}", place.peer),
        &"--initial-advertise-peer-urls",
        &advertised(place.peer),
        &"--peer-cert-file",
        &proof.chain,
        &"--peer-key-file",
        &proof.key,
        &"--peer-client-cert-auth",
        &"--peer-trusted-ca-file",
        &proof.authorities,
        &"--listen-metrics-urls",
        &format!("http://{metrics}"),
        &"--initial-cluster",
        &initial,
        &"--log-level",
        &"error",
    ])
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
