//! The form of a record: JSON in an envelope with the version of its form and the revision that wrote it.

use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use crate::error::{Error, Result};

/// The form of records that this netd writes. One of a later form is kept as it is, and not used.
pub const FORMAT: u32 = 2;

/// The longest record that is read, bytes.
const LONGEST: usize = 16 << 20;

/// A record.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The commit that wrote it; 0: none yet.
    pub revision: u64,
    /// As JSON; whoever hands a record on shares it.
    value: Arc<str>,
}

/// A record that cannot be read.
#[derive(Clone, Debug, PartialEq)]
pub struct Unread {
    /// Why not.
    pub reason: String,
    /// What can be told of its value all the same; `None`: it is not even JSON.
    pub value: Option<Value>,
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    format: u32,
    revision: u64,
    #[serde(borrow)]
    value: &'a RawValue,
}

impl Record {
    /// Of a value.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn of(what: &str, value: &impl Serialize) -> Result<Self> {
        let value = serde_json::to_string(value)
            .map_err(|e| Error::internal(format!("encoding {what}"), e))?;
        Ok(Self {
            revision: 0,
            value: value.into(),
        })
    }

    /// Its value; unknown fields are fine.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read<T: DeserializeOwned>(&self) -> std::result::Result<T, String> {
        serde_json::from_str(&self.value).map_err(|e| e.to_string())
    }

    pub(super) fn encode(&self, revision: u64) -> std::result::Result<String, String> {
        let value: &RawValue = serde_json::from_str(&self.value).map_err(|e| e.to_string())?;
        let envelope = Envelope {
            format: FORMAT,
            revision,
            value,
        };
        serde_json::to_string(&envelope).map_err(|e| e.to_string())
    }

    pub(super) fn decode(text: &str) -> std::result::Result<Self, Unread> {
        let unread = |reason, value| Unread { reason, value };
        if text.len() > LONGEST {
            let reason = format!("{} bytes are too many", text.len());
            return Err(unread(reason, None));
        }
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|e| {
            let value = serde_json::from_str(text).ok();
            unread(e.to_string(), value.map(inner))
        })?;
        if envelope.format > FORMAT {
            let reason = format!(
                "it is of form {}, this netd reads up to {FORMAT}",
                envelope.format
            );
            let value = serde_json::from_str(envelope.value.get()).ok();
            return Err(unread(reason, value));
        }
        Ok(Self {
            revision: envelope.revision,
            value: envelope.value.get().into(),
        })
    }
}

/// The value in an envelope of another form; or the whole, if there is none.
fn inner(mut whole: Value) -> Value {
    match whole.get_mut("value") {
        Some(value) => value.take(),
        None => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Old {
        name: String,
        #[serde(flatten)]
        extra: crate::model::Extra,
    }

    #[test]
    fn b18_unknown_fields_survive() {
        let text = r#"{"format":2,"revision":7,"value":{"name":"a","later":{"x":[1]}}}"#;
        let record = Record::decode(text).unwrap();
        let old: Old = record.read().unwrap();
        let again = Record::of("x", &old).unwrap().encode(8).unwrap();
        assert!(again.contains(r#""later":{"x":[1]}"#), "{again}");
    }

    #[test]
    fn b18_a_later_form_is_not_read() {
        let later = r#"{"format":99,"revision":7,"value":{}}"#;
        assert!(Record::decode(later).unwrap_err().reason.contains("99"));
        // What can be told of it is told.
        let value = |text| Record::decode(text).unwrap_err().value;
        assert_eq!(value(later), Some(serde_json::json!({})));
        assert_eq!(value(r#"{"value":7}"#), Some(7.into()));
        assert_eq!(value("7"), Some(7.into()));
        assert!(value("{").is_none() && value("\u{fffd}").is_none());
    }
}
