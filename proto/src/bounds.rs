//! Whether a request holds no more than its `.proto` file says (`netd.v1.bound`). What is checked is generated from there.

use std::{collections::HashMap, fmt};

use crate::v1;

/// A message whose fields have bounds.
pub trait Bounded {
    /// Looks at every field, also those of messages in it.
    ///
    /// # Errors
    /// The first field that holds more than it may.
    fn within(&self) -> Result<(), Excess>;
}

/// A field that holds more than it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Its place in the request, as `endpoints[2].aliases`.
    pub field: String,
    /// What there is too much of: bytes, bytes of a key, items.
    pub what: &'static str,
    /// How much there is.
    pub found: usize,
    /// How much there may be.
    pub limit: u32,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            what,
            found,
            limit,
        } = self;
        write!(
            f,
            "{field} holds {found} {what}, at most {limit} are allowed"
        )
    }
}

impl std::error::Error for Excess {}

impl Excess {
    fn inside(mut self, outer: &str) -> Self {
        self.field = format!("{outer}.{}", self.field);
        self
    }
}

fn limited(field: &str, what: &'static str, found: usize, limit: u32) -> Result<(), Excess> {
    if u32::try_from(found).is_ok_and(|found| found <= limit) {
        return Ok(());
    }
    Err(Excess {
        field: field.to_owned(),
        what,
        found,
        limit,
    })
}

fn items(field: &str, found: usize, limit: u32) -> Result<(), Excess> {
    limited(field, "items", found, limit)
}

fn text(field: &str, text: &str, limit: u32) -> Result<(), Excess> {
    limited(field, "bytes", text.len(), limit)
}

fn texts(field: &str, texts: &[String], most: u32, bytes: u32) -> Result<(), Excess> {
    items(field, texts.len(), most)?;
    let mut numbered = texts.iter().enumerate();
    numbered.try_for_each(|(at, one)| text(&format!("{field}[{at}]"), one, bytes))
}

fn map(
    field: &str,
    pairs: &HashMap<String, String>,
    most: u32,
    keys: u32,
    bytes: u32,
) -> Result<(), Excess> {
    items(field, pairs.len(), most)?;
    pairs.iter().try_for_each(|(key, value)| {
        limited(field, "bytes of a key", key.len(), keys)?;
        // The key is short: it may stand in the answer.
        limited(&format!("{field}[{key:?}]"), "bytes", value.len(), bytes)
    })
}

fn message(field: &str, message: &impl Bounded) -> Result<(), Excess> {
    message.within().map_err(|excess| excess.inside(field))
}

fn messages<T: Bounded>(field: &str, messages: &[T], most: u32) -> Result<(), Excess> {
    items(field, messages.len(), most)?;
    let mut numbered = messages.iter().enumerate();
    numbered.try_for_each(|(at, one)| message(&format!("{field}[{at}]"), one))
}

include!(concat!(env!("OUT_DIR"), "/bounds.rs"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b19_the_field_is_named_by_its_place() {
        let mut request = v1::CreateSandboxRequest {
            name: "web".into(),
            endpoints: vec![v1::EndpointSpec::default(); 3],
            ..Default::default()
        };
        assert_eq!(request.within(), Ok(()));
        request.endpoints[2].aliases = vec![String::new(); 128];
        assert_eq!(request.within(), Ok(()));
        request.endpoints[2].aliases.push(String::new());
        let excess = request.within().unwrap_err();
        assert_eq!(
            excess.to_string(),
            "endpoints[2].aliases holds 129 items, at most 128 are allowed"
        );
        request.endpoints[2].aliases = vec!["a".into(), "b".repeat(257)];
        let excess = request.within().unwrap_err();
        assert_eq!(excess.field, "endpoints[2].aliases[1]");
    }

    #[test]
    fn b19_choices_masks_and_maps_are_bound_too() {
        let path = v1::namespace::Source::Path("x".repeat(4097));
        let namespace = Some(v1::Namespace { source: Some(path) });
        let start = v1::StartSandboxRequest {
            namespace,
            ..Default::default()
        };
        assert_eq!(start.within().unwrap_err().field, "namespace.path");
        let update = v1::UpdateNetworkRequest {
            update_mask: Some(prost_types::FieldMask {
                paths: vec![String::new(); 65],
            }),
            ..Default::default()
        };
        assert_eq!(update.within().unwrap_err().field, "update_mask");
        let update = |key: usize, value: usize| v1::NetworkUpdate {
            labels: HashMap::from([("k".repeat(key), "v".repeat(value))]),
        };
        assert_eq!(update(256, 4096).within(), Ok(()));
        assert_eq!(update(257, 0).within().unwrap_err().what, "bytes of a key");
        assert_eq!(update(1, 4097).within().unwrap_err().field, "labels[\"k\"]");
    }
}
