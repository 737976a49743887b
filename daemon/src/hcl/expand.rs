//! Environment variables in a config text, expanded as Go's `os.Expand` does for SPIRE.

/// Replaces `$NAME` and `${NAME}` by what `lookup` returns, nothing if it returns `None`; `$$` is one `$`.
///
/// A `$` without a name stays; a `${` that is not a name in braces goes.
pub fn expand_env(text: &str, lookup: impl Fn(&str) -> Option<String>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (name, len) = name_at(rest);
        match name {
            Some("$") => expanded.push('$'),
            Some(name) => expanded.push_str(&lookup(name).unwrap_or_default()),
            None if len == 0 => expanded.push('$'),
            None => {}
        }
        rest = &rest[len..];
    }
    expanded.push_str(rest);
    expanded
}

/// The name behind a `$` and the length of what names it.
fn name_at(text: &str) -> (Option<&str>, usize) {
    if let Some(braced) = text.strip_prefix('{') {
        return match braced.find('}') {
            Some(0) => (None, 2),
            Some(end) => {
                let name = &braced[..end];
                (Some(name), end + 2)
            }
            None => (None, 1),
        };
    }
    if text.starts_with(|c: char| c.is_ascii_digit() || "*#$@!?-".contains(c)) {
        return (Some(&text[..1]), 1);
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let len = text.find(|c| !is_name(c)).unwrap_or(text.len());
    ((len > 0).then(|| &text[..len]), len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_expanded_as_go_expands_them() {
        let lookup = |name: &str| match name {
            "A" => Some("1".to_owned()),
            "A_B" => Some("2".to_owned()),
            _ => None,
        };
        for (text, expected) in [
            ("x = \"$A\"", "x = \"1\""),
            ("${A}b $A_B $A-", "1b 2 1-"),
            ("[$NONE][${NONE}]", "[][]"),
            ("$$A $$$A", "$A $1"),
            ("${$}A", "$A"),
            ("$ . $", "$ . $"),
            ("${} ${open", " open"),
            ("é$Aé", "é1é"),
            ("$", "$"),
        ] {
            assert_eq!(expand_env(text, lookup), expected, "{text}");
        }
    }
}
