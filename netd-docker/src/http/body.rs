//! Bodies that are read as a whole: of bounded length, JSON as Docker reads it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::{Body, json};
use crate::refusal::{Refusal, Result};

/// The longest body that is read as a whole, bytes. A container's settings are some thousand.
pub const LONGEST: usize = 8 << 20;

/// How long a client may take for such a body.
const LONGEST_TIME: Duration = Duration::from_secs(300);

/// The whole body.
pub async fn read(body: Body) -> Result<Bytes> {
    let read = timeout(LONGEST_TIME, pieces(body)).await;
    read.unwrap_or_else(|_| {
        let text = "the request body did not come for too long";
        Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, text))
    })
}

async fn pieces(mut body: Body) -> Result<Bytes> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::invalid("invalid JSON: unexpected EOF"))?;
        let Some(piece) = frame.data_ref() else {
            continue;
        };
        if whole.len() + piece.len() > LONGEST {
            return Err(Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                format!("the request body is longer than {LONGEST} bytes"),
            ));
        }
        whole.extend_from_slice(piece);
    }
    Ok(whole.freeze())
}

/// Refuses a body that is not said to be JSON. An empty one may say nothing.
pub fn check_kind(headers: &HeaderMap, body: &[u8]) -> Result<()> {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else {
        if body.is_empty() {
            return Ok(());
        }
        return Err(Refusal::invalid(
            "malformed Content-Type header (): mime: no media type",
        ));
    };
    let kind = String::from_utf8_lossy(kind.as_bytes());
    let media = kind.split(';').next().unwrap_or_default().trim();
    if media.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Refusal::invalid(format!(
        "unsupported Content-Type header ({media}): must be 'application/json'"
    )))
}

/// A JSON object with fields that are found whatever the case of their letters, as Go finds them.
///
/// What is asked for is renamed to the spelling that Docker documents, so that whoever reads the object afterwards reads the same.
#[derive(Clone, Debug)]
pub struct Object {
    /// Go's name of its type, for messages.
    kind: &'static str,
    fields: Map<String, Value>,
}

impl Object {
    /// Of a request's body.
    ///
    /// # Errors
    /// 400 with Go's words when it is none.
    pub fn parse(headers: &HeaderMap, body: &[u8], kind: &'static str) -> Result<Self> {
        check_kind(headers, body)?;
        if body.is_empty() {
            return Err(Refusal::invalid(
                "invalid JSON: got EOF while reading request body",
            ));
        }
        let value = json::parse(body).map_err(Refusal::invalid)?;
        Self::new(value, kind, "")
    }

    /// Of a value; null is an empty object.
    pub fn new(value: Value, kind: &'static str, field: &str) -> Result<Self> {
        match value {
            Value::Null => Ok(Self {
                kind,
                fields: Map::new(),
            }),
            Value::Object(fields) => Ok(Self { kind, fields }),
            other => Err(wrong(&other, field, kind)),
        }
    }

    /// Takes a field out. Of several that differ in the case of letters only, the last one counts, as in Go.
    pub fn take(&mut self, name: &str) -> Option<Value> {
        let wanted = json::fold(name);
        let spelled: Vec<String> = self
            .fields
            .keys()
            .filter(|key| key.as_str() == name || json::fold(key) == wanted)
            .cloned()
            .collect();
        let mut last = None;
        for key in spelled {
            last = self.fields.shift_remove(&key).or(last);
        }
        last.filter(|value| !value.is_null())
    }

    /// Puts a field in.
    pub fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.take(name);
        self.fields.insert(name.to_owned(), value.into());
    }

    /// A text; missing: empty.
    pub fn text(&mut self, name: &str) -> Result<String> {
        match self.take(name) {
            None => Ok(String::new()),
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err(wrong(&other, &self.place(name), "string")),
        }
    }

    /// A truth value, if it is there.
    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>> {
        match self.take(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(value)),
            Some(other) => Err(wrong(&other, &self.place(name), "bool")),
        }
    }

    /// A whole number; missing: 0.
    pub fn integer(&mut self, name: &str) -> Result<i64> {
        match self.take(name) {
            None => Ok(0),
            Some(value) => value
                .as_i64()
                .ok_or_else(|| wrong(&value, &self.place(name), "int")),
        }
    }

    /// An object, if it is there.
    pub fn object(&mut self, name: &str, kind: &'static str) -> Result<Option<Self>> {
        let place = self.place(name);
        self.take(name)
            .map(|value| Self::new(value, kind, &place))
            .transpose()
    }

    /// A list; missing: empty.
    pub fn list(&mut self, name: &str) -> Result<Vec<Value>> {
        match self.take(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(values)) => Ok(values),
            Some(other) => Err(wrong(&other, &self.place(name), "[]string")),
        }
    }

    /// A list of texts.
    pub fn texts(&mut self, name: &str) -> Result<Vec<String>> {
        let place = self.place(name);
        let values = self.list(name)?.into_iter();
        values
            .map(|value| match value {
                Value::String(text) => Ok(text),
                other => Err(wrong(&other, &place, "string")),
            })
            .collect()
    }

    /// Texts by key; none: not there.
    pub fn map(&mut self, name: &str) -> Result<Option<Vec<(String, String)>>> {
        let place = self.place(name);
        let Some(object) = self.object(name, "map[string]string")? else {
            return Ok(None);
        };
        let pairs = object.fields.into_iter().map(|(key, value)| match value {
            Value::String(text) => Ok((key, text)),
            Value::Null => Ok((key, String::new())),
            other => Err(wrong(&other, &place, "string")),
        });
        pairs.collect::<Result<_>>().map(Some)
    }

    /// All fields that are left.
    pub fn into_fields(self) -> Map<String, Value> {
        self.fields
    }

    /// All fields, to write them.
    pub fn fields(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn place(&self, name: &str) -> String {
        format!("{}.{name}", self.kind)
    }
}

impl From<Object> for Value {
    fn from(object: Object) -> Self {
        Self::Object(object.fields)
    }
}

/// Go's words for a value of the wrong type.
fn wrong(value: &Value, field: &str, wanted: &str) -> Refusal {
    let got = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let wanted = match wanted {
        "CreateRequest" => "network.CreateRequest",
        "ConnectRequest" => "network.ConnectRequest",
        "ContainerConfig" => "container.CreateRequest",
        wanted => wanted,
    };
    let text = if field.is_empty() {
        format!("invalid JSON: json: cannot unmarshal {got} into Go value of type {wanted}")
    } else {
        format!(
            "invalid JSON: json: cannot unmarshal {got} into Go struct field {field} of type {wanted}"
        )
    };
    Refusal::invalid(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Object {
        Object::new(value, "T", "").unwrap()
    }

    #[test]
    fn p04_fields_are_found_as_go_finds_them() {
        let mut o = object(json!({"name": "a", "NAME": "b", "Internal": null, "n": 7}));
        assert_eq!(o.text("Name").unwrap(), "b");
        assert_eq!(o.boolean("Internal").unwrap(), None);
        assert_eq!(o.integer("N").unwrap(), 7);
        assert!(o.into_fields().is_empty());
        let mut o = object(json!({"hostconfig": {"a": 1}}));
        let inner = o.take("HostConfig").unwrap();
        o.put("HostConfig", inner);
        assert_eq!(Value::from(o), json!({"HostConfig": {"a": 1}}));
    }

    #[test]
    fn p04_wrong_types_are_refused_in_gos_words() {
        let refused = object(json!({"Name": 1})).text("Name").unwrap_err();
        assert_eq!(
            refused.message(),
            "invalid JSON: json: cannot unmarshal number into Go struct field T.Name of type string"
        );
        for value in [json!([]), json!("x"), json!(1), json!(true)] {
            assert!(Object::new(value, "T", "").is_err());
        }
        assert!(object(json!({"l": [1]})).texts("l").is_err());
        assert!(object(json!({"m": {"a": 1}})).map("m").is_err());
    }

    #[test]
    fn p04_bodies_must_be_json() {
        let mut headers = HeaderMap::new();
        let parse = |headers: &HeaderMap, body: &[u8]| Object::parse(headers, body, "T");
        assert!(parse(&headers, b"{}").is_err());
        headers.insert(
            header::CONTENT_TYPE,
            "application/json; charset=utf-8".parse().unwrap(),
        );
        assert!(parse(&headers, b"{}").is_ok());
        assert!(parse(&headers, b"").unwrap_err().message().contains("EOF"));
        assert!(parse(&headers, b"{b").is_err());
        headers.insert(header::CONTENT_TYPE, "text/plain".parse().unwrap());
        assert!(parse(&headers, b"{}").is_err());
    }
}
