//! Bytes in hexadecimal digits, as key ids and hashes are written.

use std::fmt::Write as _;

/// `bytes` in lower-case digits, two for each.
#[must_use]
pub fn lower(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").expect("invariant: a string takes everything");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_two_digits() {
        assert_eq!(lower(&[0, 9, 0x10, 0xaf, 0xff]), "000910afff");
        assert_eq!(lower(&[]), "");
    }
}
