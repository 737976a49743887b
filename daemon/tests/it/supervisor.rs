//! A supervised process under signals.

use std::{io, sync::Arc, time::Duration};

use daemon::supervisor::Supervisor;
use rustix::process::{Signal, getpid, kill_process};
use tokio::sync::Notify;

#[tokio::test]
async fn sigterm_stops_the_tasks() {
    let mut supervisor = Supervisor::new();
    let started = Arc::new(Notify::new());
    let notify = started.clone();
    supervisor.start("steady", |shutdown| async move {
        notify.notify_one();
        shutdown.requested().await;
        Ok::<(), io::Error>(())
    });
    let kill = async {
        started.notified().await;
        kill_process(getpid(), Signal::TERM).unwrap();
    };
    let (outcome, ()) = tokio::join!(supervisor.run(Duration::from_secs(5)), kill);
    assert!(outcome.is_ok(), "{outcome:?}");
}
