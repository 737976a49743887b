//! A cluster of real processes: made as its operator would make it, and gone with the value that owns it.

pub mod agent;
pub mod config;
pub mod connections;
pub mod invite;
pub mod member;
pub mod place;
pub mod process;
pub mod status;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use tonic::transport::Channel;

use self::{config::FirstStart, member::Member, place::Place, status::Status};
use crate::{
    client::{Operator, dial::Caller},
    fault::network::Network,
    load::wait_for,
};

/// The members of one cluster and the folder with everything of theirs.
#[derive(Debug)]
pub struct Cluster {
    folder: PathBuf,
    /// In the order in which they joined.
    pub members: Vec<Member>,
}

/// What a cluster is made of.
pub struct Plan<'a> {
    /// Where its folder is made.
    pub folder: &'a Path,
    /// The server's binary.
    pub server: &'a Path,
    /// How many members.
    pub size: usize,
    /// A namespace for each member, or all of them on the loopback.
    pub network: Option<&'a Network>,
}

/// How far behind a member may be and still count as caught up, with load going on.
const FINE_LAG: u64 = 500;
const WHOLE_DEADLINE: Duration = Duration::from_secs(60);

impl Cluster {
    /// Plans a cluster and makes it stand.
    ///
    /// # Errors
    /// A member does not start or join.
    pub async fn start(plan: &Plan<'_>) -> anyhow::Result<Self> {
        let mut cluster = Self::plan(plan)?;
        cluster.begin().await?;
        Ok(cluster)
    }

    /// Starts members one after another, each after the first with an invite, and waits until all of them vote.
    ///
    /// # Errors
    /// A member does not start or join.
    pub async fn begin(&mut self) -> anyhow::Result<()> {
        self.members[0].start()?;
        self.members[0].serving().await?;
        for number in 1..self.members.len() {
            self.join(number).await?;
        }
        if self.members.len() > 1 {
            self.whole().await?;
        }
        Ok(())
    }

    /// Members with their folders and configs, of which none was started.
    ///
    /// # Errors
    /// A folder cannot be made or a port not be found.
    pub fn plan(plan: &Plan<'_>) -> anyhow::Result<Self> {
        fs::create_dir_all(plan.folder)?;
        let mut members = Vec::new();
        for number in 0..plan.size {
            let place = match plan.network {
                Some(network) => Place::in_network(network, number),
                None => Place::on_loopback()?,
            };
            let start = match (plan.size, number) {
                (1, _) => FirstStart::Alone,
                (_, 0) => FirstStart::Bootstrap,
                _ => FirstStart::Join,
            };
            let folder = plan.folder.join(format!("member-{number}"));
            members.push(Member::new(number, folder, plan.server, place, start)?);
        }
        Ok(Self {
            folder: plan.folder.to_owned(),
            members,
        })
    }

    /// Invites member `number` through the first one and waits until it serves.
    ///
    /// # Errors
    /// There is no invite, or the member does not start.
    pub async fn join(&mut self, number: usize) -> anyhow::Result<()> {
        let invite = self.invite(&[]).await?;
        let member = &mut self.members[number];
        fs::write(member.folder().join("invite"), invite)?;
        member.start()?;
        member.serving().await?;
        Ok(())
    }

    /// A new invite.
    ///
    /// # Errors
    /// The command fails or prints none.
    pub async fn invite(&self, flags: &[&str]) -> anyhow::Result<String> {
        let mut words = vec!["cluster", "invite"];
        words.extend(flags);
        let printed = self.members[0].command(&words).await?;
        let is_end = |c: char| !(c.is_ascii_alphanumeric() || "-_.=".contains(c));
        let start = printed
            .find(invite::PREFIX)
            .with_context(|| format!("no invite in {printed}"))?;
        let invite = printed[start..].split(is_end).next().unwrap_or_default();
        Ok(invite.to_owned())
    }

    /// Where everything lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the members say of the cluster; the first that answers is believed.
    ///
    /// # Errors
    /// None answers.
    pub async fn status(&self) -> anyhow::Result<Status> {
        let mut last = anyhow::anyhow!("no member is running");
        for member in self.members.iter().filter(|member| member.is_started()) {
            match self.status_by(member).await {
                Ok(status) if status.leader().is_some() => return Ok(status),
                Ok(_) => last = anyhow::anyhow!("member {} knows no leader", member.number),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// What one member says of the cluster.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status_by(&self, member: &Member) -> anyhow::Result<Status> {
        Status::ask(member.admin().await?).await
    }

    /// Waits until every member votes, answers, and has caught up.
    ///
    /// # Errors
    /// Not in time; says what the last status was.
    pub async fn whole(&self) -> anyhow::Result<Status> {
        let mut last = None;
        let whole = wait_for("the cluster is whole", WHOLE_DEADLINE, async || {
            let status = self.status().await;
            let found = status
                .as_ref()
                .ok()
                .filter(|status| self.is_whole(status))
                .cloned();
            last = Some(status);
            found
        });
        let whole = whole.await;
        whole.with_context(|| format!("the last status was {last:?}"))
    }

    fn is_whole(&self, status: &Status) -> bool {
        status.is_whole(self.members.len(), FINE_LAG)
    }

    /// The number of the member that leads, with the status that says so.
    ///
    /// # Errors
    /// There is none.
    pub async fn leader(&self) -> anyhow::Result<(usize, Status)> {
        let status = self.status().await?;
        let number = self.number_of(status.leader(), &status);
        Ok((
            number.context("the leader is none of this run's members")?,
            status,
        ))
    }

    /// The number of the member with that id.
    #[must_use]
    pub fn number_of(&self, id: Option<u64>, status: &Status) -> Option<usize> {
        let is_it = |member: &&Member| status.id_at(&member.place.peer.to_string()) == id;
        self.members
            .iter()
            .find(|member| id.is_some() && is_it(member))
            .map(|member| member.number)
    }

    /// A channel to the admin socket of the first member that listens.
    ///
    /// # Errors
    /// None does.
    pub async fn any_admin(&self) -> anyhow::Result<Channel> {
        for member in self.members.iter().filter(|member| member.is_started()) {
            if let Ok(channel) = member.admin().await {
                return Ok(channel);
            }
        }
        anyhow::bail!("no member listens on its admin socket")
    }

    /// An administrator who comes over TLS, with an SVID of the cluster's.
    ///
    /// # Errors
    /// No member mints one.
    pub async fn administrator(&self) -> anyhow::Result<Caller> {
        let operator = Operator::new(self.any_admin().await?);
        Ok(Caller {
            bundle: operator.bundle().await?,
            svid: Some(operator.mint(config::ADMIN_PATH).await?),
        })
    }

    /// For each member, a client on its admin socket and one over TLS with an administrator's SVID.
    ///
    /// # Errors
    /// A member does not listen, or mints no SVID.
    pub async fn operators(&self) -> anyhow::Result<Vec<Vec<Operator>>> {
        let caller = self.administrator().await?;
        let mut all = Vec::new();
        for member in &self.members {
            let socket = Operator::new(member.admin().await?);
            let remote = Operator::new(caller.channel(member.place.api)?);
            all.push(vec![socket, remote]);
        }
        Ok(all)
    }

    /// The processor time that all members have used since they were started.
    ///
    /// # Errors
    /// A member is not running.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        let times = self
            .members
            .iter()
            .map(|member| member.process()?.cpu_time());
        times.sum()
    }

    /// The addresses that agents use, in the order of the members.
    #[must_use]
    pub fn api_addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().map(|member| member.place.api).collect()
    }
}
