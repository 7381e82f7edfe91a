//! What the decisions ask of their surroundings: the maps and the kernel's routing, as a trait, so that the same
//! decisions run in the kernel and under `cargo test`; and what they answer.

use crate::{
    abi::{
        AddressKey, ClockEntry, Device, Flow, FlowKey, FragmentKey, FragmentPorts, Home, HomeKey,
        HostAddress, Mapping, MappingKey, Network, OutsidePort, Publication, Settings, Target,
        Totals, Usage,
    },
    addr::{Addr, Be16},
    clock::Ending,
    drop_reason::DropReason,
    insert::Written,
    lifetime::Pressure,
    packet::Headers,
    pool::Search,
};

/// What to do with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Not ours: the host's stack goes on with it.
    Pass,
    /// Refused and counted.
    Drop(DropReason),
    /// Straight into the namespace behind the veth with this host end (`bpf_redirect_peer`).
    Peer(u32),
    /// To the host's stack as if received by this interface.
    Ingress(u32),
    /// Received by this interface, by which it came, once more: it waits.
    Again(u32),
    /// Sent out of this interface as it is.
    Egress(u32),
    /// Sent out of this interface, to this neighbour (`bpf_redirect_neigh`).
    Neighbour(u32, Addr),
    /// To a process of the host at a loopback address, by the loopback device.
    Local,
    /// Refused and counted, and sent out of this interface: it has become the ICMP error that says so.
    Back(u32, DropReason),
    /// A copy to each member of this network and, with the second field, to that interface's ingress.
    Replicate(u32, u32),
}

/// What is left to do with a packet once it is judged, or at last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u32)]
pub enum Next {
    /// [`Verdict::Pass`].
    #[default]
    Pass = 0,
    /// [`Verdict::Peer`].
    Peer,
    /// [`Verdict::Ingress`].
    Ingress,
    /// [`Verdict::Egress`].
    Egress,
    /// [`Verdict::Replicate`].
    Replicate,
    /// It belongs to `Work::flow`; to the outside it leaves along `Work::route`.
    Forward,
    /// It is an ICMP error about a packet of the other direction of `Work::flow`.
    Error,
    /// It begins a flow to the outside along `Work::route`, with these further [`crate::abi::flow_flags`].
    BeginOutgoing,
    /// It begins a flow by the publication `Work::found`.
    BeginPublished,
    /// [`Verdict::Again`].
    Again,
    /// [`Verdict::Neighbour`], with the next hop of `Work::route`.
    Neighbour,
    /// [`Verdict::Local`].
    Local,
    /// [`Verdict::Back`].
    Back,
    /// Refused.
    Drop,
}

/// What is left to do with a packet, with the numbers of the verdict. Not an enum with fields: the compiler would copy
/// those that a variant does not have from registers that the verifier knows to be empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Step {
    /// What.
    pub next: Next,
    /// First number of the verdict, or 0.
    pub first: u32,
    /// Second number of the verdict, or 0.
    pub second: u32,
}

impl Step {
    /// A step without numbers.
    pub const fn new(next: Next) -> Self {
        Self::to(next, 0)
    }

    /// Refused for this reason.
    pub const fn refused(reason: DropReason) -> Self {
        Self::to(Next::Drop, reason as u32)
    }

    /// What a finished step means. The programs carry out the step itself: a verdict has fields that some variants lack.
    pub fn verdict(self, w: &Work) -> Result<Verdict, DropReason> {
        let reason = |n| DropReason::from_number(n).unwrap_or(DropReason::Unsupported);
        Ok(match self.next {
            Next::Pass => Verdict::Pass,
            Next::Peer => Verdict::Peer(self.first),
            Next::Ingress => Verdict::Ingress(self.first),
            Next::Again => Verdict::Again(self.first),
            Next::Egress => Verdict::Egress(self.first),
            Next::Replicate => Verdict::Replicate(self.first, self.second),
            Next::Neighbour => Verdict::Neighbour(self.first, w.route.next_hop),
            Next::Local => Verdict::Local,
            Next::Back => Verdict::Back(self.first, reason(self.second)),
            Next::Drop => return Err(reason(self.first)),
            Next::Forward | Next::Error | Next::BeginOutgoing | Next::BeginPublished => {
                return Err(DropReason::Unsupported);
            }
        })
    }

    /// A step with one number.
    pub const fn to(next: Next, first: u32) -> Self {
        Self {
            next,
            first,
            second: 0,
        }
    }
}

/// Where the host would route a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Route {
    /// Interface it leaves by: an uplink.
    pub ifindex: u32,
    /// Address of the next hop.
    pub next_hop: Addr,
    /// MTU of the way, bytes.
    pub mtu: u32,
    /// Address that the host itself would use there, `::` when it has none.
    pub source: Addr,
}

/// What an entry was before the packet that was noted last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Before {
    /// [`Flow::last_seen`].
    pub last_seen: u64,
    /// [`Flow::seen`].
    pub seen: u8,
}

/// A packet that arrives at a socket.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Asked {
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
    pub back: Flow,
    /// A flow that is looked at because it may be over.
    pub ending: Ending,
    /// The search for an outside port.
    pub search: Search,
    /// The publication that the packet meets.
    pub found: Publication,
    /// What the packet found in the flow that was noted last.
    pub before: Before,
    /// What a socket of the host is looked for by ([`Tables::has_socket`]).
    pub asked: Asked,
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
    /// MTU of the link that the packet came by; of an uplink only where it matters ([`crate::mss::is_syn`]), else 0.
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

/// Why an entry was not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// There is one with that key.
    Exists,
    /// The map is full.
    Full,
}

/// Fields of [`Totals`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Count {
    /// [`Totals::flows`].
    Flows,
    /// [`Totals::mappings`].
    Mappings,
    /// [`Totals::shared`].
    Shared,
    /// [`Totals::ended`].
    Ended,
    /// [`Totals::early`].
    Early,
    /// [`Totals::tcp_ports`].
    TcpPorts,
    /// [`Totals::other_ports`].
    OtherPorts,
}

/// The maps and the kernel.
pub trait Tables {
    /// `DEVICES`.
    fn device(&self, ifindex: u32) -> Option<&Device>;
    /// `NETWORKS`.
    fn network(&self, number: u32) -> Option<&Network>;
    /// `GATEWAYS`.
    fn gateway_network(&self, ifindex: u32) -> Option<u32>;
    /// `ADDRESSES`.
    fn target(&self, key: &AddressKey) -> Option<&Target>;
    /// `SUBNETS`.
    fn subnet(&self, addr: Addr) -> Option<u32>;
    /// `UPLINKS`: the interface's MTU.
    fn uplink_mtu(&self, ifindex: u32) -> Option<u32>;
    /// `TRUSTED`: whether this network trusts this uplink.
    fn trusted(&self, network: u32, ifindex: u32) -> bool;
    /// `HOST_ADDRESSES`.
    fn host_address(&self, addr: Addr) -> Option<HostAddress>;
    /// Copies the entry of `PUBLICATIONS` for this address, protocol and port, and says whether there is one.
    fn publication(&self, addr: &Addr, protocol: u8, port: Be16, out: &mut Publication) -> bool;
    /// `HOMES`.
    fn home(&self, key: &HomeKey) -> Option<&Home>;
    /// `SETTINGS`.
    fn settings(&self) -> Option<&Settings>;
    /// Copies an entry of `FLOWS` to `out` and says whether there is one.
    fn flow(&self, key: &FlowKey, out: &mut Flow) -> bool;
    /// As [`Tables::flow`], and notes a packet in it ([`Flow::note`]) before. Returns what the packet found.
    fn note_flow(&self, key: &FlowKey, h: &Headers, bytes: u32, out: &mut Flow) -> Option<Before>;
    /// Changes an entry in place; false: there is none.
    fn change_flow(&self, key: &FlowKey, change: impl FnOnce(&mut Flow)) -> bool;
    /// Clears one of an entry's [`crate::abi::flow_flags`]; true for the one caller who found it set.
    fn take_flow_flag(&self, key: &FlowKey, flag: u32) -> bool;
    /// Writes a flow entry where there is none.
    fn insert_flow(&self, key: &FlowKey, flow: &Flow) -> Result<(), Refused>;
    /// Removes a flow entry; true for the one caller who did.
    fn remove_flow(&self, key: &FlowKey) -> bool;
    /// `MAPPINGS`.
    fn mapping(&self, key: &MappingKey) -> Option<Mapping>;
    /// Counts one more flow in a mapping. The mapping as it is then.
    fn hold_mapping(&self, key: &MappingKey) -> Option<Mapping>;
    /// Counts one flow less in a mapping; true when it was the last.
    fn release_mapping(&self, key: &MappingKey) -> bool;
    /// Writes a mapping where there is none.
    fn insert_mapping(&self, key: &MappingKey, mapping: &Mapping) -> Result<(), Refused>;
    /// Removes a mapping; true for the one caller who did.
    fn remove_mapping(&self, key: &MappingKey) -> bool;
    /// Takes an outside port where it is free.
    fn take_port(&self, port: &OutsidePort, holder: &MappingKey) -> Result<(), Refused>;
    /// Copies the holder of an outside port to `out` and says whether there is one.
    fn port_holder(&self, port: &OutsidePort, out: &mut MappingKey) -> bool;
    /// Gives an outside port back; true for the one caller who did.
    fn free_port(&self, port: &OutsidePort) -> bool;
    /// Whether a socket of the host is there for packets like `w.asked` (TCP, UDP).
    fn has_socket(&self, w: &mut Work) -> bool;
    /// `EXEMPT`: whether packets to this address keep their source.
    fn exempt(&self, addr: Addr) -> bool;
    /// `USAGE`.
    fn usage(&self, slot: u32) -> Usage;
    /// Counts entries of `FLOWS` and ports for the endpoint with this slot, more or less.
    fn count_usage(&self, slot: u32, flows: i32, ports: i32);
    /// `TOTALS`.
    fn totals(&self) -> Totals;
    /// Counts in `TOTALS`.
    fn count(&self, what: Count, by: i64);
    /// Puts a flow behind the others of `CLOCK`; false: there is no room.
    fn push_clock(&self, entry: &ClockEntry) -> bool;
    /// Takes the foremost flow of `CLOCK`, if there is one.
    fn pop_clock(&self, out: &mut ClockEntry) -> bool;
    /// [`crate::clock::visit`].
    fn visit(&self, w: &mut Work) -> bool;
    /// [`crate::insert::write_pair`].
    fn write_pair(&self, w: &mut Work, adopted: bool) -> Result<Written, DropReason>;
    /// [`crate::insert::displace`].
    fn displace(&self, w: &mut Work, pressure: Pressure) -> Result<bool, DropReason>;
    /// [`crate::pool::undo_mapping`].
    fn undo_mapping(&self, w: &mut Work);
    /// [`crate::pool::try_port`].
    fn try_port(&self, w: &mut Work, number: u32) -> bool;
    /// `FRAGMENTS`.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts>;
    /// Remembers the ports of a fragmented datagram.
    fn insert_fragment(&self, key: &FragmentKey, ports: &FragmentPorts);
    /// The host's route from `src` to `dst` for a packet that came in by `ifindex`.
    /// Errors: `NoRoute`; `TooBig`, with the MTU.
    fn route(
        &self,
        ifindex: u32,
        h: &Headers,
        src: Addr,
        dst: Addr,
        out: &mut Route,
    ) -> Result<(), DropReason>;
    /// Whether the sender with this slot may be sent one more ICMP error; it counts as sent.
    fn may_answer(&self, slot: u32) -> bool;
    /// Whether a sender with this slot may have the ports of one more fragmented datagram remembered; it counts.
    fn may_remember(&self, slot: u32) -> bool;
    /// Whether a later fragment may once more be given back to its interface, to wait for the first one; it counts.
    /// `slot`: the sender's.
    fn may_hold(&self, slot: u32) -> bool;
    /// Whether a sender with this slot may send one more packet to all members of its network; it counts.
    fn may_broadcast(&self, slot: u32) -> bool;
    /// Counts a packet delivered to the endpoint with this slot of `COUNTERS`.
    fn received(&self, slot: u32, bytes: u32);
    /// CLOCK_MONOTONIC_COARSE, nanoseconds: some milliseconds late, and cheap.
    fn now(&self) -> u64;
    /// CLOCK_MONOTONIC, nanoseconds.
    fn instant(&self) -> u64;
    /// A random number.
    fn random(&self) -> u32;
}
