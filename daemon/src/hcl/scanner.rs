//! The tokens of HCL version 1.

use std::fmt;

use super::{HclError, Position, string};
use crate::number;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    Eof,
    Ident,
    Number,
    Float,
    Bool,
    String,
    Heredoc,
    Lbrack,
    Lbrace,
    Comma,
    Period,
    Rbrack,
    Rbrace,
    Assign,
    Add,
    Sub,
    Illegal,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Eof => "EOF",
            Self::Ident => "IDENT",
            Self::Number => "NUMBER",
            Self::Float => "FLOAT",
            Self::Bool => "BOOL",
            Self::String => "STRING",
            Self::Heredoc => "HEREDOC",
            Self::Lbrack => "LBRACK",
            Self::Lbrace => "LBRACE",
            Self::Comma => "COMMA",
            Self::Period => "PERIOD",
            Self::Rbrack => "RBRACK",
            Self::Rbrace => "RBRACE",
            Self::Assign => "ASSIGN",
            Self::Add => "ADD",
            Self::Sub => "SUB",
            Self::Illegal => "ILLEGAL",
        })
    }
}

#[derive(Clone, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) position: Position,
    /// As written.
    pub(super) text: &'a str,
}

impl fmt::Display for Token<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position;
        write!(formatter, "{line}:{column} {} {}", self.kind, self.text)
    }
}

/// Reads tokens off a text, passing over blanks and comments.
#[derive(Clone, Debug)]
pub(super) struct Scanner<'a> {
    rest: &'a str,
    position: Position,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            rest: text,
            position: Position::START,
        }
    }

    /// The next token; [`Kind::Eof`] for ever at the end.
    pub(super) fn next(&mut self) -> Result<Token<'a>, HclError> {
        self.skip_blanks_and_comments()?;
        let position = self.position;
        let Some(first) = self.rest.chars().next() else {
            return Ok(self.token(Kind::Eof, position, 0));
        };
        let kind = match first {
            '[' => Kind::Lbrack,
            ']' => Kind::Rbrack,
            '{' => Kind::Lbrace,
            '}' => Kind::Rbrace,
            ',' => Kind::Comma,
            '.' => Kind::Period,
            '=' => Kind::Assign,
            '+' => Kind::Add,
            '"' => {
                let len = string::quoted_len(self.rest)
                    .ok_or_else(|| position.error("literal not terminated"))?;
                return Ok(self.token(Kind::String, position, len));
            }
            '<' => {
                let len = string::heredoc_len(self.rest).map_err(|m| position.error(m))?;
                return Ok(self.token(Kind::Heredoc, position, len));
            }
            '-' if !self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => Kind::Sub,
            '-' | '0'..='9' => return self.number(position),
            c if is_letter(c) => return Ok(self.identifier(position)),
            _ => Kind::Illegal,
        };
        Ok(self.token(kind, position, first.len_utf8()))
    }

    fn number(&mut self, position: Position) -> Result<Token<'a>, HclError> {
        let unsigned = self.rest.trim_start_matches('-');
        let digits = if unsigned.starts_with("0x") || unsigned.starts_with("0X") {
            2 + count(&unsigned[2..], |c| c.is_ascii_hexdigit())
        } else {
            decimal_len(unsigned)
        };
        let text = &self.rest[..self.rest.len() - unsigned.len() + digits];
        let is_float = !text.contains(['x', 'X']) && text.contains(['.', 'e', 'E']);
        if !is_float && number::parse_integer(text).is_err() {
            return Err(position.error(format!("illegal number {text}")));
        }
        let kind = if is_float { Kind::Float } else { Kind::Number };
        Ok(self.token(kind, position, text.len()))
    }

    fn identifier(&mut self, position: Position) -> Token<'a> {
        let len = count(self.rest, |c| {
            is_letter(c) || c.is_numeric() || c == '-' || c == '.'
        });
        let kind = match &self.rest[..len] {
            "true" | "false" => Kind::Bool,
            _ => Kind::Ident,
        };
        self.token(kind, position, len)
    }

    fn skip_blanks_and_comments(&mut self) -> Result<(), HclError> {
        loop {
            let blanks = count(self.rest, |c| matches!(c, ' ' | '\t' | '\r' | '\n'));
            self.advance(blanks);
            if self.rest.starts_with('#') || self.rest.starts_with("//") {
                self.advance(count(self.rest, |c| c != '\n'));
            } else if self.rest.starts_with("/*") {
                let end = self.rest[2..].find("*/").map(|at| at + 4);
                let end = end.ok_or_else(|| self.position.error("comment not terminated"))?;
                self.advance(end);
            } else if self.rest.starts_with('/') {
                let message = "expected '/' or '*' for comment";
                return Err(self.position.error(message));
            } else {
                return Ok(());
            }
        }
    }

    fn token(&mut self, kind: Kind, position: Position, len: usize) -> Token<'a> {
        let text = &self.rest[..len];
        self.advance(len);
        Token {
            kind,
            position,
            text,
        }
    }

    fn advance(&mut self, len: usize) {
        let (passed, rest) = self.rest.split_at(len);
        self.position.pass(passed);
        self.rest = rest;
    }
}

fn is_letter(c: char) -> bool {
    c == '_' || c.is_alphabetic()
}

/// Digits with an optional fraction and exponent.
fn decimal_len(text: &str) -> usize {
    let mut len = count(text, |c| c.is_ascii_digit());
    if text[len..].starts_with('.') {
        len += 1 + count(&text[len + 1..], |c| c.is_ascii_digit());
    }
    if text[len..].starts_with(['e', 'E']) {
        let sign = usize::from(text[len + 1..].starts_with(['+', '-']));
        len += 1 + sign;
        len += count(&text[len..], |c| c.is_ascii_digit());
    }
    len
}

fn count(text: &str, matches: impl Fn(char) -> bool) -> usize {
    text.find(|c| !matches(c)).unwrap_or(text.len())
}
