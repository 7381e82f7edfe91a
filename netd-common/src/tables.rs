//! What the decisions ask of their surroundings: the maps and the kernel's routing, as a trait, so that the same
//! decisions run in the kernel and under `cargo test`.

use crate::{
    abi::{
        AddressKey, ClockEntry, Device, Flow, FlowKey, FragmentKey, FragmentPorts, Home, HomeKey,
        HostAddress, Mapping, MappingKey, Network, OutsidePort, Publication, Settings, Target,
        Totals, Usage,
    },
    addr::{Addr, Be16},
    drop_reason::DropReason,
    packet::Headers,
};

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
