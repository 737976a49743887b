//! Points of P-256: collected where they are shown, and multiplied out of what could be their scalars.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use tokio::time::Instant;

/// Public keys, each by the first coordinate of its point.
#[derive(Clone, Debug, Default)]
pub struct PublicPoints(BTreeSet<[u8; 32]>);

/// A bit string of 65 bytes that is an uncompressed point (RFC 5480 §2.2), as in every certificate.
const POINT: &[u8] = b"\x03\x42\x00\x04";
/// A random key has about 30 different bytes; under so many it has with a probability of one in a million.
const MIN_DIFFERENT: usize = 24;

impl PublicPoints {
    /// Adds the public keys that `bytes` show.
    pub fn collect(&mut self, bytes: &[u8]) {
        for (index, window) in bytes.windows(POINT.len()).enumerate() {
            if window != POINT {
                continue;
            }
            let from = index + POINT.len();
            if let Some(first) = bytes.get(from..).and_then(<[u8]>::first_chunk::<32>) {
                self.0.insert(*first);
            }
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The origins of the candidates whose point is known, and how many candidates were tried within `budget`.
    pub(super) fn multiply<'a>(
        &self,
        candidates: &[(&[u8; 32], &'a str)],
        budget: Duration,
    ) -> (usize, BTreeSet<&'a str>) {
        let until = Instant::now() + budget;
        let tried = AtomicUsize::new(0);
        let share = candidates
            .len()
            .div_ceil(thread::available_parallelism().map_or(1, usize::from));
        let hits = thread::scope(|scope| {
            let work = |part: &[(&[u8; 32], &'a str)]| {
                let in_time = part.iter().take_while(|_| Instant::now() < until);
                let hits = in_time.filter(|(candidate, _)| {
                    tried.fetch_add(1, Ordering::Relaxed);
                    self.is_key_of_one(candidate)
                });
                hits.map(|(_, origin)| *origin).collect::<Vec<_>>()
            };
            let parts = candidates.chunks(share.max(1));
            let threads: Vec<_> = parts.map(|part| scope.spawn(move || work(part))).collect();
            let joined = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_default());
            joined.flatten().collect()
        });
        (tried.into_inner(), hits)
    }

    fn is_key_of_one(&self, candidate: &[u8; 32]) -> bool {
        // An error says that the bytes are no scalar of the curve.
        let Ok(key) = PrivateKey::from_private_key(&ECDH_P256, candidate) else {
            return false;
        };
        // An uncompressed point: 4 and two coordinates.
        let point = key.compute_public_key().ok();
        let first = point.and_then(|point| point.as_ref().get(1..)?.first_chunk::<32>().copied());
        first.is_some_and(|first| self.0.contains(&first))
    }
}

/// Every 32 bytes in a row that look random.
pub(super) fn candidates(bytes: &[u8]) -> impl Iterator<Item = &[u8; 32]> {
    let mut counts = [0_u8; 256];
    let mut different = 0;
    bytes.iter().enumerate().filter_map(move |(index, byte)| {
        let count = &mut counts[usize::from(*byte)];
        different += usize::from(*count == 0);
        *count += 1;
        if let Some(left) = index.checked_sub(32) {
            let count = &mut counts[usize::from(bytes[left])];
            *count -= 1;
            different -= usize::from(*count == 0);
        }
        let start = (index + 1).checked_sub(32)?;
        (different >= MIN_DIFFERENT).then(|| bytes[start..].first_chunk::<32>())?
    })
}
