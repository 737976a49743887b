//! Numbers with their noun.

use std::fmt::Display;

/// `1 entry`, `2 entries`, `0 entries`.
pub(super) fn quantity<N: Display + From<u8> + PartialEq>(
    count: N,
    one: &str,
    many: &str,
) -> String {
    let noun = if count == N::from(1) { one } else { many };
    format!("{count} {noun}")
}
