//! The Distinguished Encoding Rules (X.690 §10), as far as certificates need them: a writer that
//! signing is built on and a reader that checks what the writer made.
//!
//! Only definite, minimal lengths below 2^24 and single-byte tags are written and accepted.

use identity::clock::UnixTime;

/// BOOLEAN.
pub(super) const BOOLEAN: u8 = 0x01;
/// INTEGER.
pub(super) const INTEGER: u8 = 0x02;
/// BIT STRING.
pub(super) const BIT_STRING: u8 = 0x03;
/// OCTET STRING.
pub(super) const OCTET_STRING: u8 = 0x04;
/// OBJECT IDENTIFIER.
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
/// UTF8String.
pub(super) const UTF8_STRING: u8 = 0x0c;
/// PrintableString.
pub(super) const PRINTABLE_STRING: u8 = 0x13;
/// UTCTime.
pub(super) const UTC_TIME: u8 = 0x17;
/// GeneralizedTime.
pub(super) const GENERALIZED_TIME: u8 = 0x18;
/// SEQUENCE and SEQUENCE OF.
pub(super) const SEQUENCE: u8 = 0x30;
/// SET and SET OF.
pub(super) const SET: u8 = 0x31;

/// Context-specific tag `[number]`, primitive.
pub(super) const fn context(number: u8) -> u8 {
    0x80 | number
}

/// Context-specific tag `[number]`, constructed.
pub(super) const fn context_constructed(number: u8) -> u8 {
    0xa0 | number
}

/// Appends elements to a buffer.
#[derive(Debug, Default)]
pub(super) struct DerWriter(Vec<u8>);

impl DerWriter {
    /// An empty writer with room for `capacity` bytes.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// The bytes written.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Appends bytes that are already encoded.
    pub(super) fn raw(&mut self, encoded: &[u8]) {
        self.0.extend_from_slice(encoded);
    }

    /// Appends one element with the given content.
    pub(super) fn element(&mut self, tag: u8, content: &[u8]) {
        self.nested(tag, |writer| writer.raw(content));
    }

    /// Appends one element whose content `body` writes.
    pub(super) fn nested(&mut self, tag: u8, body: impl FnOnce(&mut Self)) {
        self.0.push(tag);
        self.0.push(0);
        let start = self.0.len();
        body(self);
        let length = u32::try_from(self.0.len() - start).expect("certificates are far below 4 GiB");
        let [_, high, middle, low] = length.to_be_bytes();
        let (first, more): (u8, &[u8]) = match length {
            0..=0x7f => (low, &[]),
            0x80..=0xff => (0x81, &[low]),
            0x100..=0xffff => (0x82, &[middle, low]),
            _ => (0x83, &[high, middle, low]),
        };
        self.0[start - 1] = first;
        self.0.splice(start..start, more.iter().copied());
    }

    /// Appends a non-negative INTEGER given big-endian.
    pub(super) fn unsigned_integer(&mut self, big_endian: &[u8]) {
        let significant = big_endian
            .iter()
            .position(|byte| *byte != 0)
            .map_or(&[0][..], |at| &big_endian[at..]);
        self.nested(INTEGER, |writer| {
            if significant[0] & 0x80 != 0 {
                writer.0.push(0);
            }
            writer.raw(significant);
        });
    }

    /// Appends a BIT STRING of whole bytes.
    pub(super) fn bit_string(&mut self, bytes: &[u8]) {
        self.nested(BIT_STRING, |writer| {
            writer.0.push(0);
            writer.raw(bytes);
        });
    }

    /// Appends a Time: UTCTime up to 2049, GeneralizedTime from 2050 (RFC 5280 §4.1.2.5).
    ///
    /// An instant that no certificate can express becomes the last one that it can.
    pub(super) fn time(&mut self, instant: UnixTime) {
        let instant =
            time::OffsetDateTime::from_unix_timestamp(instant.as_secs().clamp(0, LAST_INSTANT_S))
                .expect("clamped to years 1970 to 9999");
        let year = instant.year().unsigned_abs();
        let rest = [
            u8::from(instant.month()),
            instant.day(),
            instant.hour(),
            instant.minute(),
            instant.second(),
        ];
        let century = [two_digits(year / 100), two_digits(year % 100)];
        let (tag, years) = if year < 2050 {
            (UTC_TIME, &century[1..])
        } else {
            (GENERALIZED_TIME, &century[..])
        };
        self.nested(tag, |writer| {
            for digits in years {
                writer.raw(digits);
            }
            for part in rest {
                writer.raw(&two_digits(u32::from(part)));
            }
            writer.0.push(b'Z');
        });
    }
}

/// Reads the elements of one level, in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct DerReader<'a>(&'a [u8]);

/// One element.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Element<'a> {
    /// Tag byte.
    pub(super) tag: u8,
    /// Content without tag and length.
    pub(super) content: &'a [u8],
    /// The element as it stands, tag and length included.
    pub(super) whole: &'a [u8],
}

/// The bytes are not the DER that was expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("malformed or unexpected DER element")]
pub(super) struct DerError;

impl<'a> DerReader<'a> {
    /// Reads the elements in `bytes`.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether every element has been read.
    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The tag of the next element, if there is one.
    pub(super) fn peek(self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element, whatever it is.
    pub(super) fn element(&mut self) -> Result<Element<'a>, DerError> {
        let [tag, first, ..] = *self.0 else {
            return Err(DerError);
        };
        let (header, length) = match first {
            0..=0x7f => (2, usize::from(first)),
            0x81..=0x83 => {
                let count = usize::from(first - 0x80);
                let bytes = self.0.get(2..2 + count).ok_or(DerError)?;
                let length = bytes
                    .iter()
                    .fold(0, |length, byte| (length << 8) | usize::from(*byte));
                if length < 0x80 || bytes[0] == 0 {
                    return Err(DerError);
                }
                (2 + count, length)
            }
            _ => return Err(DerError),
        };
        let whole = self.0.get(..header + length).ok_or(DerError)?;
        self.0 = &self.0[header + length..];
        Ok(Element {
            tag,
            content: &whole[header..],
            whole,
        })
    }

    /// The content of the next element, which must carry `tag`.
    pub(super) fn expect(&mut self, tag: u8) -> Result<&'a [u8], DerError> {
        let element = self.element()?;
        if element.tag == tag {
            Ok(element.content)
        } else {
            Err(DerError)
        }
    }

    /// The next element as a Time: UTCTime counted from 1950, or GeneralizedTime, both in whole
    /// seconds of UTC (RFC 5280 §4.1.2.5).
    pub(super) fn time(&mut self) -> Result<UnixTime, DerError> {
        let element = self.element()?;
        let (year, rest) = match (element.tag, element.content.len()) {
            (UTC_TIME, 13) => {
                let year = number(&element.content[..2])?;
                (
                    if year < 50 { 2000 + year } else { 1900 + year },
                    &element.content[2..],
                )
            }
            (GENERALIZED_TIME, 15) => (number(&element.content[..4])?, &element.content[4..]),
            _ => return Err(DerError),
        };
        let mut part = [0; 5];
        for (value, digits) in part.iter_mut().zip(rest.chunks(2)) {
            *value = u8::try_from(number(digits)?).ok().ok_or(DerError)?;
        }
        let [month, day, hour, minute, second] = part;
        let instant = time::Month::try_from(month)
            .and_then(|month| time::Date::from_calendar_date(year, month, day))
            .and_then(|date| date.with_hms(hour, minute, second));
        match (instant, rest[10]) {
            (Ok(instant), b'Z') => Ok(UnixTime::from_secs(instant.assume_utc().unix_timestamp())),
            _ => Err(DerError),
        }
    }

    /// A reader of what is inside the next element, which must carry `tag`.
    pub(super) fn enter(&mut self, tag: u8) -> Result<Self, DerError> {
        self.expect(tag).map(Self)
    }
}

/// 9999-12-31 23:59:59 UTC, the last instant of GeneralizedTime.
const LAST_INSTANT_S: i64 = 253_402_300_799;

fn number(digits: &[u8]) -> Result<i32, DerError> {
    digits.iter().try_fold(0, |value, digit| {
        if digit.is_ascii_digit() {
            Ok(value * 10 + i32::from(digit - b'0'))
        } else {
            Err(DerError)
        }
    })
}

fn two_digits(value: u32) -> [u8; 2] {
    let digit = |value: u32| b'0' + u8::try_from(value % 10).expect("a digit");
    [digit(value / 10), digit(value)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(body: impl FnOnce(&mut DerWriter)) -> Vec<u8> {
        let mut writer = DerWriter::default();
        body(&mut writer);
        writer.into_bytes()
    }

    #[test]
    fn lengths_take_the_shortest_form_and_are_read_back() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
            let content = vec![7; length];
            let bytes = written(|writer| writer.element(OCTET_STRING, &content));
            let header = match length {
                0..=0x7f => 2,
                0x80..=0xff => 3,
                0x100..=0xffff => 4,
                _ => 5,
            };
            assert_eq!(bytes.len(), header + length);
            let mut reader = DerReader::new(&bytes);
            assert_eq!(reader.expect(OCTET_STRING), Ok(&content[..]));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn integers_are_positive_and_minimal() {
        for (value, encoded) in [
            (&[0, 0][..], &[INTEGER, 1, 0][..]),
            (&[0, 0x7f], &[INTEGER, 1, 0x7f]),
            (&[0x80], &[INTEGER, 2, 0, 0x80]),
            (&[0, 1, 0], &[INTEGER, 2, 1, 0]),
        ] {
            assert_eq!(written(|writer| writer.unsigned_integer(value)), encoded);
        }
    }

    #[test]
    fn times_change_form_in_2050_and_end_in_9999() {
        for (seconds, tag, text) in [
            (0, UTC_TIME, "700101000000Z"),
            (1_700_000_001, UTC_TIME, "231114221321Z"),
            (2_524_607_999, UTC_TIME, "491231235959Z"),
            (2_524_608_000, GENERALIZED_TIME, "20500101000000Z"),
            (i64::MAX, GENERALIZED_TIME, "99991231235959Z"),
        ] {
            let bytes = written(|writer| writer.time(UnixTime::from_secs(seconds)));
            assert_eq!(DerReader::new(&bytes).expect(tag), Ok(text.as_bytes()));
            assert_eq!(
                DerReader::new(&bytes).time(),
                Ok(UnixTime::from_secs(seconds.min(LAST_INSTANT_S)))
            );
        }
    }

    #[test]
    fn truncated_and_non_minimal_elements_are_refused() {
        for bytes in [
            &[][..],
            &[SEQUENCE],
            &[SEQUENCE, 1],
            &[SEQUENCE, 0x80, 0, 0],
            &[SEQUENCE, 0x81, 0x7f],
            &[SEQUENCE, 0x82, 0, 0x80],
            &[SEQUENCE, 0x84, 0, 0, 0, 1, 0],
        ] {
            assert_eq!(
                DerReader::new(bytes).element(),
                Err(DerError),
                "{bytes:02x?}"
            );
        }
    }
}
