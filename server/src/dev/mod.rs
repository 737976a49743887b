//! `conclave-server dev`: a whole trust domain for one developer. One server or a cluster of some, an agent attested to
//! them and an entry for the calling user, in one process tree that ends as a whole.
//!
//! What must hold: nothing listens beyond the loopback and the calling user's own sockets; no root is needed; nothing
//! is left behind by a run that ends well, unless a folder was named.

mod agent_process;
mod folder;
mod provision;
mod servers;
mod settings;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use daemon::command_line::Terminal;
use identity::trust_domain::TrustDomain;

pub use self::folder::MAX_REPLICAS;
use self::{
    agent_process::AgentProcess,
    folder::Folder,
    provision::{Provision, wait_until_healthy},
    servers::Servers,
    settings::AgentSettings,
};

/// What `dev` may be told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The trust domain to run.
    pub trust_domain: TrustDomain,
    /// The first server's port on the loopback; 0 for a free one.
    pub port: u16,
    /// How many servers.
    pub replicas: u8,
    /// Where to keep state; a temporary folder without.
    pub folder: Option<PathBuf>,
}

/// Runs until the process is told to stop or a part of the tree fails.
///
/// # Errors
/// What kept a part from starting, or ended it.
pub async fn run(options: Options, terminal: &mut Terminal) -> anyhow::Result<()> {
    let agent_binary = agent_process::find_binary()?;
    let mut folder = Folder::open(options.folder.clone())?;
    let outcome = run_in(&folder, &agent_binary, &options, terminal).await;
    if outcome.is_err() {
        folder.keep();
    }
    outcome
}

async fn run_in(
    folder: &Folder,
    agent_binary: &Path,
    options: &Options,
    terminal: &mut Terminal,
) -> anyhow::Result<()> {
    let mut servers = Servers::start(options, folder).await?;
    let ports = servers.ports().to_vec();
    let mut agent = None;
    let node = async {
        let provision = Provision::make(&options.trust_domain, folder).await?;
        let settings = AgentSettings {
            trust_domain: &options.trust_domain,
            folder,
            server_ports: &ports,
        };
        settings.write(&provision)?;
        let agent = agent.insert(AgentProcess::start(agent_binary, folder)?);
        let socket = folder.agent_socket();
        let healthy = wait_until_healthy(&socket, AGENT_START_DEADLINE);
        agent.or_end(healthy).await?;
        terminal.print(&greeting(options, folder, agent_binary, &provision));
        agent.wait().await
    };
    let ended = tokio::select! {
        ended = servers.ended() => ended,
        ended = node => ended,
    };
    if let Some(agent) = &mut agent {
        agent.stop().await?;
    }
    let stopped = servers.stop().await;
    ended.and(stopped)
}

/// Attesting takes well under a second on a fast machine.
const AGENT_START_DEADLINE: Duration = Duration::from_secs(30);

fn greeting(
    options: &Options,
    folder: &Folder,
    agent_binary: &Path,
    provision: &Provision,
) -> String {
    let socket = folder.agent_socket();
    let socket = socket.display();
    let sockets = (1..=options.replicas).map(|number| folder.server(number).socket);
    let sockets: Vec<_> = sockets.map(|path| path.display().to_string()).collect();
    format!(
        "Conclave runs the trust domain {trust_domain}{servers}.\n\
         \n\
         Workload API     {socket}\n\
         Server API       {sockets}\n\
         Logs and state   {folder}\n\
         \n\
         Processes of user {uid} are {spiffe_id}. Try:\n\
         \n\
         \x20 {agent} api fetch x509 -socketPath {socket}\n\
         \x20 export SPIFFE_ENDPOINT_SOCKET=unix://{socket}\n\
         {cluster}\
         \n\
         Ctrl-C stops all of it.\n",
        trust_domain = options.trust_domain,
        servers = match options.replicas {
            1 => String::new(),
            replicas => format!(" on {replicas} servers"),
        },
        sockets = sockets.join("\n                 "),
        folder = folder.path().display(),
        uid = provision.uid,
        spiffe_id = provision.spiffe_id,
        agent = agent_binary.display(),
        cluster = cluster_commands(agent_binary, &sockets),
    )
}

/// What there is to do with more than one server. Each has its place in the process, so none can be killed alone.
fn cluster_commands(agent_binary: &Path, sockets: &[String]) -> String {
    let [first, .., last] = sockets else {
        return String::new();
    };
    let server = agent_binary.with_file_name("conclave-server");
    let server = server.display();
    format!(
        "\n\
         \x20 {server} cluster status -socketPath {first}\n\
         \x20 {server} cluster transfer -socketPath {last}\n\
         \x20 {server} cluster leave -socketPath {first}\n"
    )
}
