//! Regular expressions. They are matched in linear time, so an agent's names cannot slow them.

use regex::{Regex, RegexBuilder};

use super::{Arguments, Table, Value, int_of, text_of};

pub(super) const TABLE: Table = &[
    ("mustRegexFind", find),
    ("mustRegexFindAll", find_all),
    ("mustRegexMatch", matches),
    ("mustRegexReplaceAll", replace_all),
    ("mustRegexReplaceAllLiteral", replace_all_literal),
    ("mustRegexSplit", split),
    ("regexFind", find),
    ("regexFindAll", find_all),
    ("regexMatch", matches),
    ("regexQuoteMeta", |of| Ok(regex::escape(of.text()?).into())),
    ("regexReplaceAll", replace_all),
    ("regexReplaceAllLiteral", replace_all_literal),
    ("regexSplit", split),
];

fn matches(of: &Arguments<'_>) -> Result<Value, String> {
    let (pattern, text) = of.two_texts()?;
    Ok(compiled(pattern)?.is_match(text).into())
}

fn find(of: &Arguments<'_>) -> Result<Value, String> {
    let (pattern, text) = of.two_texts()?;
    let found = compiled(pattern)?.find(text).map(|found| found.as_str());
    Ok(found.unwrap_or_default().into())
}

fn find_all(of: &Arguments<'_>) -> Result<Value, String> {
    let [pattern, text, limit] = of.exactly()?;
    let pattern = compiled(text_of(pattern)?)?;
    let limit = limit_of(limit)?;
    let found = pattern.find_iter(text_of(text)?).take(limit);
    Ok(Value::list(found.map(|found| found.as_str())))
}

fn replace_all(of: &Arguments<'_>) -> Result<Value, String> {
    let [pattern, text, replacement] = of.exactly()?;
    let pattern = compiled(text_of(pattern)?)?;
    let replaced = pattern.replace_all(text_of(text)?, text_of(replacement)?);
    Ok(replaced.into_owned().into())
}

fn replace_all_literal(of: &Arguments<'_>) -> Result<Value, String> {
    let [pattern, text, replacement] = of.exactly()?;
    let pattern = compiled(text_of(pattern)?)?;
    let replacement = regex::NoExpand(text_of(replacement)?);
    Ok(pattern
        .replace_all(text_of(text)?, replacement)
        .into_owned()
        .into())
}

fn split(of: &Arguments<'_>) -> Result<Value, String> {
    let [pattern, text, limit] = of.exactly()?;
    let pattern = compiled(text_of(pattern)?)?;
    let limit = limit_of(limit)?;
    Ok(Value::list(pattern.splitn(text_of(text)?, limit)))
}

/// How many at most; what is negative does not limit.
fn limit_of(value: &Value) -> Result<usize, String> {
    Ok(usize::try_from(int_of(value)?).unwrap_or(usize::MAX))
}

fn compiled(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern)
        .size_limit(MAX_PROGRAM_LEN_BYTES)
        .build();
    built.map_err(|error| error.to_string())
}

const MAX_PROGRAM_LEN_BYTES: usize = 1 << 20;
