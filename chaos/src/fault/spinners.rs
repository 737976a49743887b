//! A saturated processor.

use std::{path::Path, thread::available_parallelism};

use crate::cluster::process::{Process, words};

/// Processes that do nothing but take time; gone when dropped.
pub struct Spinners(Vec<Process>);

impl Spinners {
    /// Starts `per_core` for each core.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn start(per_core: usize, folder: &Path) -> anyhow::Result<Self> {
        let count = available_parallelism()?.get() * per_core;
        let spin = words([&"sh", &"-c", &"while :; do :; done"]);
        let log = folder.join("spinners.log");
        let all = (0..count).map(|_| Process::start("spinner", &spin, &log));
        Ok(Self(all.collect::<anyhow::Result<_>>()?))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}
