//! The grammar of HCL version 1.
//!
//! ```text
//! document = { item [ "," ] }
//! item     = key "=" value | key { label } "{" { item [ "," ] } "}"      key, label: name or string
//! value    = literal | "{" { item [ "," ] } "}" | "[" [ value { "," value } [ "," ] ] "]"
//! ```

use super::{
    HclError, Item, Key, MAX_DEPTH, Object, Position, Value,
    scanner::{Kind, Scanner, Token},
    string,
};

pub(super) fn parse(text: &str) -> Result<Object, HclError> {
    let mut parser = Parser {
        scanner: Scanner::new(text),
        peeked: None,
        depth: 0,
    };
    parser.items(Kind::Eof)
}

struct Parser<'a> {
    scanner: Scanner<'a>,
    peeked: Option<Token<'a>>,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// Items up to and with the token that closes them.
    fn items(&mut self, close: Kind) -> Result<Object, HclError> {
        let mut items = Vec::new();
        loop {
            let next = self.peek()?;
            if next.kind == close {
                self.next()?;
                return Ok(Object { items });
            }
            if next.kind == Kind::Eof {
                let message = format!("object expected closing RBRACE got: {}", Kind::Eof);
                return Err(next.position.error(message));
            }
            items.push(self.item()?);
            if self.peek()?.kind == Kind::Comma {
                self.next()?;
            }
        }
    }

    fn item(&mut self) -> Result<Item, HclError> {
        let mut keys = Vec::new();
        loop {
            let token = self.next()?;
            let position = token.position;
            match token.kind {
                Kind::Ident | Kind::String => keys.push(key(&token)?),
                Kind::Assign if keys.len() == 1 => {
                    let value = self.value()?;
                    return Ok(Item { keys, value });
                }
                Kind::Lbrace if !keys.is_empty() => {
                    let value = Value::Object(self.block(position)?);
                    return Ok(Item { keys, value });
                }
                kind => return Err(position.error(misplaced(kind, &keys))),
            }
        }
    }

    /// The items of an object whose brace was just read.
    fn block(&mut self, position: Position) -> Result<Object, HclError> {
        self.descend(position)?;
        let object = self.items(Kind::Rbrace)?;
        self.depth -= 1;
        Ok(object)
    }

    fn value(&mut self) -> Result<Value, HclError> {
        let token = self.next()?;
        let illegal = |message| token.position.error(message);
        Ok(match token.kind {
            Kind::Number | Kind::Float => Value::Number(token.text.to_owned()),
            Kind::Bool => Value::Bool(token.text == "true"),
            Kind::String => Value::String(string::unquote(token.text).map_err(illegal)?),
            Kind::Heredoc => Value::String(string::heredoc_value(token.text)),
            Kind::Lbrace => Value::Object(self.block(token.position)?),
            Kind::Lbrack => Value::List(self.list(token.position)?),
            Kind::Eof
            | Kind::Ident
            | Kind::Comma
            | Kind::Period
            | Kind::Rbrack
            | Kind::Rbrace
            | Kind::Assign
            | Kind::Add
            | Kind::Sub
            | Kind::Illegal => {
                return Err(token.position.error(format!("Unknown token: {token}")));
            }
        })
    }

    /// The values of a list whose bracket was just read.
    fn list(&mut self, position: Position) -> Result<Vec<Value>, HclError> {
        self.descend(position)?;
        let mut values = Vec::new();
        loop {
            if self.peek()?.kind == Kind::Rbrack {
                break;
            }
            values.push(self.value()?);
            let next = self.peek()?;
            match next.kind {
                Kind::Comma => {
                    self.next()?;
                }
                Kind::Rbrack => break,
                kind => {
                    let message =
                        format!("error parsing list, expected comma or list end, got: {kind}");
                    return Err(next.position.error(message));
                }
            }
        }
        self.next()?;
        self.depth -= 1;
        Ok(values)
    }

    fn descend(&mut self, position: Position) -> Result<(), HclError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(position.error(format!("nested deeper than {MAX_DEPTH}")));
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Token<'a>, HclError> {
        match self.peeked.take() {
            Some(token) => Ok(token),
            None => self.scanner.next(),
        }
    }

    fn peek(&mut self) -> Result<Token<'a>, HclError> {
        let token = self.next()?;
        self.peeked = Some(token.clone());
        Ok(token)
    }
}

fn key(token: &Token<'_>) -> Result<Key, HclError> {
    let name = match token.kind {
        Kind::String => string::unquote(token.text).map_err(|m| token.position.error(m))?,
        _ => token.text.to_owned(),
    };
    Ok(Key {
        name,
        line: token.position.line,
    })
}

fn misplaced(kind: Kind, keys: &[Key]) -> String {
    match (kind, keys) {
        (Kind::Assign, []) => "no object keys found!".to_owned(),
        (Kind::Assign, _) => "nested object expected: LBRACE got: ASSIGN".to_owned(),
        (Kind::Lbrace, []) => "expected: IDENT | STRING got: LBRACE".to_owned(),
        (Kind::Illegal, _) => "illegal character".to_owned(),
        (kind, [first, ..]) if keys.len() == 1 => format!(
            "key '{}' expected start of object ('{{') or assignment ('='), got: {kind}",
            first.name
        ),
        (kind, _) => format!("expected: IDENT | STRING | ASSIGN | LBRACE got: {kind}"),
    }
}
