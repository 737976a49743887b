//! A plugin to test against: the other side of the protocol, which does what the evidence tells it, good
//! and bad.
//!
//! It runs as a process of its own, which is a test binary started again: a test that is otherwise ignored
//! calls [`serve`], and [`program`] tells how to run just that.

mod attestors;
mod services;
mod upstream;

use std::io::Write as _;
use std::path::PathBuf;

use daemon::router::Router;
use daemon::unix::BindOptions;
use tonic::transport::Server;

/// What [`services`] are announced; anything else names them one by one.
const SERVICES: &str = "FAKE_PLUGIN_SERVICES";

/// The program that is a plugin, and its arguments, if the test `name` of this test binary calls
/// [`serve`]. `services` are the full names of those that it claims to have.
///
/// The harness writes to the standard output, too, so the plugin is given another file for its first
/// line.
///
/// # Panics
/// The test binary has no path.
#[must_use]
pub fn program(name: &str, services: &[&str]) -> (PathBuf, Vec<String>) {
    let binary = std::env::current_exe().expect("a running test has a path");
    let command = format!(
        "exec 3>&1 1>&2; {SERVICES}='{}' exec '{}' --ignored --exact '{name}' --nocapture",
        services.join(","),
        binary.display()
    );
    ("/bin/sh".into(), vec!["-c".to_owned(), command])
}

/// Is a plugin until it is told to end.
///
/// # Panics
/// It was not started as one.
pub async fn serve() {
    let services = std::env::var(SERVICES).expect("started by `program`");
    let folder = tempfile::tempdir().expect("a folder can be made");
    let options = BindOptions {
        socket_mode: 0o600,
        directory_mode: 0o700,
    };
    let path = folder.path().join("plugin.sock");
    let listener = daemon::unix::bind(&path, options).await;
    let listener = listener.expect("a socket can be bound");
    let state = services::State::new(services.split(',').map(str::to_owned).collect());
    let router = upstream::add(
        attestors::add(services::add(Router::default(), &state), &state),
        &state,
    );
    let mut first_line = std::fs::OpenOptions::new()
        .write(true)
        .open("/proc/self/fd/3")
        .expect("started by `program`");
    writeln!(first_line, "1|1|unix|{}|grpc|", path.display()).expect("somebody listens");
    let end = state.end();
    Server::builder()
        .serve_with_incoming_shutdown(router, listener.incoming(), async move {
            end.requested().await;
        })
        .await
        .expect("the socket can be served");
}
