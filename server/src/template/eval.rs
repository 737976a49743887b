//! Makes text of nodes.

use super::functions::{Call, Function, size};
use super::node::{Loop, Node, Operand, Pipe, Setting};
use super::{MAX_OUTPUT_LEN_BYTES, MAX_WORK, TemplateError, Value};

/// A template that is being rendered.
pub(super) struct Evaluation<'a> {
    root: &'a Value,
    variables: Vec<(String, Value)>,
    output: String,
    /// What was done so far, in the measure of [`MAX_WORK`].
    work: usize,
}

impl<'a> Evaluation<'a> {
    pub(super) fn new(root: &'a Value) -> Self {
        Self {
            root,
            variables: Vec::new(),
            output: String::new(),
            work: 0,
        }
    }

    /// The text that `nodes` make.
    pub(super) fn run(mut self, nodes: &[Node]) -> Result<String, TemplateError> {
        let root = self.root;
        self.body(nodes, root)?;
        Ok(self.output)
    }

    /// Variables live as long as the body that declares them.
    fn body(&mut self, nodes: &[Node], dot: &Value) -> Result<(), TemplateError> {
        let declared = self.variables.len();
        for node in nodes {
            self.node(node, dot)?;
        }
        self.variables.truncate(declared);
        Ok(())
    }

    fn node(&mut self, node: &Node, dot: &Value) -> Result<(), TemplateError> {
        self.spend(1)?;
        match node {
            Node::Text(text) => self.write(text),
            Node::Output(pipe) => {
                let value = self.pipe(pipe, dot)?;
                match (&pipe.sets, value) {
                    (Some(_), _) => Ok(()),
                    (None, Value::Nil) => Err(TemplateError::Kind("nil is not a value".into())),
                    (None, value) => self.write(&value.to_string()),
                }
            }
            Node::If(branches, otherwise) => {
                let declared = self.variables.len();
                for (pipe, body) in branches {
                    if self.pipe(pipe, dot)?.is_truth() {
                        self.body(body, dot)?;
                        self.variables.truncate(declared);
                        return Ok(());
                    }
                }
                self.variables.truncate(declared);
                self.body(otherwise, dot)
            }
            Node::With(pipe, body, otherwise) => {
                let declared = self.variables.len();
                let value = self.pipe(pipe, dot)?;
                match value.is_truth() {
                    true => self.body(body, &value)?,
                    false => self.body(otherwise, dot)?,
                }
                self.variables.truncate(declared);
                Ok(())
            }
            Node::Range(each) => self.range(each, dot),
        }
    }

    fn range(&mut self, each: &Loop, dot: &Value) -> Result<(), TemplateError> {
        let items: Vec<(Value, Value)> = match self.pipe(&each.over, dot)? {
            Value::List(values) => (0..).map(Value::Int).zip(values).collect(),
            Value::Map(values) => values
                .into_iter()
                .map(|(name, value)| (Value::Text(name), value))
                .collect(),
            Value::Nil => Vec::new(),
            other @ (Value::Bool(_) | Value::Int(_) | Value::Text(_)) => {
                let text = format!("range can't iterate over {}", other.kind());
                return Err(TemplateError::Kind(text));
            }
        };
        if items.is_empty() {
            return self.body(&each.otherwise, dot);
        }
        let declared = self.variables.len();
        for (place, value) in items {
            match each.variables.as_slice() {
                [] => {}
                [one] => self.variables.push((one.clone(), value.clone())),
                [one, two, ..] => {
                    self.variables.push((one.clone(), place));
                    self.variables.push((two.clone(), value.clone()));
                }
            }
            self.body(&each.body, &value)?;
            self.variables.truncate(declared);
        }
        Ok(())
    }

    /// Names in a certificate are somebody else's, and there may be thousands of them to go through.
    fn spend(&mut self, work: usize) -> Result<(), TemplateError> {
        self.work = self.work.saturating_add(work);
        match self.work <= MAX_WORK {
            true => Ok(()),
            false => Err(TemplateError::TooMuchWork),
        }
    }

    fn write(&mut self, text: &str) -> Result<(), TemplateError> {
        if self.output.len() + text.len() > MAX_OUTPUT_LEN_BYTES {
            return Err(TemplateError::OutputTooLong);
        }
        self.output.push_str(text);
        Ok(())
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Value) -> Result<Value, TemplateError> {
        let mut piped = None;
        for command in &pipe.commands {
            piped = Some(self.command(command, piped, dot)?);
        }
        let value = piped.unwrap_or(Value::Nil);
        match &pipe.sets {
            None => {}
            Some(Setting::Declare(name)) => self.variables.push((name.clone(), value.clone())),
            Some(Setting::Assign(name)) => {
                let mut held = self.variables.iter_mut().rev();
                let held = held.find(|(held, _)| held == name);
                let (_, held) = held.ok_or_else(|| undefined(name))?;
                *held = value.clone();
            }
        }
        Ok(value)
    }

    fn command(
        &mut self,
        operands: &[Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, TemplateError> {
        let Some((first, rest)) = operands.split_first() else {
            return Ok(Value::Nil);
        };
        if let Operand::Function(function) = first {
            return self.call(*function, rest, piped, dot);
        }
        if !rest.is_empty() || piped.is_some() {
            let text = "can't give an argument to what is no function".to_owned();
            return Err(TemplateError::Kind(text));
        }
        self.operand(first, dot)
    }

    fn call(
        &mut self,
        function: Function,
        operands: &[Operand],
        piped: Option<Value>,
        dot: &Value,
    ) -> Result<Value, TemplateError> {
        // `and` and `or` look at no more than they need: what follows may not exist.
        if let Call::UntilTruthIs(wanted) = function.call {
            let mut last = None;
            for operand in operands {
                let value = self.operand(operand, dot)?;
                if value.is_truth() == wanted {
                    return Ok(value);
                }
                last = Some(value);
            }
            let last = piped.or(last);
            return last.ok_or_else(|| function.failed("wrong number of args"));
        }
        self.spend(function.work())?;
        let mut arguments = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(piped);
        function.apply(&arguments)
    }

    fn operand(&mut self, operand: &Operand, dot: &Value) -> Result<Value, TemplateError> {
        let value = match operand {
            Operand::Literal(value) => value.clone(),
            Operand::Dot(path) => follow(dot, path)?,
            Operand::Variable(name, path) if name.is_empty() => follow(self.root, path)?,
            Operand::Variable(name, path) => {
                let mut held = self.variables.iter().rev();
                let held = held.find(|(held, _)| held == name);
                let (_, value) = held.ok_or_else(|| undefined(name))?;
                follow(value, path)?
            }
            Operand::Function(function) => self.call(*function, &[], None, dot)?,
            Operand::Pipe(pipe, path) => {
                let value = self.pipe(pipe, dot)?;
                follow(&value, path)?
            }
        };
        self.spend(size(&value))?;
        Ok(value)
    }
}

fn follow(value: &Value, path: &[String]) -> Result<Value, TemplateError> {
    let mut value = value;
    for name in path {
        let Value::Map(fields) = value else {
            let text = format!("can't evaluate field {name} in {}", value.kind());
            return Err(TemplateError::Kind(text));
        };
        value = fields
            .get(name)
            .ok_or_else(|| TemplateError::MissingKey(name.clone()))?;
    }
    Ok(value.clone())
}

fn undefined(name: &str) -> TemplateError {
    TemplateError::Kind(format!("undefined variable \"${name}\""))
}
