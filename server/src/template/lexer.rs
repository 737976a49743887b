//! A template in pieces: text and actions, and the words of an action.

use super::TemplateError;

/// A piece of a template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Piece<'a> {
    /// Copied as it is.
    Text(&'a str),
    /// What stands between the braces.
    Action(&'a str),
}

/// Splits a template. `{{-` and `-}}` trim the text beside them, comments leave nothing.
pub(super) fn split(template: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = template;
    let mut trims = false;
    while let Some(at) = rest.find(OPEN) {
        let (text, action) = (&rest[..at], &rest[at + OPEN.len()..]);
        let text = if trims { text.trim_start() } else { text };
        let (action, before) = match action.strip_prefix('-') {
            Some(inner) if inner.starts_with(char::is_whitespace) => (inner, text.trim_end()),
            _ => (action, text),
        };
        if !before.is_empty() {
            pieces.push(Piece::Text(before));
        }
        let end = end_of(action)?;
        let inner = &action[..end];
        rest = &action[end + CLOSE.len()..];
        let trimmed = inner
            .strip_suffix('-')
            .filter(|inner| inner.ends_with(char::is_whitespace));
        trims = trimmed.is_some();
        let inner = trimmed.unwrap_or(inner).trim();
        if !inner.starts_with("/*") {
            pieces.push(Piece::Action(inner));
        }
    }
    let text = if trims { rest.trim_start() } else { rest };
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// Where the closing braces stand, which do not count inside of quotes and comments.
fn end_of(action: &str) -> Result<usize, TemplateError> {
    let unclosed = || syntax(action, "unclosed action");
    let start = action.len() - action.trim_start().len();
    if action[start..].starts_with("/*") {
        let end = action.find("*/").ok_or_else(unclosed)?;
        let close = action[end..].find(CLOSE).ok_or_else(unclosed)?;
        return Ok(end + close);
    }
    let mut quote = None;
    let mut characters = action.char_indices();
    while let Some((at, character)) = characters.next() {
        match (quote, character) {
            (None, '}') if action[at..].starts_with(CLOSE) => return Ok(at),
            (None, '"' | '`' | '\'') => quote = Some(character),
            (Some('"' | '\''), '\\') => {
                characters.next();
            }
            (Some(open), close) if open == close => quote = None,
            _ => {}
        }
    }
    Err(unclosed())
}

/// A word of an action.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Token {
    /// A function or a keyword.
    Word(String),
    /// `.`, or `.A` and what may follow it at once.
    Field(Vec<String>),
    /// `$name`, or `$` alone, and the fields behind it.
    Variable(String, Vec<String>),
    /// A text in quotes.
    Text(String),
    /// A whole number.
    Int(i64),
    /// `(`
    Open,
    /// `)` and the fields behind it.
    Close(Vec<String>),
    /// `|`
    Pipe,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// `,`
    Comma,
}

/// The words of an action.
pub(super) fn tokens(action: &str) -> Result<Vec<Token>, TemplateError> {
    let mut tokens = Vec::new();
    let mut rest = action.trim_start();
    while let Some(first) = rest.chars().next() {
        let (token, after) = match first {
            '(' => (Token::Open, &rest[1..]),
            ')' => {
                let (path, after) = path(&rest[1..]);
                (Token::Close(path), after)
            }
            '|' => (Token::Pipe, &rest[1..]),
            ',' => (Token::Comma, &rest[1..]),
            '=' => (Token::Assign, &rest[1..]),
            ':' if rest.starts_with(":=") => (Token::Declare, &rest[2..]),
            '.' => {
                let (path, after) = path(rest);
                (Token::Field(path), after)
            }
            '$' => {
                let (name, after) = word(&rest[1..]);
                let (path, after) = path(after);
                (Token::Variable(name.to_owned(), path), after)
            }
            '"' => quoted(rest, action)?,
            '`' => {
                let end = rest[1..].find('`');
                let end = end.ok_or_else(|| syntax(action, "unterminated raw quoted string"))?;
                (Token::Text(rest[1..=end].to_owned()), &rest[end + 2..])
            }
            '0'..='9' | '+' | '-' => number(rest, action)?,
            _ if is_word(first) => {
                let (name, after) = word(rest);
                (Token::Word(name.to_owned()), after)
            }
            other => {
                let problem = format!("unexpected character {other:?}");
                return Err(syntax(action, problem));
            }
        };
        tokens.push(token);
        rest = after.trim_start();
        if tokens.len() > MAX_TOKENS {
            return Err(syntax(action, "too many words"));
        }
    }
    Ok(tokens)
}

const MAX_TOKENS: usize = 1000;

fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

fn word(text: &str) -> (&str, &str) {
    let end = text.find(|character| !is_word(character));
    text.split_at(end.unwrap_or(text.len()))
}

/// The names of `.A.B` at the start of `text`, if there are any.
fn path(text: &str) -> (Vec<String>, &str) {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(after) = rest.strip_prefix('.') {
        let (name, after) = word(after);
        rest = after;
        if name.is_empty() {
            break;
        }
        names.push(name.to_owned());
    }
    (names, rest)
}

fn number<'a>(text: &'a str, action: &str) -> Result<(Token, &'a str), TemplateError> {
    let end = text[1..].find(|character| !is_word(character) && character != '.');
    let (digits, rest) = text.split_at(end.map_or(text.len(), |end| end + 1));
    let number = digits
        .parse()
        .map_err(|_error| syntax(action, format!("bad number {digits:?}")))?;
    Ok((Token::Int(number), rest))
}

/// A text in double quotes, with the escapes that Go has.
fn quoted<'a>(text: &'a str, action: &str) -> Result<(Token, &'a str), TemplateError> {
    let unterminated = || syntax(action, "unterminated quoted string");
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    loop {
        let (at, character) = characters.next().ok_or_else(unterminated)?;
        match character {
            '"' => return Ok((Token::Text(value), &text[at + 1..])),
            '\\' => {
                let (_, escaped) = characters.next().ok_or_else(unterminated)?;
                value.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '"' | '\\' => escaped,
                    other => {
                        let problem = format!("unsupported escape \\{other} in quoted string");
                        return Err(syntax(action, problem));
                    }
                });
            }
            other => value.push(other),
        }
    }
}

/// What is wrong with an action.
pub(super) fn syntax(action: &str, problem: impl Into<String>) -> TemplateError {
    TemplateError::Syntax {
        action: action.trim().chars().take(80).collect(),
        problem: problem.into(),
    }
}
