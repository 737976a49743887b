//! Lists.

use std::collections::HashSet;

use super::{Arguments, Table, Value, check_len, count_of, int_of, list_of, wrong};

pub(super) const TABLE: Table = &[
    ("append", append),
    ("compact", compact),
    ("concat", |of| {
        let mut values = Vec::new();
        for list in of.all() {
            values.extend_from_slice(list_of(list)?);
        }
        Ok(Value::List(values))
    }),
    ("first", |of| end_of(of, <[Value]>::first)),
    ("has", has),
    ("index", index),
    ("initial", |of| part_of(of, <[Value]>::split_last)),
    ("join", |of| {
        let [separator, values] = of.exactly()?;
        let texts: Vec<String> = match values {
            Value::List(values) => values.iter().map(ToString::to_string).collect(),
            other => vec![other.to_string()],
        };
        let separator = separator.to_string();
        let len: usize = texts.iter().map(|text| text.len() + separator.len()).sum();
        check_len(len.saturating_sub(separator.len()))?;
        Ok(texts.join(&separator).into())
    }),
    ("last", |of| end_of(of, <[Value]>::last)),
    ("len", |of| {
        let len = match &of.exactly::<1>()?[0] {
            Value::Text(text) => text.len(),
            Value::List(values) => values.len(),
            Value::Map(values) => values.len(),
            other => return Err(format!("len of type {}", other.kind())),
        };
        i64::try_from(len)
            .map(Value::Int)
            .map_err(|error| error.to_string())
    }),
    ("list", |of| Ok(Value::List(of.all().to_vec()))),
    ("mustAppend", append),
    ("mustCompact", compact),
    ("mustFirst", |of| end_of(of, <[Value]>::first)),
    ("mustHas", has),
    ("mustInitial", |of| part_of(of, <[Value]>::split_last)),
    ("mustLast", |of| end_of(of, <[Value]>::last)),
    ("mustPrepend", prepend),
    ("mustPush", append),
    ("mustRest", |of| part_of(of, <[Value]>::split_first)),
    ("mustReverse", reverse),
    ("mustSlice", slice),
    ("mustUniq", unique),
    ("mustWithout", without),
    ("prepend", prepend),
    ("push", append),
    ("rest", |of| part_of(of, <[Value]>::split_first)),
    ("reverse", reverse),
    ("seq", sequence),
    ("slice", slice),
    ("sortAlpha", |of| {
        let mut texts: Vec<String> = match &of.exactly::<1>()?[0] {
            Value::List(values) => values.iter().map(ToString::to_string).collect(),
            other => vec![other.to_string()],
        };
        texts.sort_unstable();
        Ok(Value::list(texts))
    }),
    ("toStrings", |of| {
        let values = list_of(&of.exactly::<1>()?[0])?;
        Ok(Value::list(values.iter().map(ToString::to_string)))
    }),
    ("tuple", |of| Ok(Value::List(of.all().to_vec()))),
    ("uniq", unique),
    ("without", without),
];

fn append(of: &Arguments<'_>) -> Result<Value, String> {
    let [list, value] = of.exactly()?;
    let mut values = list_of(list)?.to_vec();
    values.push(value.clone());
    Ok(Value::List(values))
}

fn prepend(of: &Arguments<'_>) -> Result<Value, String> {
    let [list, value] = of.exactly()?;
    let mut values = vec![value.clone()];
    values.extend_from_slice(list_of(list)?);
    Ok(Value::List(values))
}

fn compact(of: &Arguments<'_>) -> Result<Value, String> {
    let values = list_of(&of.exactly::<1>()?[0])?.iter();
    Ok(Value::List(
        values.filter(|value| value.is_truth()).cloned().collect(),
    ))
}

fn reverse(of: &Arguments<'_>) -> Result<Value, String> {
    let values = list_of(&of.exactly::<1>()?[0])?;
    Ok(Value::List(values.iter().rev().cloned().collect()))
}

fn unique(of: &Arguments<'_>) -> Result<Value, String> {
    let mut seen = HashSet::new();
    let values = list_of(&of.exactly::<1>()?[0])?.iter();
    let kept = values.filter(|value| seen.insert(*value));
    Ok(Value::List(kept.cloned().collect()))
}

fn without(of: &Arguments<'_>) -> Result<Value, String> {
    let (list, unwanted) = of.first_and_rest()?;
    let values = list_of(list)?.iter();
    let kept = values.filter(|value| !unwanted.contains(value));
    Ok(Value::List(kept.cloned().collect()))
}

fn has(of: &Arguments<'_>) -> Result<Value, String> {
    let [wanted, list] = of.exactly()?;
    Ok(match list {
        Value::Nil => false.into(),
        list => list_of(list)?.contains(wanted).into(),
    })
}

/// One end of a list; nothing of an empty one.
fn end_of(
    of: &Arguments<'_>,
    end: impl for<'v> Fn(&'v [Value]) -> Option<&'v Value>,
) -> Result<Value, String> {
    let values = list_of(&of.exactly::<1>()?[0])?;
    Ok(end(values).cloned().unwrap_or(Value::Nil))
}

/// A list without one of its ends.
fn part_of(
    of: &Arguments<'_>,
    split: impl for<'v> Fn(&'v [Value]) -> Option<(&'v Value, &'v [Value])>,
) -> Result<Value, String> {
    let values = list_of(&of.exactly::<1>()?[0])?;
    Ok(split(values).map_or(Value::Nil, |(_, rest)| Value::List(rest.to_vec())))
}

/// Go's `index`: one place or name after the other.
fn index(of: &Arguments<'_>) -> Result<Value, String> {
    let (value, places) = of.first_and_rest()?;
    let mut value = value;
    for place in places {
        value = match (value, place) {
            (Value::List(values), Value::Int(at)) => {
                let found = usize::try_from(*at).ok().and_then(|at| values.get(at));
                found.ok_or_else(|| format!("index out of range: {at}"))?
            }
            (Value::Map(values), Value::Text(name)) => {
                let found = values.get(name);
                found.ok_or_else(|| format!("no entry for key {name:?}"))?
            }
            (other, _) => return Err(format!("can't index item of type {}", other.kind())),
        };
    }
    Ok(value.clone())
}

/// Part of a list, from one place up to before another.
fn slice(of: &Arguments<'_>) -> Result<Value, String> {
    let (list, bounds) = of.first_and_rest()?;
    let values = list_of(list)?;
    let start = bounds.first().map_or(Ok(0), count_of)?;
    let end = bounds.get(1).map_or(Ok(values.len()), count_of)?;
    let part = values.get(start..end);
    part.map(|part| Value::List(part.to_vec()))
        .ok_or_else(|| format!("slice bounds out of range [{start}:{end}]"))
}

/// As the program `seq`: its numbers with blanks between them.
fn sequence(of: &Arguments<'_>) -> Result<Value, String> {
    let numbers: Vec<i64> = of.all().iter().map(int_of).collect::<Result<_, _>>()?;
    let (start, step, end) = match numbers.as_slice() {
        [] => return Ok("".into()),
        [end] => (1, if *end < 1 { -1 } else { 1 }, *end),
        [start, end] => (*start, if end < start { -1 } else { 1 }, *end),
        [start, step, end] => (*start, *step, *end),
        _ => return Err(wrong(&Value::Nil, "up to three ints")),
    };
    let mut texts = Vec::new();
    let mut number = start;
    while step != 0 && ((step > 0 && number <= end) || (step < 0 && number >= end)) {
        if texts.len() >= MAX_SEQUENCE_LEN {
            return Err("too many numbers".to_owned());
        }
        texts.push(number.to_string());
        let Some(next) = number.checked_add(step) else {
            break;
        };
        number = next;
    }
    Ok(texts.join(" ").into())
}

const MAX_SEQUENCE_LEN: usize = 1000;
