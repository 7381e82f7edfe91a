//! The part of Go's templates that scripts use: `{{.Field}}`, `{{.A.B}}`, `{{json .Field}}`, `{{json .}}` and
//! `{{index .Field "key"}}`. Knows only JSON values.

use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    Action {
        /// Between the braces, for messages.
        source: String,
        path: Vec<String>,
        json: bool,
        /// Byte offset in the template.
        at: usize,
    },
}

/// What to say of a field that is not there.
#[derive(Clone, Copy, Debug)]
pub enum Missing {
    /// Objects of `inspect`.
    Key,
    /// Rows of `ls`; the Go type that Docker names.
    Field(&'static str),
}

impl Template {
    /// Parses.
    ///
    /// # Errors
    /// An action that is not closed or not known.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((source, tail)) = after.split_once("}}") else {
                return Err("template parsing error: unclosed action".to_owned());
            };
            pieces.push(Piece::Text(before.to_owned()));
            let (path, json) = action(source.trim()).ok_or_else(|| {
                format!(
                    "template parsing error: {{{{{source}}}}} is not known; use {{{{.Field}}}}, {{{{.A.B}}}}, {{{{json .Field}}}} or {{{{index .Field \"key\"}}}}"
                )
            })?;
            pieces.push(Piece::Action {
                source: source.trim().to_owned(),
                path,
                json,
                at: text.len() - after.len(),
            });
            rest = tail;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self { pieces })
    }

    /// Fills in the fields of `value`.
    ///
    /// # Errors
    /// A field that is not there, in Docker's words.
    pub fn render(&self, value: &Value, missing: Missing) -> Result<String, String> {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Action {
                    source,
                    path,
                    json,
                    at,
                } => {
                    let mut found = value;
                    for key in path {
                        found = lookup(found, key).ok_or_else(|| {
                            let why = match missing {
                                Missing::Key => format!("map has no entry for key {key:?}"),
                                Missing::Field(kind) => {
                                    format!("can't evaluate field {key} in type {kind}")
                                }
                            };
                            format!("template parsing error: template: :1:{at}: executing \"\" at <{source}>: {why}")
                        })?;
                    }
                    if *json {
                        text.push_str(&found.to_string());
                    } else {
                        text.push_str(&go(found));
                    }
                }
            }
        }
        Ok(text)
    }
}

/// Docker's structures say ID where their JSON says Id.
fn lookup<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let object = value.as_object()?;
    match key {
        "ID" => object.get("ID").or_else(|| object.get("Id")),
        _ => object.get(key),
    }
}

/// Path and whether JSON is wanted.
fn action(source: &str) -> Option<(Vec<String>, bool)> {
    if let Some(rest) = source.strip_prefix("json ") {
        return Some((path(rest.trim())?, true));
    }
    if let Some(rest) = source.strip_prefix("index ") {
        let (field, key) = rest.trim().split_once(' ')?;
        let key = key.trim().strip_prefix('"')?.strip_suffix('"')?;
        let mut path = path(field)?;
        path.push(key.to_owned());
        return (!key.contains('"')).then_some((path, false));
    }
    Some((path(source)?, false))
}

fn path(text: &str) -> Option<Vec<String>> {
    let rest = text.strip_prefix('.')?;
    if rest.is_empty() {
        return Some(Vec::new());
    }
    let name = |part: &str| {
        !part.is_empty()
            && part
                .chars()
                .all(|letter| letter.is_alphanumeric() || letter == '_')
    };
    rest.split('.')
        .map(|part| name(part).then(|| part.to_owned()))
        .collect()
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
mod tests {
    use serde_json::json;

    use super::*;

    fn render(text: &str) -> Result<String, String> {
        let value = json!({
            "Name": "front", "Id": "abc", "Internal": false, "Nothing": null,
            "IPAM": {"Driver": "default", "Config": [{"Subnet": "10.0.0.0/8"}]},
            "Labels": {"b": "2", "a.x": "1"},
        });
        Template::parse(text)?.render(&value, Missing::Key)
    }

    #[test]
    fn n03_fields() {
        for (text, wanted) in [
            ("{{.Name}}", "front"),
            ("<{{ .ID }}|{{.Internal}}>", "<abc|false>"),
            ("{{.IPAM.Driver}}", "default"),
            ("{{json .IPAM.Config}}", r#"[{"Subnet":"10.0.0.0/8"}]"#),
            ("{{.IPAM.Config}}", "[map[Subnet:10.0.0.0/8]]"),
            ("{{.Labels}}", "map[a.x:1 b:2]"),
            (r#"{{index .Labels "a.x"}}"#, "1"),
            ("{{.Nothing}}", "<no value>"),
            ("plain", "plain"),
        ] {
            assert_eq!(render(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn n03_errors_in_docker_words() {
        assert_eq!(
            render("{{.Nope}}").unwrap_err(),
            "template parsing error: template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\""
        );
        let row = Template::parse("{{.Frob}}").unwrap();
        assert_eq!(
            row.render(&json!({}), Missing::Field("*network.networkContext"))
                .unwrap_err(),
            "template parsing error: template: :1:2: executing \"\" at <.Frob>: can't evaluate field Frob in type *network.networkContext"
        );
        for text in ["{{.Name", "{{range .X}}", "{{}}", "{{Name}}", "{{.A..B}}"] {
            assert!(render(text).is_err(), "{text}");
        }
    }
}
