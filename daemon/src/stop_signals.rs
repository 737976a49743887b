//! The signals that tell a process to stop: the first gives the order, a later one is the end of patience.

use std::{future::pending, io, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time,
};
use tracing::{Instrument as _, info};

use crate::supervisor::Shutdown;

/// From now on SIGTERM and SIGINT no longer end the process: the first requests `shutdown`, the first one that comes
/// more than [`ONE_REQUEST`] later requests `forced`. For as long as the answer lives.
///
/// Must be called within a tokio runtime.
///
/// # Errors
/// The operating system refuses the handlers.
pub(crate) fn forward(shutdown: Shutdown, forced: Shutdown) -> io::Result<JoinSet<()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut following = JoinSet::new();
    let following_both = async move {
        let next = async move || next(&mut terminate, &mut interrupt).await;
        follow(next, &shutdown, &forced).await;
    };
    following.spawn(following_both.in_current_span());
    Ok(following)
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        told = terminate.recv() => match told {
            Some(()) => "SIGTERM",
            None => pending().await,
        },
        told = interrupt.recv() => match told {
            Some(()) => "SIGINT",
            None => pending().await,
        },
    }
}

async fn follow(
    mut next: impl AsyncFnMut() -> &'static str,
    shutdown: &Shutdown,
    forced: &Shutdown,
) {
    let signal = next().await;
    if !shutdown.is_requested() {
        info!(signal, "stopping");
    }
    shutdown.request();
    let mut over = std::pin::pin!(time::sleep(ONE_REQUEST));
    loop {
        tokio::select! {
            () = &mut over => break,
            _same = next() => {}
        }
    }
    next().await;
    forced.request();
}

/// Signals that follow the first so soon are part of it: GNU `timeout`, for one, signals its child, and then its whole
/// process group, which the child is in.
const ONE_REQUEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn signals_within_a_second_are_one_order_and_a_later_one_is_another() {
        let (told, mut signals) = mpsc::channel(4);
        let tell = async || told.send("SIGTERM").await.unwrap();
        let (shutdown, forced) = (Shutdown::new(), Shutdown::new());
        let next = async || signals.recv().await.unwrap();
        let telling = async {
            tell().await;
            shutdown.requested().await;
            tell().await;
            tell().await;
            time::sleep(ONE_REQUEST - Duration::from_millis(1)).await;
            tell().await;
            time::sleep(Duration::from_millis(2)).await;
            assert!(!forced.is_requested());
            tell().await;
            forced.requested().await;
        };
        tokio::join!(follow(next, &shutdown, &forced), telling);
    }
}
