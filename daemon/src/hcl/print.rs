//! A tree back into HCL, for programs that read their part of a config themselves.

use std::fmt::Write as _;

use super::{Item, Key, Object, Value};

impl Object {
    /// What stands in this object as HCL, without braces around it; empty if nothing does.
    ///
    /// Read again, it is the same but for comments, order within a line and the notation of strings.
    #[must_use]
    pub fn to_hcl(&self) -> String {
        let mut text = String::new();
        print_items(&mut text, &self.items, 0);
        text
    }
}

fn print_items(text: &mut String, items: &[Item], depth: usize) {
    for item in items {
        indent(text, depth);
        for Key { name, .. } in &item.keys {
            print_key(text, name);
            text.push(' ');
        }
        // A block and the assignment of an object are the same.
        if !matches!(item.value, Value::Object(_)) {
            text.push_str("= ");
        }
        print_value(text, &item.value, depth);
        text.push('\n');
    }
}

fn print_value(text: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Number(number) => text.push_str(number),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::String(string) => print_string(text, string),
        Value::List(values) => {
            text.push('[');
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    text.push_str(", ");
                }
                print_value(text, value, depth);
            }
            text.push(']');
        }
        Value::Object(object) if object.items.is_empty() => text.push_str("{}"),
        Value::Object(object) => {
            text.push_str("{\n");
            print_items(text, &object.items, depth + 1);
            indent(text, depth);
            text.push('}');
        }
    }
}

fn print_key(text: &mut String, name: &str) {
    let mut characters = name.chars();
    let starts_well = characters
        .next()
        .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    let is_identifier =
        starts_well && characters.all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'));
    // Written bare, these would be values.
    match is_identifier && !matches!(name, "true" | "false") {
        true => text.push_str(name),
        false => print_string(text, name),
    }
}

fn print_string(text: &mut String, string: &str) {
    text.push('"');
    let mut characters = string.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            // Within `${…}` escapes would mean nothing, and the string might not end.
            '$' if characters.peek() == Some(&'{') => text.push_str("\\x24"),
            c if c.is_control() => {
                write!(text, "\\u{:04x}", u32::from(c)).expect("a String takes every write");
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

fn indent(text: &mut String, depth: usize) {
    for _ in 0..depth {
        text.push_str("  ");
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    /// The tree without lines, which printing does not keep.
    fn tree(object: &Object) -> String {
        let text = format!("{object:?}");
        text.split("line: ")
            .map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()))
            .collect()
    }

    #[test]
    fn what_is_printed_reads_as_what_was_there() {
        let text = r#"
            a = 1
            b = "quote \" backslash \\ line \n tab \t bell \a"
            c = [1, "two", true, { d = 0x1F }]
            "odd key" = -1.5e3
            block "label" "two words" { inner { empty {} } list = [] }
            interpolated = "${file("x")} and $$"
            heredoc = <<-END
              first ${ "
              second
              END
            "true" = false
        "#;
        let object = parse(text).unwrap();
        let printed = object.to_hcl();
        assert_eq!(tree(&parse(&printed).unwrap()), tree(&object), "{printed}");
        assert!(
            printed.contains(r#"interpolated = "\x24{file(\"x\")} and $$""#),
            "{printed}"
        );
    }

    #[test]
    fn nothing_prints_as_nothing() {
        assert_eq!(Object::default().to_hcl(), "");
    }
}
