//! Randomness that keeps many agents from doing the same thing at the same moment.

use aws_lc_rs::rand;

/// A number in -1.0..=1.0; 0.0 if the system has no randomness to give.
pub(crate) fn jitter() -> f64 {
    let mut bytes = [0; 4];
    match rand::fill(&mut bytes) {
        Ok(()) => f64::from(i32::from_le_bytes(bytes)) / (f64::from(i32::MAX) + 1.0),
        Err(_unspecified) => 0.0,
    }
}
