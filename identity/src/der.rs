//! Just enough DER to find the parts of a document whose exact bytes are needed.

/// One tag-length-value element.
pub(crate) struct Element<'a> {
    pub(crate) tag: u8,
    pub(crate) content: &'a [u8],
}

pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const BIT_STRING: u8 = 0x03;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_of_every_length_are_split_off() {
        for len in [0, 1, 127, 128, 255, 256, 65_535, 65_536, 100_000] {
            let content = vec![7; len];
            let size = u32::try_from(len).unwrap().to_be_bytes();
            let header = match len {
                0..=127 => vec![SEQUENCE, size[3]],
                128..=255 => vec![SEQUENCE, 0x81, size[3]],
                256..=65_535 => vec![SEQUENCE, 0x82, size[2], size[3]],
                _ => vec![SEQUENCE, 0x83, size[1], size[2], size[3]],
            };
            let encoded = [&header[..], &content, &[9]].concat();
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
