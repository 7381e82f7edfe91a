//! The part of Go's templates that Docker's users write: fields, variables, pipes, `if`, `with`, `range`, and Docker's
//! functions. Knows only JSON values.

mod functions;
mod lex;
mod parse;

use parse::{Node, Operand, Pipe, Variables};
use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    nodes: Vec<Node>,
}

/// What to say of a field that is not there.
#[derive(Clone, Copy, Debug)]
pub enum Missing {
    /// Objects of `inspect`.
    Key,
    /// Rows of `ls`; the Go type that Docker names.
    Field(&'static str),
}

/// Fields whose keys the user chose: one that is not there has no value, and that is no mistake.
const MAPS: [&str; 6] = [
    "Labels",
    "Options",
    "Containers",
    "AuxiliaryAddresses",
    "Attributes",
    "DriverOpts",
];

/// What `.Label "key"` answers.
type Label<'a> = &'a dyn Fn(&str) -> String;

impl Template {
    /// Parses.
    ///
    /// # Errors
    /// An action that is not closed or not known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let nodes = parse::parse(text).map_err(|why| format!("template parsing error: {why}"))?;
        Ok(Self { nodes })
    }

    /// Fills in the fields of `value`.
    ///
    /// # Errors
    /// A field that is not there, in Docker's words.
    pub fn render(&self, value: &Value, missing: Missing) -> Result<String, String> {
        self.render_row(value, missing, None)
    }

    /// As [`Template::render`], with an answer to `.Label "key"`.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_row(
        &self,
        value: &Value,
        missing: Missing,
        label: Option<Label<'_>>,
    ) -> Result<String, String> {
        let mut run = Run {
            text: String::new(),
            missing,
            label,
            variables: vec![(String::new(), value.clone())],
        };
        run.block(&self.nodes, value)
            .map_err(|why| format!("template parsing error: template: {why}"))?;
        Ok(run.text)
    }
}

struct Run<'a> {
    text: String,
    missing: Missing,
    label: Option<Label<'a>>,
    /// Those of the blocks that are open, the innermost last; the first is `$`.
    variables: Vec<(String, Value)>,
}

/// How a block ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Break,
    Continue,
}

impl Run<'_> {
    /// A block: what is declared in it is gone at its end.
    fn block(&mut self, nodes: &[Node], dot: &Value) -> Result<End, String> {
        let outer = self.variables.len();
        let end = self.nodes(nodes, dot);
        self.variables.truncate(outer);
        end
    }

    fn nodes(&mut self, nodes: &[Node], dot: &Value) -> Result<End, String> {
        for node in nodes {
            let outer = self.variables.len();
            let end = match node {
                Node::Text(text) => {
                    self.text.push_str(text);
                    End::Done
                }
                Node::Print(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    self.text.push_str(&go(&value));
                    End::Done
                }
                Node::Set(variables, pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    self.set(variables, [value])?;
                    // It is known until the block that holds it ends.
                    continue;
                }
                Node::If(variables, pipe, then, otherwise) => {
                    let value = self.pipe(pipe, dot)?;
                    self.set(variables, [value.clone()])?;
                    self.block(if truth(&value) { then } else { otherwise }, dot)?
                }
                Node::With(variables, pipe, then, otherwise) => {
                    let value = self.pipe(pipe, dot)?;
                    self.set(variables, [value.clone()])?;
                    if truth(&value) {
                        self.block(then, &value)?
                    } else {
                        self.block(otherwise, dot)?
                    }
                }
                Node::Range(variables, pipe, body, otherwise) => {
                    let value = self.pipe(pipe, dot)?;
                    self.range(variables, &value, body, otherwise, dot)?
                }
                Node::Break => End::Break,
                Node::Continue => End::Continue,
            };
            self.variables.truncate(outer);
            if end != End::Done {
                return Ok(end);
            }
        }
        Ok(End::Done)
    }

    /// Gives variables their values; surplus values have none.
    fn set(
        &mut self,
        variables: &Variables,
        values: impl IntoIterator<Item = Value>,
    ) -> Result<(), String> {
        for (name, value) in variables.names.iter().zip(values) {
            if variables.assigned {
                let mut known = self.variables.iter_mut().rev();
                let found = known.find(|(known, _)| known == name);
                found.ok_or_else(|| undefined(name))?.1 = value;
            } else {
                self.variables.push((name.clone(), value));
            }
        }
        Ok(())
    }

    fn range(
        &mut self,
        variables: &Variables,
        value: &Value,
        body: &[Node],
        otherwise: &[Node],
        dot: &Value,
    ) -> Result<End, String> {
        let items: Vec<(Value, Value)> = match value {
            Value::Array(values) => {
                let numbered = values.iter().enumerate();
                numbered
                    .map(|(at, item)| (at.into(), item.clone()))
                    .collect()
            }
            // The objects are built in the order of their keys where the order is free.
            Value::Object(fields) => {
                let fields = fields.iter();
                fields
                    .map(|(key, item)| (key.clone().into(), item.clone()))
                    .collect()
            }
            Value::Null => Vec::new(),
            other => return Err(format!("range can't iterate over {}", go(other))),
        };
        if items.is_empty() {
            return self.block(otherwise, dot);
        }
        let outer = self.variables.len();
        for (key, item) in items {
            if variables.names.len() == 1 {
                self.set(variables, [item.clone()])?;
            } else {
                self.set(variables, [key, item.clone()])?;
            }
            let end = self.block(body, &item)?;
            self.variables.truncate(outer);
            if end == End::Break {
                break;
            }
        }
        Ok(End::Done)
    }

    /// Each command gets the value of the one before as its last argument.
    fn pipe(&self, pipe: &Pipe, dot: &Value) -> Result<Value, String> {
        let mut last: Option<Value> = None;
        for command in &pipe.commands {
            last = Some(self.command(command, last, dot)?);
        }
        last.ok_or_else(|| "an empty pipe".to_owned())
    }

    fn command(
        &self,
        command: &[Operand],
        last: Option<Value>,
        dot: &Value,
    ) -> Result<Value, String> {
        let Some((first, rest)) = command.split_first() else {
            return Err("an empty command".to_owned());
        };
        if let Operand::Function(name, _) = first
            && matches!(name.as_str(), "and" | "or")
            && !(rest.is_empty() && last.is_none())
        {
            return self.decided(name == "or", rest, last, dot);
        }
        let mut arguments = Vec::new();
        for operand in rest {
            arguments.push(self.operand(operand, dot)?);
        }
        arguments.extend(last);
        match first {
            Operand::Function(name, at) => functions::call(name, &arguments).map_err(|why| {
                format!(":1:{at}: executing \"\" at <{name}>: error calling {name}: {why}")
            }),
            Operand::Field(path, _) if path == &["Label"] && !arguments.is_empty() => {
                match (self.label, arguments.as_slice()) {
                    (Some(label), [Value::String(key)]) => Ok(label(key).into()),
                    _ => Err(".Label takes one text, and only in rows".to_owned()),
                }
            }
            operand if arguments.is_empty() => self.operand(operand, dot),
            operand => Err(format!("{operand} is no function and takes no arguments")),
        }
    }

    /// `and` and `or`: the first that decides, or the last. What follows it is not looked at.
    fn decided(
        &self,
        by: bool,
        operands: &[Operand],
        last: Option<Value>,
        dot: &Value,
    ) -> Result<Value, String> {
        let mut value = Value::Null;
        for operand in operands {
            value = self.operand(operand, dot)?;
            if truth(&value) == by {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn operand(&self, operand: &Operand, dot: &Value) -> Result<Value, String> {
        match operand {
            Operand::Literal(value) => Ok(value.clone()),
            Operand::Field(path, at) => self.walk(dot, path, *at, operand),
            Operand::Variable(name, path, at) => {
                let mut known = self.variables.iter().rev();
                let (_, value) = known
                    .find(|(known, _)| known == name)
                    .ok_or_else(|| undefined(name))?;
                self.walk(value, path, *at, operand)
            }
            Operand::Group(pipe, path, at) => {
                let value = self.pipe(pipe, dot)?;
                self.walk(&value, path, *at, operand)
            }
            Operand::Function(name, _) => functions::call(name, &[]),
        }
    }

    fn walk(
        &self,
        value: &Value,
        path: &[String],
        at: usize,
        operand: &Operand,
    ) -> Result<Value, String> {
        let mut found = value;
        let mut before = "";
        for key in path {
            found = match lookup(found, key) {
                Some(found) => found,
                None if MAPS.contains(&before) => &Value::Null,
                None => {
                    let why = match self.missing {
                        Missing::Key => format!("map has no entry for key {key:?}"),
                        Missing::Field(kind) => {
                            format!("can't evaluate field {key} in type {kind}")
                        }
                    };
                    return Err(format!(":1:{at}: executing \"\" at <{operand}>: {why}"));
                }
            };
            before = key;
        }
        Ok(found.clone())
    }
}

fn undefined(name: &str) -> String {
    format!(":1: undefined variable \"${name}\"")
}

/// Docker's structures say ID where their JSON says Id.
fn lookup<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    match key {
        "ID" => object.get("ID").or_else(|| object.get("Id")),
        _ => object.get(key),
    }
}

/// What `if` takes for true.
fn truth(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(bool) => *bool,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(values) => !values.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// A value as Go's `fmt` prints it.
fn go(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let words: Vec<String> = values.iter().map(go).collect();
            format!("[{}]", words.join(" "))
        }
        Value::Object(fields) => {
            let mut words: Vec<String> = fields
                .iter()
                .map(|(key, value)| format!("{key}:{}", go(value)))
                .collect();
            words.sort();
            format!("map[{}]", words.join(" "))
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests;
