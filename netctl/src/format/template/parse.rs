//! From text to nodes. Knows the grammar, not what the words mean.

use std::fmt;

use serde_json::Value;

use super::functions;

/// A part of a template.
#[derive(Clone, Debug)]
pub enum Node {
    Text(String),
    Print(Pipe),
    Set(String, Pipe),
    If(Pipe, Vec<Node>, Vec<Node>),
    With(Pipe, Vec<Node>, Vec<Node>),
    /// Names of the variables, none to two.
    Range(Vec<String>, Pipe, Vec<Node>, Vec<Node>),
}

/// `a | b`.
#[derive(Clone, Debug)]
pub struct Pipe {
    pub commands: Vec<Vec<Operand>>,
}

/// A word of a command; numbers are byte offsets in the template, for messages.
#[derive(Clone, Debug)]
pub enum Operand {
    Literal(Value),
    Field(Vec<String>, usize),
    Variable(String, Vec<String>, usize),
    Group(Pipe, Vec<String>, usize),
    Function(String, usize),
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(value) => write!(f, "{value}"),
            Self::Field(path, _) => write!(f, ".{}", path.join(".")),
            Self::Variable(name, path, _) => {
                write!(f, "${name}")?;
                path.iter().try_for_each(|part| write!(f, ".{part}"))
            }
            Self::Group(_, path, _) => write!(f, "(...).{}", path.join(".")),
            Self::Function(name, _) => f.write_str(name),
        }
    }
}

/// Deepest nesting that is read: more would only fill the stack.
const DEEPEST: usize = 64;

/// Nodes of a template.
pub fn parse(text: &str) -> Result<Vec<Node>, String> {
    let mut pieces = pieces(text)?;
    pieces.reverse();
    let (nodes, end) = block(&mut pieces, 0)?;
    match end {
        End::Text => Ok(nodes),
        End::Closed | End::Else(_) => {
            Err("template: :1: unexpected {{end}} or {{else}}".to_owned())
        }
    }
}

enum Piece {
    Text(String),
    /// What stands between the braces, in words.
    Action(Vec<Token>),
}

/// What ended a block.
enum End {
    Text,
    Closed,
    /// The words behind `else`.
    Else(Vec<Token>),
}

fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut rest = text;
    let mut trim = false;
    while let Some((before, after)) = rest.split_once("{{") {
        let mut before = if trim { before.trim_start() } else { before };
        let mut start = text.len() - after.len();
        let mut after = after;
        if let Some(tail) = after.strip_prefix("- ") {
            (before, after, start) = (before.trim_end(), tail, start + 2);
        }
        pieces.push(Piece::Text(before.to_owned()));
        let end = close(after).ok_or("template: :1: unclosed action")?;
        let (source, tail) = (&after[..end], &after[end + 2..]);
        let source = match source.strip_suffix(" -") {
            Some(source) => {
                trim = true;
                source
            }
            None => {
                trim = false;
                source
            }
        };
        let comment = source.trim().starts_with("/*") && source.trim().ends_with("*/");
        if !comment {
            let tokens = tokens(source, start)?;
            if tokens.is_empty() {
                return Err("template: :1: missing value for command".to_owned());
            }
            pieces.push(Piece::Action(tokens));
        }
        rest = tail;
    }
    let rest = if trim { rest.trim_start() } else { rest };
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

/// Where the action ends: braces in a text do not count.
fn close(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut quote = None;
    let mut at = 0;
    while at < bytes.len() {
        match (quote, bytes[at]) {
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            (None, mark @ (b'"' | b'`')) => quote = Some(mark),
            (Some(b'"'), b'\\') => at += 1,
            (Some(mark), byte) if mark == byte => quote = None,
            _ => {}
        }
        at += 1;
    }
    None
}

fn block(pieces: &mut Vec<Piece>, depth: usize) -> Result<(Vec<Node>, End), String> {
    if depth > DEEPEST {
        return Err(format!(
            "template: :1: more than {DEEPEST} blocks in one another"
        ));
    }
    let mut nodes = Vec::new();
    while let Some(piece) = pieces.pop() {
        let tokens = match piece {
            Piece::Text(text) => {
                nodes.push(Node::Text(text));
                continue;
            }
            Piece::Action(tokens) => tokens,
        };
        let word = match tokens.first() {
            Some((Word::Name(name), _)) => name.as_str(),
            _ => "",
        };
        match word {
            "end" => return Ok((nodes, End::Closed)),
            "else" => return Ok((nodes, End::Else(tokens[1..].to_vec()))),
            "if" | "with" | "range" => nodes.push(control(word, &tokens[1..], pieces, depth)?),
            _ => nodes.push(action(&tokens)?),
        }
    }
    Ok((nodes, End::Text))
}

fn control(
    word: &str,
    tokens: &[Token],
    pieces: &mut Vec<Piece>,
    depth: usize,
) -> Result<Node, String> {
    let (names, tokens) = declared(tokens);
    if word != "range" && !names.is_empty() {
        return Err(format!(
            "template: :1: variables in {word} are not known here"
        ));
    }
    let pipe = Reader(tokens, 0).whole()?;
    let (then, end) = block(pieces, depth + 1)?;
    let otherwise = match end {
        End::Text => return Err("template: :1: unexpected EOF; {{end}} is missing".to_owned()),
        End::Closed => Vec::new(),
        End::Else(more) => match more.first() {
            // `else if` shares the `end` of its `if`.
            Some((Word::Name(next), _)) if next == word && word != "range" => {
                vec![control(word, &more[1..], pieces, depth + 1)?]
            }
            Some(_) => return Err("template: :1: unexpected words behind else".to_owned()),
            None => match block(pieces, depth + 1)? {
                (nodes, End::Closed) => nodes,
                _ => return Err("template: :1: {{end}} is missing after {{else}}".to_owned()),
            },
        },
    };
    Ok(match word {
        "if" => Node::If(pipe, then, otherwise),
        "with" => Node::With(pipe, then, otherwise),
        _ => Node::Range(names, pipe, then, otherwise),
    })
}

fn action(tokens: &[Token]) -> Result<Node, String> {
    let (names, rest) = declared(tokens);
    let pipe = Reader(rest, 0).whole()?;
    match names.as_slice() {
        [] => Ok(Node::Print(pipe)),
        [name] => Ok(Node::Set(name.clone(), pipe)),
        _ => Err("template: :1: too many declarations".to_owned()),
    }
}

/// `$a, $b :=`, and what follows.
fn declared(tokens: &[Token]) -> (Vec<String>, &[Token]) {
    let name = |at: usize| match tokens.get(at) {
        Some((Word::Variable(name, path), _)) if path.is_empty() => Some(name.clone()),
        _ => None,
    };
    let mark =
        |at: usize, mark: char| matches!(tokens.get(at), Some((Word::Mark(m), _)) if *m == mark);
    match (name(0), name(2)) {
        (Some(one), _) if mark(1, '=') => (vec![one], &tokens[2..]),
        (Some(one), Some(two)) if mark(1, ',') && mark(3, '=') => (vec![one, two], &tokens[4..]),
        _ => (Vec::new(), tokens),
    }
}

/// A word and its byte offset.
type Token = (Word, usize);

#[derive(Clone, Debug)]
enum Word {
    Literal(Value),
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Name(String),
    /// `|`, `(`, `)`, `,`, and `=` for `:=` and `=`.
    Mark(char),
}

fn tokens(source: &str, start: usize) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = source;
    let bad = |what: &str| {
        format!(
            "template: :1: unexpected {what:?} in {{{{{}}}}}",
            source.trim()
        )
    };
    while let Some(first) = rest.trim_start().chars().next() {
        rest = rest.trim_start();
        let at = start + source.len() - rest.len();
        let (word, length) = match first {
            '|' | '(' | ')' | ',' => (Word::Mark(first), 1),
            '=' => (Word::Mark('='), 1),
            ':' if rest.starts_with(":=") => (Word::Mark('='), 2),
            '"' => {
                let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                let text = values
                    .next()
                    .and_then(Result::ok)
                    .ok_or_else(|| bad(rest))?;
                (Word::Literal(text.into()), values.byte_offset())
            }
            '`' => {
                let (text, _) = rest[1..].split_once('`').ok_or_else(|| bad(rest))?;
                (Word::Literal(text.into()), text.len() + 2)
            }
            '.' => {
                let (path, length) = path(rest).ok_or_else(|| bad(rest))?;
                (Word::Field(path), length)
            }
            '$' => {
                let name = name(&rest[1..]);
                let tail = &rest[1 + name.len()..];
                let (path, length) = if tail.starts_with('.') {
                    path(tail).ok_or_else(|| bad(rest))?
                } else {
                    (Vec::new(), 0)
                };
                let length = 1 + name.len() + length;
                (Word::Variable(name.to_owned(), path), length)
            }
            '-' | '0'..='9' => {
                let length = rest[1..]
                    .find(|c: char| !c.is_ascii_digit() && c != '.')
                    .map_or(rest.len(), |end| end + 1);
                let number = serde_json::from_str(&rest[..length]).map_err(|_| bad(rest))?;
                (Word::Literal(Value::Number(number)), length)
            }
            _ => match name(rest) {
                "" => return Err(bad(rest)),
                "true" => (Word::Literal(true.into()), 4),
                "false" => (Word::Literal(false.into()), 5),
                "nil" => (Word::Literal(Value::Null), 3),
                word => (Word::Name(word.to_owned()), word.len()),
            },
        };
        tokens.push((word, at));
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

/// `.A.B` and its length; `.` alone is the value itself.
fn path(text: &str) -> Option<(Vec<String>, usize)> {
    let mut path = Vec::new();
    let mut rest = text;
    while let Some(tail) = rest.strip_prefix('.') {
        let part = name(tail);
        if part.is_empty() {
            return (path.is_empty() && !tail.starts_with('.')).then_some((path, 1));
        }
        path.push(part.to_owned());
        rest = &tail[part.len()..];
    }
    Some((path, text.len() - rest.len()))
}

/// Reads pipes from words; the number is how deep it is in brackets.
struct Reader<'a>(&'a [Token], usize);

impl Reader<'_> {
    fn whole(mut self) -> Result<Pipe, String> {
        let pipe = self.pipe()?;
        if self.0.is_empty() {
            Ok(pipe)
        } else {
            Err("template: :1: unexpected \")\" or \",\"".to_owned())
        }
    }

    fn pipe(&mut self) -> Result<Pipe, String> {
        let mut commands = vec![Vec::new()];
        while let Some(((word, at), rest)) = self.0.split_first() {
            let operand = match word {
                Word::Mark('|') => {
                    commands.push(Vec::new());
                    self.0 = rest;
                    continue;
                }
                Word::Mark('(') if self.1 < DEEPEST => {
                    let mut inner = Reader(rest, self.1 + 1);
                    let pipe = inner.pipe()?;
                    let Some(((Word::Mark(')'), _), mut rest)) = inner.0.split_first() else {
                        return Err("template: :1: unclosed left paren".to_owned());
                    };
                    let mut path = Vec::new();
                    if let Some(((Word::Field(fields), _), more)) = rest.split_first()
                        && !fields.is_empty()
                    {
                        (path, rest) = (fields.clone(), more);
                    }
                    self.0 = rest;
                    push(&mut commands, Operand::Group(pipe, path, *at));
                    continue;
                }
                Word::Mark(_) => break,
                Word::Literal(value) => Operand::Literal(value.clone()),
                Word::Field(path) => Operand::Field(path.clone(), *at),
                Word::Variable(name, path) => Operand::Variable(name.clone(), path.clone(), *at),
                Word::Name(name) if functions::NAMES.contains(&name.as_str()) => {
                    Operand::Function(name.clone(), *at)
                }
                Word::Name(name) => {
                    return Err(format!("template: :1: function {name:?} not defined"));
                }
            };
            self.0 = rest;
            push(&mut commands, operand);
        }
        if commands.iter().any(Vec::is_empty) {
            return Err("template: :1: missing value for command".to_owned());
        }
        Ok(Pipe { commands })
    }
}

fn push(commands: &mut [Vec<Operand>], operand: Operand) {
    if let Some(command) = commands.last_mut() {
        command.push(operand);
    }
}
