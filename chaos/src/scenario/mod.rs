//! The scenarios: each is one bad thing, and what must hold nevertheless.

mod agent_failover;
mod bad_input;
pub mod busy;
mod cold_start;
mod etcd_compare;
mod forced_rotation;
mod leader_kill;
mod leader_stop;
mod member_away;
mod propagation;
mod rolling;
mod rolling_restart;
mod rolling_upgrade;
mod saturation;
mod secret_scan;
mod steady;
mod token_race;

use std::{fmt::Write as _, path::PathBuf, pin::Pin, time::Duration};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::{
    arguments::Arguments,
    cluster::{Cluster, Plan},
    fault::network::Network,
    random::Random,
    report::Report,
};

/// One scenario.
pub struct Scenario {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it does and shows.
    pub summary: &'static str,
    /// Whether it makes use of network namespaces where it may.
    pub wants_network: bool,
    run: for<'a> fn(&'a mut Stage) -> Running<'a>,
}

type Running<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// Every scenario.
const ALL: &[Scenario] = &[
    steady::SCENARIO,
    leader_kill::SCENARIO,
    leader_stop::STOP,
    leader_stop::BLACK_HOLE,
    member_away::SCENARIO,
    rolling_restart::SCENARIO,
    rolling_upgrade::SCENARIO,
    saturation::SCENARIO,
    agent_failover::SCENARIO,
    propagation::SCENARIO,
    forced_rotation::SCENARIO,
    token_race::SCENARIO,
    cold_start::SCENARIO,
    etcd_compare::SCENARIO,
    secret_scan::SCENARIO,
    bad_input::SCENARIO,
];

impl Scenario {
    /// The scenario called `name`.
    ///
    /// # Errors
    /// There is none; says which there are.
    pub fn named(name: &str) -> anyhow::Result<&'static Self> {
        let found = ALL.iter().find(|scenario| scenario.name == name);
        found.with_context(|| format!("no scenario is called {name}\n{}", list()))
    }
}

/// The scenarios, for the command line's help.
#[must_use]
pub fn list() -> String {
    let mut text = "scenarios:\n".to_owned();
    for scenario in ALL {
        // A String takes every write.
        writeln!(text, "  {:<18} {}", scenario.name, scenario.summary).ok();
    }
    text
}

/// What a scenario works with.
pub struct Stage {
    /// What the run was told.
    pub arguments: Arguments,
    /// Where everything goes.
    pub folder: PathBuf,
    /// What is found.
    pub report: Report,
    /// The choices of the run.
    pub random: Random,
    /// Whether network namespaces may be made, or why not.
    pub network: Result<(), String>,
    /// Removed with the run.
    _temporary: Option<TempDir>,
}

/// Runs a scenario in its folder.
///
/// # Errors
/// The run could not be made: a process did not start or a client could not be set up.
pub async fn run(
    scenario: &Scenario,
    arguments: &Arguments,
    network: Result<(), String>,
) -> anyhow::Result<Report> {
    for binary in [&arguments.server, &arguments.agent] {
        anyhow::ensure!(
            binary.is_file(),
            "there is no {}; build it (cargo build --bins) or name one",
            binary.display()
        );
    }
    let (folder, temporary) = match &arguments.folder {
        Some(folder) => (folder.clone(), None),
        None => {
            let made = tempfile::Builder::new().prefix("chaos").tempdir()?;
            (made.path().to_owned(), Some(made))
        }
    };
    std::fs::create_dir_all(&folder)?;
    let mut stage = Stage {
        arguments: arguments.clone(),
        folder,
        report: Report::new(scenario.name),
        random: Random::new(arguments.seed),
        network,
        _temporary: temporary,
    };
    stage.report.note(format!("seed {}", arguments.seed));
    (scenario.run)(&mut stage).await?;
    Ok(stage.report)
}

impl Stage {
    /// How often the fault comes.
    #[must_use]
    pub fn rounds(&self, usual: u32) -> u32 {
        self.arguments.rounds.unwrap_or(usual)
    }

    /// How long the run's main phase takes.
    #[must_use]
    pub fn time(&self, usual: Duration) -> Duration {
        self.arguments.seconds.map_or(usual, Duration::from_secs)
    }

    /// The members of a cluster on the loopback in the folder `name`, of which none was started.
    ///
    /// # Errors
    /// A folder or a port cannot be had.
    pub fn plan(&self, name: &str, size: usize) -> anyhow::Result<Cluster> {
        Cluster::plan(&Plan {
            folder: &self.folder.join(name),
            server: &self.arguments.server,
            size,
            network: None,
        })
    }

    /// A running cluster of `size` members in the folder `name`.
    ///
    /// # Errors
    /// A member does not start or join.
    pub async fn cluster(
        &self,
        name: &str,
        size: usize,
        network: Option<&Network>,
    ) -> anyhow::Result<Cluster> {
        let plan = Plan {
            folder: &self.folder.join(name),
            server: &self.arguments.server,
            size,
            network,
        };
        let cluster = Cluster::start(&plan).await;
        cluster.with_context(|| format!("the cluster {name} did not start"))
    }
}
