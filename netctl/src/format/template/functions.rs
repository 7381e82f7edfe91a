//! Functions of templates: Go's own and Docker's. Knows only values.

use serde_json::Value;

use super::{go, truth};

/// All of them; `and` and `or` do not look at all of their arguments and are carried out elsewhere.
pub const NAMES: [&str; 22] = [
    "json", "index", "len", "join", "split", "lower", "upper", "title", "pad", "truncate", "print",
    "println", "printf", "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge",
];

/// Longest padding, so that a number of the user's fills no memory.
const WIDEST: u64 = 4096;

/// Calls one.
pub fn call(name: &str, arguments: &[Value]) -> Result<Value, String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok(match (name, arguments) {
        ("json", [value]) => value.to_string().into(),
        ("index", [value, keys @ ..]) => return index(value, keys),
        ("len", [value]) => match value {
            Value::String(text) => text.len().into(),
            Value::Array(values) => values.len().into(),
            Value::Object(fields) => fields.len().into(),
            other => return Err(format!("len of {}", go(other))),
        },
        ("join", [Value::Array(values), Value::String(between)]) => {
            let words: Vec<String> = values.iter().map(go).collect();
            words.join(between).into()
        }
        ("split", [Value::String(text), Value::String(between)]) => {
            text.split(between.as_str()).collect::<Vec<_>>().into()
        }
        ("lower", [Value::String(text)]) => text.to_lowercase().into(),
        ("upper", [Value::String(text)]) => text.to_uppercase().into(),
        ("title", [Value::String(text)]) => title(text).into(),
        ("pad", [value, before, after]) => {
            let text = text(value).ok_or("pad takes a text and two numbers")?;
            let spaces = |value: &Value| -> Result<String, String> {
                let count = value.as_u64().ok_or("pad takes a text and two numbers")?;
                usize::try_from(count.min(WIDEST))
                    .map(|count| " ".repeat(count))
                    .map_err(|error| error.to_string())
            };
            (spaces(before)? + &text + &spaces(after)?).into()
        }
        ("truncate", [Value::String(text), length]) => {
            let length = length
                .as_u64()
                .ok_or("truncate takes a text and a number")?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            text.chars().take(length).collect::<String>().into()
        }
        ("print", values) => values.iter().map(go).collect::<String>().into(),
        ("println", values) => {
            let words: Vec<String> = values.iter().map(go).collect();
            (words.join(" ") + "\n").into()
        }
        ("printf", [Value::String(format), values @ ..]) => printf(format, values).into(),
        ("not", [value]) => (!truth(value)).into(),
        ("eq", [first, others @ ..]) if !others.is_empty() => others.contains(first).into(),
        ("ne", [a, b]) => (a != b).into(),
        ("lt" | "le" | "gt" | "ge", [a, b]) => {
            let order = match (a, b) {
                (Value::String(a), Value::String(b)) => a.cmp(b),
                _ => a
                    .as_f64()
                    .zip(b.as_f64())
                    .and_then(|(a, b)| a.partial_cmp(&b))
                    .ok_or("incompatible types for comparison")?,
            };
            match name {
                "lt" => order.is_lt().into(),
                "le" => order.is_le().into(),
                "gt" => order.is_gt().into(),
                _ => order.is_ge().into(),
            }
        }
        _ => return Err("wrong number or type of arguments".to_owned()),
    })
}

/// Go's `index`: a key that a map lacks is its zero value, a number beyond a list is a mistake.
fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut found = value.clone();
    for key in keys {
        found = match (&found, key) {
            (Value::Object(fields), Value::String(key)) => {
                fields.get(key).cloned().unwrap_or_else(|| "".into())
            }
            (Value::Array(values), Value::Number(number)) => {
                let at = number.as_u64().and_then(|at| usize::try_from(at).ok());
                let item = at.and_then(|at| values.get(at)).cloned();
                item.ok_or_else(|| format!("index out of range: {number}"))?
            }
            (Value::Null, _) => return Err("index of untyped nil".to_owned()),
            (_, key) => return Err(format!("cannot index with {}", go(key))),
        };
    }
    Ok(found)
}

/// `%s`, `%v`, `%d`, `%t`, `%q` with `-` and a width.
fn printf(format: &str, values: &[Value]) -> String {
    let mut text = String::new();
    let mut values = values.iter();
    let mut letters = format.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let left = letters.next_if_eq(&'-').is_some();
        let mut width = 0;
        while let Some(digit) = letters.next_if(char::is_ascii_digit) {
            let digit = u64::from(digit) - u64::from('0');
            width = (width * 10 + digit).min(WIDEST);
        }
        let word = match letters.next() {
            None => "%!(NOVERB)".to_owned(),
            Some('%') => "%".to_owned(),
            Some(verb) => match (verb, values.next()) {
                (_, None) => format!("%!{verb}(MISSING)"),
                ('q', Some(value)) => format!("{:?}", go(value)),
                ('s' | 'v' | 'd' | 't', Some(value)) => go(value),
                (_, Some(value)) => format!("%!{verb}({})", go(value)),
            },
        };
        let gap = usize::try_from(width)
            .unwrap_or_default()
            .saturating_sub(word.chars().count());
        if left {
            text.push_str(&word);
        }
        text.extend(std::iter::repeat_n(' ', gap));
        if !left {
            text.push_str(&word);
        }
    }
    text
}

fn title(text: &str) -> String {
    let mut start = true;
    let letters = text.chars().flat_map(|letter| {
        let upper = start;
        start = letter.is_whitespace();
        let (up, same) = if upper {
            (Some(letter.to_uppercase()), None)
        } else {
            (None, Some(letter))
        };
        up.into_iter().flatten().chain(same)
    });
    letters.collect()
}
