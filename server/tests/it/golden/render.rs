//! JSON that a person can read and compare: what fits on a line of 120 columns stays on one line.

use serde_json::Value;

const WIDTH: usize = 120;

/// The value as text; lines after the first begin with `indent`.
pub(crate) fn render(value: &Value, indent: &str) -> String {
    let one_line = value.to_string();
    if one_line.len() + indent.len() <= WIDTH {
        return one_line;
    }
    let inner = format!("{indent}  ");
    let (open, items, close) = match value {
        Value::Object(fields) => {
            let fields: Vec<_> = fields
                .iter()
                .map(|(name, value)| {
                    format!(
                        "{inner}{}: {}",
                        Value::from(name.as_str()),
                        render(value, &inner)
                    )
                })
                .collect();
            ('{', fields, '}')
        }
        Value::Array(items) => {
            let items: Vec<_> = items
                .iter()
                .map(|item| format!("{inner}{}", render(item, &inner)))
                .collect();
            ('[', items, ']')
        }
        _ => return one_line,
    };
    format!("{open}\n{}\n{indent}{close}", items.join(",\n"))
}

#[test]
fn what_does_not_fit_is_broken_into_lines() {
    let long = "x".repeat(120);
    let value = serde_json::json!({"b": [long], "a": {"c": 1}});
    assert_eq!(
        render(&value, "  "),
        format!("{{\n    \"a\": {{\"c\":1}},\n    \"b\": [\n      \"{long}\"\n    ]\n  }}")
    );
}
