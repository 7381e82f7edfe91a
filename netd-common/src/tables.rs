//! What the decisions ask of their surroundings: the maps and the kernel's routing, as a trait, so that the same
//! decisions run in the kernel and under `cargo test`; and what they answer.

use crate::{
    abi::{
        AddressKey, Device, Flow, FlowKey, FragmentKey, FragmentPorts, Home, HomeKey, HostAddress,
        Mapping, MappingKey, Network, OutsidePort, Publication, PublicationData, Settings, Target,
    },
    addr::Addr,
    drop_reason::DropReason,
    packet::Headers,
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
    /// Sent out of this interface as it is.
    Egress(u32),
    /// Sent out of this interface, to this neighbour (`bpf_redirect_neigh`).
    Neighbour(u32, Addr),
    /// Refused and counted, and sent out of this interface: it has become the ICMP error that says so.
    Back(u32, DropReason),
    /// A copy to each member of this network and, with the second field, to that interface's ingress.
    Replicate(u32, u32),
}

/// What is left to do with a packet once it is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Next {
    /// [`Verdict::Pass`].
    Pass,
    /// [`Verdict::Peer`].
    Peer,
    /// [`Verdict::Ingress`].
    Ingress,
    /// [`Verdict::Egress`].
    Egress,
    /// [`Verdict::Replicate`].
    Replicate,
    /// It belongs to `Work::flow`.
    Forward,
    /// It belongs to `Work::flow` and leaves along `Work::route`.
    Routed,
    /// It is an ICMP error about a packet of the other direction of `Work::flow`.
    Error,
}

/// What is left to do with a packet, with the numbers of the verdict. Not an enum with fields: the compiler would copy
/// those that a variant does not have from registers that the verifier knows to be empty.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    /// An entry found where a new one was to be written.
    pub old: Flow,
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
    /// `PUBLICATIONS`.
    fn publication(&self, data: &PublicationData) -> Option<Publication>;
    /// `HOMES`.
    fn home(&self, key: &HomeKey) -> Option<&Home>;
    /// `SETTINGS`.
    fn settings(&self) -> Option<&Settings>;
    /// Copies an entry of `FLOWS` to `out` and says whether there is one; notes the time and what was `seen`
    /// ([`crate::abi::seen`]) unless that is 0.
    fn flow(&self, key: &FlowKey, seen: u8, out: &mut Flow) -> bool;
    /// Writes a flow entry; with `new`, only where there is none.
    fn insert_flow(&self, key: &FlowKey, flow: &Flow, new: bool) -> Result<(), Refused>;
    /// Removes a flow entry.
    fn remove_flow(&self, key: &FlowKey);
    /// `MAPPINGS`; notes the time.
    fn mapping(&self, key: &MappingKey) -> Option<Mapping>;
    /// Writes a mapping where there is none.
    fn insert_mapping(&self, key: &MappingKey, mapping: &Mapping) -> Result<(), Refused>;
    /// Takes an outside port where it is free.
    fn take_port(&self, port: &OutsidePort, holder: &MappingKey) -> Result<(), Refused>;
    /// Gives an outside port back.
    fn free_port(&self, port: &OutsidePort);
    /// `FRAGMENTS`.
    fn fragment(&self, key: &FragmentKey) -> Option<FragmentPorts>;
    /// Remembers the ports of a fragmented datagram.
    fn insert_fragment(&self, key: &FragmentKey, ports: &FragmentPorts);
    /// The host's route for a packet that came in by `ifindex` and has the addresses of `flow`.
    /// Errors: `NoRoute`; `TooBig`, with the MTU.
    fn route(
        &self,
        ifindex: u32,
        h: &Headers,
        flow: &Flow,
        out: &mut Route,
    ) -> Result<(), DropReason>;
    /// Whether the sender with this slot may be sent one more ICMP error; it counts as sent.
    fn may_answer(&self, slot: u32) -> bool;
    /// Counts two new entries of `FLOWS` for the endpoint with this slot. False: its quota is used up.
    fn charge_flow(&self, slot: u32) -> bool;
    /// Counts a new entry of `MAPPINGS` for the endpoint with this slot. False: its quota is used up.
    fn charge_port(&self, slot: u32) -> bool;
    /// Counts a packet delivered to the endpoint with this slot of `COUNTERS`.
    fn received(&self, slot: u32, bytes: u32);
    /// CLOCK_MONOTONIC, nanoseconds.
    fn now(&self) -> u64;
    /// A random number.
    fn random(&self) -> u32;
}
