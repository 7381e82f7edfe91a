//! Network address translation: outside ports and their mappings, hairpinning, rewriting packets.

pub mod hairpin;
pub mod mapping;
pub mod port_allocation;
pub mod port_range;
pub mod translate;
