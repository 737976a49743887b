//! The usage text of a flag set, laid out as Go's `PrintDefaults` lays it out.

use super::{Flag, FlagSet, Value};
use crate::duration;

/// `Usage of NAME:` and one block a flag, sorted by name.
pub(super) fn render(set: &FlagSet) -> String {
    let mut text = format!("Usage of {}:\n", set.name);
    for (name, flag) in &set.flags {
        render_flag(&mut text, name, flag);
    }
    text
}

fn render_flag(text: &mut String, name: &str, flag: &Flag) {
    let (argument, help) = argument_and_help(flag);
    let mut line = format!("  -{name}");
    if !argument.is_empty() {
        line.push(' ');
        line.push_str(&argument);
    }
    // A one-letter switch leaves room for its help on the same line.
    line.push_str(if line.len() <= 4 { "\t" } else { "\n    \t" });
    line.push_str(&help.replace('\n', "\n    \t"));
    line.push_str(&default_note(&flag.value));
    line.push('\n');
    text.push_str(&line);
}

/// A word in back quotes names the argument, otherwise its type does.
fn argument_and_help(flag: &Flag) -> (String, String) {
    if let Some((before, rest)) = flag.help.split_once('`')
        && let Some((word, after)) = rest.split_once('`')
    {
        return (word.to_owned(), format!("{before}{word}{after}"));
    }
    let argument = match flag.value {
        Value::Bool(_) => "",
        Value::Integer(_) => "int",
        Value::Text(_) => "string",
        Value::Duration(_) => "duration",
        Value::Checked { .. } | Value::List { .. } => "value",
    };
    (argument.to_owned(), flag.help.to_owned())
}

fn default_note(value: &Value) -> String {
    match value {
        Value::Integer(default) if *default != 0 => format!(" (default {default})"),
        Value::Text(default) if !default.is_empty() => format!(" (default {default:?})"),
        Value::Duration(default) if !default.is_zero() => {
            format!(" (default {})", duration::format_go(*default))
        }
        Value::Checked { text, .. } if !text.is_empty() => format!(" (default {text})"),
        // Off unless given.
        Value::Bool(_)
        | Value::Integer(_)
        | Value::Text(_)
        | Value::Duration(_)
        | Value::Checked { .. }
        | Value::List { .. } => String::new(),
    }
}
