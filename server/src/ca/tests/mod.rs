//! What the authority promises, checked by parsers and verifiers that are not its own.

mod by_hand;
mod lifecycle;
mod peer;
mod profile;
mod rotation;
mod server_svid;
mod upstream;
mod upstream_lies;

use daemon::supervisor::Shutdown;
use tokio::task::JoinHandle;

use crate::ca::AuthorityTask;

/// A task that runs beside a test.
struct Running {
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Running {
    #[expect(clippy::disallowed_methods, reason = "a test waits for it in stop")]
    fn start(task: AuthorityTask) -> Self {
        let shutdown = Shutdown::new();
        let asked = shutdown.clone();
        let task = tokio::spawn(async move {
            let Ok(()) = task.run(asked).await;
        });
        Self { shutdown, task }
    }

    async fn stop(self) {
        self.shutdown.request();
        self.task.await.unwrap();
    }
}
