//! Backups: any bytes as a file, any rows in a good one, a good one with a byte changed, and the keys in front.

use std::sync::LazyLock;

use identity::secret::SecretBytes;
use raft_store::backup::verify;
use raft_store::{FileSeal, SealProvider, SealProviderError, Wrapped, fuzzing};

use crate::input::{Input, join, plain};
use crate::store_codec::GOLDEN;
use crate::world::{FOLDER, written};

/// A byte that says what follows.
pub fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() % 4 {
        0 => {
            is_good(input.rest());
        }
        1 => {
            let rows = rows(input);
            fuzzing::rows(&rows);
            if let Some(file) = fuzzing::backup_of(&rows, &key(), &OneKey) {
                is_good(&file);
            }
        }
        2 => changed(input),
        _ => wrapped(input),
    }
}

/// A data key as it is wrapped in front of a backup, for a place: none but ours opens.
fn wrapped(mut input: Input<'_>) {
    let context = input.piece();
    let opened = SEAL.unwrap(context, input.rest());
    assert!(opened.is_err(), "nobody has the key");
    let again = SEAL.wrap(context, &key()).expect("a key is wrapped");
    assert!(
        SEAL.unwrap(context, &again)
            .is_ok_and(|found| found == key())
    );
}

/// A key that no input was made with.
static SEAL: LazyLock<FileSeal> = LazyLock::new(|| {
    let seal = FileSeal::at(&FOLDER.path().join("seal.key"));
    seal.create().expect("a key is made");
    seal
});

fn rows(input: Input<'_>) -> Vec<fuzzing::Row> {
    let pieces = input.pieces(256);
    let pairs = pieces.chunks(2);
    pairs
        .map(|pair| {
            (
                pair[0].to_vec(),
                pair.last().map_or_else(Vec::new, |one| one.to_vec()),
            )
        })
        .collect()
}

/// A place, what is changed there, then rows: no change goes unseen.
fn changed(mut input: Input<'_>) {
    let place = input.number();
    let bits = input.byte();
    let Some(mut file) = fuzzing::backup_of(&rows(input), &key(), &OneKey) else {
        return;
    };
    let at = usize::try_from(place).map_or(0, |place| place % file.len());
    file[at] ^= bits;
    let is_cut = bits == 0 && at > 0;
    if is_cut {
        file.truncate(at);
    }
    assert!(
        !is_good(&file) || bits == 0 && !is_cut,
        "byte {at} changed by {bits:#x}"
    );
}

fn is_good(file: &[u8]) -> bool {
    verify(&written("backup", file), &OneKey).is_ok()
}

fn key() -> SecretBytes {
    SecretBytes::new(vec![7; 32])
}

/// Wraps every key as the same.
#[derive(Debug)]
struct OneKey;

impl SealProvider for OneKey {
    fn create(&self) -> Result<(), SealProviderError> {
        Ok(())
    }

    fn wrap(&self, _context: &[u8], _key: &SecretBytes) -> Result<Vec<u8>, SealProviderError> {
        Ok(vec![1])
    }

    fn wrap_like(
        &self,
        _witnesses: &[Wrapped],
        context: &[u8],
        key: &SecretBytes,
    ) -> Result<Vec<u8>, SealProviderError> {
        self.wrap(context, key)
    }

    fn unwrap(&self, _context: &[u8], wrapped: &[u8]) -> Result<SecretBytes, SealProviderError> {
        match wrapped.is_empty() {
            true => Err(SealProviderError::Damaged),
            false => Ok(key()),
        }
    }
}

/// Golden rows, and the file that they make.
pub fn seeds() -> Vec<Vec<u8>> {
    let all: Vec<&[u8]> = GOLDEN.commands.iter().map(Vec::as_slice).collect();
    let mut rows = fuzzing::rows_after(&all);
    rows.truncate(100);
    let parts = rows.iter().flat_map(|(key, value)| [key, value]);
    let few = rows.iter().take(3).flat_map(|(key, value)| [key, value]);
    let file = fuzzing::backup_of(&rows, &key(), &OneKey).expect("rows can be written");
    vec![
        plain(&[0], file),
        join(&[1], parts),
        join(&[1], few.clone()),
        join(&[2, 0, 0, 0, 40, 1], few),
        plain(
            &join(&[3], [b"conclave"]),
            SEAL.wrap(b"", &key()).expect("a key is wrapped"),
        ),
    ]
}
