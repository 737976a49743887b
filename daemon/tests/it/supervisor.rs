//! A supervised process under signals.

use std::{io, sync::Arc, time::Duration};

use daemon::supervisor::{Shutdown, Supervisor};
use rustix::process::{Signal, getpid, kill_process};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Mutex, Notify},
};

/// A signal reaches every supervisor of this process: one such test at a time.
static ONE_SIGNAL: Mutex<()> = Mutex::const_new(());

#[tokio::test]
async fn sigterm_stops_the_tasks() {
    let _alone = ONE_SIGNAL.lock().await;
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

#[tokio::test]
async fn sigterm_before_the_tasks_run_stops_them_too() {
    let _alone = ONE_SIGNAL.lock().await;
    let mut supervisor = Supervisor::new();
    kill_process(getpid(), Signal::TERM).unwrap();
    supervisor.shutdown().requested().await;
    supervisor.start("steady", |shutdown| async move {
        shutdown.requested().await;
        Ok::<(), io::Error>(())
    });
    let outcome = supervisor.run(Duration::from_secs(5)).await;
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[tokio::test]
async fn two_signals_at_once_are_one_order() {
    let _alone = ONE_SIGNAL.lock().await;
    let mut supervisor = Supervisor::new();
    let twice = Arc::new(Notify::new());
    let wait = twice.clone();
    supervisor.start("slow to stop", |shutdown| async move {
        shutdown.requested().await;
        wait.notified().await;
        Ok::<(), io::Error>(())
    });
    let shutdown = supervisor.shutdown();
    let kill = async {
        let mut seen = signal(SignalKind::terminate()).unwrap();
        kill_process(getpid(), Signal::TERM).unwrap();
        shutdown.requested().await;
        seen.recv().await;
        kill_process(getpid(), Signal::TERM).unwrap();
        seen.recv().await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        twice.notify_one();
    };
    let (outcome, ()) = tokio::join!(supervisor.run(Duration::from_secs(5)), kill);
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[tokio::test]
async fn the_signal_that_stopped_the_outer_supervisor_does_not_hurry_the_inner() {
    let _alone = ONE_SIGNAL.lock().await;
    let shutdown = Shutdown::new();
    let mut inner = Supervisor::stopped_by(shutdown.clone());
    let signalled = Arc::new(Notify::new());
    let wait = signalled.clone();
    inner.start("slow to stop", |shutdown| async move {
        shutdown.requested().await;
        wait.notified().await;
        Ok::<(), io::Error>(())
    });
    // As when the outer one is quicker to see the signal that both get.
    shutdown.request();
    let signal = async {
        let mut seen = signal(SignalKind::terminate()).unwrap();
        tokio::task::yield_now().await;
        kill_process(getpid(), Signal::TERM).unwrap();
        seen.recv().await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        signalled.notify_one();
    };
    let (outcome, ()) = tokio::join!(inner.run(Duration::from_secs(5)), signal);
    assert!(outcome.is_ok(), "{outcome:?}");
}
