//! Digests and encodings. The digests name things and protect nothing.

use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use identity::hex;

use super::{Arguments, Table, Value};

pub(super) const TABLE: Table = &[
    ("adler32sum", |of| {
        Ok(adler32(of.text()?.as_bytes()).to_string().into())
    }),
    ("b32dec", |of| {
        // As in sprig, what went wrong is the result.
        let decoded = base32_decoded(of.text()?);
        Ok(decoded.unwrap_or_else(|problem| problem).into())
    }),
    ("b32enc", |of| Ok(base32(of.text()?.as_bytes()).into())),
    ("b64dec", |of| {
        let decoded = STANDARD
            .decode(of.text()?)
            .map_err(|error| error.to_string());
        let decoded = decoded.and_then(text_of_bytes);
        Ok(decoded.unwrap_or_else(|problem| problem).into())
    }),
    ("b64enc", |of| Ok(STANDARD.encode(of.text()?).into())),
    ("sha1sum", |of| hashed(of, &SHA1_FOR_LEGACY_USE_ONLY)),
    ("sha256sum", |of| hashed(of, &SHA256)),
];

fn hashed(of: &Arguments<'_>, algorithm: &'static Algorithm) -> Result<Value, String> {
    let digest = digest(algorithm, of.text()?.as_bytes());
    Ok(hex::lower(digest.as_ref()).into())
}

/// RFC 1950 §8.2.
fn adler32(bytes: &[u8]) -> u32 {
    const MODULUS: u32 = 65_521;
    let (mut low, mut high) = (1_u32, 0_u32);
    for byte in bytes {
        low = (low + u32::from(*byte)) % MODULUS;
        high = (high + low) % MODULUS;
    }
    high << 16 | low
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// RFC 4648 §6, with padding.
fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for block in bytes.chunks(5) {
        let mut padded = [0; 8];
        padded[3..3 + block.len()].copy_from_slice(block);
        let bits = u64::from_be_bytes(padded);
        let digits = (block.len() * 8).div_ceil(5);
        for place in 0..8 {
            let digit = usize::try_from(bits >> (35 - 5 * place) & 31).unwrap_or(0);
            text.push(if place < digits {
                char::from(BASE32[digit])
            } else {
                '='
            });
        }
    }
    text
}

fn base32_decoded(text: &str) -> Result<String, String> {
    let illegal = || "illegal base32 data".to_owned();
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(8) || matches!(digits.len() % 8, 1 | 3 | 6) {
        return Err(illegal());
    }
    let mut bytes = Vec::with_capacity(digits.len() * 5 / 8);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in digits.bytes() {
        let digit = BASE32.iter().position(|known| *known == byte);
        let digit = digit.and_then(|digit| u32::try_from(digit).ok());
        bits = bits << 5 | digit.ok_or_else(illegal)?;
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap_or(0));
            bits &= (1 << held) - 1;
        }
    }
    text_of_bytes(bytes)
}

fn text_of_bytes(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|_error| "not text in UTF-8".to_owned())
}
