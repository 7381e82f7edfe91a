//! What became of a packet, in words that neither the model nor the decisions have of their own.

use std::net::IpAddr;

/// What became of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
    Pass,
    /// With a reason.
    Drop(String),
    /// Into the namespace behind this interface.
    Deliver(u32, Vec<u8>),
    /// To the host's stack, as if this interface had received it.
    ToHost(u32, Vec<u8>),
    /// Out of this interface to this neighbour.
    Out(u32, IpAddr, Vec<u8>),
    /// Back out of the interface it came by: an ICMP error, or an answer of ARP or ND.
    Back(u32, Vec<u8>),
    /// Once more from where it came: a later fragment that waits for the first one.
    Again,
    /// To all of a network, and to this interface of the host.
    Replicate(u32, u32),
}
