//! `cluster backup`.
//!
//! What must hold: the file appears under its name only once all of it is on the disk and was opened again.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use daemon::{
    command_line::{Command, OutputFormat, RpcError, Terminal, utc_text},
    flags::Parsed,
};
use proto::conclave::cluster::v1::{
    BackupHeader, BackupRequest, BackupResponse, backup_response::Part,
};
use raft_store::{
    FileSeal,
    backup::{self as store_backup, Manifest},
};
use serde_json::json;
use tempfile::NamedTempFile;
use tonic::Streaming;

use super::{connect, flags};
use crate::{
    cli::{api, quantity::quantity},
    cluster::cluster_id_text,
};

pub(super) fn command() -> Command {
    Command {
        words: "cluster backup",
        synopsis: "Writes an encrypted backup of everything that the cluster keeps.",
        error_prefix: api::ERROR_PREFIX,
        deadline: None,
        flags: || {
            flags("cluster backup")
                .string("file", "", "File to write; must not be there yet.")
                .string(
                    "sealKey",
                    "",
                    "Seal key to open the backup with again; without it, that of the member that is asked.",
                )
        },
        run: |parsed, terminal| Box::pin(backup(parsed, terminal)),
    }
}

async fn backup(parsed: &Parsed, terminal: &mut Terminal) -> anyhow::Result<()> {
    let format = OutputFormat::chosen(parsed)?;
    let path = parsed.string("file");
    ensure!(!path.is_empty(), "-file is required");
    let mut file = UnfinishedFile::create(Path::new(path))?;
    let mut client = connect(parsed).await?;
    let mut stream = api::answer(client.backup(BackupRequest {}).await)?;
    let header = receive(&mut stream, &mut file).await?;
    file.sync()?;
    let seal_key = match parsed.string("sealKey") {
        "" => header.seal_key_path,
        path => path.to_owned(),
    };
    let seal = FileSeal::at(Path::new(&seal_key));
    let written = file.path().to_owned();
    let opened = tokio::task::spawn_blocking(move || store_backup::verify(&written, &seal));
    let manifest = opened
        .await?
        .context("the backup that came cannot be opened again and was dropped")?;
    let (path, len_bytes) = file.publish()?;
    match format {
        OutputFormat::Json => terminal.line(&as_json(&path, len_bytes, &manifest)),
        OutputFormat::Pretty => terminal.print(&pretty(&path, len_bytes, &manifest)),
    }
    Ok(())
}

fn as_json(path: &Path, len_bytes: u64, manifest: &Manifest) -> String {
    proto::json::one_line(&json!({
        "agents": manifest.agents,
        "cluster_id": cluster_id_text(&manifest.cluster_id),
        "entries": manifest.entries,
        "file": path.display().to_string(),
        "format": manifest.format,
        "len_bytes": len_bytes,
        "made_at": manifest.made_at.as_secs(),
        "revision": manifest.revision.as_u64(),
        "state_hash": manifest.state_hash.to_string(),
    }))
}

fn pretty(path: &Path, len_bytes: u64, manifest: &Manifest) -> String {
    format!(
        "Wrote {path}, {len_bytes} bytes, and opened it again:\n\
         \n\
         Cluster      : {cluster}\n\
         Made at      : {made_at}\n\
         Revision     : {revision}\n\
         State hash   : {state_hash}\n\
         Holds        : {entries}, {agents}\n\
         \n\
         It opens with the seal key alone: keep a copy of that, elsewhere.\n",
        path = path.display(),
        cluster = cluster_id_text(&manifest.cluster_id),
        made_at = utc_text(manifest.made_at.as_secs()),
        revision = manifest.revision,
        state_hash = manifest.state_hash,
        entries = quantity(
            manifest.entries,
            "registration entry",
            "registration entries"
        ),
        agents = quantity(manifest.agents, "agent", "agents"),
    )
}

/// Writes what comes into the file; returns what it is a backup of.
async fn receive(
    stream: &mut Streaming<BackupResponse>,
    file: &mut UnfinishedFile,
) -> anyhow::Result<BackupHeader> {
    let mut header = None;
    while let Some(message) = stream.message().await.map_err(RpcError::from)? {
        match message.part {
            Some(Part::Header(first)) => header = Some(first),
            Some(Part::Chunk(bytes)) => file.append(&bytes)?,
            None => {}
        }
    }
    header.context("the server sent no backup")
}

/// A file that goes with its value, unless it was published.
struct UnfinishedFile {
    file: NamedTempFile,
    folder: PathBuf,
    target: PathBuf,
}

impl UnfinishedFile {
    fn create(target: &Path) -> anyhow::Result<Self> {
        let target = std::path::absolute(target)?;
        ensure!(
            fs::symlink_metadata(&target).is_err(),
            "{} is there already; a backup replaces nothing: name another file",
            target.display()
        );
        let folder = target
            .parent()
            .context("-file must name a file")?
            .to_owned();
        // Mode 0600, as the builder makes every file.
        let file = tempfile::Builder::new()
            .prefix(".conclave-backup-")
            .tempfile_in(&folder)
            .with_context(|| format!("cannot make a file in {}", folder.display()))?;
        Ok(Self {
            file,
            folder,
            target,
        })
    }

    fn path(&self) -> &Path {
        self.file.path()
    }

    fn append(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        let written = self.file.write_all(bytes);
        written.with_context(|| self.cannot_write())
    }

    fn sync(&self) -> anyhow::Result<()> {
        let synced = self.file.as_file().sync_all();
        synced.with_context(|| self.cannot_write())
    }

    /// Gives the file its name, for good.
    fn publish(self) -> anyhow::Result<(PathBuf, u64)> {
        let Self {
            file,
            folder,
            target,
        } = self;
        let named = file.persist_noclobber(&target);
        let named = named.map_err(|error| error.error).and_then(|file| {
            File::open(&folder)?.sync_all()?;
            file.metadata()
        });
        let metadata =
            named.with_context(|| format!("cannot name the backup {}", target.display()))?;
        Ok((target, metadata.len()))
    }

    fn cannot_write(&self) -> String {
        format!(
            "cannot write to {}; nothing is left there",
            self.folder.display()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_backup_appears_whole_and_for_its_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("today");
        let mut file = UnfinishedFile::create(&target).unwrap();
        file.append(b"all of ").unwrap();
        assert!(!target.exists());
        file.append(b"it").unwrap();
        file.sync().unwrap();
        assert_eq!(file.publish().unwrap(), (target.clone(), 9));
        assert_eq!(fs::read(&target).unwrap(), b"all of it");
        let mode = fs::metadata(&target).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_backup_replaces_nothing_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("today");
        let mut file = UnfinishedFile::create(&target).unwrap();
        file.append(b"half").unwrap();
        // Somebody else was quicker.
        fs::write(&target, b"other").unwrap();
        let error = format!("{:#}", file.publish().unwrap_err());
        assert!(error.starts_with("cannot name the backup"), "{error}");
        assert_eq!(fs::read(&target).unwrap(), b"other");
        let error = UnfinishedFile::create(&target).err().unwrap().to_string();
        assert!(error.contains("is there already"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
