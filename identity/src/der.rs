//! Just enough DER to find the parts of a document whose exact bytes are needed.

/// One tag-length-value element.
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
}

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const BIT_STRING: u8 = 0x03;
pub(crate) const INTEGER: u8 = 0x02;

/// Splits the first element off `input`; `None` if it is cut short or not in DER.
pub(crate) fn split_first(input: &[u8]) -> Option<(Element<'_>, &[u8])> {
    let (&tag, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // Up to three bytes of length reach 16 MiB, more than any document that is accepted.
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let len = bytes
                .iter()
                .fold(0, |len, byte| len << 8 | usize::from(*byte));
            (len, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((Element { tag, content }, rest))
}

/// The content of the first element of `input`, if it has the given tag, and what follows it.
pub(crate) fn expect(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (element, rest) = split_first(input)?;
    (element.tag == tag).then_some((element.content, rest))
}

/// A positive INTEGER from its bytes, big-endian.
pub(crate) fn integer(bytes: &[u8]) -> Vec<u8> {
    let bytes = without_leading_zeros(bytes);
    // A first bit that is set would make it negative.
    let sign: &[u8] = match bytes.first() {
        Some(0..=0x7f) => &[],
        Some(_) | None => &[0],
    };
    encode(INTEGER, &[sign, bytes])
}

/// The digits that count of a big-endian number.
pub(crate) fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// One element made of `parts`.
pub(crate) fn encode(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let size = len.to_be_bytes();
    let zeros = size.iter().take_while(|byte| **byte == 0).count();
    let significant = &size[zeros..];
    let mut out = vec![tag];
    if len > 0x7f {
        // A usize has at most eight bytes.
        out.push(0x80 | u8::try_from(significant.len()).unwrap_or(8));
        out.extend_from_slice(significant);
    } else {
        out.push(size[size.len() - 1]);
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_every_length_survive() {
        for len in [0, 1, 127, 128, 255, 256, 65_535, 65_536, 100_000] {
            let content = vec![7; len];
            let element = encode(SEQUENCE, &[&content]);
            let encoded = [&element[..], &[9]].concat();
            assert_eq!(
                expect(SEQUENCE, &encoded),
                Some((&content[..], &[9][..])),
                "{len}"
            );
            assert_eq!(expect(BIT_STRING, &encoded), None);
            assert!(
                split_first(&encoded[..encoded.len() - 2]).is_none(),
                "{len}"
            );
        }
    }

    #[test]
    fn lengths_without_end_are_refused() {
        assert!(split_first(&[0x30, 0x80, 0, 0]).is_none());
        assert!(split_first(&[0x30, 0x84, 0, 0, 0, 0]).is_none());
        assert!(split_first(&[0x30]).is_none());
        assert!(split_first(&[]).is_none());
    }
}
