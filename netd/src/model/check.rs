//! Judging records that come from a store: whatever wrote them, they are decoded as hostile input.

use crate::error::{Error, Result};

/// Entries that a list of a record may have.
const LONGEST: usize = 100_000;

/// Whether a text is an id: 64 lower-case hexadecimal digits.
pub fn check_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// The judgement of one record; errors name it and the field.
pub(super) struct Checks(String);

impl Checks {
    pub fn of(record: String) -> Self {
        Self(record)
    }

    pub fn that(&mut self, right: bool, field: &str, fault: &str) -> Result<()> {
        if right {
            Ok(())
        } else {
            Err(Error::invalid(format!("{}: {field}: {fault}", self.0)))
        }
    }

    pub fn id(&mut self, field: &str, text: &str) -> Result<()> {
        self.that(check_id(text), field, "not 64 hexadecimal digits")
    }

    pub fn name(&mut self, field: &str, text: &str) -> Result<()> {
        let named = super::check_name(field, text);
        self.that(named.is_ok(), field, "not a name")
    }

    pub fn interface(&mut self, field: &str, text: &str) -> Result<()> {
        let named = super::check_name(field, text).is_ok() && text.len() <= 15;
        self.that(named, field, "not the name of an interface")
    }

    pub fn names(&mut self, field: &str, all: &[String]) -> Result<()> {
        self.that(all.len() <= LONGEST, field, "too long")?;
        let right = all.iter().all(|n| super::is_host_name(n));
        self.that(right, field, "not a host name")
    }
}
