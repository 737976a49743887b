//! The two string forms of HCL: quoted, with escapes and `${…}` kept as written, and heredocs.

/// The length of the quoted string at the start of `text`, quotes included; `None` if it does not end.
///
/// A line feed may stand within `${…}` only.
pub(super) fn quoted_len(text: &str) -> Option<usize> {
    let mut braces = 0_usize;
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' if braces == 0 => return Some(at + 1),
            '\n' if braces == 0 => return None,
            '\\' if braces == 0 => {
                characters.next()?;
            }
            '$' if braces == 0 && matches!(characters.peek(), Some((_, '{'))) => {
                braces = 1;
                characters.next();
            }
            '{' if braces > 0 => braces += 1,
            '}' if braces > 0 => braces -= 1,
            _ => {}
        }
    }
    None
}

/// What a quoted string stands for.
pub(super) fn unquote(quoted: &str) -> Result<String, &'static str> {
    let mut rest = &quoted[1..quoted.len() - 1];
    let mut value = String::with_capacity(rest.len());
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("${") {
            let len = interpolation_len(rest);
            value.push_str(&rest[..len]);
            rest = &rest[len..];
        } else if c == '\\' {
            let (unescaped, len) = unescape(rest)?;
            value.push(unescaped);
            rest = &rest[len..];
        } else {
            value.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    Ok(value)
}

fn interpolation_len(text: &str) -> usize {
    let mut braces = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => braces += 1,
            '}' if braces == 1 => return at + 1,
            '}' => braces -= 1,
            _ => {}
        }
    }
    text.len()
}

/// The character that the escape at the start of `text` stands for, and the escape's length.
fn unescape(text: &str) -> Result<(char, usize), &'static str> {
    let kind = text[1..].chars().next().ok_or(ILLEGAL_ESCAPE)?;
    let simple = match kind {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' => '\\',
        '"' => '"',
        'x' => return coded(text, 2, 2, 16),
        'u' => return coded(text, 2, 4, 16),
        'U' => return coded(text, 2, 8, 16),
        '0'..='7' => return coded(text, 1, 3, 8),
        _ => return Err(ILLEGAL_ESCAPE),
    };
    Ok((simple, 2))
}

fn coded(text: &str, start: usize, len: usize, radix: u32) -> Result<(char, usize), &'static str> {
    let digits = text.get(start..start + len).ok_or(ILLEGAL_ESCAPE)?;
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return Err(ILLEGAL_ESCAPE);
    }
    let code = u32::from_str_radix(digits, radix).ok();
    let c = code.and_then(char::from_u32).ok_or(ILLEGAL_ESCAPE)?;
    Ok((c, start + len))
}

const ILLEGAL_ESCAPE: &str = "illegal char escape";

/// The length of the heredoc at the start of `text`, up to and with its closing anchor.
pub(super) fn heredoc_len(text: &str) -> Result<usize, &'static str> {
    let first_line = text.split('\n').next().unwrap_or_default();
    let anchor = anchor_of(first_line)?;
    let mut at = first_line.len() + 1;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        let line = rest.split('\n').next().unwrap_or_default();
        if line.trim() == anchor {
            return Ok(at + line.trim_end().len());
        }
        at += line.len() + 1;
    }
    Err("heredoc not terminated")
}

fn anchor_of(first_line: &str) -> Result<&str, &'static str> {
    let line = first_line
        .strip_prefix("<<")
        .ok_or("heredoc expected second '<', didn't see it")?;
    let anchor = line
        .strip_prefix('-')
        .unwrap_or(line)
        .trim_end_matches('\r');
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    if anchor.is_empty() || !anchor.chars().all(is_name) {
        return Err("heredoc anchor not found");
    }
    Ok(anchor)
}

/// What a heredoc stands for: its lines with their line feeds; after `<<-` without the indentation of the
/// closing anchor, if all lines have it.
pub(super) fn heredoc_value(heredoc: &str) -> String {
    let Some((first_line, rest)) = heredoc.split_once('\n') else {
        return String::new();
    };
    let (body, closing) = match rest.rfind('\n') {
        Some(at) => rest.split_at(at + 1),
        None => ("", rest),
    };
    if !first_line.starts_with("<<-") {
        return body.to_owned();
    }
    let indentation = &closing[..closing.len() - closing.trim_start().len()];
    let stripped: Option<Vec<_>> = body
        .split_inclusive('\n')
        .map(|line| line.strip_prefix(indentation))
        .collect();
    stripped.map_or_else(|| body.to_owned(), |lines| lines.concat())
}
