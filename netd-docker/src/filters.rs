//! The `filters` of lists, events and prunes, as Docker's clients send them.

use std::collections::BTreeMap;

use regex::Regex;
use serde_json::Value;

use crate::refusal::{Refusal, Result};

/// Values by key. An object fulfils a key if it matches one of its values, and the filters if it fulfils all keys.
#[derive(Clone, Default, Debug)]
pub struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Of a query's value: JSON, `{"key": ["value"]}`, or from old clients `{"key": {"value": true}}`.
    ///
    /// # Errors
    /// 400 when it is neither.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let wrong = || Refusal::invalid("invalid filter");
        let value: Value = serde_json::from_str(text).map_err(|_| wrong())?;
        let Value::Object(fields) = value else {
            return Err(wrong());
        };
        let mut filters = BTreeMap::new();
        for (key, values) in fields {
            let values: Vec<String> = match values {
                Value::Array(values) => values
                    .into_iter()
                    .map(|value| match value {
                        Value::String(text) => Ok(text),
                        _ => Err(wrong()),
                    })
                    .collect::<Result<_>>()?,
                Value::Object(values) => values.into_iter().map(|(value, _)| value).collect(),
                _ => return Err(wrong()),
            };
            filters.insert(key, values);
        }
        Ok(Self(filters))
    }

    /// Refuses keys that the object does not have.
    ///
    /// # Errors
    /// 400 that names the first one.
    pub fn check(&self, known: &[&str]) -> Result<()> {
        match self.0.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => Err(Refusal::invalid(format!("invalid filter '{key}'"))),
            None => Ok(()),
        }
    }

    /// The values of a key.
    pub fn get(&self, key: &str) -> &[String] {
        self.0.get(key).map_or(&[], Vec::as_slice)
    }

    /// Whether the key is there.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Takes a key out.
    pub fn take(&mut self, key: &str) -> Vec<String> {
        self.0.remove(key).unwrap_or_default()
    }

    /// As a client writes them; empty: none.
    pub fn encode(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        serde_json::to_string(&self.0).unwrap_or_default()
    }

    /// Whether a value is exactly one of the key's; a key that is not there takes everything.
    pub fn exactly(&self, key: &str, value: &str) -> bool {
        self.0
            .get(key)
            .is_none_or(|wanted| wanted.is_empty() || wanted.iter().any(|w| w == value))
    }

    /// As [`Filters::exactly`], where each of the key's values may be a regular expression for a part of it.
    pub fn matches(&self, key: &str, value: &str) -> bool {
        self.exactly(key, value)
            || self
                .get(key)
                .iter()
                .any(|w| Regex::new(w).is_ok_and(|regex| regex.is_match(value)))
    }

    /// Whether labels have all that the key asks for: `key`, or `key=value`.
    pub fn labels<'a>(&self, key: &str, find: impl Fn(&str) -> Option<&'a String>) -> bool {
        self.get(key)
            .iter()
            .all(|wanted| match wanted.split_once('=') {
                Some((name, value)) => find(name).is_some_and(|there| there == value),
                None => find(wanted).is_some(),
            })
    }

    /// A truth value, if the key is there.
    ///
    /// # Errors
    /// 400 when it is none.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        if !self.has(key) {
            return Ok(None);
        }
        match self.get(key) {
            [value] if value == "true" || value == "1" => Ok(Some(true)),
            [value] if value == "false" || value == "0" => Ok(Some(false)),
            values => Err(Refusal::invalid(format!(
                "invalid filter '{key}={}'",
                serde_json::to_string(values).unwrap_or_default()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn n03_both_forms_of_filters_are_read() {
        for text in [r#"{"name":["a","b"]}"#, r#"{"name":{"a":true,"b":true}}"#] {
            let filters = Filters::parse(text).unwrap();
            assert_eq!(filters.get("name"), ["a", "b"]);
            assert!(filters.check(&["name"]).is_ok());
            let refused = filters.check(&["id"]).unwrap_err();
            assert_eq!(refused.message(), "invalid filter 'name'");
        }
        for text in ["{", "[]", "1", r#"{"a":1}"#, r#"{"a":[1]}"#] {
            assert!(Filters::parse(text).is_err(), "{text}");
        }
        assert!(Filters::parse("").unwrap().exactly("name", "x"));
    }

    #[test]
    fn n03_filters_match_as_dockers_do() {
        let filters = Filters::parse(r#"{"name":["^fr"],"label":["a","b=2"],"driver":["bridge"]}"#);
        let filters = filters.unwrap();
        assert!(filters.matches("name", "front"));
        assert!(!filters.matches("name", "afront"));
        assert!(!filters.matches("driver", "x"));
        assert!(!filters.exactly("driver", "bridge2"));
        let labels = HashMap::from([
            ("a".to_owned(), String::new()),
            ("b".to_owned(), "2".into()),
        ]);
        assert!(filters.labels("label", |key| labels.get(key)));
        let other = HashMap::from([("b".to_owned(), "2".to_owned())]);
        assert!(!filters.labels("label", |key| other.get(key)));
        let dangling = Filters::parse(r#"{"dangling":["x"]}"#).unwrap();
        assert!(dangling.boolean("dangling").is_err());
    }
}
