//! Truth, order and choice.

use std::cmp::Ordering;

use super::{Arguments, Table, Value, wrong};

pub(super) const TABLE: Table = &[
    ("all", |of| Ok(of.all().iter().all(Value::is_truth).into())),
    ("any", |of| Ok(of.all().iter().any(Value::is_truth).into())),
    ("coalesce", |of| {
        let first = of.all().iter().find(|value| value.is_truth());
        Ok(first.cloned().unwrap_or(Value::Nil))
    }),
    ("default", default),
    ("empty", |of| Ok((!of.exactly::<1>()?[0].is_truth()).into())),
    ("eq", |of| {
        let (first, rest) = of.first_and_rest()?;
        match rest {
            [] => Err("missing argument for comparison".to_owned()),
            others => {
                for other in others {
                    if same_kind(first, other)? && first == other {
                        return Ok(true.into());
                    }
                }
                Ok(false.into())
            }
        }
    }),
    ("fail", |of| Err(of.text()?.to_owned())),
    ("ge", |of| Ok((order(of)? != Ordering::Less).into())),
    ("gt", |of| Ok((order(of)? == Ordering::Greater).into())),
    ("le", |of| Ok((order(of)? != Ordering::Greater).into())),
    ("lt", |of| Ok((order(of)? == Ordering::Less).into())),
    ("ne", |of| {
        let [one, two] = of.exactly()?;
        Ok((!same_kind(one, two)? || one != two).into())
    }),
    ("not", |of| Ok((!of.exactly::<1>()?[0].is_truth()).into())),
    ("ternary", |of| {
        let [if_true, if_false, condition] = of.exactly()?;
        match condition {
            Value::Bool(true) => Ok(if_true.clone()),
            Value::Bool(false) => Ok(if_false.clone()),
            other => Err(wrong(other, "bool")),
        }
    }),
];

/// The second argument if it is true, and the first if it is not or is not there.
fn default(of: &Arguments<'_>) -> Result<Value, String> {
    let (default, given) = of.first_and_rest()?;
    let given = given.first().filter(|value| value.is_truth());
    Ok(given.unwrap_or(default).clone())
}

fn same_kind(one: &Value, two: &Value) -> Result<bool, String> {
    let is_basic = |value: &Value| !matches!(value, Value::List(_) | Value::Map(_));
    if !is_basic(one) || !is_basic(two) {
        return Err("non-comparable type".to_owned());
    }
    let has_nil = matches!(one, Value::Nil) || matches!(two, Value::Nil);
    match one.kind() == two.kind() || has_nil {
        true => Ok(one.kind() == two.kind()),
        false => Err("incompatible types for comparison".to_owned()),
    }
}

fn order(of: &Arguments<'_>) -> Result<Ordering, String> {
    match of.exactly()? {
        [Value::Int(one), Value::Int(two)] => Ok(one.cmp(two)),
        [Value::Text(one), Value::Text(two)] => Ok(one.cmp(two)),
        [_, _] => Err("incompatible types for comparison".to_owned()),
    }
}
