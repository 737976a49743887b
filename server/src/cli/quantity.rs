//! Numbers with their noun.

/// `1 entry`, `2 entries`, `0 entries`.
pub(super) fn quantity(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
