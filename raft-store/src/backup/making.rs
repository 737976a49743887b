//! Making a backup while the store works on.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use identity::clock::UnixTime;
use identity::secret::SecretBytes;
use prost::Message as _;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::BackupError;
use super::file::{Chunks, LAYOUT, RowWriter, context, preamble};
use crate::codec::wire;
use crate::seal::SealProviderError;
use crate::state::TableId;
use crate::storage::StorageError;
use crate::storage::state_db::StateDb;

/// The bytes of a backup, as they come. Without the last of them the file is no backup.
#[derive(Debug)]
pub struct BackupReader {
    parts: mpsc::Receiver<Result<Bytes, BackupError>>,
}

impl BackupReader {
    /// The next part; `None` when the backup is whole. Cancel-safe.
    ///
    /// # Errors
    /// There is no backup; what was read of it is of no use.
    pub async fn next(&mut self) -> Option<Result<Bytes, BackupError>> {
        self.parts.recv().await
    }
}

/// Starts a backup of what the database holds now. Its key is wrapped by `wrap`, for a context.
pub(crate) fn backup(
    db: Arc<StateDb>,
    wrap: impl FnOnce(&[u8], &SecretBytes) -> Result<Vec<u8>, SealProviderError>,
    cluster_id: [u8; 16],
    now: UnixTime,
) -> Result<BackupReader, BackupError> {
    let mut key = vec![0; KEY_LEN_BYTES];
    let filled = aws_lc_rs::rand::fill(&mut key);
    filled.ok().ok_or(BackupError::Cryptography)?;
    let key = SecretBytes::new(key);
    let header = wire::BackupHeader {
        layout: LAYOUT,
        cluster_id: cluster_id.to_vec(),
        wrapped_key: wrap(&context(&cluster_id), &key).map_err(BackupError::Seal)?,
    };
    let preamble = preamble(&header);
    let chunks = Chunks::new(&key, &preamble).ok_or(BackupError::Cryptography)?;
    let (sender, parts) = mpsc::channel(PARTS);
    let out = Out {
        sender,
        runtime: Handle::current(),
        chunks,
    };
    tokio::task::spawn_blocking(move || {
        let mut out = out;
        if let Err(error) = write(&db, &mut out, preamble, cluster_id, now) {
            out.send(Err(error)).ok();
        }
    });
    Ok(BackupReader { parts })
}

fn write(
    db: &StateDb,
    out: &mut Out,
    preamble: Vec<u8>,
    cluster_id: [u8; 16],
    now: UnixTime,
) -> Result<(), BackupError> {
    out.send(Ok(preamble.into()))?;
    let mut rows = RowWriter::new();
    let mut position = None;
    let mut format_version = 1;
    let [position_key, cluster_key] =
        [TableId::Position, TableId::Cluster].map(|table| table.row_key(&[]));
    db.visit(|key, value| {
        if *key == *position_key {
            position = wire::Position::decode(value).ok();
        }
        if *key == *cluster_key {
            let cluster = wire::ClusterRecord::decode(value).unwrap_or_default();
            format_version = cluster.version.max(1);
        }
        match rows.push(key, value).ok_or(BackupError::Cryptography)? {
            Some(chunk) => out.chunk(chunk, false),
            None => Ok(()),
        }
    })?;
    let position = position.ok_or_else(|| StorageError::Corrupt {
        what: "the state's position".to_owned(),
    })?;
    let (rest, rows, sha256) = rows.finish();
    if !rest.is_empty() {
        out.chunk(rest, false)?;
    }
    let manifest = wire::BackupManifest {
        format_version,
        cluster_id: cluster_id.to_vec(),
        revision: position.revision,
        state_hash: position.state_hash,
        rows,
        sha256,
        made_at: now.as_secs(),
        applied: position.applied,
    };
    out.chunk(manifest.encode_to_vec(), true)
}

/// Where the parts go.
struct Out {
    sender: mpsc::Sender<Result<Bytes, BackupError>>,
    runtime: Handle,
    chunks: Chunks,
}

impl Out {
    fn chunk(&mut self, plaintext: Vec<u8>, is_last: bool) -> Result<(), BackupError> {
        let sealed = self.chunks.seal(plaintext, is_last);
        self.send(Ok(sealed.ok_or(BackupError::Cryptography)?.into()))
    }

    /// Waits for the reader, but not for ever: the database stays open as long as this lives.
    fn send(&self, part: Result<Bytes, BackupError>) -> Result<(), BackupError> {
        let sending = tokio::time::timeout(PATIENCE, self.sender.send(part));
        match self.runtime.block_on(sending) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(BackupError::Abandoned),
        }
    }
}

const KEY_LEN_BYTES: usize = 32;

/// Parts that wait for the reader at most.
const PARTS: usize = 4;

/// How long a part waits for the reader at most.
const PATIENCE: Duration = Duration::from_secs(30);
