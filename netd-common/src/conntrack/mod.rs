//! Connection tracking: the table of flows, each with an entry for either direction.

pub mod create;
pub mod expire;
pub mod insert;
pub mod lifetime;
pub mod lookup;
