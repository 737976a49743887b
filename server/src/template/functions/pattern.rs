//! Regular expressions. They are matched in linear time, so an agent's names cannot slow them.

use regex::{Regex, RegexBuilder, Replacer};

use super::{Arguments, Table, Value, check_len, int_of, text_of};

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
    let [_, _, replacement] = of.exactly()?;
    replaced(of, text_of(replacement)?)
}

fn replace_all_literal(of: &Arguments<'_>) -> Result<Value, String> {
    let [_, _, replacement] = of.exactly()?;
    replaced(of, regex::NoExpand(text_of(replacement)?))
}

/// The text with every match replaced; what has grown too long on the way is not finished.
fn replaced(of: &Arguments<'_>, mut replacement: impl Replacer) -> Result<Value, String> {
    let [pattern, text, _] = of.exactly()?;
    let (pattern, text) = (compiled(text_of(pattern)?)?, text_of(text)?);
    let (mut made, mut taken) = (String::new(), 0);
    for found in pattern.captures_iter(text) {
        let whole = found.get(0).map_or(taken..taken, |whole| whole.range());
        made.push_str(&text[taken..whole.start]);
        replacement.replace_append(&found, &mut made);
        check_len(made.len())?;
        taken = whole.end;
    }
    made.push_str(&text[taken..]);
    Ok(made.into())
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

const MAX_PROGRAM_LEN_BYTES: usize = 256 << 10;
