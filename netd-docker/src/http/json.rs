//! JSON as Go's decoder takes it: of a key that is there twice the last one counts, and stands where it was last.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads one value.
///
/// # Errors
/// 400's text in Go's words, as far as they are known.
pub fn parse(text: &[u8]) -> Result<Value, String> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read = Ordered::deserialize(&mut reader).map_err(|e| match e.classify() {
        serde_json::error::Category::Eof => "invalid JSON: unexpected EOF".to_owned(),
        _ => format!("invalid JSON: {}", fault(text, &e)),
    })?;
    match reader.end() {
        Ok(()) => Ok(read.0),
        Err(_) => Err("unexpected content after JSON".to_owned()),
    }
}

/// Go's words for what is wrong, where they are known.
fn fault(text: &[u8], error: &serde_json::Error) -> String {
    let said = error.to_string();
    if said.starts_with("recursion limit") {
        return "exceeded max depth".to_owned();
    }
    let place = [
        (
            "key must be a string",
            "looking for beginning of object key string",
        ),
        (
            "trailing comma",
            "looking for beginning of object key string",
        ),
        ("expected `:`", "after object key"),
        ("expected `,` or `}`", "after object key:value pair"),
        ("expected `,` or `]`", "after array element"),
        ("expected value", "looking for beginning of value"),
    ];
    let place = place.iter().find(|(ours, _)| said.starts_with(ours));
    let mut lines = text.split(|byte| *byte == b'\n');
    let line = lines
        .nth(error.line().saturating_sub(1))
        .unwrap_or_default();
    let found = line
        .get(error.column().saturating_sub(1)..)
        .unwrap_or_default();
    match (place, String::from_utf8_lossy(found).chars().next()) {
        (Some((_, place)), Some(found)) => format!("invalid character {found:?} {place}"),
        _ => said,
    }
}

/// The text of a name, as Go compares the names of fields: without regard to the case of letters, also of the two that only Unicode
/// counts as letters of ASCII.
pub fn fold(name: &str) -> String {
    let folded = name.chars().map(|c| match c {
        '\u{17f}' => 'S',
        '\u{212a}' => 'K',
        c => c.to_ascii_uppercase(),
    });
    folded.collect()
}

struct Ordered(Value);

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Order).map(Self)
    }
}

struct Order;

impl<'de> Visitor<'de> for Order {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Ordered(value)) = access.next_element()? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((key, Ordered(value))) = access.next_entry::<String, Ordered>()? {
            // An older one of the same name gives up its place: of other spellings, too, the last counts.
            fields.shift_remove(&key);
            fields.insert(key, value);
        }
        Ok(fields.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Result<String, String> {
        parse(json.as_bytes()).map(|value| value.to_string())
    }

    #[test]
    fn p04_of_a_key_that_is_there_twice_the_last_counts() {
        let twice = r#"{"A":1,"a":{"b":[true,null,-1,1.5]},"A":2}"#;
        assert_eq!(
            text(twice).unwrap(),
            r#"{"a":{"b":[true,null,-1,1.5]},"A":2}"#
        );
    }

    #[test]
    fn p04_what_is_no_json_is_refused() {
        assert_eq!(text("{} x").unwrap_err(), "unexpected content after JSON");
        assert_eq!(text("{\"a\"").unwrap_err(), "invalid JSON: unexpected EOF");
        for (wrong, said) in [
            (
                "{b",
                "invalid character 'b' looking for beginning of object key string",
            ),
            (
                "{\"a\":1 2}",
                "invalid character '2' after object key:value pair",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            (
                "\n x",
                "invalid character 'x' looking for beginning of value",
            ),
        ] {
            assert_eq!(text(wrong).unwrap_err(), format!("invalid JSON: {said}"));
        }
        for wrong in ["{a}", "1e400", "{\"a\":1,}", "\"\\ud800\"", "nan", ""] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
        assert!(parse(b"\"\xff\"").is_err());
        assert!(text(&"[".repeat(100_000)).is_err());
        assert!(text(&format!("{}{}", "[".repeat(100), "]".repeat(100))).is_ok());
    }

    #[test]
    fn p04_names_are_folded_as_go_folds_them() {
        assert_eq!(fold("Ho\u{17f}tConfig"), fold("HOSTCONFIG"));
        assert_eq!(fold("Networ\u{212a}Mode"), fold("networkmode"));
        assert_ne!(fold("\u{e9}"), fold("\u{c9}x"));
    }
}
