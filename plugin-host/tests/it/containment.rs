//! A plugin that dies or hangs is started again, and the host goes on.

use std::time::Duration;

use plugin_host::server_node_attestor::{Origin, Step, begin};
use plugin_host::{CallError, Kind, Plugin};
use tokio::time::Instant;
use tonic::Code;

use crate::world::{CALL, START, World, child_settings};

const AGENT: &str = "id spiffe://example.org/spire/agent/mine/a";

async fn ask(plugin: &Plugin, order: &str) -> Result<Step, CallError> {
    begin(plugin, order.as_bytes(), &Origin::default())
        .await
        .map(|(step, _)| step)
}

/// Asks until the plugin answers again.
async fn wait_for_answer(plugin: &Plugin) {
    let deadline = Instant::now() + START;
    while let Err(error) = ask(plugin, AGENT).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn plugin_that_dies_in_a_call_is_started_again() {
    let world = World::with(&child_settings(Kind::ServerNodeAttestor, "a = 1")).await;
    for _ in 0..2 {
        let error = ask(&world.plugin, "crash").await.unwrap_err();
        assert_eq!(error.code, Code::Unavailable, "{error}");
        assert_eq!(
            error.to_string(),
            "nodeattestor(mine): connection to the plugin was lost"
        );
        wait_for_answer(&world.plugin).await;
    }
    // With its configuration.
    let Ok(Step::Verdict(verdict)) = ask(&world.plugin, AGENT).await else {
        panic!("no verdict");
    };
    assert_eq!(verdict.selector_values[0], "configured:example.org a = 1");
    world.stop().await;
}

#[tokio::test]
async fn one_call_that_hangs_has_a_deadline_and_is_no_reason_to_restart() {
    let world = World::with(&child_settings(Kind::ServerNodeAttestor, "")).await;
    let began = Instant::now();
    let (hung, other) = tokio::join!(ask(&world.plugin, "hang"), ask(&world.plugin, AGENT));
    assert!(other.is_ok());
    let error = hung.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
    assert_eq!(
        error.to_string(),
        "nodeattestor(mine): plugin did not answer within 3s"
    );
    assert!(began.elapsed() < CALL * 3);
    assert!(ask(&world.plugin, AGENT).await.is_ok());
    world.stop().await;
}

#[tokio::test]
async fn plugin_that_is_stopped_is_killed_and_started_again() {
    let world = World::with(&child_settings(Kind::ServerNodeAttestor, "")).await;
    let error = ask(&world.plugin, "stop").await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
    wait_for_answer(&world.plugin).await;
    world.stop().await;
}

/// The processes of this one that are in state zombie or alive, by their command line.
fn children_named(word: &str) -> Vec<String> {
    let own = std::process::id().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let folder = entry.path();
        let Ok(status) = std::fs::read_to_string(folder.join("status")) else {
            continue;
        };
        let command = std::fs::read(folder.join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let is_child = status
            .lines()
            .any(|line| line.strip_prefix("PPid:\t") == Some(&own));
        if is_child && command.contains(word) {
            found.push(command);
        }
    }
    found
}

#[tokio::test]
async fn nothing_of_a_plugin_outlives_its_host() {
    // Found by an argument that no other test gives.
    let mut settings = child_settings(Kind::ServerNodeAttestor, "");
    settings.args[1] = settings.args[1].replace("--nocapture", "--nocapture --color never");
    // Told from those of other runs on the same machine.
    let asleep = format!("sleep 4711.{}", std::process::id());
    settings.args[1] = format!("{asleep} & {}", settings.args[1]);
    let world = World::with(&settings).await;
    assert_eq!(children_named("--color never").len(), 1);
    world.stop().await;
    let deadline = Instant::now() + START;
    let is_there = || {
        let found = std::process::Command::new("pgrep")
            .args(["-f", &format!("^{asleep}$")])
            .output();
        !children_named("--color never").is_empty() || !found.unwrap().stdout.is_empty()
    };
    while is_there() {
        assert!(Instant::now() < deadline, "a process is left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn file_of_data_is_read_again_on_sigusr1() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data");
    std::fs::write(&path, "version = 1").unwrap();
    let mut settings = child_settings(Kind::ServerNodeAttestor, "");
    settings.data = plugin_host::Data::File(path.clone());
    let world = World::with(&settings).await;
    let version = || async {
        match ask(&world.plugin, AGENT).await.unwrap() {
            Step::Verdict(verdict) => verdict.selector_values[0].clone(),
            Step::Challenge(_) => panic!("no verdict"),
        }
    };
    assert_eq!(version().await, "configured:example.org version = 1");
    // What the plugin refuses leaves it as it was.
    for (data, wanted) in [
        ("bad", "version = 1, then refused"),
        ("version = 2", "version = 2"),
    ] {
        std::fs::write(&path, data).unwrap();
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::USR1).unwrap();
        let wanted = format!("configured:example.org {wanted}");
        let deadline = Instant::now() + START;
        while version().await != wanted {
            assert!(Instant::now() < deadline, "not read");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    world.stop().await;
}
