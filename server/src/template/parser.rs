//! From pieces to nodes.

use super::TemplateError;
use super::functions::Function;
use super::lexer::{Piece, Token, split, syntax, tokens};
use super::node::{Loop, Node, Operand, Pipe, Setting};
use super::value::Value;

/// Reads a whole template.
pub(super) fn parse(template: &str) -> Result<Vec<Node>, TemplateError> {
    let pieces = split(template)?;
    let mut parser = Parser {
        pieces: pieces.into_iter(),
        depth: 0,
    };
    let (nodes, end) = parser.body()?;
    match end {
        End::Template => Ok(nodes),
        End::Action(action, _) => Err(syntax(&action, "unexpected end of a block")),
    }
}

/// Blocks and parentheses inside of each other.
const MAX_DEPTH: usize = 32;

struct Parser<'a> {
    pieces: std::vec::IntoIter<Piece<'a>>,
    depth: usize,
}

/// What ended a body.
enum End {
    Template,
    /// `end`, or `else` with what follows it.
    Action(String, Option<Vec<Token>>),
}

impl Parser<'_> {
    /// The nodes up to an `else` or `end` that belongs to a block around them.
    fn body(&mut self) -> Result<(Vec<Node>, End), TemplateError> {
        let mut nodes = Vec::new();
        while let Some(piece) = self.pieces.next() {
            let action = match piece {
                Piece::Text(text) => {
                    nodes.push(Node::Text(text.to_owned()));
                    continue;
                }
                Piece::Action(action) => action,
            };
            let words = tokens(action)?;
            let (first, rest) = words
                .split_first()
                .ok_or_else(|| syntax(action, "missing value for command"))?;
            let keyword = match first {
                Token::Word(word) => word.as_str(),
                _ => "",
            };
            match keyword {
                "end" => return Ok((nodes, End::Action(action.to_owned(), None))),
                "else" => {
                    let end = End::Action(action.to_owned(), Some(rest.to_vec()));
                    return Ok((nodes, end));
                }
                "if" => nodes.push(self.nested(action, |parser| parser.branches(action, rest))?),
                "with" => nodes.push(self.nested(action, |parser| parser.with(action, rest))?),
                "range" => nodes.push(self.nested(action, |parser| parser.range(action, rest))?),
                "define" | "template" | "block" | "break" | "continue" => {
                    let problem = format!("{keyword} is not supported");
                    return Err(syntax(action, problem));
                }
                _ => nodes.push(Node::Output(Pipeline::whole(action, &words)?)),
            }
        }
        Ok((nodes, End::Template))
    }

    fn nested(
        &mut self,
        action: &str,
        block: impl FnOnce(&mut Self) -> Result<Node, TemplateError>,
    ) -> Result<Node, TemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(syntax(action, "too many blocks inside of each other"));
        }
        let node = block(self);
        self.depth -= 1;
        node
    }

    fn branches(&mut self, action: &str, condition: &[Token]) -> Result<Node, TemplateError> {
        let mut branches = Vec::new();
        let mut condition = Pipeline::whole(action, condition)?;
        loop {
            let (body, end) = self.body()?;
            branches.push((condition, body));
            match end {
                End::Template => return Err(unended(action)),
                End::Action(_, None) => return Ok(Node::If(branches, Vec::new())),
                End::Action(_, Some(rest)) if rest.is_empty() => {
                    return Ok(Node::If(branches, self.last_body(action)?));
                }
                End::Action(otherwise, Some(rest)) => match rest.split_first() {
                    Some((Token::Word(word), rest)) if word == "if" => {
                        condition = Pipeline::whole(&otherwise, rest)?;
                    }
                    _ => return Err(syntax(&otherwise, "only if may follow else")),
                },
            }
        }
    }

    fn with(&mut self, action: &str, words: &[Token]) -> Result<Node, TemplateError> {
        let pipe = Pipeline::whole(action, words)?;
        let (body, otherwise) = self.two_bodies(action)?;
        Ok(Node::With(pipe, body, otherwise))
    }

    fn range(&mut self, action: &str, words: &[Token]) -> Result<Node, TemplateError> {
        let (variables, words) = match words {
            [
                Token::Variable(one, _),
                Token::Comma,
                Token::Variable(two, _),
                Token::Declare,
                rest @ ..,
            ] => (vec![one.clone(), two.clone()], rest),
            [Token::Variable(one, _), Token::Declare, rest @ ..] => (vec![one.clone()], rest),
            all => (Vec::new(), all),
        };
        let over = Pipeline::whole(action, words)?;
        let (body, otherwise) = self.two_bodies(action)?;
        Ok(Node::Range(Loop {
            variables,
            over,
            body,
            otherwise,
        }))
    }

    fn two_bodies(&mut self, action: &str) -> Result<(Vec<Node>, Vec<Node>), TemplateError> {
        let (body, end) = self.body()?;
        match end {
            End::Template => Err(unended(action)),
            End::Action(_, None) => Ok((body, Vec::new())),
            End::Action(_, Some(rest)) if rest.is_empty() => Ok((body, self.last_body(action)?)),
            End::Action(otherwise, Some(_)) => {
                Err(syntax(&otherwise, "nothing may follow this else"))
            }
        }
    }

    fn last_body(&mut self, action: &str) -> Result<Vec<Node>, TemplateError> {
        match self.body()? {
            (body, End::Action(_, None)) => Ok(body),
            (_, End::Action(otherwise, Some(_))) => Err(syntax(&otherwise, "unexpected else")),
            (_, End::Template) => Err(unended(action)),
        }
    }
}

fn unended(action: &str) -> TemplateError {
    syntax(action, "no end for this block")
}

/// Reads the words of one pipeline.
struct Pipeline<'a> {
    action: &'a str,
    words: &'a [Token],
    depth: usize,
}

impl<'a> Pipeline<'a> {
    /// The pipeline that `words` are, all of them.
    fn whole(action: &'a str, words: &'a [Token]) -> Result<Pipe, TemplateError> {
        let (sets, words) = match words {
            [Token::Variable(name, path), Token::Declare, rest @ ..] if path.is_empty() => {
                (Some(Setting::Declare(name.clone())), rest)
            }
            [Token::Variable(name, path), Token::Assign, rest @ ..] if path.is_empty() => {
                (Some(Setting::Assign(name.clone())), rest)
            }
            all => (None, all),
        };
        let mut pipeline = Self {
            action,
            words,
            depth: 0,
        };
        let commands = pipeline.commands()?;
        match pipeline.words {
            [] => Ok(Pipe { sets, commands }),
            _ => Err(syntax(action, "unexpected word")),
        }
    }

    fn commands(&mut self) -> Result<Vec<Vec<Operand>>, TemplateError> {
        let mut commands = vec![self.command()?];
        while let [Token::Pipe, rest @ ..] = self.words {
            self.words = rest;
            commands.push(self.command()?);
        }
        Ok(commands)
    }

    fn command(&mut self) -> Result<Vec<Operand>, TemplateError> {
        let mut operands = Vec::new();
        while let Some(operand) = self.operand()? {
            operands.push(operand);
        }
        match operands.is_empty() {
            true => Err(syntax(self.action, "missing value for command")),
            false => Ok(operands),
        }
    }

    fn operand(&mut self) -> Result<Option<Operand>, TemplateError> {
        let Some((first, rest)) = self.words.split_first() else {
            return Ok(None);
        };
        let operand = match first {
            Token::Field(names) => Operand::Dot(names.clone()),
            Token::Text(text) => Operand::Literal(Value::Text(text.clone())),
            Token::Int(number) => Operand::Literal(Value::Int(*number)),
            Token::Word(word) => self.word(word)?,
            Token::Variable(name, path) => Operand::Variable(name.clone(), path.clone()),
            Token::Open => {
                self.words = rest;
                return self.parenthesis().map(Some);
            }
            Token::Close(_) | Token::Pipe => return Ok(None),
            Token::Declare | Token::Assign | Token::Comma => {
                return Err(syntax(self.action, "unexpected word"));
            }
        };
        self.words = rest;
        Ok(Some(operand))
    }

    fn word(&self, word: &str) -> Result<Operand, TemplateError> {
        Ok(match word {
            "true" => Operand::Literal(Value::Bool(true)),
            "false" => Operand::Literal(Value::Bool(false)),
            "nil" => Operand::Literal(Value::Nil),
            name => Operand::Function(Function::find(name)?),
        })
    }

    fn parenthesis(&mut self) -> Result<Operand, TemplateError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(syntax(self.action, "too many parentheses"));
        }
        let commands = self.commands()?;
        let [Token::Close(path), rest @ ..] = self.words else {
            return Err(syntax(self.action, "unclosed parenthesis"));
        };
        self.words = rest;
        self.depth -= 1;
        let pipe = Pipe {
            sets: None,
            commands,
        };
        Ok(Operand::Pipe(Box::new(pipe), path.clone()))
    }
}
