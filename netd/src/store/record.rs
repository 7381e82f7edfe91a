//! The form of a record: JSON in an envelope with the version of its form and the revision that wrote it.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

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
    value: Value,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    format: u32,
    revision: u64,
    value: Value,
}

impl Record {
    /// Of a value.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn of(what: &str, value: &impl Serialize) -> Result<Self> {
        let value = serde_json::to_value(value)
            .map_err(|e| Error::internal(format!("encoding {what}"), e))?;
        Ok(Self { revision: 0, value })
    }

    /// Its value; unknown fields are fine.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read<T: DeserializeOwned>(&self) -> std::result::Result<T, String> {
        serde_json::from_value(self.value.clone()).map_err(|e| e.to_string())
    }

    pub(super) fn encode(&self, revision: u64) -> std::result::Result<String, String> {
        let envelope = Envelope {
            format: FORMAT,
            revision,
            value: self.value.clone(),
        };
        serde_json::to_string(&envelope).map_err(|e| e.to_string())
    }

    pub(super) fn decode(text: &str) -> std::result::Result<Self, String> {
        if text.len() > LONGEST {
            return Err(format!("{} bytes are too many", text.len()));
        }
        let envelope: Envelope = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if envelope.format > FORMAT {
            return Err(format!(
                "it is of form {}, this netd reads up to {FORMAT}",
                envelope.format
            ));
        }
        Ok(Self {
            revision: envelope.revision,
            value: envelope.value,
        })
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
        assert!(Record::decode(later).unwrap_err().contains("99"));
        assert!(Record::decode("{").is_err() && Record::decode("\u{fffd}").is_err());
    }
}
