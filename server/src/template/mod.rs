//! Templates of agents' paths: the part of Go's `text/template`, with the functions of `sprig`, that
//! SPIRE's `agent_path_template` is written in.
//!
//! Text is copied, `{{ … }}` is evaluated: fields of what is known of a node, pipelines, variables,
//! `if`, `with` and `range`. Nothing in here has an effect, and what a template makes is bounded. A
//! function or field that does not exist is refused when the template is read, not when the first
//! agent comes.

mod eval;
mod functions;
mod lexer;
mod node;
mod parser;
#[cfg(test)]
mod tests;
mod value;

pub use value::Value;

use eval::Evaluation;
use node::Node;

/// A template that was read.
#[derive(Clone, Debug)]
pub struct Template {
    nodes: Vec<Node>,
}

impl Template {
    /// Reads a template that may refer to `fields` of what it is rendered with.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str, fields: &[&str]) -> Result<Self, TemplateError> {
        if text.len() > MAX_TEMPLATE_LEN_BYTES {
            return Err(TemplateError::TooLong);
        }
        let nodes = parser::parse(text)?;
        node::check_fields(&nodes, fields)?;
        Ok(Self { nodes })
    }

    /// The text that the template makes of `facts`.
    ///
    /// # Errors
    /// A value is missing or of the wrong kind, or the text becomes too long.
    pub fn render(&self, facts: &Value) -> Result<String, TemplateError> {
        Evaluation::new(facts).run(&self.nodes)
    }
}

/// The longest template that is read.
const MAX_TEMPLATE_LEN_BYTES: usize = 16 * 1024;

/// The longest text that a template makes; a SPIFFE ID has less than half of it.
const MAX_OUTPUT_LEN_BYTES: usize = 4096;

/// What rendering may cost: a unit for each part of the template that is looked at and for each byte and item
/// that a function is given. Far more than a path needs, and done within a fraction of a second.
const MAX_WORK: usize = 4 << 20;

/// Why a template is not taken, or made nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TemplateError {
    /// The template is longer than this program interprets.
    #[error("template is longer than {MAX_TEMPLATE_LEN_BYTES} bytes")]
    TooLong,
    /// It does not parse.
    #[error("{problem} in {action:?}")]
    Syntax {
        /// The part in question.
        action: String,
        /// What is wrong with it.
        problem: String,
    },
    /// There is no such function.
    #[error("function {0:?} not defined")]
    UnknownFunction(String),
    /// There is such a function in SPIRE, and not here.
    #[error("function {name:?} is not supported: {reason}")]
    UnsupportedFunction {
        /// The function.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// There is no such field.
    #[error("no field {name:?}; there are {known}")]
    UnknownField {
        /// The field.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// A value has no such entry.
    #[error("no entry for key {0:?}")]
    MissingKey(String),
    /// A function refused its arguments, or found out that nothing is to be made.
    #[error("error calling {name}: {problem}")]
    Call {
        /// The function.
        name: String,
        /// What it said.
        problem: String,
    },
    /// A value is not of the kind that it has to be.
    #[error("{0}")]
    Kind(String),
    /// It goes through too many or too long values.
    #[error(
        "takes too much work; use fewer or shorter lists, or fewer ranges inside of each other"
    )]
    TooMuchWork,
    /// The text is longer than this program makes.
    #[error("result is longer than {MAX_OUTPUT_LEN_BYTES} bytes")]
    OutputTooLong,
}
