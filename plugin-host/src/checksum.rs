//! The SHA-256 that a plugin's program must have.
//!
//! The file that was hashed is the file that is run: it stays open in between, so nobody can put another
//! one in its place.

use std::fs::File;
use std::io::{self, Read as _, Seek as _};

use aws_lc_rs::digest::{Context, SHA256, SHA256_OUTPUT_LEN};

/// What a program must hash to.
#[derive(Clone, Eq, PartialEq)]
pub(crate) struct Checksum([u8; SHA256_OUTPUT_LEN]);

impl Checksum {
    /// Reads hexadecimal digits.
    ///
    /// # Errors
    /// What is wrong, in SPIRE's words.
    pub(crate) fn parse(hex: &str) -> Result<Self, String> {
        let mut bytes = Vec::with_capacity(SHA256_OUTPUT_LEN);
        let digits = hex.as_bytes();
        for pair in digits.chunks(2) {
            let value = |digit: &u8| char::from(*digit).to_digit(16);
            let byte = match pair {
                [high, low] => value(high)
                    .zip(value(low))
                    .map(|(high, low)| high * 16 + low),
                _ => None,
            };
            let byte = byte.and_then(|byte| u8::try_from(byte).ok());
            bytes.push(byte.ok_or("checksum is not a valid hex string")?);
        }
        match bytes.as_slice().try_into() {
            Ok(bytes) => Ok(Self(bytes)),
            Err(_) => Err(format!(
                "expected checksum of length {}; got {}",
                2 * SHA256_OUTPUT_LEN,
                digits.len()
            )),
        }
    }

    /// Whether the whole of `file` hashes to this.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(crate) fn matches(&self, file: &mut File) -> io::Result<bool> {
        let mut context = Context::new(&SHA256);
        let mut buffer = vec![0; 64 << 10];
        file.rewind()?;
        loop {
            let len = file.read(&mut buffer)?;
            if len == 0 {
                break;
            }
            context.update(&buffer[..len]);
        }
        Ok(context.finish().as_ref() == self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn only_the_file_with_the_digest_matches() {
        // From FIPS 180-2, appendix B.1.
        let abc = "BA7816BF8F01CFEA414140DE5DAE2223b00361a396177a9cb410ff61f20015ad";
        let checksum = Checksum::parse(abc).unwrap();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"abc").unwrap();
        assert!(checksum.matches(&mut file).unwrap());
        file.write_all(b"d").unwrap();
        assert!(!checksum.matches(&mut file).unwrap());
    }
}
