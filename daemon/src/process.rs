//! What a process that holds signing keys does to itself before anything else.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rustix::{
    fs::Mode,
    process::{
        DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
    },
};
use tracing::warn;

use crate::log::{self, LogControl, LogError};

/// Makes this process fit to hold keys, and makes it log: for `main`, before anything else.
///
/// # Errors
/// [`PrepareError`]; the process should not go on.
pub fn prepare(options: log::Options) -> Result<LogControl, PrepareError> {
    // First: the log file is made under the tightened umask.
    let loose = tighten_umask();
    disable_core_dumps().map_err(PrepareError::CoreDumps)?;
    let log = log::init(options)?;
    if let Some(found) = loose {
        let set = format!("{:04o}", found | 0o027);
        let found = format!("{found:04o}");
        warn!(found, set, "umask was too loose and has been tightened");
    }
    // A server of connections: with the usual 1024 a few callers could take them all.
    if let Err(error) = raise_open_files_limit() {
        warn!(%error, "limit of open files could not be raised");
    }
    Ok(log)
}

/// Why a process is not fit to go on.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// Core dumps could not be switched off.
    #[error("disable core dumps")]
    CoreDumps(#[source] io::Error),
    /// The log could not be set up.
    #[error("could not start logger")]
    Log(#[from] LogError),
}

/// Takes from others what the umask still grants beyond `0750`; an already tighter umask stays.
///
/// Returns the umask found, if it was too loose. Belongs into `main`, before threads and files.
pub fn tighten_umask() -> Option<u32> {
    let required = Mode::WGRP | Mode::RWXO;
    // There is no way to read the umask but to set it.
    let found = umask(required);
    let wanted = found | required;
    umask(wanted);
    (wanted != found).then(|| found.bits())
}

/// Keeps key material out of core files and out of other processes of the same user.
///
/// # Errors
/// The operating system's refusal, which would be unusual: a process may always ask for less.
pub fn disable_core_dumps() -> io::Result<()> {
    let nothing = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, nothing)?;
    // A core may also go to a pipe, for which the limit does not count; this holds for both, and for ptrace.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Raises the soft limit of open files to the hard one, which is what the operator set, and returns it.
///
/// The usual soft limit of 1024 is for programs that use `select`; each client costs a file here.
///
/// # Errors
/// The operating system's refusal, which would be unusual.
pub fn raise_open_files_limit() -> io::Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )?;
    Ok(limit.maximum)
}

/// Ends the process with this code and without its exit handlers, which take away what a thread of a library may be
/// working with. All that was printed is written before.
pub fn exit_at_once(code: u8) -> ! {
    io::stdout().flush().ok();
    signal_hook::low_level::exit(code.into())
}

/// Makes a data directory and its parents if it is not there.
///
/// # Errors
/// [`DataDirError`], also when the path is something other than a directory.
pub fn make_data_dir(path: &Path) -> Result<(), DataDirError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(path)
        .map_err(|source| DataDirError {
            path: path.to_owned(),
            source,
        })
}

/// The data directory could not be made.
#[derive(Debug, thiserror::Error)]
#[error("make data directory {}", path.display())]
pub struct DataDirError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn open_files_are_limited_by_the_hard_limit_only() {
        let raised = raise_open_files_limit().unwrap();
        let found = getrlimit(Resource::Nofile);
        assert_eq!((found.current, found.maximum), (raised, raised));
    }

    #[test]
    fn data_dir_is_made_with_parents_and_kept_if_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        make_data_dir(&path).unwrap();
        fs::write(path.join("f"), "x").unwrap();
        make_data_dir(&path).unwrap();
        assert!(path.join("f").exists());
        let error = make_data_dir(&path.join("f")).unwrap_err();
        assert!(error.to_string().starts_with("make data directory /"));
    }
}
