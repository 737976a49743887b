//! Decodes the labels of internationalised names (RFC 3492), to tell one that stands for nothing.

/// What follows `xn--` in a label, decoded.
///
/// `None` if it is not the Punycode of anything: a wrong character, or a code point that there is not.
pub(crate) fn decode(encoded: &str) -> Option<Vec<char>> {
    let (basic, extended) = encoded.rsplit_once('-').unwrap_or(("", encoded));
    let mut decoded: Vec<char> = basic.chars().collect();
    let (mut code_point, mut index, mut bias) = (INITIAL_CODE_POINT, 0_u32, INITIAL_BIAS);
    let mut digits = extended.bytes().map(digit);
    while let Some(first) = digits.next() {
        let before = index;
        let delta = delta(first?, &mut digits, bias)?;
        index = index.checked_add(delta)?;
        let len = u32::try_from(decoded.len()).ok()?.checked_add(1)?;
        bias = adapt(index - before, len, before == 0);
        code_point = code_point.checked_add(index / len)?;
        index %= len;
        decoded.insert(usize::try_from(index).ok()?, char::from_u32(code_point)?);
        index += 1;
    }
    Some(decoded)
}

/// A number of variable length, of which the first digit is read already (RFC 3492 §3.3).
fn delta(first: u32, rest: &mut impl Iterator<Item = Option<u32>>, bias: u32) -> Option<u32> {
    let (mut digit, mut value, mut weight, mut position) = (first, 0_u32, 1_u32, BASE);
    loop {
        value = value.checked_add(digit.checked_mul(weight)?)?;
        let threshold = position
            .saturating_sub(bias)
            .clamp(THRESHOLD_MIN, THRESHOLD_MAX);
        if digit < threshold {
            return Some(value);
        }
        weight = weight.checked_mul(BASE - threshold)?;
        position += BASE;
        digit = rest.next()??;
    }
}

/// The bias after a number (RFC 3492 §3.4).
fn adapt(delta: u32, len: u32, is_first: bool) -> u32 {
    let mut delta = if is_first { delta / DAMP } else { delta / 2 };
    delta += delta / len;
    let mut position = 0;
    while delta > ((BASE - THRESHOLD_MIN) * THRESHOLD_MAX) / 2 {
        delta /= BASE - THRESHOLD_MIN;
        position += BASE;
    }
    position + (BASE - THRESHOLD_MIN + 1) * delta / (delta + SKEW)
}

fn digit(byte: u8) -> Option<u32> {
    match byte {
        b'a'..=b'z' => Some(u32::from(byte - b'a')),
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 26),
        _ => None,
    }
}

// RFC 3492 §5.
const BASE: u32 = 36;
const THRESHOLD_MIN: u32 = 1;
const THRESHOLD_MAX: u32 = 26;
const SKEW: u32 = 38;
const DAMP: u32 = 700;
const INITIAL_BIAS: u32 = 72;
const INITIAL_CODE_POINT: u32 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_in_use_are_decoded() {
        for (encoded, expected) in [
            ("bcher-kva", "bücher"),
            ("mnchen-3ya", "münchen"),
            ("fiqs8s", "中国"),
            ("e1afmkfd", "пример"),
            ("egbpdaj6bu4bxfgehfvwxn", "ليهمابتكلموشعربي؟"),
            ("ihqwcrb4cv8a8dqg056pqjye", "他们为什么不说中文"),
        ] {
            let decoded = decode(encoded).map(String::from_iter);
            assert_eq!(decoded.as_deref(), Some(expected), "{encoded}");
        }
    }

    #[test]
    fn what_is_no_punycode_is_refused() {
        for encoded in [
            "a b",
            "bcher-kv_",
            "99999999",
            "b",
            "bcher-k",
            "zzzzzzzzzzzz",
        ] {
            assert_eq!(decode(encoded), None, "{encoded}");
        }
    }

    #[test]
    fn decoding_ends_for_every_short_text() {
        const DIGITS: &[u8] = b"az09-";
        let mut texts = vec![String::new()];
        for _ in 0..6 {
            let longer = texts.iter().flat_map(|text| {
                DIGITS
                    .iter()
                    .map(move |digit| format!("{text}{}", char::from(*digit)))
            });
            texts = longer.collect();
            for text in &texts {
                let decoded = decode(text);
                assert!(
                    decoded.is_none_or(|decoded| decoded.len() <= text.len()),
                    "{text}"
                );
            }
        }
    }
}
