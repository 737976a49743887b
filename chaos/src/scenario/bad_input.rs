//! What must be refused with its cause, and leave nothing half done: strangers on the peer port, invites that are
//! forged, over or used, a second founding, damaged logs, states and backups, the data of another cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

use super::{Scenario, Stage};
use crate::{
    client::{Attested, Operator, operator::entry, stranger::Stranger},
    cluster::{
        Cluster,
        config::{self, FirstStart},
        invite::forged,
        member::Member,
        place::Place,
        process::{run as run_command, words},
    },
    fault::damage::{copy_folder, flip_bit, largest},
    figures::count,
};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "bad-input",
    summary: "strangers, forged and used invites, second foundings, damaged and foreign data: refused",
    wants_network: false,
    run: |stage| Box::pin(run(stage)),
};

const COMMAND_DEADLINE: Duration = Duration::from_secs(30);
const GIVE_UP_DEADLINE: Duration = Duration::from_secs(60);
const LOG_WITHIN: Duration = Duration::from_secs(2);
const ENTRIES: usize = 200;

async fn run(stage: &mut Stage) -> anyhow::Result<()> {
    let mut trial = Trial {
        cluster: stage.cluster("cluster", 3, None).await?,
        folder: stage.folder.clone(),
        server: stage.arguments.server.clone(),
        joiners: 0,
        accepted: Vec::new(),
        refused: Vec::new(),
    };
    let operator = Operator::new(trial.cluster.any_admin().await?);
    for number in 0..ENTRIES {
        let path = format!("/kept/{number}");
        operator
            .create(entry(&path, "/kept", ("chaos", &path)))
            .await
            .required()?;
    }
    trial.strangers(&operator).await.context("strangers")?;
    trial.invites().await.context("invites")?;
    trial.second_founding().await.context("second founding")?;
    let other = stage.cluster("other", 1, None).await?;
    trial.foreign_data(other).await.context("foreign data")?;
    trial.damage().await.context("damage")?;
    trial.whole_again().await?;

    let report = &mut stage.report;
    report.figure("refused with a cause", count(trial.refused.len()), "");
    report.none_of("not refused, or without its cause", trial.accepted.len());
    for offence in trial.accepted {
        report.note(offence);
    }
    for refusal in trial.refused {
        report.note(refusal);
    }
    Ok(())
}

struct Trial {
    cluster: Cluster,
    folder: PathBuf,
    server: PathBuf,
    joiners: usize,
    /// What was not refused, or not for the right reason.
    accepted: Vec<String>,
    /// What was, with the cause that was given.
    refused: Vec<String>,
}

impl Trial {
    /// Notes how `what` was answered: it must have failed with a text that names one of `causes`.
    fn judge<T>(&mut self, what: &str, answer: Result<T, String>, causes: &[&str]) {
        match answer {
            Err(text)
                if causes
                    .iter()
                    .any(|cause| text.to_lowercase().contains(cause)) =>
            {
                let line = text.lines().find(|line| {
                    causes
                        .iter()
                        .any(|cause| line.to_lowercase().contains(cause))
                });
                let line: String = line.unwrap_or_default().chars().take(300).collect();
                self.refused.push(format!("{what}: {line}"));
            }
            Err(text) => self
                .accepted
                .push(format!("{what}: refused, but not for {causes:?}: {text}")),
            Ok(_) => self.accepted.push(format!("{what}: not refused")),
        }
    }

    /// An agent's and a workload's SVID, and none, on the peer port.
    async fn strangers(&mut self, operator: &Operator) -> anyhow::Result<()> {
        let member = &self.cluster.members[0];
        let (api, peer) = (member.place.api, member.place.peer);
        let agent = Attested::new(operator, api, "stranger").await?;
        let agent = agent.caller().svid.clone();
        let workload = Some(operator.mint("/stranger").await?);
        for (who, svid) in [("agent", agent), ("workload", workload), ("nobody", None)] {
            for alpn in ["conclave-peer/1", "h2"] {
                let stranger = Stranger {
                    svid: svid.clone(),
                    alpn,
                };
                let answer = stranger
                    .call(peer, "/conclave.cluster.v1.Peer/Exchange")
                    .await;
                self.judge(
                    &format!("{who}'s certificate on the peer port as {alpn}"),
                    answer,
                    &[""],
                );
            }
        }
        let told = self.refusals_told().await?;
        self.judge(
            "strangers, in the log",
            Err::<(), _>(told),
            &["certificate"],
        );
        Ok(())
    }

    /// What the first member's log tells of refused connections, once it tells of one without a
    /// certificate: a refused client may know before it is written down.
    async fn refusals_told(&self) -> anyhow::Result<String> {
        let path = self.cluster.members[0].folder().join("server.log");
        let deadline = Instant::now() + LOG_WITHIN;
        loop {
            let log = fs::read_to_string(&path)?;
            let told: Vec<_> = log
                .lines()
                .filter(|line| line.contains("refused a connection to the peer port"))
                .collect();
            let is_complete = told.iter().any(|line| line.contains("certificate"));
            if is_complete || Instant::now() > deadline {
                return Ok(told.join("\n"));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn invites(&mut self) -> anyhow::Result<()> {
        let good = self.cluster.invite(&[]).await?;
        let wrong_cluster = forged(&good, |invite| invite.cluster_id[0] ^= 1)?;
        let wrong_secret = forged(&good, |invite| invite.secret[0] ^= 1)?;
        let wrong_pin = forged(&good, |invite| invite.authority_spki_sha256[0] ^= 1)?;
        let over = self.cluster.invite(&["-ttl", "1s"]).await?;
        sleep(Duration::from_millis(2_500)).await;
        let used = fs::read_to_string(self.cluster.members[2].folder().join("invite"))?;
        let torn = good[..good.len() - 3].to_owned();
        for (what, invite, cause) in [
            ("wrong cluster id", wrong_cluster, "cluster"),
            ("wrong secret", wrong_secret, "proof"),
            ("wrong pin", wrong_pin, "authority"),
            ("expired invite", over, "over"),
            ("reused invite", used, "used"),
            ("torn invite", torn, "invite"),
        ] {
            let (member, answer) = self.try_join(&invite).await?;
            self.judge(what, answer, &[cause]);
            let left = member.data().join("store");
            if left.exists() {
                self.accepted
                    .push(format!("{what}: left a store in {}", left.display()));
            }
        }
        Ok(())
    }

    /// A new host that starts with an invite and is expected to give up; what it wrote.
    async fn try_join(&mut self, invite: &str) -> anyhow::Result<(Member, Result<(), String>)> {
        let mut member = self.joiner(FirstStart::Join)?;
        fs::write(member.folder().join("invite"), invite)?;
        let answer = member.start_in_vain(GIVE_UP_DEADLINE).await;
        Ok((member, answer))
    }

    fn joiner(&mut self, start: FirstStart) -> anyhow::Result<Member> {
        self.joiners += 1;
        let folder = self.folder.join(format!("joiner-{}", self.joiners));
        Member::new(
            100 + self.joiners,
            folder,
            &self.server,
            Place::on_loopback()?,
            start,
        )
    }

    /// Founding where there is something already, and an invite to a member of another cluster.
    async fn second_founding(&mut self) -> anyhow::Result<()> {
        self.cluster.members[1].terminate().await?;
        let config = self.cluster.members[1].folder().join("server.conf");
        let init = words([&self.server, &"cluster", &"init", &"-config", &config]);
        let answer = run_command(&init, COMMAND_DEADLINE)
            .await
            .map_err(|error| format!("{error:#}"));
        self.judge("cluster init on a member's data", answer, &["already"]);
        self.cluster.members[1].start()?;
        self.cluster.members[1].serving().await?;
        self.cluster.whole().await?;

        let mut lone = self.joiner(FirstStart::Bootstrap)?;
        lone.start()?;
        lone.serving().await?;
        lone.terminate().await?;
        let invite = self.cluster.invite(&[]).await?;
        fs::write(lone.folder().join("invite"), invite)?;
        let text = config::server(
            lone.folder(),
            lone.place.api,
            lone.place.peer,
            FirstStart::Join,
        );
        fs::write(lone.folder().join("server.conf"), text)?;
        let answer = lone.start_in_vain(GIVE_UP_DEADLINE).await;
        self.judge(
            "a second founding that then joins",
            answer,
            &["another", "other cluster", "holds member"],
        );
        Ok(())
    }

    /// A member's data replaced, whole and in part, by those of another cluster; a backup of another cluster.
    async fn foreign_data(&mut self, mut other: Cluster) -> anyhow::Result<()> {
        let backup = self.folder.join("other.backup");
        let file = backup.display().to_string();
        // A server alone may say that it has none to offer; then the file is made by a member below.
        let made = other.members[0]
            .command(&["cluster", "backup", "-file", &file])
            .await;
        made.context("a backup of the other cluster")?;
        other.members[0].terminate().await?;
        let victim = self.joiner(FirstStart::Bootstrap)?;
        fs::copy(
            self.cluster.members[0].folder().join("seal.key"),
            victim.folder().join("seal.key"),
        )?;
        let answer = self.restore(&victim, &backup).await;
        self.judge(
            "a backup of another cluster, with another seal key",
            answer,
            &["seal", "key"],
        );

        let foreign = store_of(&other.members[0])?;
        let causes = ["cluster", "state", "damaged", "corrupt", "seal"];
        let what = "the state of another cluster";
        self.foreign_part(what, &foreign.join("state"), &causes)
            .await?;

        // A restored backup is a cluster of its own with this one's seal key: only its name tells it.
        let file = self.folder.join("twin.backup");
        self.cluster.members[0]
            .command(&["cluster", "backup", "-file", &file.display().to_string()])
            .await?;
        let twin = self.joiner(FirstStart::Bootstrap)?;
        fs::copy(
            self.cluster.members[0].folder().join("seal.key"),
            twin.folder().join("seal.key"),
        )?;
        let restored = self.restore(&twin, &file).await;
        restored.map_err(|text| anyhow::anyhow!("a backup was not restored: {text}"))?;
        let twin = store_of(&twin)?;
        for part in ["state", "snapshots"] {
            let what = format!("the {part} of another cluster with the same seal key");
            let cause = ["belongs to another cluster"];
            self.foreign_part(&what, &twin.join(part), &cause).await?;
        }
        Ok(())
    }

    /// Starts a member with a folder of its store replaced by a foreign one, and puts its own back.
    async fn foreign_part(
        &mut self,
        what: &str,
        foreign: &Path,
        causes: &[&str],
    ) -> anyhow::Result<()> {
        let part = foreign.file_name().context("a part without a name")?;
        self.cluster.members[2].terminate().await?;
        let place = store_of(&self.cluster.members[2])?.join(part);
        let own = self.folder.join("own-part");
        fs::rename(&place, &own)?;
        copy_folder(foreign, &place)?;
        let answer = self.cluster.members[2]
            .start_in_vain(GIVE_UP_DEADLINE)
            .await;
        self.judge(what, answer, causes);
        fs::remove_dir_all(&place)?;
        fs::rename(own, &place)?;
        self.cluster.members[2].start()?;
        self.cluster.members[2].serving().await?;
        Ok(())
    }

    async fn restore(&self, member: &Member, backup: &Path) -> Result<String, String> {
        let config = member.folder().join("server.conf");
        let command = words([
            &self.server,
            &"cluster",
            &"restore",
            &"-file",
            &backup,
            &"-config",
            &config,
        ]);
        run_command(&command, COMMAND_DEADLINE)
            .await
            .map_err(|error| format!("{error:#}"))
    }

    /// One flipped bit in a backup, in a log, and in a state.
    async fn damage(&mut self) -> anyhow::Result<()> {
        let backup = self.folder.join("own.backup");
        let file = backup.display().to_string();
        self.cluster.members[0]
            .command(&["cluster", "backup", "-file", &file])
            .await?;
        for per_cent in [1, 50, 99] {
            let torn = self.folder.join(format!("torn-{per_cent}.backup"));
            fs::copy(&backup, &torn)?;
            flip_bit(&torn, per_cent)?;
            let victim = self.joiner(FirstStart::Bootstrap)?;
            fs::copy(
                self.cluster.members[0].folder().join("seal.key"),
                victim.folder().join("seal.key"),
            )?;
            let answer = self.restore(&victim, &torn).await;
            self.judge(
                &format!("a backup with a bit flipped at {per_cent} %"),
                answer,
                &["backup", "damaged", "hash"],
            );
        }
        let is_log = |path: &Path| has_extension(path, "log") && is_below(path, "raft");
        self.damage_member(1, "log", is_log, 60).await?;
        let is_state = |path: &Path| has_extension(path, "sst") && is_below(path, "state");
        self.damage_member(2, "state", is_state, 30).await
    }

    /// Flips a bit of a stopped member's file; the member must say so, and comes back as a new one.
    async fn damage_member(
        &mut self,
        number: usize,
        what: &str,
        is_wanted: impl Fn(&Path) -> bool,
        per_cent: usize,
    ) -> anyhow::Result<()> {
        let status = self.cluster.whole().await?;
        let id = status.id_at(&self.cluster.members[number].place.peer.to_string());
        let id = id.context("the member is not in the status")?;
        self.cluster.members[number].terminate().await?;
        let Ok(file) = largest(&self.cluster.members[number].data(), is_wanted) else {
            self.accepted
                .push(format!("there was no file of the {what} to damage"));
            self.cluster.members[number].start()?;
            self.cluster.members[number].serving().await?;
            return Ok(());
        };
        flip_bit(&file, per_cent)?;
        let answer = self.cluster.members[number]
            .start_in_vain(GIVE_UP_DEADLINE)
            .await;
        self.judge(
            &format!("a bit flipped in the {what}"),
            answer,
            &["damage", "corrupt", "checksum"],
        );
        fs::remove_dir_all(self.cluster.members[number].data())?;
        let keeper = &self.cluster.members[0];
        keeper
            .command(&["cluster", "remove", "-id", &id.to_string()])
            .await?;
        self.cluster.join(number).await?;
        self.cluster.whole().await?;
        Ok(())
    }

    /// After all of it, the same three members hold the same entries, and as many as before.
    async fn whole_again(&mut self) -> anyhow::Result<()> {
        let status = self.cluster.whole().await?;
        let hashes: Vec<_> = status
            .0
            .members
            .iter()
            .map(|member| member.state_hash.clone())
            .collect();
        for member in &self.cluster.members {
            let held = Operator::new(member.admin().await?).list().await?;
            let kept = held.iter().filter(|entry| {
                entry
                    .parent_id
                    .as_ref()
                    .is_some_and(|parent| parent.path == "/kept")
            });
            let kept = kept.count();
            if kept != ENTRIES {
                let text = format!(
                    "member {} has {kept} of {ENTRIES} entries in the end",
                    member.number
                );
                self.accepted.push(text);
            }
        }
        if hashes.iter().any(|hash| *hash != hashes[0]) {
            self.accepted
                .push(format!("the members' states differ in the end: {hashes:?}"));
        }
        Ok(())
    }
}

/// The folder with the log, the state and the snapshots.
fn store_of(member: &Member) -> anyhow::Result<PathBuf> {
    let current = largest(&member.data(), |path| path.ends_with("state/CURRENT"))?;
    let store = current.parent().and_then(Path::parent);
    Ok(store.context("a state without a store")?.to_owned())
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension()
        .is_some_and(|extension| extension == wanted)
}

fn is_below(path: &Path, folder: &str) -> bool {
    path.components().any(|part| part.as_os_str() == folder)
}
