//! How answers look: tables, JSON, templates. Knows the messages of the API, not where they come from.

pub mod docker;
pub mod flow;
pub mod json;
pub mod table;
pub mod template;
pub mod time;
