//! From text to pieces and their words. Knows how words look, not what they mean together.

use serde_json::Value;

/// A part of a template.
pub enum Piece {
    Text(String),
    /// What stands between the braces, in words.
    Action(Vec<Token>),
}

/// A word and its byte offset.
pub type Token = (Word, usize);

/// A word of an action.
#[derive(Clone, Debug)]
pub enum Word {
    Literal(Value),
    Field(Vec<String>),
    Variable(String, Vec<String>),
    Name(String),
    /// `|`, `(`, `)`, `,`, `=`, and `:` for `:=`.
    Mark(char),
}

/// The parts of a template.
pub fn pieces(text: &str) -> Result<Vec<Piece>, String> {
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
            ':' if rest.starts_with(":=") => (Word::Mark(':'), 2),
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
