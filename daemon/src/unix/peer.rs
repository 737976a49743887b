//! Who is at the other end of a Unix socket.
//!
//! A pid alone names nobody: it may be given to another process. So the process is held by its pidfd, and
//! what was learnt through `/proc` counts only if the process was still alive afterwards.

use std::{io, os::fd::OwnedFd, path::PathBuf, sync::Arc};

use nix::sys::socket::{getsockopt, sockopt::PeerPidfd};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use tokio::net::UnixStream;

/// The other end of a connection: its user and group, and the process that opened it.
#[derive(Clone, Debug)]
pub struct Peer {
    uid: u32,
    gid: u32,
    process: Option<PeerProcess>,
}

impl Peer {
    /// Asks the kernel who is at the other end.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let (uid, gid) = (credentials.uid(), credentials.gid());
        let pid = credentials.pid().and_then(Pid::from_raw);
        let process = pid.and_then(|pid| {
            let hold = hold(stream, pid).ok()?;
            Some(PeerProcess {
                pid,
                uid,
                gid,
                hold,
            })
        });
        Ok(Self { uid, gid, process })
    }

    /// The effective user id at the time of the connect.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The effective group id at the time of the connect.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// The process; `None` when it has ended, or lives in a pid namespace that hides it from here, as that of
    /// another container does.
    #[must_use]
    pub fn process(&self) -> Option<&PeerProcess> {
        self.process.as_ref()
    }
}

impl From<PeerProcess> for Peer {
    fn from(process: PeerProcess) -> Self {
        Self {
            uid: process.uid,
            gid: process.gid,
            process: Some(process),
        }
    }
}

/// The process that opened a connection, as it was at that moment.
#[derive(Clone, Debug)]
pub struct PeerProcess {
    pid: Pid,
    uid: u32,
    gid: u32,
    hold: Hold,
}

#[derive(Clone, Debug)]
enum Hold {
    Pidfd(Arc<OwnedFd>),
    /// Where pidfds are missing or forbidden: the start time in clock ticks after boot.
    StartTime(u64),
}

impl PeerProcess {
    /// Takes hold of a process that opened no connection, by its id. Whoever names it answers for the id
    /// not having been another process's before.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn of_pid(pid: i32) -> io::Result<Self> {
        let gone = || io::Error::new(io::ErrorKind::NotFound, "there is no such process");
        let positive = (pid > 0).then_some(pid);
        let pid = positive.and_then(Pid::from_raw).ok_or_else(gone)?;
        let hold = hold_pid(pid)?;
        // After taking hold, so that they are of that process if it is still alive later.
        let (uid, gid) = effective_ids(pid).ok_or_else(gone)?;
        Ok(Self {
            pid,
            uid,
            gid,
            hold,
        })
    }

    /// The process id, in this process's pid namespace.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_pid()
    }

    /// The effective user id at the time of the connect.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// The effective group id at the time of the connect.
    #[must_use]
    pub fn gid(&self) -> u32 {
        self.gid
    }

    /// Whether that very process still runs, under the user and group that connected; a zombie does not.
    ///
    /// A process may connect, leave the connection to a child and become a set-user-id program: pid and
    /// start time stay, and `/proc` would tell of somebody with more rights than the caller.
    ///
    /// Facts read under [`PeerProcess::proc_path`] belong to the peer only if this holds after the reading.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        // Ids first: if the process has ended meanwhile, what was read may be of a successor.
        let ids = effective_ids(self.pid);
        ids == Some((self.uid, self.gid)) && self.runs()
    }

    /// `/proc/<pid>`.
    #[must_use]
    pub fn proc_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}", self.pid()))
    }

    fn runs(&self) -> bool {
        match &self.hold {
            Hold::Pidfd(pidfd) => {
                let mut polled = [PollFd::new(pidfd, PollFlags::IN)];
                let at_once = Timespec::default();
                // A pidfd becomes readable when its process ends (pidfd_open(2)).
                matches!(poll(&mut polled, Some(&at_once)), Ok(0))
            }
            Hold::StartTime(expected) => {
                matches!(start_time(self.pid), Ok(found) if found == *expected)
            }
        }
    }
}

fn hold(stream: &UnixStream, pid: Pid) -> io::Result<Hold> {
    // Linux 6.5 and later: the very process that connected, whatever became of its pid since.
    if let Ok(pidfd) = getsockopt(stream, PeerPidfd) {
        return Ok(Hold::Pidfd(Arc::new(pidfd)));
    }
    // Before that a pid given away between connect and here cannot be told apart; from here on it can.
    hold_pid(pid)
}

fn hold_pid(pid: Pid) -> io::Result<Hold> {
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok(Hold::Pidfd(Arc::new(pidfd))),
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {
            start_time(pid).map(Hold::StartTime)
        }
        Err(error) => Err(error.into()),
    }
}

/// Field 22 of `/proc/<pid>/stat`; a zombie counts as gone.
fn start_time(pid: Pid) -> io::Result<u64> {
    let stat = read(pid, "stat")?;
    parse_start_time(&stat).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
}

/// The effective user and group id of a process.
fn effective_ids(pid: Pid) -> Option<(u32, u32)> {
    parse_effective_ids(&read(pid, "status").ok()?)
}

/// A file of `/proc/<pid>`. The command's name in it may be any bytes: a program chooses it, and the kernel cuts a
/// long one within a character.
fn read(pid: Pid, file: &str) -> io::Result<String> {
    let bytes = std::fs::read(format!("/proc/{}/{file}", pid.as_raw_pid()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse_effective_ids(status: &str) -> Option<(u32, u32)> {
    // The first line is the command's name, in which line feeds are escaped (proc_pid_status(5)).
    let id = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        // Real, effective, saved and file system id.
        line.split_ascii_whitespace().nth(1)?.parse().ok()
    };
    Some((id("Uid:")?, id("Gid:")?))
}

fn parse_start_time(stat: &str) -> Option<u64> {
    // The second field is the command's name in parentheses, which may hold anything.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// What is read of a `/proc/<pid>/status`, the effective ids, and of a `/proc/<pid>/stat`, the start time.
#[cfg(feature = "fuzzing")]
pub fn told_by_proc(file: &str) -> (Option<(u32, u32)>, Option<u64>) {
    (parse_effective_ids(file), parse_start_time(file))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use super::*;

    #[tokio::test]
    async fn peer_of_a_pair_is_this_process_and_alive() {
        let (near, _far) = UnixStream::pair().unwrap();
        let peer = Peer::of(&near).unwrap();
        assert_eq!(peer.uid(), rustix::process::geteuid().as_raw());
        assert_eq!(peer.gid(), rustix::process::getegid().as_raw());
        let peer = peer.process.unwrap();
        assert_eq!(u32::try_from(peer.pid()).unwrap(), std::process::id());
        assert_eq!(peer.uid(), rustix::process::geteuid().as_raw());
        assert_eq!(peer.gid(), rustix::process::getegid().as_raw());
        assert!(peer.is_alive());
        assert_eq!(
            peer.proc_path().join("exe").read_link().unwrap(),
            std::env::current_exe().unwrap()
        );
    }

    #[test]
    fn ended_process_is_not_alive_under_either_hold() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let pidfd = Arc::new(pidfd_open(pid, PidfdFlags::empty()).unwrap());
        let holds = [
            Hold::Pidfd(pidfd),
            Hold::StartTime(start_time(pid).unwrap()),
        ];
        let peers = holds.map(|hold| PeerProcess {
            pid,
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            hold,
        });
        assert!(peers.iter().all(PeerProcess::is_alive));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!peers.iter().any(PeerProcess::is_alive));
    }

    #[test]
    fn process_is_held_by_its_id() {
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let held = PeerProcess::of_pid(pid).unwrap();
        assert_eq!(held.uid(), rustix::process::geteuid().as_raw());
        assert!(held.is_alive());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(!held.is_alive());
        for nobody in [pid, 0, -1, i32::MIN] {
            assert!(PeerProcess::of_pid(nobody).is_err(), "{nobody}");
        }
    }

    #[test]
    fn process_is_alive_whatever_its_name() {
        // Fifteen bytes of a name are kept: these end within a character.
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("приложение");
        std::os::unix::fs::symlink("/bin/cat", &program).unwrap();
        let mut child = Command::new(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Once it answers it is that program.
        child.stdin.as_mut().unwrap().write_all(b"x").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        let pid = Pid::from_child(&child);
        let name = std::fs::read(format!("/proc/{}/comm", pid.as_raw_pid())).unwrap();
        assert!(std::str::from_utf8(&name).is_err(), "{name:?}");
        assert!(PeerProcess::of_pid(pid.as_raw_pid()).unwrap().is_alive());
        start_time(pid).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn process_that_became_somebody_else_does_not_count() {
        let (near, _far) = UnixStream::pair().unwrap();
        let peer = Peer::of(&near).unwrap().process.unwrap();
        assert!(peer.is_alive());
        let uid = peer.uid + 1;
        assert!(
            !PeerProcess {
                uid,
                ..peer.clone()
            }
            .is_alive()
        );
        let gid = peer.gid + 1;
        assert!(!PeerProcess { gid, ..peer }.is_alive());
    }

    #[test]
    fn effective_ids_are_the_second_of_four() {
        let status = "Name:\tUid:\nUmask:\t0022\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n";
        assert_eq!(parse_effective_ids(status), Some((2, 6)));
        assert_eq!(parse_effective_ids("Uid:\t1\t2\t3\t4\n"), None);
    }

    #[test]
    fn start_time_is_read_behind_any_command_name() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(parse_start_time(&format!("7 (a) b) {tail}")), Some(4711));
        assert_eq!(parse_start_time("7 (a) Z 1 2"), None);
        assert_eq!(parse_start_time(""), None);
    }
}
