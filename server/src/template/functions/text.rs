//! Texts.

use super::{Arguments, Table, Value, check_len, count_of, int_of, text_of};

pub(super) const TABLE: Table = &[
    ("cat", |of| {
        let values = of.all().iter().filter(|value| !matches!(value, Value::Nil));
        let texts: Vec<String> = values.map(ToString::to_string).collect();
        Ok(texts.join(" ").into())
    }),
    // What is looked for comes first in all of these, so that the text can be piped in.
    ("contains", |of| {
        let (part, text) = of.two_texts()?;
        Ok(text.contains(part).into())
    }),
    ("hasPrefix", |of| {
        let (prefix, text) = of.two_texts()?;
        Ok(text.starts_with(prefix).into())
    }),
    ("hasSuffix", |of| {
        let (suffix, text) = of.two_texts()?;
        Ok(text.ends_with(suffix).into())
    }),
    ("initials", |of| {
        let words = of.text()?.split_whitespace();
        Ok(words
            .filter_map(|word| word.chars().next())
            .collect::<String>()
            .into())
    }),
    ("lower", |of| Ok(of.text()?.to_lowercase().into())),
    ("nospace", |of| {
        let text = of.text()?.chars();
        Ok(text
            .filter(|one| !one.is_whitespace())
            .collect::<String>()
            .into())
    }),
    ("repeat", |of| {
        let [count, text] = of.exactly()?;
        let (count, text) = (count_of(count)?, text_of(text)?);
        check_len(count.saturating_mul(text.len()))?;
        Ok(text.repeat(count).into())
    }),
    ("replace", |of| {
        let [old, new, text] = of.exactly()?;
        let (old, new, text) = (text_of(old)?, text_of(new)?, text_of(text)?);
        check_len(text.matches(old).count().saturating_mul(new.len()))?;
        Ok(text.replace(old, new).into())
    }),
    ("splitList", |of| {
        let (separator, text) = of.two_texts()?;
        Ok(Value::list(text.split(separator)))
    }),
    ("substr", substring),
    ("swapcase", |of| {
        Ok(of
            .text()?
            .chars()
            .flat_map(swapped)
            .collect::<String>()
            .into())
    }),
    ("title", |of| {
        Ok(title(of.text()?, char::to_uppercase).into())
    }),
    ("trim", |of| Ok(of.text()?.trim().into())),
    ("trimAll", |of| {
        let (unwanted, text) = of.two_texts()?;
        Ok(text.trim_matches(|one| unwanted.contains(one)).into())
    }),
    ("trimPrefix", |of| {
        let (prefix, text) = of.two_texts()?;
        Ok(text.strip_prefix(prefix).unwrap_or(text).into())
    }),
    ("trimSuffix", |of| {
        let (suffix, text) = of.two_texts()?;
        Ok(text.strip_suffix(suffix).unwrap_or(text).into())
    }),
    ("trunc", truncated),
    ("untitle", |of| {
        Ok(title(of.text()?, char::to_lowercase).into())
    }),
    ("upper", |of| Ok(of.text()?.to_uppercase().into())),
];

/// The first so many characters, or the last if the number is negative. sprig counts bytes, which
/// would tear characters apart; in what a path may hold it is the same.
fn truncated(of: &Arguments<'_>) -> Result<Value, String> {
    let [count, text] = of.exactly()?;
    let (count, text) = (int_of(count)?, text_of(text)?);
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let skipped = match count < 0 {
        true => text.chars().count().saturating_sub(wanted),
        false => 0,
    };
    Ok(text
        .chars()
        .skip(skipped)
        .take(wanted)
        .collect::<String>()
        .into())
}

/// From one place up to before another. A negative start is the beginning, a negative end the end.
fn substring(of: &Arguments<'_>) -> Result<Value, String> {
    let [start, end, text] = of.exactly()?;
    let (start, text) = (count_of(start)?, text_of(text)?);
    let end = usize::try_from(int_of(end)?).unwrap_or(usize::MAX);
    let part = text.chars().take(end).skip(start);
    Ok(part.collect::<String>().into())
}

fn swapped(character: char) -> Vec<char> {
    match character.is_uppercase() {
        true => character.to_lowercase().collect(),
        false => character.to_uppercase().collect(),
    }
}

/// Each word with another first letter.
fn title<I: Iterator<Item = char>>(text: &str, first: impl Fn(char) -> I) -> String {
    let mut changed = String::with_capacity(text.len());
    let mut begins = true;
    for character in text.chars() {
        match begins && character.is_alphabetic() {
            true => changed.extend(first(character)),
            false => changed.push(character),
        }
        begins = !(character.is_alphanumeric() || character == '_' || character == '\'');
    }
    changed
}
