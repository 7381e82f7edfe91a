//! From text to nodes. Knows the grammar, not what the words mean.

use std::fmt;

use serde_json::Value;

use super::{
    functions,
    lex::{Piece, Token, Word, pieces},
};

/// A part of a template.
#[derive(Clone, Debug)]
pub enum Node {
    Text(String),
    Print(Pipe),
    Set(Variables, Pipe),
    /// The variables of these three are known up to their `end`.
    If(Variables, Pipe, Vec<Node>, Vec<Node>),
    With(Variables, Pipe, Vec<Node>, Vec<Node>),
    Range(Variables, Pipe, Vec<Node>, Vec<Node>),
    Break,
    Continue,
}

/// Names of variables, none to two, and what becomes of them.
#[derive(Clone, Debug, Default)]
pub struct Variables {
    pub names: Vec<String>,
    /// `=`: they must be there, and keep the new value beyond the block.
    pub assigned: bool,
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
    let (nodes, end) = block(&mut pieces, 0, false)?;
    match end {
        End::Text => Ok(nodes),
        End::Closed | End::Else(_) => {
            Err("template: :1: unexpected {{end}} or {{else}}".to_owned())
        }
    }
}

/// What ended a block.
enum End {
    Text,
    Closed,
    /// The words behind `else`.
    Else(Vec<Token>),
}

/// `looped`: in a `range`, which can be left.
fn block(pieces: &mut Vec<Piece>, depth: usize, looped: bool) -> Result<(Vec<Node>, End), String> {
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
            "if" | "with" | "range" => {
                nodes.push(control(word, &tokens[1..], pieces, depth, looped)?);
            }
            "break" | "continue" => {
                if !looped {
                    return Err(format!(
                        "template: :1: {{{{{word}}}}} outside {{{{range}}}}"
                    ));
                }
                if tokens.len() > 1 {
                    return Err(format!("template: :1: unexpected words in {{{{{word}}}}}"));
                }
                nodes.push(match word {
                    "break" => Node::Break,
                    _ => Node::Continue,
                });
            }
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
    looped: bool,
) -> Result<Node, String> {
    let (variables, tokens) = declared(tokens);
    if word != "range" && variables.names.len() > 1 {
        return Err(format!("template: :1: too many declarations in {word}"));
    }
    let pipe = Reader(tokens, 0).whole()?;
    let (then, end) = block(pieces, depth + 1, looped || word == "range")?;
    let otherwise = match end {
        End::Text => return Err("template: :1: unexpected EOF; {{end}} is missing".to_owned()),
        End::Closed => Vec::new(),
        End::Else(more) => match more.first() {
            // `else if` shares the `end` of its `if`.
            Some((Word::Name(next), _)) if next == word && word != "range" => {
                vec![control(word, &more[1..], pieces, depth + 1, looped)?]
            }
            Some(_) => return Err("template: :1: unexpected words behind else".to_owned()),
            None => match block(pieces, depth + 1, looped)? {
                (nodes, End::Closed) => nodes,
                _ => return Err("template: :1: {{end}} is missing after {{else}}".to_owned()),
            },
        },
    };
    Ok(match word {
        "if" => Node::If(variables, pipe, then, otherwise),
        "with" => Node::With(variables, pipe, then, otherwise),
        _ => Node::Range(variables, pipe, then, otherwise),
    })
}

fn action(tokens: &[Token]) -> Result<Node, String> {
    let (variables, rest) = declared(tokens);
    let pipe = Reader(rest, 0).whole()?;
    match variables.names.len() {
        0 => Ok(Node::Print(pipe)),
        1 => Ok(Node::Set(variables, pipe)),
        _ => Err("template: :1: too many declarations".to_owned()),
    }
}

/// `$a, $b :=` or `=`, and what follows.
fn declared(tokens: &[Token]) -> (Variables, &[Token]) {
    let name = |at: usize| match tokens.get(at) {
        Some((Word::Variable(name, path), _)) if path.is_empty() => Some(name.clone()),
        _ => None,
    };
    let mark = |at: usize| match tokens.get(at) {
        Some((Word::Mark(mark), _)) => *mark,
        _ => ' ',
    };
    let variables = |names: Vec<String>, mark: char| Variables {
        names,
        assigned: mark == '=',
    };
    match (name(0), mark(1), name(2), mark(3)) {
        (Some(one), m @ (':' | '='), ..) => (variables(vec![one], m), &tokens[2..]),
        (Some(one), ',', Some(two), m @ (':' | '=')) => {
            (variables(vec![one, two], m), &tokens[4..])
        }
        _ => (Variables::default(), tokens),
    }
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
