//! The Huffman code of HPACK (RFC 7541 §5.2 and appendix B).
//!
//! The code is canonical: the lengths alone, taken in order of length and then of symbol, give every code.

use super::HpackError;

/// Appends what `encoded` stands for.
///
/// # Errors
/// A code that is none, the end-of-string symbol, or padding other than up to seven one bits.
pub(super) fn decode(encoded: &[u8], decoded: &mut Vec<u8>) -> Result<(), HpackError> {
    let mut code = 0_u32;
    let mut len = 0_usize;
    for byte in encoded {
        for bit in (0..8).rev() {
            code = code << 1 | u32::from(byte >> bit & 1);
            len += 1;
            let Some(row) = CODES.rows.get(len) else {
                return Err(HpackError::Huffman);
            };
            let Some(nth) = code
                .checked_sub(row.first_code)
                .filter(|nth| *nth < row.count)
            else {
                continue;
            };
            let symbol = CODES.symbols[row.offset + nth as usize];
            // The end-of-string symbol must not occur (§5.2).
            let symbol = u8::try_from(symbol).map_err(|_eos| HpackError::Huffman)?;
            decoded.push(symbol);
            (code, len) = (0, 0);
        }
    }
    // Padding is the beginning of the end-of-string code, all ones, and shorter than a byte (§5.2).
    match len < 8 && code == (1 << len) - 1 {
        true => Ok(()),
        false => Err(HpackError::Huffman),
    }
}

const SYMBOLS: usize = 257;
const MAX_CODE_LEN: usize = 30;

/// The codes of one length follow each other.
#[derive(Clone, Copy)]
struct Row {
    first_code: u32,
    count: u32,
    /// Where the symbols of this length begin.
    offset: usize,
}

struct Codes {
    rows: [Row; MAX_CODE_LEN + 1],
    symbols: [u16; SYMBOLS],
}

static CODES: Codes = build();

const fn build() -> Codes {
    let nothing = Row {
        first_code: 0,
        count: 0,
        offset: 0,
    };
    let mut rows = [nothing; MAX_CODE_LEN + 1];
    let mut symbols = [0_u16; SYMBOLS];
    let (mut code, mut filled, mut len) = (0_u32, 0_usize, 1_usize);
    while len <= MAX_CODE_LEN {
        code <<= 1;
        rows[len].first_code = code;
        rows[len].offset = filled;
        let mut symbol = 0_u16;
        while (symbol as usize) < SYMBOLS {
            if LENGTHS[symbol as usize] as usize == len {
                symbols[filled] = symbol;
                filled += 1;
                code += 1;
                rows[len].count += 1;
            }
            symbol += 1;
        }
        len += 1;
    }
    Codes { rows, symbols }
}

/// Code lengths in bits by symbol; the last is the end of a string.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];
