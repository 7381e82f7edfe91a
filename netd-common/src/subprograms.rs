//! What the decisions call as subprograms: functions that the verifier checks once, by themselves, however often they are
//! called. A trait, because under `cargo test` they are calls like any other.

use crate::{conntrack::lifetime::Pressure, drop_reason::DropReason, tables::Tables, work::Work};

/// What became of writing a flow's entries.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Written {
    /// They stand there.
    New,
    /// Another CPU has just begun the very same flow, which is `w.flow` now.
    Exists,
    /// Another flow has the same outside addresses and ports.
    Blocked,
}

/// The subprograms.
pub trait Subprograms: Tables {
    /// Looks at the foremost flow of the queue of flows (`expire::visit`). False: there is none.
    fn visit(&self, w: &mut Work) -> bool;
    /// Writes both entries of a flow (`insert::write_pair`).
    fn write_pair(&self, w: &mut Work, adopted: bool) -> Result<Written, DropReason>;
    /// Removes an entry that a new one collides with, if it may (`insert::displace`).
    fn displace(&self, w: &mut Work, pressure: Pressure) -> Result<bool, DropReason>;
    /// Takes back the mapping of a flow that did not begin (`port_allocation::undo_mapping`).
    fn undo_mapping(&self, w: &mut Work);
    /// Tries one outside port (`port_allocation::try_port`).
    fn try_port(&self, w: &mut Work, number: u32) -> bool;
    /// Whether a socket of the host is there for packets like `w.socket` (TCP, UDP).
    fn has_socket(&self, w: &mut Work) -> bool;
}
