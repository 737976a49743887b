//! A child process and its fate: logged to a file, signalled by its id, never left behind.

use std::{
    ffi::OsString,
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

/// A running child. Dropped, it is killed; it also dies with this process, however that ends.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    pid: Pid,
    log: PathBuf,
    /// Where in the log this process begins.
    log_start: usize,
}

impl Process {
    /// Starts `words`, with both outputs appended to `log`.
    ///
    /// # Errors
    /// The log cannot be opened or the program not be started.
    pub fn start(name: &str, words: &[OsString], log: &Path) -> anyhow::Result<Self> {
        let open = || {
            let file = File::options().create(true).append(true).open(log);
            file.with_context(|| format!("cannot open {}", log.display()))
        };
        let program = words.first().context("nothing to start")?;
        let log_start = fs::metadata(log).map_or(0, |metadata| metadata.len());
        // setpriv becomes the program itself, under the same process id.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--"])
            .args(words)
            // Where a core file would go.
            .current_dir(log.parent().context("a log without a folder")?)
            .stdin(Stdio::null())
            .stdout(open()?)
            .stderr(open()?)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {} (by setpriv)", program.display()))?;
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid.and_then(Pid::from_raw);
        Ok(Self {
            name: name.to_owned(),
            pid: pid.with_context(|| format!("{name} ended at once"))?,
            child,
            log: log.to_owned(),
            log_start: usize::try_from(log_start)?,
        })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends `signal`.
    ///
    /// # Errors
    /// It has ended already.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        // A child that was not waited for keeps its id, so this reaches nobody else.
        anyhow::ensure!(self.child.id().is_some(), "{} has ended", self.name);
        kill_process(self.pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Kills it with SIGKILL and waits for its end.
    ///
    /// # Errors
    /// It cannot be killed.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let killed = self.child.kill().await;
        killed.with_context(|| format!("cannot kill {}", self.name))
    }

    /// Asks it to end with SIGTERM, and waits for that.
    ///
    /// # Errors
    /// It does not end in time, or not well.
    pub async fn terminate(&mut self, deadline: Duration) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let status = self.exit(deadline).await?;
        let by_signal = status.signal() == Some(Signal::TERM.as_raw());
        anyhow::ensure!(
            status.success() || by_signal,
            "{} ended badly after SIGTERM ({status}): {}",
            self.name,
            self.last_words()
        );
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It has not ended at the deadline.
    pub async fn exit(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        let ended = timeout(deadline, self.child.wait()).await;
        let ended = ended.with_context(|| format!("{} did not end in {deadline:?}", self.name))?;
        ended.with_context(|| format!("cannot wait for {}", self.name))
    }

    /// Fails with its last words if it has ended.
    ///
    /// # Errors
    /// It has ended.
    pub fn ensure_running(&mut self) -> anyhow::Result<()> {
        let ended = self.child.try_wait()?;
        match ended {
            None => Ok(()),
            Some(status) => anyhow::bail!("{} ended ({status}): {}", self.name, self.last_words()),
        }
    }

    /// Whether every thread of it was stopped by a signal.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        let path = format!("/proc/{}/task", self.pid.as_raw_nonzero());
        let Ok(threads) = fs::read_dir(path) else {
            return false;
        };
        let is_stopped = |thread: std::io::Result<fs::DirEntry>| {
            let stat = thread.and_then(|thread| fs::read_to_string(thread.path().join("stat")));
            stat.is_ok_and(|stat| {
                stat.rsplit(')')
                    .next()
                    .is_some_and(|rest| rest.starts_with(" T"))
            })
        };
        threads.into_iter().all(is_stopped)
    }

    /// Its resident memory in KiB.
    ///
    /// # Errors
    /// It has ended.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/status", self.pid.as_raw_nonzero());
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let digits = line.and_then(|line| line.split_whitespace().next());
        let digits = digits.with_context(|| format!("{path} has no VmRSS"))?;
        digits.parse().with_context(|| format!("{path}: {digits}"))
    }

    /// The processor time that it has used, in the kernel too, by all of its threads.
    ///
    /// # Errors
    /// It has ended.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        cpu_time(&self.pid.as_raw_nonzero().to_string())
    }

    /// The end of what it wrote.
    #[must_use]
    pub fn last_words(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let from = text
            .len()
            .saturating_sub(LAST_WORDS_LEN_BYTES)
            .max(self.log_start);
        String::from_utf8_lossy(text.get(from..).unwrap_or_default()).into_owned()
    }
}

const LAST_WORDS_LEN_BYTES: usize = 2_000;

/// The processor time that this process has used, as [`Process::cpu_time`].
///
/// # Errors
/// The kernel does not tell.
pub fn own_cpu_time() -> anyhow::Result<Duration> {
    cpu_time("self")
}

fn cpu_time(process: &str) -> anyhow::Result<Duration> {
    let path = format!("/proc/{process}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let used = cpu_ticks(&stat).with_context(|| format!("{path} has no times: {stat}"))?;
    Ok(TICK * used)
}

/// The fields `utime` and `stime` of proc_pid_stat(5): the 12th and 13th behind the program's name.
fn cpu_ticks(stat: &str) -> Option<u32> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11).take(2);
    let mut next = || times.next()?.parse::<u32>().ok();
    Some(next()? + next()?)
}

/// The kernel's clock tick as programs see it, on every architecture that we build for.
const TICK: Duration = Duration::from_millis(10);

/// The words of a command line.
pub fn words<const N: usize>(parts: [&dyn AsRef<std::ffi::OsStr>; N]) -> Vec<OsString> {
    parts.iter().map(|part| part.as_ref().to_owned()).collect()
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// It cannot be started, fails, or takes longer than `deadline`; says what it wrote.
pub async fn run(words: &[OsString], deadline: Duration) -> anyhow::Result<String> {
    let line = words.join(std::ffi::OsStr::new(" "));
    let line = line.display();
    let program = words.first().context("nothing to run")?;
    let output = Command::new(program)
        .args(&words[1..])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(deadline, output).await;
    let output = output.with_context(|| format!("{line} took longer than {deadline:?}"))?;
    let output = output.with_context(|| format!("cannot start {line}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    anyhow::ensure!(
        output.status.success(),
        "{line} failed ({}): {}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim(),
        text.trim()
    );
    Ok(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dropped_child_is_dead() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let child = Process::start("sleep", &words([&"sleep", &"600"]), &log).unwrap();
        let path = format!("/proc/{}/stat", child.pid().as_raw_nonzero());
        assert!(fs::exists(&path).unwrap());
        drop(child);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        // Reaped in the background, or a zombie until then.
        while fs::read_to_string(&path).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(tokio::time::Instant::now() < deadline, "still there");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 12 0 0 0 250 31 0 0 20 0 1 0 5 6 7";
        assert_eq!(cpu_ticks(stat), Some(281));
        assert_eq!(cpu_ticks("7 (a) S 1"), None);
        assert!(own_cpu_time().unwrap() < Duration::from_secs(3_600));
    }

    #[tokio::test]
    async fn a_failure_says_what_was_written() {
        let failing = words([&"sh", &"-c", &"echo why >&2; exit 3"]);
        let error = run(&failing, Duration::from_secs(10)).await.unwrap_err();
        assert!(
            error.to_string().ends_with("(exit status: 3): why"),
            "{error}"
        );
    }
}
