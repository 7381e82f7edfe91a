//! The work space of one packet: what the decisions about it read and leave for each other.

use crate::{
    abi::{ClockEntry, Flow, FlowKey, MappingKey, Publication, Target},
    addr::{Addr, Be16},
    packet::Headers,
    tables::{Before, Route},
    verdict::Step,
};

/// A packet that arrives at a socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SocketTuple {
    /// Source address.
    pub remote: Addr,
    /// Destination address.
    pub local: Addr,
    /// Source port.
    pub remote_port: Be16,
    /// Destination port.
    pub local_port: Be16,
    /// IP protocol number.
    pub protocol: u8,
}

/// Room for the work on a flow that may be over.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ending {
    /// Its element of the queue.
    pub entry: ClockEntry,
    /// Key of one of its entries.
    pub key: FlowKey,
    /// That entry.
    pub flow: Flow,
    /// Key of the other one.
    pub reverse: FlowKey,
    /// The other one.
    pub reply: Flow,
    /// Key of its mapping.
    pub mapping: MappingKey,
}

/// Room for the search for an outside port.
#[derive(Clone, Copy, Debug, Default)]
pub struct Search {
    /// The inside socket.
    pub key: MappingKey,
    /// Who holds a port.
    pub holder: MappingKey,
    /// When a flow last used [`Search::resting`].
    pub resting_since: u64,
    /// First port of the pool.
    pub first: u32,
    /// Number of its ports.
    pub size: u32,
    /// Where the consecutive tries begin, from the first.
    pub start: u32,
    /// The endpoint's network.
    pub network: u32,
    /// The port seen that has rested longest, or 0.
    pub resting: u32,
    /// 1: the port of the socket's mapping has been tried.
    pub tried: u32,
}

/// Room for one packet's work: in the kernel a per-CPU map value, because a program's stack has but 512 bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    /// The packet's headers.
    pub h: Headers,
    /// Headers of the packet inside an ICMP error.
    pub inner: Headers,
    /// Key of the packet's flow.
    pub key: FlowKey,
    /// Key of the answers' entry.
    pub reverse: FlowKey,
    /// The packet's flow.
    pub flow: Flow,
    /// The answers' entry.
    pub reply: Flow,
    /// A flow that is looked at because it may be over.
    pub ending: Ending,
    /// The search for an outside port.
    pub search: Search,
    /// The publication that the packet meets.
    pub found: Publication,
    /// What the packet found in the flow that was noted last.
    pub before: Before,
    /// What a socket of the host is looked for by (`Subprograms::has_socket`).
    pub socket: SocketTuple,
    /// Bytes of the packet as it came, link header included.
    pub bytes: u32,
    /// The endpoint that `flow` leads to, unless that is the outside.
    pub target: Target,
    /// Slot of the endpoint whose quota a new flow counts against.
    pub payer: u32,
    /// After `TooBig`: what would have fitted, bytes; 0 when that is not known.
    pub limit: u32,
    /// Source address of an ICMP error about the packet, `::` for none.
    pub answer: Addr,
    /// Room for [`forget`].
    pub cell: u32,
    /// MTU of the link that the packet came by; of an uplink only where it matters (`mss::is_syn`), else 0.
    pub near_mtu: u32,
    /// Where it leaves the host.
    pub route: Route,
    /// What a function that has no room for it on the stack found is to be done.
    pub step: Step,
}

/// Gives a number back by way of `cell`, which must lie in a map: what the verifier knew of it is lost, so that it
/// follows a loop once, not once for every value that a path brings.
#[inline(always)]
pub fn forget(cell: &mut u32, number: u32) -> u32 {
    let cell: *mut u32 = cell;
    // SAFETY: the pointer comes from a reference; volatile keeps the compiler from seeing through.
    unsafe {
        cell.write_volatile(number);
        cell.read_volatile()
    }
}
