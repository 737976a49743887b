//! How often a process syncs a file, counted by strace: for a separate run, since it costs time.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::cluster::process::words;

/// The file in which one process's syncs are noted.
#[derive(Clone, Debug)]
pub struct SyncTrace(PathBuf);

impl SyncTrace {
    /// A trace into `file`.
    #[must_use]
    pub fn new(file: &Path) -> Self {
        Self(file.to_owned())
    }

    /// Whether strace is installed.
    #[must_use]
    pub fn is_available() -> bool {
        let found = std::process::Command::new("strace")
            .arg("--version")
            .output();
        found.is_ok_and(|output| output.status.success())
    }

    /// What stands before a command so that its syncs are noted; the command becomes the process itself.
    #[must_use]
    pub fn prefix(&self) -> Vec<OsString> {
        words([
            &"strace",
            &"--daemonize",
            &"--follow-forks",
            &"--seccomp-bpf",
            &"--quiet=all",
            &"--trace=fsync,fdatasync,sync_file_range",
            &"--output",
            &self.0,
        ])
    }

    /// How many there were so far.
    ///
    /// # Errors
    /// There is no trace.
    pub fn count(&self) -> anyhow::Result<usize> {
        let text = fs::read_to_string(&self.0);
        let text = text.with_context(|| format!("cannot read {}", self.0.display()))?;
        // A call that another thread's interrupts is noted again when it is resumed.
        let calls = text
            .lines()
            .filter(|line| line.contains("sync") && !line.contains("resumed>"));
        Ok(calls.count())
    }
}
