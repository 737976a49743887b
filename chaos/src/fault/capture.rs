//! What goes over the wire between members, captured by tcpdump.

use std::{path::Path, time::Duration};

use rustix::process::Signal;

use crate::{
    cluster::{
        Cluster,
        process::{Process, words},
    },
    load::wait_for,
};

/// A running capture.
pub struct Capture(Process);

const DEADLINE: Duration = Duration::from_secs(10);

impl Capture {
    /// Captures what goes to and from the members' peer ports, or says why it cannot.
    ///
    /// # Errors
    /// tcpdump did not start although it could.
    pub async fn start(cluster: &Cluster, file: &Path) -> anyhow::Result<Result<Self, String>> {
        let found = std::process::Command::new("tcpdump")
            .arg("--version")
            .output();
        if !rustix::process::geteuid().is_root() || found.is_err() {
            return Ok(Err(
                "not root, or no tcpdump: the wire was not captured".to_owned()
            ));
        }
        let ports = cluster
            .members
            .iter()
            .map(|member| format!("port {}", member.place.peer.port()));
        let filter = ports.collect::<Vec<_>>().join(" or ");
        let command = words([
            &"tcpdump", &"-i", &"lo", &"-s", &"0", &"-U", &"-Z", &"root", &"-w", &file, &filter,
        ]);
        let capture = Process::start("tcpdump", &command, &file.with_extension("log"))?;
        let log = file.with_extension("log");
        wait_for("tcpdump listens", DEADLINE, async || {
            let text = std::fs::read_to_string(&log).ok()?;
            text.contains("listening on").then_some(())
        })
        .await?;
        Ok(Ok(Self(capture)))
    }

    /// Ends the capture; the file is whole then.
    ///
    /// # Errors
    /// It does not end.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.0.signal(Signal::INT)?;
        self.0.exit(DEADLINE).await.map(drop)
    }
}
