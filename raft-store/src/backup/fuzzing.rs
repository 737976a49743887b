//! Backups of any rows, for the fuzz targets.

use identity::secret::SecretBytes;

use super::file::{Chunks, LAYOUT, RowWriter, context, preamble};
use crate::codec::wire;
use crate::fuzzing::{NOW, Row, load, position};
use crate::record::Sequence;
use crate::seal::SealProvider;
use crate::state::StateHash;
use prost::Message as _;

/// A backup of `rows` under `key`, which `seal` wraps; whole and true to itself whatever they are.
pub fn backup_of(rows: &[Row], key: &SecretBytes, seal: &dyn SealProvider) -> Option<Vec<u8>> {
    let header = wire::BackupHeader {
        layout: LAYOUT,
        cluster_id: CLUSTER_ID.to_vec(),
        wrapped_key: seal.wrap(&context(&CLUSTER_ID), key).ok()?,
    };
    let preamble = preamble(&header);
    let mut chunks = Chunks::new(key, &preamble)?;
    let mut writer = RowWriter::new();
    let sum = |hash: StateHash, (key, value): &Row| hash.plus(StateHash::of_row(key, value));
    let hash = rows.iter().fold(StateHash::default(), sum);
    let sequence = Sequence::new(1 << 20);
    let mut file = preamble;
    for (key, value) in rows.iter().chain([&position(sequence, hash)]) {
        if let Some(chunk) = writer.push(key, value)? {
            file.extend(chunks.seal(chunk, false)?);
        }
    }
    let (rest, count, sha256) = writer.finish();
    file.extend(chunks.seal(rest, false)?);
    let revision = load(rows, sequence).map_or(1, |state| state.revision().as_u64());
    let manifest = wire::BackupManifest {
        format_version: 1,
        cluster_id: CLUSTER_ID.to_vec(),
        revision,
        state_hash: hash.as_bytes().to_vec(),
        rows: count,
        sha256,
        made_at: NOW.as_secs(),
        applied: wire::LogPosition::default().encode_to_vec(),
    };
    file.extend(chunks.seal(manifest.encode_to_vec(), true)?);
    Some(file)
}

const CLUSTER_ID: [u8; 16] = [7; 16];
