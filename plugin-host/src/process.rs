//! One plugin's process: started, watched, and ended with everything that it started.
//!
//! The process is its own group's leader and is killed by the kernel when this process ends, however that
//! comes about.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getppid, kill_process_group,
    set_parent_process_death_signal, waitid,
};
use tokio::sync::{oneshot, watch};

use crate::settings::Settings;

/// A running process. Dropped, it is killed.
pub(crate) struct Process {
    group: Arc<Mutex<Option<Pid>>>,
    exit: watch::Receiver<Option<ExitStatus>>,
}

/// What a process writes.
pub(crate) struct Pipes {
    pub(crate) stdout: tokio::process::ChildStdout,
    pub(crate) stderr: tokio::process::ChildStderr,
}

impl Process {
    /// Starts the program of `settings`, if it is what its checksum says, with the environment of this
    /// process and the kind's name, which tells a plugin that it was started as one.
    ///
    /// # Errors
    /// There is no such program, it is another one, or the system refuses.
    pub(crate) async fn start(settings: &Settings) -> Result<(Self, Pipes), SpawnError> {
        let group = Arc::new(Mutex::new(None));
        let (exited, exit) = watch::channel(None);
        let (started, wait) = oneshot::channel();
        let keep = {
            let (settings, group) = (settings.clone(), Arc::clone(&group));
            move || keep(&settings, started, &group, &exited)
        };
        // The kernel sends the signal of a parent's death when the thread ends that started the process:
        // one of the runtime's may end any time.
        std::thread::Builder::new()
            .name("plugin".to_owned())
            .spawn(keep)
            .map_err(SpawnError::Thread)?;
        let process = Self { group, exit };
        let (stdout, stderr) = wait.await.unwrap_or_else(|_| {
            Err(SpawnError::Thread(io::Error::other(
                "the thread that starts it has ended",
            )))
        })?;
        let pipes = Pipes {
            stdout: tokio::process::ChildStdout::from_std(stdout).map_err(SpawnError::Thread)?,
            stderr: tokio::process::ChildStderr::from_std(stderr).map_err(SpawnError::Thread)?,
        };
        Ok((process, pipes))
    }

    /// Returns once the process has ended, with how. Cancel-safe.
    pub(crate) async fn exited(&self) -> Option<ExitStatus> {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        ended.ok().and_then(|status| *status)
    }

    /// Ends the process and all that it has started.
    pub(crate) fn kill(&self) {
        // Under the lock the leader is not waited for, so that its id is no other process's.
        if let Some(group) = *self.group.lock() {
            kill_process_group(group, Signal::KILL).ok();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the thread of one process does: starts it, waits for its end, clears up.
fn keep(
    settings: &Settings,
    started: oneshot::Sender<Result<(ChildStdout, ChildStderr), SpawnError>>,
    group: &Mutex<Option<Pid>>,
    exited: &watch::Sender<Option<ExitStatus>>,
) {
    let (mut child, pid) = match spawn(settings) {
        Ok(spawned) => spawned,
        Err(error) => {
            started.send(Err(error)).ok();
            return;
        }
    };
    *group.lock() = Some(pid);
    let pipes = child.stdout.take().zip(child.stderr.take());
    let pipes = pipes.ok_or_else(|| SpawnError::Thread(io::Error::other("no pipes")));
    if started.send(pipes).is_err() {
        // Nobody waits for it any more.
        kill_process_group(pid, Signal::KILL).ok();
    }
    // Leaves the process as a zombie, whose id nobody else can have.
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    while let Err(rustix::io::Errno::INTR) = waitid(WaitId::Pid(pid), ended) {}
    let mut group = group.lock();
    kill_process_group(pid, Signal::KILL).ok();
    *group = None;
    exited.send_replace(child.wait().ok());
}

fn spawn(settings: &Settings) -> Result<(Child, Pid), SpawnError> {
    let path = &settings.path;
    let refused = |source| SpawnError::Spawn {
        path: path.clone(),
        source,
    };
    let verified = verified(settings)?;
    let mut command = match &verified {
        None => Command::new(path),
        // The file that was hashed, whatever the path leads to by now.
        Some(program) => Command::new(format!("/proc/self/fd/{}", program.file.as_raw_fd())),
    };
    command
        .arg0(path)
        .args(&settings.args)
        .env(settings.kind.name(), settings.kind.name())
        .env("PLUGIN_MIN_PORT", "0")
        .env("PLUGIN_MAX_PORT", "0")
        .env("PLUGIN_PROTOCOL_VERSIONS", "1")
        .env_remove("PLUGIN_CLIENT_CERT")
        .env_remove("PLUGIN_MULTIPLEX_GRPC")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    die_with_parent(&mut command, verified);
    let child = command.spawn().map_err(refused)?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| refused(io::Error::other("process has no id")))?;
    Ok((child, pid))
}

/// A program whose checksum is right.
struct Verified {
    file: File,
    /// Interpreters open the file again, by the name that it was run under.
    is_script: bool,
}

fn verified(settings: &Settings) -> Result<Option<Verified>, SpawnError> {
    let Some(checksum) = &settings.checksum else {
        return Ok(None);
    };
    let path = &settings.path;
    let failed = |source| SpawnError::Read {
        path: path.clone(),
        source,
    };
    let mut file = File::open(path).map_err(failed)?;
    let mut start = [0; 2];
    let len = file.read(&mut start).map_err(failed)?;
    match checksum.matches(&mut file).map_err(failed)? {
        true => Ok(Some(Verified {
            file,
            is_script: &start[..len] == b"#!",
        })),
        false => Err(SpawnError::Checksum { path: path.clone() }),
    }
}

/// Has the kernel kill the process when this one dies, and the verified file open until it runs.
#[expect(
    unsafe_code,
    reason = "there is no safe way to act between fork and exec"
)]
fn die_with_parent(command: &mut Command, verified: Option<Verified>) {
    let parent = rustix::process::getpid();
    let between = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have died before the order above.
        if getppid() != Some(parent) {
            return Err(io::Error::from(rustix::io::Errno::SRCH));
        }
        if let Some(program) = verified.as_ref().filter(|program| program.is_script) {
            fcntl_setfd(&program.file, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: in the child, after fork and before exec, this makes four system calls and allocates
    // nothing: an `Errno` becomes an `io::Error` without allocation.
    unsafe {
        command.pre_exec(between);
    }
}

/// Why a program does not run.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The program is not the one that the operator meant.
    #[error("checksums did not match: {} is not the program that plugin_checksum is of", path.display())]
    Checksum {
        /// The program.
        path: PathBuf,
    },
    /// The program cannot be read to be hashed.
    #[error("cannot read {}", path.display())]
    Read {
        /// The program.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The program cannot be run.
    #[error("cannot run {}", path.display())]
    Spawn {
        /// The program.
        path: PathBuf,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },
    /// The system is out of something.
    #[error("cannot watch over a process")]
    Thread(#[source] io::Error),
}
