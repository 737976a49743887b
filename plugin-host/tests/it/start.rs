//! What does not become a plugin, and why.

use identity::trust_domain::TrustDomain;
use plugin_host::{HostServices, Kind, Plugins, Settings};
use tokio::time::Instant;

use crate::world::{START, World, child_settings, plugins, refusal, services, settings};

/// A plugin that is this shell command.
fn shell(command: &str) -> Settings {
    let mut settings = settings(Kind::ServerNodeAttestor, "plugin_cmd = \"/bin/sh\"");
    settings.args = vec!["-c".to_owned(), command.to_owned()];
    settings
}

#[tokio::test]
async fn programs_that_are_no_plugins_are_named_with_what_they_did() {
    for (command, reason) in [
        (
            "exec sleep 100",
            "timeout while waiting for plugin to start: nothing within 2s",
        ),
        (
            "echo hello; exec sleep 100",
            "unrecognized remote plugin message: \"hello\"",
        ),
        (
            "echo This binary is a plugin >&2; exit 1",
            "plugin exited before we could connect; it said \"This binary is a plugin\"",
        ),
        (
            "echo '1|1|unix|/nonexistent/sock|grpc'; exec sleep 100",
            "dial the plugin: No such file",
        ),
        (
            "head -c 50000000 /dev/zero; exec sleep 100",
            "timeout while waiting for plugin to start",
        ),
    ] {
        let began = Instant::now();
        let error = refusal(&shell(command)).await;
        assert!(began.elapsed() < START, "{command}");
        assert!(
            error.starts_with("failed to load plugin \"mine\": "),
            "{error}"
        );
        assert!(error.contains(reason), "{command}: {error}");
    }
    let missing = settings(
        Kind::ServerNodeAttestor,
        "plugin_cmd = \"/nonexistent/plugin\"",
    );
    let error = refusal(&missing).await;
    assert!(
        error.contains("cannot run /nonexistent/plugin: No such file"),
        "{error}"
    );
}

#[tokio::test]
async fn program_with_another_checksum_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("ran");
    let body = format!(
        "plugin_cmd = \"/bin/sh\" plugin_checksum = \"{}\"",
        "0".repeat(64)
    );
    let mut wrong = settings(Kind::ServerNodeAttestor, &body);
    wrong.args = vec!["-c".to_owned(), format!("touch {}", mark.display())];
    let error = refusal(&wrong).await;
    assert!(
        error.contains("checksums did not match: /bin/sh is not the program"),
        "{error}"
    );
    assert!(!mark.exists());
}

/// Writes a program without having it open for writing here, where another test may fork meanwhile.
fn write_script(path: &std::path::Path, text: &str) {
    let written = std::process::Command::new("/bin/sh")
        .args(["-c", "printf '%s' \"$1\" > \"$0\" && chmod 700 \"$0\""])
        .arg(path)
        .arg(text)
        .status();
    assert!(written.unwrap().success());
}

fn checksum(path: &std::path::Path) -> String {
    let output = std::process::Command::new("sha256sum")
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()[..64].to_owned()
}

#[tokio::test]
async fn program_with_its_checksum_runs_also_as_a_script() {
    let kind = Kind::ServerNodeAttestor;
    let plain = child_settings(kind, "");
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("plugin");
    write_script(&script, &format!("#!/bin/sh\n{}\n", plain.args[1]));
    for path in [script.as_path(), plain.path.as_path()] {
        let checksum = checksum(path);
        let body = format!("plugin_cmd = {path:?} plugin_checksum = \"{checksum}\"");
        let mut checked = settings(kind, &body);
        checked.args = match path == script {
            true => Vec::new(),
            false => plain.args.clone(),
        };
        World::with(&checked).await.stop().await;
    }
}

#[tokio::test]
async fn plugin_of_another_kind_is_refused() {
    let mut other = child_settings(Kind::WorkloadAttestor, "");
    other.kind = Kind::ServerNodeAttestor;
    let error = refusal(&other).await;
    let found = services(Kind::WorkloadAttestor)[0];
    let wanted = services(Kind::ServerNodeAttestor)[0];
    assert!(
        error.contains("no supported plugin interface found in"),
        "{error}"
    );
    assert!(error.contains(found) && error.contains(wanted), "{error}");
}

#[tokio::test]
async fn configuration_is_the_plugins_to_refuse() {
    let kind = Kind::ServerNodeAttestor;
    let error = refusal(&child_settings(kind, "bad = true")).await;
    assert!(
        error.ends_with("failed to configure plugin: configuration is bad"),
        "{error}"
    );
    let notes = async |data: &str| {
        let settings = child_settings(kind, data);
        let problems = plugins().validate([&settings]).await.unwrap();
        problems
            .into_iter()
            .map(|problem| (problem.plugin, problem.reason))
            .collect::<Vec<_>>()
    };
    let problem = (
        "NodeAttestor \"mine\"".to_owned(),
        "configuration is bad".to_owned(),
    );
    assert_eq!(notes("bad = true").await, [problem]);
    assert_eq!(notes("good = true").await, []);
    let mut without = child_settings(kind, "x = 1");
    let only = [services(kind)[0]];
    (without.path, without.args) = plugin_host::testing::program("world::child", &only);
    let error = refusal(&without).await;
    assert!(
        error.contains("no supported configuration interface found"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn plugins_that_say_nothing_of_their_configuration_are_waited_for_in_vain_once() {
    let silent = settings(
        Kind::ServerNodeAttestor,
        "plugin_cmd = \"/bin/sleep\" plugin_args = [\"600\"]",
    );
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let plugins = Plugins::new(&trust_domain, HostServices::of_agent());
    let error = plugins.validate([&silent, &silent]).await.unwrap_err();
    assert_eq!(error.to_string(), "plugins did not answer within 30s");
}
