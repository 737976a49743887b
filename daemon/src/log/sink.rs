//! Where log lines go.
//!
//! A line is written with one call, so that lines of several processes in one file do not mix.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

#[derive(Debug)]
pub(super) enum Sink {
    Stdout,
    File { path: PathBuf, file: Mutex<File> },
}

impl Sink {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::File {
            path: path.to_owned(),
            file: Mutex::new(append_to(path)?),
        })
    }

    /// A line that cannot be written is lost: there is nobody to tell.
    pub(super) fn write(&self, line: &str) {
        let written = match self {
            Self::Stdout => io::stdout().lock().write_all(line.as_bytes()),
            Self::File { file, .. } => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.write_all(line.as_bytes())
            }
        };
        written.ok();
    }

    pub(super) fn reopen(&self) -> io::Result<()> {
        if let Self::File { path, file } = self {
            let opened = append_to(path)?;
            *file.lock().unwrap_or_else(PoisonError::into_inner) = opened;
        }
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(path)
}
