//! Network namespaces of the run's own, one for each member, joined by a bridge; and black holes in them.
//!
//! The run itself lives in a namespace that it made, so nothing of the host's network is touched.

use std::{
    env,
    ffi::OsString,
    net::{IpAddr, Ipv4Addr},
    os::unix::process::CommandExt as _,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::Context as _;

use crate::cluster::process::{Process, run, words};

/// Hosts on one bridge.
#[derive(Debug)]
pub struct Network {
    hosts: Vec<Host>,
}

/// One namespace.
#[derive(Debug)]
pub struct Host {
    /// Its address on the bridge.
    pub address: IpAddr,
    /// The process that keeps the namespace alive.
    holder: Process,
}

/// Tells this program, started again, that it is in its own namespace.
const INSIDE: &str = "CHAOS_IN_OWN_NETWORK";
const COMMAND_DEADLINE: Duration = Duration::from_secs(10);
const BRIDGE_ADDRESS: &str = "10.77.0.254/24";

/// Starts this program again in a network namespace of its own, unless it is in one already.
///
/// Returns only when it is, or when it may not make one; then it says why.
///
/// # Errors
/// This program's own file cannot be found.
pub fn enter() -> anyhow::Result<Result<(), String>> {
    if env::var_os(INSIDE).is_some() {
        return Ok(Ok(()));
    }
    if !rustix::process::geteuid().is_root() {
        return Ok(Err("not root, so no network namespaces".to_owned()));
    }
    for tool in ["unshare", "ip", "nft", "nsenter"] {
        let found = Command::new(tool).arg("--version").output();
        if found.is_err() {
            return Ok(Err(format!("there is no {tool}, so no network namespaces")));
        }
    }
    let probe = Command::new("unshare")
        .args(["--net", "--", "true"])
        .status();
    if !probe.is_ok_and(|status| status.success()) {
        return Ok(Err("the kernel makes no network namespace here".to_owned()));
    }
    let own = env::current_exe().context("cannot find this program's own file")?;
    let mut again = Command::new("unshare");
    again
        .args(["--net", "--"])
        .arg(own)
        .args(env::args_os().skip(1));
    let failed = again.env(INSIDE, "1").exec();
    Err(failed).context("cannot start again in a network namespace")
}

impl Network {
    /// Makes `count` hosts.
    ///
    /// # Errors
    /// A namespace or a link cannot be made.
    pub async fn make(count: usize, folder: &Path) -> anyhow::Result<Self> {
        ip("link set lo up").await?;
        ip("link add br0 type bridge").await?;
        ip(&format!("addr add {BRIDGE_ADDRESS} dev br0")).await?;
        ip("link set br0 up").await?;
        let mut hosts = Vec::new();
        for number in 0..count {
            hosts.push(Host::make(number, folder).await?);
        }
        Ok(Self { hosts })
    }

    /// A host by its number.
    #[must_use]
    pub fn host(&self, number: usize) -> &Host {
        &self.hosts[number]
    }
}

impl Host {
    async fn make(number: usize, folder: &Path) -> anyhow::Result<Self> {
        let wait = words([&"unshare", &"--net", &"--", &"sleep", &"infinity"]);
        let holder = Process::start("namespace", &wait, &folder.join("namespaces.log"))?;
        let last = u8::try_from(number + 1).context("too many hosts")?;
        let host = Self {
            address: IpAddr::V4(Ipv4Addr::new(10, 77, 0, last)),
            holder,
        };
        host.is_apart().await?;
        let pid = host.holder.pid().as_raw_nonzero();
        ip(&format!(
            "link add v{number} type veth peer name eth0 netns {pid}"
        ))
        .await?;
        ip(&format!("link set v{number} master br0 up")).await?;
        host.inside("ip link set lo up").await?;
        host.inside(&format!("ip addr add {}/24 dev eth0", host.address))
            .await?;
        host.inside("ip link set eth0 up").await?;
        Ok(host)
    }

    /// Waits until the holder has left this program's namespace.
    async fn is_apart(&self) -> anyhow::Result<()> {
        let theirs = format!("/proc/{}/ns/net", self.holder.pid().as_raw_nonzero());
        let own = std::fs::read_link("/proc/self/ns/net")?;
        crate::load::wait_for("a namespace", COMMAND_DEADLINE, async || {
            std::fs::read_link(&theirs).ok().filter(|link| *link != own)
        })
        .await?;
        Ok(())
    }

    /// What stands before a command so that it runs in here; the command becomes the process itself.
    #[must_use]
    pub fn prefix(&self) -> Vec<OsString> {
        let pid = self.holder.pid().as_raw_nonzero().to_string();
        words([&"nsenter", &"--target", &pid, &"--net", &"--"])
    }

    /// From now on every packet to and from this host is dropped, without a word to anybody.
    ///
    /// # Errors
    /// The rules are refused.
    pub async fn black_hole(&self) -> anyhow::Result<()> {
        let chain = |hook: &str, device: &str| {
            format!(
                "chain {hook} {{ type filter hook {hook} priority 0; {device} \"eth0\" counter drop; }}"
            )
        };
        let rules = format!(
            "{}\n{}",
            chain("input", "iifname"),
            chain("output", "oifname")
        );
        self.nft(&format!("table inet chaos {{\n{rules}\n}}"))
            .await
            .map(drop)
    }

    /// Packets flow again; returns how many were dropped.
    ///
    /// # Errors
    /// There is no black hole.
    pub async fn heal(&self) -> anyhow::Result<u64> {
        let listed = self.nft("list table inet chaos").await?;
        let counts = listed.split("packets ").skip(1);
        let counts = counts.filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok());
        let dropped = counts.sum();
        self.nft("delete table inet chaos").await?;
        Ok(dropped)
    }

    async fn nft(&self, command: &str) -> anyhow::Result<String> {
        let mut all = self.prefix();
        all.extend(words([&"nft", &command]));
        run(&all, COMMAND_DEADLINE).await
    }

    async fn inside(&self, command: &str) -> anyhow::Result<String> {
        let mut all = self.prefix();
        all.extend(command.split(' ').map(OsString::from));
        run(&all, COMMAND_DEADLINE).await
    }
}

async fn ip(arguments: &str) -> anyhow::Result<()> {
    let mut all = words([&"ip"]);
    all.extend(arguments.split(' ').map(OsString::from));
    run(&all, COMMAND_DEADLINE).await.map(drop)
}
