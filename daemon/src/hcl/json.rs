//! JSON into the same tree as HCL, with the lines of its keys. A `null` is a key not given.

use super::{HclError, Item, Key, MAX_DEPTH, Object, Position, Value};

pub(super) fn parse(text: &str) -> Result<Object, HclError> {
    let mut parser = Parser {
        rest: text,
        position: Position::START,
        depth: 0,
    };
    let value = parser.value()?;
    parser.skip_blanks();
    if !parser.rest.is_empty() {
        return Err(parser.position.error("text after the document's end"));
    }
    match value {
        Some(Value::Object(object)) => Ok(object),
        _ => Err(Position::START.error("document is no object")),
    }
}

struct Parser<'a> {
    rest: &'a str,
    position: Position,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// `None` for `null`.
    fn value(&mut self) -> Result<Option<Value>, HclError> {
        self.skip_blanks();
        match self.rest.as_bytes().first() {
            Some(b'{') => self.object().map(|object| Some(Value::Object(object))),
            Some(b'[') => self.list().map(|values| Some(Value::List(values))),
            Some(b'"') => self.string().map(|text| Some(Value::String(text))),
            _ => self.scalar(),
        }
    }

    fn scalar(&mut self) -> Result<Option<Value>, HclError> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let word = &self.rest[..end];
        let value = match word {
            "null" => None,
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            word if is_number(word) => Some(Value::Number(word.to_owned())),
            _ => return Err(self.position.error("expected a value")),
        };
        self.advance(word.len());
        Ok(value)
    }

    fn object(&mut self) -> Result<Object, HclError> {
        let mut items = Vec::new();
        self.enter()?;
        while !self.is_at('}') {
            let line = self.position.line;
            let name = self.string()?;
            self.expect(':')?;
            let keys = vec![Key { name, line }];
            if let Some(value) = self.value()? {
                items.push(Item { keys, value });
            }
            if !self.another('}')? {
                break;
            }
        }
        self.leave('}')?;
        Ok(Object { items })
    }

    fn list(&mut self) -> Result<Vec<Value>, HclError> {
        let mut values = Vec::new();
        self.enter()?;
        while !self.is_at(']') {
            values.extend(self.value()?);
            if !self.another(']')? {
                break;
            }
        }
        self.leave(']')?;
        Ok(values)
    }

    fn string(&mut self) -> Result<String, HclError> {
        self.skip_blanks();
        let mut stream = serde_json::Deserializer::from_str(self.rest).into_iter::<String>();
        match stream.next() {
            Some(Ok(value)) => {
                let len = stream.byte_offset();
                self.advance(len);
                Ok(value)
            }
            Some(Err(_)) | None => Err(self.position.error("expected a string")),
        }
    }

    fn enter(&mut self) -> Result<(), HclError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self
                .position
                .error(format!("nested deeper than {MAX_DEPTH}")));
        }
        self.advance(1);
        Ok(())
    }

    fn leave(&mut self, close: char) -> Result<(), HclError> {
        self.depth -= 1;
        self.expect(close)
    }

    /// Passes over a comma; whether one was there. A comma must be followed by a value.
    fn another(&mut self, close: char) -> Result<bool, HclError> {
        if !self.is_at(',') {
            return Ok(false);
        }
        self.advance(1);
        if self.is_at(close) {
            return Err(self.position.error("comma before the end"));
        }
        Ok(true)
    }

    fn expect(&mut self, wanted: char) -> Result<(), HclError> {
        if !self.is_at(wanted) {
            return Err(self.position.error(format!("expected '{wanted}'")));
        }
        self.advance(wanted.len_utf8());
        Ok(())
    }

    fn is_at(&mut self, wanted: char) -> bool {
        self.skip_blanks();
        self.rest.starts_with(wanted)
    }

    fn skip_blanks(&mut self) {
        let trimmed = self.rest.trim_start_matches([' ', '\t', '\r', '\n']);
        self.advance(self.rest.len() - trimmed.len());
    }

    fn advance(&mut self, len: usize) {
        let (passed, rest) = self.rest.split_at(len);
        self.position.pass(passed);
        self.rest = rest;
    }
}

fn is_number(word: &str) -> bool {
    serde_json::from_str::<serde_json::Number>(word).is_ok()
}
