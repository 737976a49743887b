//! `print` and its kin.

use std::iter::Peekable;
use std::str::Chars;

use super::{Arguments, Table, Value, text_of};

pub(super) const TABLE: Table = &[
    ("print", |of| Ok(print(of.all()).into())),
    ("printf", |of| {
        let (format, values) = of.first_and_rest()?;
        printf(text_of(format)?, values).map(Into::into)
    }),
    ("println", |of| {
        let texts: Vec<String> = of.all().iter().map(ToString::to_string).collect();
        Ok((texts.join(" ") + "\n").into())
    }),
    ("quote", |of| {
        Ok(quoted(of, |text| format!("{text:?}")).into())
    }),
    ("squote", |of| {
        Ok(quoted(of, |text| format!("'{text}'")).into())
    }),
    ("toString", |of| {
        Ok(of.exactly::<1>()?[0].to_string().into())
    }),
];

/// As Go prints: a blank between two values of which neither is a text.
fn print(values: &[Value]) -> String {
    let mut text = String::new();
    let mut before: Option<&Value> = None;
    for value in values {
        let is_text = |value: &Value| matches!(value, Value::Text(_));
        if before.is_some_and(|before| !is_text(before) && !is_text(value)) {
            text.push(' ');
        }
        text.push_str(&value.to_string());
        before = Some(value);
    }
    text
}

fn quoted(of: &Arguments<'_>, quote: impl Fn(&str) -> String) -> String {
    let values = of.all().iter().filter(|value| !matches!(value, Value::Nil));
    let texts: Vec<String> = values.map(|value| quote(&value.to_string())).collect();
    texts.join(" ")
}

/// How one value is to be written.
#[derive(Default)]
struct Shape {
    to_the_left: bool,
    with_zeros: bool,
    width: usize,
    precision: Option<usize>,
}

fn printf(format: &str, values: &[Value]) -> Result<String, String> {
    let mut text = String::new();
    let mut values = values.iter();
    let mut characters = format.chars().peekable();
    while let Some(character) = characters.next() {
        if character != '%' {
            text.push(character);
            continue;
        }
        let shape = Shape::read(&mut characters);
        let verb = characters.next().ok_or("format ends after %")?;
        if verb == '%' {
            text.push('%');
            continue;
        }
        let value = values
            .next()
            .ok_or_else(|| format!("no value for %{verb}"))?;
        let written = written(verb, value, shape.precision)?;
        shape.push(&mut text, &written);
    }
    match values.next() {
        None => Ok(text),
        Some(_) => Err("more values than verbs".to_owned()),
    }
}

fn written(verb: char, value: &Value, precision: Option<usize>) -> Result<String, String> {
    let hex = |digits: &dyn Fn(u8) -> String| match value {
        Value::Text(text) => Ok(text.bytes().map(digits).collect()),
        other => Err(format!("%{verb} of {}", other.kind())),
    };
    Ok(match (verb, value) {
        ('v', value) => value.to_string(),
        ('s', Value::Text(_) | Value::List(_) | Value::Map(_)) => {
            let text = value.to_string();
            match precision {
                Some(limit) => text.chars().take(limit).collect(),
                None => text,
            }
        }
        ('q', Value::Text(text)) => format!("{text:?}"),
        ('d', Value::Int(number)) => number.to_string(),
        ('x', Value::Int(number)) => format!("{number:x}"),
        ('X', Value::Int(number)) => format!("{number:X}"),
        ('t', Value::Bool(is_true)) => is_true.to_string(),
        ('x', _) => hex(&|byte| format!("{byte:02x}"))?,
        ('X', _) => hex(&|byte| format!("{byte:02X}"))?,
        (verb, other) => return Err(format!("%{verb} of {}", other.kind())),
    })
}

impl Shape {
    fn read(characters: &mut Peekable<Chars<'_>>) -> Self {
        let mut shape = Self::default();
        while let Some(flag) = characters.next_if(|next| matches!(next, '-' | '0')) {
            shape.to_the_left |= flag == '-';
            shape.with_zeros |= flag == '0';
        }
        shape.width = number(characters).unwrap_or(0);
        if characters.next_if_eq(&'.').is_some() {
            shape.precision = Some(number(characters).unwrap_or(0));
        }
        shape
    }

    fn push(&self, text: &mut String, written: &str) {
        let missing = self
            .width
            .min(MAX_WIDTH)
            .saturating_sub(written.chars().count());
        match (self.to_the_left, self.with_zeros) {
            (true, _) => {
                text.push_str(written);
                text.push_str(&" ".repeat(missing));
            }
            (false, true) => {
                text.push_str(&"0".repeat(missing));
                text.push_str(written);
            }
            (false, false) => {
                text.push_str(&" ".repeat(missing));
                text.push_str(written);
            }
        }
    }
}

const MAX_WIDTH: usize = 1000;

fn number(characters: &mut Peekable<Chars<'_>>) -> Option<usize> {
    let mut digits = String::new();
    while let Some(digit) = characters.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    digits.parse().ok()
}
