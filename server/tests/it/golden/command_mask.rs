//! Replaces in a command's output what differs from run to run, and leaves out the sentences of help
//! texts, which are everyone's own.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::world::World;

/// In this order: a pattern and what stands for it.
const PATTERNS: [(&str, &str); 14] = [
    ("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<uuid>"),
    (
        "-----BEGIN ([A-Z ]+)-----[^-]*-----END [A-Z ]+-----",
        "<PEM $1>",
    ),
    (r"eyJ[\w-]+\.[\w-]+\.[\w-]+", "<jwt>"),
    (
        r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( [+-]\d{4} \w+|Z)?( m=\S+)?",
        "<time>",
    ),
    (r#""\d{10}""#, "\"<epoch>\""),
    (r"\b1[678]\d{8}\b", "<epoch>"),
    (r"\b\d+(\.\d+)?(ms|µs)\b|\b\d+\.\d+s\b", "<duration>"),
    (r"\b[0-9a-f]{40}\b", "<hex40>"),
    (r"\b\d{25,}\b", "<serial>"),
    (r#""[A-Za-z0-9+/_=-]{80,}""#, "\"<base64>\""),
    (
        r#"(Authority ID: |"authority_id":")[A-Za-z0-9]{32}\b"#,
        "$1<kid>",
    ),
    (
        r#"("kid": ?|"key_id": ?|"keyId": ?|key_id=)"?[A-Za-z0-9]{32}"?"#,
        "$1\"<kid>\"",
    ),
    (r#"("[xy]": ?)"[\w-]{43}""#, "$1\"<coordinate>\""),
    (r"(?m)^    \t.*\n?", ""),
];

static COMPILED: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
    PATTERNS
        .iter()
        .map(|(pattern, mask)| (compiled(pattern), *mask))
        .collect()
});

/// A command in a list of subcommands: its description is left out.
static SUBCOMMAND: LazyLock<Regex> = LazyLock::new(|| compiled(r"(?m)^(    [a-z0-9-]+)  +\S.*$"));

fn compiled(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant")
}

/// Masks the output of a command that ran in `world`, where `kept` values have names.
pub(crate) fn masked(world: &World, kept: &BTreeMap<String, String>, output: &str) -> String {
    let mut text = output.to_owned();
    for (name, value) in kept.iter().filter(|(_, value)| value.len() > 7) {
        text = text.replace(value, &format!("${{{name}}}"));
    }
    let directory = world.path("");
    text = text.replace(&*directory.to_string_lossy(), "${dir}");
    text = text.replace(&world.port.to_string(), "${port}");
    without_variation(&text)
}

fn without_variation(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, mask) in COMPILED.iter() {
        text = pattern
            .replace_all(&text, |found: &Captures<'_>| {
                mask.replace("$1", found.get(1).map_or("", |group| group.as_str()))
            })
            .into_owned();
    }
    SUBCOMMAND.replace_all(&text, "$1").into_owned()
}

#[cfg(test)]
mod tests {
    use super::without_variation;

    fn check(output: &str, expected: &str) {
        assert_eq!(without_variation(output), expected);
    }

    #[test]
    fn varying_words_are_told_by_kind() {
        check(
            "after 1.234567ms or 2.5s, not 30s",
            "after <duration> or <duration>, not 30s",
        );
        check("x 1700000000 y \"4102444800\"", "x <epoch> y \"<epoch>\"");
        check("at 2026-01-02 03:04:05 +0000 UTC.", "at <time>.");
        check("at 2026-01-02T03:04:05Z", "at <time>");
        check(
            "\"kid\": \"abcdefghijklmnopqrstuvwxyz012345\"",
            "\"kid\": \"<kid>\"",
        );
        check(
            "-----BEGIN EC KEY-----\nab\n-----END EC KEY-----\n",
            "<PEM EC KEY>\n",
        );
    }

    #[test]
    fn sentences_of_help_are_left_out() {
        check(
            "  -admin\n    \tif set, something\n  -dns value\n",
            "  -admin\n  -dns value\n",
        );
        check("    create    Creates entries\n", "    create\n");
    }
}
