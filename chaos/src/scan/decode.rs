//! Runs of base64 and of hexadecimal digits, decoded.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

/// A key of 32 bytes takes at least so many characters of base64 …
const BASE64_MIN_LEN: usize = 43;
/// … and so many hexadecimal digits.
const HEX_MIN_LEN: usize = 64;

/// What `bytes` hold as text in an encoding, with the encoding's name. A run is decoded from each of the places where
/// its first whole group may begin.
pub(super) fn texts(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut all = Vec::new();
    for run in runs(bytes, is_base64, BASE64_MIN_LEN) {
        // The two alphabets differ in two characters.
        let plain: Vec<_> = run
            .iter()
            .map(|byte| match byte {
                b'-' => b'+',
                b'_' => b'/',
                other => *other,
            })
            .collect();
        for start in 0..4 {
            let whole = plain.get(start..).unwrap_or_default();
            // One character alone encodes nothing.
            let len = if whole.len() % 4 == 1 {
                whole.len() - 1
            } else {
                whole.len()
            };
            if let Ok(decoded) = ENGINE.decode(&whole[..len]) {
                all.push(("base64", decoded));
            }
        }
    }
    for run in runs(bytes, |byte| byte.is_ascii_hexdigit(), HEX_MIN_LEN) {
        for start in 0..2 {
            let digits = run.get(start..).unwrap_or_default();
            all.push((
                "hexadecimal",
                digits
                    .chunks_exact(2)
                    .map(|pair| hex(pair[0]) << 4 | hex(pair[1]))
                    .collect(),
            ));
        }
    }
    all
}

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte)
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

/// The runs of at least `min_len` characters of an alphabet; a line's end does not end a run.
fn runs(bytes: &[u8], is_in: impl Fn(u8) -> bool, min_len: usize) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut run = Vec::new();
    for byte in bytes {
        if is_in(*byte) {
            run.push(*byte);
        } else if !matches!(byte, b'\n' | b'\r') {
            if run.len() >= min_len {
                all.push(std::mem::take(&mut run));
            }
            run.clear();
        }
    }
    if run.len() >= min_len {
        all.push(run);
    }
    all
}
