//! `conclave-server dev`: one command from nothing to an SVID, and nothing left when it ends.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use identity::x509::{CertificateInfo, split_certificates};
use proto::conclave::cluster::v1::{
    LeaveRequest, StatusRequest, StatusResponse, cluster_client::ClusterClient,
};
use proto::workload::{X509svidRequest, spiffe_workload_api_client::SpiffeWorkloadApiClient};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};
use tonic::Request;
use tonic::metadata::MetadataValue;

/// Far above what it takes, for a machine that builds beside.
const DEADLINE: Duration = Duration::from_secs(60);

struct Dev {
    process: Child,
    output: BufReader<ChildStdout>,
    workload_api: PathBuf,
}

impl Dev {
    async fn start(folder: &Path) -> Self {
        Self::start_replicas(folder, 1).await
    }

    async fn start_replicas(folder: &Path, replicas: u8) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_conclave-server"))
            .args(["dev", "-trustDomain", "dev.test", "--replicas"])
            .arg(replicas.to_string())
            .arg("-dataDir")
            .arg(folder)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        let workload_api = timeout(DEADLINE, line_after(&mut output, "Workload API"));
        let workload_api = workload_api.await.unwrap().into();
        Self {
            process,
            output,
            workload_api,
        }
    }

    async fn fetch_id(&self) -> String {
        let channel = daemon::unix::connect(&self.workload_api).await.unwrap();
        let mut request = Request::new(X509svidRequest {});
        let header = MetadataValue::from_static("true");
        request.metadata_mut().insert("workload.spiffe.io", header);
        let stream = SpiffeWorkloadApiClient::new(channel)
            .fetch_x509svid(request)
            .await;
        let answer = stream
            .unwrap()
            .into_inner()
            .message()
            .await
            .unwrap()
            .unwrap();
        let chain = split_certificates(&answer.svids[0].x509_svid).unwrap();
        let leaf = CertificateInfo::parse(&chain[0]).unwrap();
        leaf.spiffe_id().unwrap().to_string()
    }

    /// Waits, up to a deadline, until no process of the tree is left that could answer.
    async fn gone(mut self) {
        let before_deadline = timeout(DEADLINE, async {
            self.process.wait().await.unwrap();
            while daemon::unix::connect(&self.workload_api).await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        });
        before_deadline.await.unwrap();
    }
}

/// The rest of the first line that begins with `label`.
async fn line_after(output: &mut BufReader<ChildStdout>, label: &str) -> String {
    loop {
        let mut line = String::new();
        assert_ne!(
            output.read_line(&mut line).await.unwrap(),
            0,
            "no {label:?} was printed"
        );
        if let Some(rest) = line.strip_prefix(label) {
            return rest.trim().to_owned();
        }
    }
}

fn expected_id() -> String {
    format!(
        "spiffe://dev.test/dev/user/{}",
        rustix::process::getuid().as_raw()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_calling_user_has_an_identity_and_keeps_it_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(folder.path()).await;
    assert_eq!(dev.fetch_id().await, expected_id());
    let next = timeout(DEADLINE, line_after(&mut dev.output, "  export "))
        .await
        .unwrap();
    let socket = dev.workload_api.display().to_string();
    assert_eq!(next, format!("SPIFFE_ENDPOINT_SOCKET=unix://{socket}"));
    terminate(&dev);
    dev.gone().await;

    let dev = Dev::start(folder.path()).await;
    assert_eq!(dev.fetch_id().await, expected_id());
    terminate(&dev);
    dev.gone().await;
}

/// What the server with this socket says about its cluster.
async fn status(socket: &Path) -> StatusResponse {
    let channel = daemon::unix::connect(socket).await.unwrap();
    let answer = ClusterClient::new(channel).status(StatusRequest {}).await;
    answer.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_servers_are_one_cluster_that_bears_the_leave_of_its_leader() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start_replicas(folder.path(), 3).await;
    assert_eq!(dev.fetch_id().await, expected_id());
    terminate(&dev);
    dev.gone().await;

    // Again, all at once, on the ports that they know each other by.
    let dev = Dev::start_replicas(folder.path(), 3).await;
    let socket = |name: &str| folder.path().join(name);
    let seen = status(&socket("server.sock")).await;
    assert_eq!(seen.members.len(), 3);
    assert!(seen.members.iter().all(|member| member.is_reachable));
    let sockets = ["server.sock", "server-2.sock", "server-3.sock"].map(socket);
    let mut leader = None;
    for socket in &sockets {
        let seen = status(socket).await;
        if seen.answered_by == seen.leader {
            leader = Some(socket);
        }
    }
    let leader = leader.unwrap();
    let mut client = ClusterClient::new(daemon::unix::connect(leader).await.unwrap());
    client.leave(LeaveRequest {}).await.unwrap();
    let other = sockets.iter().find(|socket| *socket != leader).unwrap();
    let before_deadline = timeout(DEADLINE, async {
        while leader.exists() || status(other).await.members.len() != 2 {
            sleep(Duration::from_millis(20)).await;
        }
    });
    before_deadline.await.unwrap();
    assert_eq!(dev.fetch_id().await, expected_id());
    terminate(&dev);
    dev.gone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_agent_ends_with_a_server_that_was_killed() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(folder.path()).await;
    dev.process.start_kill().unwrap();
    dev.gone().await;
}

fn terminate(dev: &Dev) {
    let id = i32::try_from(dev.process.id().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(id).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}
