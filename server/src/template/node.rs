//! A template as it was read.

use super::{TemplateError, Value, functions::Function};

/// A part of a template.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Copied.
    Text(String),
    /// Written, unless it only sets a variable.
    Output(Pipe),
    /// The first body whose pipeline is true, or what stands after the last `else`.
    If(Vec<(Pipe, Vec<Self>)>, Vec<Self>),
    /// The body with the dot set to a value that is true, or else the other one.
    With(Pipe, Vec<Self>, Vec<Self>),
    /// The body for each value of a list or map, or the other one if there is none.
    Range(Loop),
}

/// A `range`.
#[derive(Clone, Debug)]
pub(super) struct Loop {
    /// Names of the variables for place or name and for value.
    pub(super) variables: Vec<String>,
    pub(super) over: Pipe,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands, each of which gets the result of the one before as its last argument.
#[derive(Clone, Debug)]
pub(super) struct Pipe {
    /// The variable that is set to the result.
    pub(super) sets: Option<Setting>,
    pub(super) commands: Vec<Vec<Operand>>,
}

/// A variable that gets a value.
#[derive(Clone, Debug)]
pub(super) enum Setting {
    /// A new one.
    Declare(String),
    /// One that there is already.
    Assign(String),
}

/// One word of a command.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    /// A field of the dot; the dot itself without names.
    Dot(Vec<String>),
    /// A field of a variable; `$` has no name and is what the template is rendered with.
    Variable(String, Vec<String>),
    /// A value.
    Literal(Value),
    /// A function.
    Function(Function),
    /// A field of what a pipeline gives.
    Pipe(Box<Pipe>, Vec<String>),
}

/// Refuses fields of what a template is rendered with that are not in `known`. Inside of `with` and
/// `range` the dot is something else.
pub(super) fn check_fields(nodes: &[Node], known: &[&str]) -> Result<(), TemplateError> {
    Check { known }.nodes(nodes, Dot::Root)
}

/// What the dot is.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Dot {
    Root,
    Other,
}

struct Check<'a> {
    known: &'a [&'a str],
}

impl Check<'_> {
    fn nodes(&self, nodes: &[Node], dot: Dot) -> Result<(), TemplateError> {
        nodes.iter().try_for_each(|node| self.node(node, dot))
    }

    fn node(&self, node: &Node, dot: Dot) -> Result<(), TemplateError> {
        match node {
            Node::Text(_) => Ok(()),
            Node::Output(pipe) => self.pipe(pipe, dot),
            Node::If(branches, otherwise) => {
                for (pipe, body) in branches {
                    self.pipe(pipe, dot)?;
                    self.nodes(body, dot)?;
                }
                self.nodes(otherwise, dot)
            }
            Node::With(pipe, body, otherwise) => {
                self.pipe(pipe, dot)?;
                self.nodes(body, Dot::Other)?;
                self.nodes(otherwise, dot)
            }
            Node::Range(each) => {
                self.pipe(&each.over, dot)?;
                self.nodes(&each.body, Dot::Other)?;
                self.nodes(&each.otherwise, dot)
            }
        }
    }

    fn pipe(&self, pipe: &Pipe, dot: Dot) -> Result<(), TemplateError> {
        let mut operands = pipe.commands.iter().flatten();
        operands.try_for_each(|operand| match operand {
            Operand::Dot(path) if dot == Dot::Root => self.path(path),
            Operand::Variable(name, path) if name.is_empty() => self.path(path),
            Operand::Pipe(inner, _) => self.pipe(inner, dot),
            Operand::Dot(_)
            | Operand::Variable(..)
            | Operand::Literal(_)
            | Operand::Function(_) => Ok(()),
        })
    }

    fn path(&self, path: &[String]) -> Result<(), TemplateError> {
        match path.first() {
            Some(name) if !self.known.contains(&name.as_str()) => {
                Err(TemplateError::UnknownField {
                    name: name.clone(),
                    known: self.known.join(", "),
                })
            }
            _ => Ok(()),
        }
    }
}
