//! HTTP as Docker's API uses it: versions, paths, queries, bodies, answers, and streams that take a connection over.

pub mod answer;
pub mod body;
pub mod connection;
pub mod head;
mod json;
mod malformed;
mod measure;
pub mod path;
pub mod query;
mod relay;
mod tunnel;
pub mod version;
mod wire;

pub use answer::{Answer, Body};
pub use query::Query;
pub use version::Version;
