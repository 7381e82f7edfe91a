//! The layout of the maps that the daemon and the eBPF programs share.
//!
//! Every type is `repr(C)` with explicit padding and no bool, enum or Option, so that any bytes are a valid value.
//! Change a layout or a map's type only together with [`VERSION`]: pinned maps of another version are not reused.

// tidy: long: the whole layout stands in one place, so that a change of it is seen to be one.
use crate::addr::{Addr, Be16, Mac};

/// Version of the layout; part of the pin path.
pub const VERSION: u32 = 3;

/// `MEMBERS` of a network that a broadcast reaches; the verifier follows no more than 8,192 branches of the loop.
pub const MAX_MEMBERS: u32 = 2048;

/// Key 0 of `COUNTERS` and of `DROPS`: the host's own side (uplinks).
pub const HOST_SLOT: u32 = 0;

/// In place of an endpoint's number: processes of the host that reach a published port by the loopback device. Not 0, so
/// that nothing from outside is ever taken for theirs.
pub const LOCAL: u32 = u32::MAX;

/// Index of the loopback device, in every namespace (LOOPBACK_IFINDEX).
pub const LOOPBACK_IFINDEX: u32 = 1;

/// Flags of [`Device`] and [`Network`].
pub mod network_flags {
    /// Nothing leaves and nothing enters.
    pub const INTERNAL: u32 = 1 << 0;
    /// Endpoints of the network may not talk to each other.
    pub const NO_ICC: u32 = 1 << 1;
    /// Outgoing IPv4 traffic takes the uplink's address.
    pub const MASQUERADE_V4: u32 = 1 << 2;
    /// Outgoing IPv6 traffic takes the uplink's address.
    pub const MASQUERADE_V6: u32 = 1 << 3;
    /// The endpoint has publications: its packets to peers may belong to a translated flow.
    pub const PUBLISHED: u32 = 1 << 4;
    /// From every uplink, published IPv4 ports and ICMP echo are reached at the endpoint's own address (Docker's
    /// gateway mode `routed`).
    pub const ROUTED_V4: u32 = 1 << 5;
    /// As [`ROUTED_V4`], for IPv6.
    pub const ROUTED_V6: u32 = 1 << 6;
    /// From every uplink, every IPv4 port is reached at the endpoint's own address (`nat-unprotected`).
    pub const UNPROTECTED_V4: u32 = 1 << 7;
    /// As [`UNPROTECTED_V4`], for IPv6.
    pub const UNPROTECTED_V6: u32 = 1 << 8;
    /// What comes to a mapped outside port is let in whoever sends it (RFC 4787, REQ-8: endpoint-independent filtering).
    pub const ENDPOINT_INDEPENDENT: u32 = 1 << 9;
    /// The cloud's metadata service is not to be reached (169.254.169.254, fd00:ec2::254).
    pub const NO_METADATA: u32 = 1 << 10;
}

/// `DEVICES`: hash, ifindex of a veth's host end (u32, host order) → the endpoint behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Device {
    /// Number of the endpoint; never used again for another one.
    pub endpoint: u32,
    /// Number of its network; never used again for another one.
    pub network: u32,
    /// Index of its entry in `COUNTERS`.
    pub slot: u32,
    /// See [`network_flags`].
    pub flags: u32,
    /// The network's device in the host, for packets to the host itself.
    pub gateway_ifindex: u32,
    /// Largest IP packet its interface takes, bytes.
    pub mtu: u32,
    /// Its IPv4 address, or `::`.
    pub ipv4: Addr,
    /// Its global IPv6 address, or `::`.
    pub ipv6: Addr,
    /// Its link-local IPv6 address, or `::` (IPv4-only network).
    pub link_local: Addr,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Ethernet address of the network's device in the host.
    pub gateway_mac: Mac,
}

/// `NETWORKS`: hash, number of a network (u32) → the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Network {
    /// See [`network_flags`].
    pub flags: u32,
    /// Its device in the host.
    pub gateway_ifindex: u32,
    /// How many entries of `MEMBERS` it has.
    pub members: u32,
    /// Zero.
    pub pad: u32,
    /// Gateway address, or `::`.
    pub gateway_v4: Addr,
    /// Directed broadcast address, or `::`.
    pub broadcast_v4: Addr,
    /// Gateway address, or `::`.
    pub gateway_v6: Addr,
    /// Link-local address of the gateway device, which ND also answers for, or `::`.
    pub gateway_link_local: Addr,
}

/// `GATEWAYS`: hash, ifindex of the inner end of a network's device pair (u32) → number of the network (u32).
pub type GatewayNetwork = u32;

/// Key of `ADDRESSES`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct AddressKey {
    /// Number of the network.
    pub network: u32,
    /// IPv4, global IPv6 or link-local IPv6 address of an endpoint.
    pub addr: Addr,
}

/// `ADDRESSES`: hash, [`AddressKey`] → where that endpoint is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Target {
    /// The veth's host end.
    pub ifindex: u32,
    /// Number of the endpoint.
    pub endpoint: u32,
    /// Index of its entry in `COUNTERS`.
    pub slot: u32,
    /// Largest IP packet its interface takes, bytes.
    pub mtu: u32,
    /// See [`network_flags`]: those of its [`Device`].
    pub flags: u32,
    /// Its Ethernet address.
    pub mac: Mac,
    /// Ethernet address of its gateway: the source of what comes from outside its network.
    pub gateway_mac: Mac,
}

/// `SUBNETS`: LPM trie, this data under a prefix of 0–128 bits → number of the network (u32).
/// IPv4 subnets stand in their mapped form, so their prefix is 96 longer.
pub type SubnetData = [u8; 16];

/// Key of `MEMBERS`: hash → ifindex of a veth's host end (u32).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct MemberKey {
    /// Number of the network.
    pub network: u32,
    /// 0 to [`Network::members`] − 1.
    pub index: u32,
}

/// `UPLINKS`: hash, ifindex (u32) → what masquerading over that interface needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Uplink {
    /// Interface's MTU, bytes.
    pub mtu: u32,
    /// 1 when packets there start with an Ethernet header, 0 when with IP (tun, WireGuard).
    pub ethernet: u32,
    /// Address that masqueraded IPv4 traffic takes, or `::`.
    pub ipv4: Addr,
    /// Address that masqueraded IPv6 traffic takes, or `::`.
    pub ipv6: Addr,
}

/// Key of `TRUSTED`: hash → u32 1. From this uplink, published ports of this network's endpoints are reached at the
/// endpoints' own addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct TrustedKey {
    /// Number of the network.
    pub network: u32,
    /// The uplink's interface index.
    pub ifindex: u32,
}

/// `HOST_ADDRESSES`: hash, address (16 bytes, [`Addr`]) → what the host holds it for. Loopback is not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct HostAddress {
    /// Number of the network whose gateway it is, or 0.
    pub network: u32,
    /// [`network_flags::INTERNAL`] of that network, or 0.
    pub flags: u32,
}

/// Data of `PUBLICATIONS`' keys. A range of ports is stored as aligned blocks, each one prefix: the prefix length is
/// 144 (address, protocol, padding) plus 16 less the block's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PublicationData {
    /// The host's address; `0.0.0.0` (mapped) and `::` stand for all of a family; loopback ones are for the host only.
    /// On routed networks and for trusted uplinks also the endpoint's own address, with its own ports. Under
    /// [`Addr::own_ports`] of an endpoint, its own ports lead back: to the host ports they are published as.
    pub addr: Addr,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: u8,
    /// First port of the block.
    pub port: Be16,
}

/// Bits of [`PublicationData`] before the port.
pub const PUBLICATION_PREFIX: u32 = 144;

/// `PUBLICATIONS`: LPM trie, [`PublicationData`] → endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Publication {
    /// Number of the network of the endpoint.
    pub network: u32,
    /// Number of the endpoint.
    pub endpoint: u32,
    /// Address of the endpoint. Only for host processes may its family differ from the published address'.
    pub addr: Addr,
    /// First host port of the whole range, host byte order.
    pub first_port: u16,
    /// The endpoint's port that it leads to, host byte order.
    pub target_port: u16,
}

/// Key of `HOMES`: hash → [`Home`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct HomeKey {
    /// Number of an endpoint that publications lead to.
    pub endpoint: u32,
    /// Number of another network of its sandbox.
    pub network: u32,
}

/// Value of `HOMES`: the sandbox's endpoint on that network. Clients there that ask by a published port are led to it:
/// the sandbox would answer them straight, not by the network of the publication.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Home {
    /// Number of the endpoint.
    pub endpoint: u32,
    /// Its IPv4 address, or `::`.
    pub ipv4: Addr,
    /// Its global IPv6 address, or `::`.
    pub ipv6: Addr,
}

/// Key of `FLOWS`: a packet's addresses as they arrive at a hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port; ICMP echo request: the identifier; protocols without ports: 0.
    pub sport: Be16,
    /// Destination port; ICMP echo reply: the identifier; protocols without ports: 0.
    pub dport: Be16,
    /// Number of the sending endpoint, 0 for packets from outside, [`LOCAL`] for those of the host's own processes.
    pub endpoint: u32,
    /// IP protocol number; ICMPv6 as 58.
    pub protocol: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// Bits of [`Flow::seen`].
pub mod seen {
    /// A TCP segment with SYN.
    pub const SYN: u8 = 1;
    /// A TCP segment with ACK and without SYN.
    pub const ACK: u8 = 2;
    /// A TCP segment with FIN.
    pub const FIN: u8 = 4;
    /// A TCP segment with RST that may have been forged, and nothing since.
    pub const RST: u8 = 8;
    /// Any packet at all.
    pub const PACKET: u8 = 16;
    /// The other direction sent FIN; [`super::Flow::fin`] acknowledges it.
    pub const PEER_FIN: u8 = 32;
    /// This direction acknowledged the other's FIN.
    pub const FIN_ACKED: u8 = 64;
    /// The connection is over: both FINs are acknowledged, or an end has reset it. Stands in both entries.
    pub const CLOSED: u8 = 128;
}

/// Bits of [`Flow::flags`].
pub mod flow_flags {
    /// This entry is of the direction that began the flow; the other entry is of its answers.
    pub const INITIATOR: u32 = 1 << 0;
    /// The flow was begun from outside: by a publication, to a routed endpoint, or to a mapped port.
    pub const INBOUND: u32 = 1 << 1;
    /// This entry counts in [`super::Mapping::flows`] of its source.
    pub const MAPPED: u32 = 1 << 2;
    /// Its outside port is shared with flows to other destinations (RFC 7857, 3).
    pub const SHARED: u32 = 1 << 3;
    /// It leads to an outside port of this host: what leaves by it comes back in (RFC 4787, REQ-9).
    pub const HAIRPIN: u32 = 1 << 4;
    /// Its source is the host's address in place of the endpoint's: it moves when that address goes.
    pub const MASQUERADED: u32 = 1 << 5;
    /// Begun by a process of the host, by way of its loopback device.
    pub const LOOPBACK: u32 = 1 << 6;
    /// Met a published port.
    pub const PUBLISHED: u32 = 1 << 7;
    /// Between neighbours on a network, of whom the asked one publishes ports: only so that its answers are told from those
    /// to clients that asked by a published port.
    pub const DIRECT: u32 = 1 << 8;
}

/// `FLOWS`: hash, [`FlowKey`] → what becomes of the packet. One entry for each direction; the key of the other is
/// [`Flow::reverse_key`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Flow {
    /// When the last packet of this direction came, nanoseconds of CLOCK_MONOTONIC (the coarse one).
    pub last_seen: u64,
    /// When the flow began, nanoseconds of CLOCK_MONOTONIC; the same in both entries, and tells the flow from a later one
    /// with the same keys.
    pub begun: u64,
    /// Packets of this direction (a GSO packet counts once).
    pub packets: u64,
    /// Their bytes, Ethernet header included.
    pub bytes: u64,
    /// When the route was last looked up, nanoseconds of CLOCK_MONOTONIC; 0: never.
    pub routed: u64,
    /// Source address after translation.
    pub src: Addr,
    /// Destination address after translation.
    pub dst: Addr,
    /// Source port after translation.
    pub sport: Be16,
    /// Destination port after translation.
    pub dport: Be16,
    /// Number of the endpoint that the packet goes to, 0 for outside, [`LOCAL`] for a process of the host.
    pub target: u32,
    /// Number of that endpoint's network, 0 for outside.
    pub network: u32,
    /// Slot of the endpoint whose quota the flow counts against.
    pub payer: u32,
    /// See [`flow_flags`].
    pub flags: u32,
    /// TCP: the number that follows the last segment of this direction.
    pub next: u32,
    /// TCP: the acknowledgement number of the last segment of this direction.
    pub ack: u32,
    /// TCP: the acknowledgement number that covers the other direction's FIN.
    pub fin: u32,
    /// To the outside: interface of the way out.
    pub ifindex: u32,
    /// To the outside: MTU of the way, bytes.
    pub mtu: u32,
    /// To the outside: address of the next hop.
    pub next_hop: Addr,
    /// [`Settings::generation`] when the route was last looked up.
    pub generation: u32,
    /// Policy: epochs of the sender's and of the receiver's rules by which it was last judged; 0 until there are policies.
    pub epochs: [u32; 2],
    /// Policy: number of the rule that granted it, or 0.
    pub grant: u32,
    /// Policy: number of the destination's class, or 0.
    pub class: u32,
    /// See [`seen`].
    pub seen: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// Element of `CLOCK`, a queue in which each flow stands once; whoever begins a flow looks at the foremost ones and
/// ends those that are over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ClockEntry {
    /// [`Flow::begun`].
    pub begun: u64,
    /// Key of the entry with [`flow_flags::INITIATOR`].
    pub key: FlowKey,
    /// Zero.
    pub pad: u32,
}

impl Flow {
    /// Whether its packets go to an endpoint, else to the outside or to a process of the host.
    #[inline(always)]
    pub const fn is_to_endpoint(&self) -> bool {
        self.target != 0 && self.target != LOCAL
    }

    /// As [`Flow::reverse_key`], written where it is to stand: the kernel's stack is small.
    #[inline(always)]
    pub fn write_reverse_key(&self, protocol: u8, out: &mut FlowKey) {
        out.src = self.dst;
        out.dst = self.src;
        out.sport = self.dport;
        out.dport = self.sport;
        out.endpoint = self.target;
        out.protocol = protocol;
        out.pad = [0; 3];
    }

    /// The key of the other direction's entry.
    #[inline(always)]
    pub const fn reverse_key(&self, protocol: u8) -> FlowKey {
        FlowKey {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            endpoint: self.target,
            protocol,
            pad: [0; 3],
        }
    }
}

/// Key of `MAPPINGS`: an inside socket, for one outside address (endpoint-independent mapping, RFC 4787 REQ-1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct MappingKey {
    /// Inside address.
    pub inside: Addr,
    /// Outside address.
    pub outside: Addr,
    /// Number of the inside endpoint.
    pub endpoint: u32,
    /// Inside port or ICMP identifier.
    pub port: Be16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: u8,
}

/// `MAPPINGS`: hash, [`MappingKey`] → the outside port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Mapping {
    /// When a flow last began or ended with it, nanoseconds of CLOCK_MONOTONIC.
    pub last_used: u64,
    /// Flows that use it. Without any, the port rests, and others may take it.
    pub flows: u32,
    /// Number of the endpoint's network.
    pub network: u32,
    /// Outside port or ICMP identifier.
    pub port: Be16,
    /// Zero.
    pub pad: [u8; 6],
}

/// Key of `OUTSIDE_PORTS`: hash → [`MappingKey`] that holds the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct OutsidePort {
    /// Outside address.
    pub addr: Addr,
    /// Outside port or ICMP identifier.
    pub port: Be16,
    /// IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: u8,
}

/// Key of `FRAGMENTS`: an LRU hash → the ports of a fragmented datagram ([`FragmentPorts`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FragmentKey {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Identification field (IPv4: 16 bits), network byte order as read.
    pub id: u32,
    /// Number of the sending endpoint, 0 for packets from outside.
    pub endpoint: u32,
    /// IPv4: protocol number (RFC 791, 3.2). IPv6: 0, identifications are the sender's alone (RFC 8200, 4.5).
    pub protocol: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// Values of [`FragmentPorts::state`].
pub mod fragment {
    /// The first fragment has come: the ports are known.
    pub const KNOWN: u8 = 0;
    /// Later ones have come and wait for it.
    pub const AWAITED: u8 = 1;
    /// Later ones were not forwarded because it did not come in time.
    pub const MISSED: u8 = 2;
}

/// Value of `FRAGMENTS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FragmentPorts {
    /// When the first fragment that came did, nanoseconds of CLOCK_MONOTONIC.
    pub seen: u64,
    /// Source port.
    pub sport: Be16,
    /// Destination port.
    pub dport: Be16,
    /// IP protocol number of the datagram.
    pub protocol: u8,
    /// See [`fragment`].
    pub state: u8,
    /// Zero.
    pub pad: [u8; 2],
}

/// `COUNTERS`: per-CPU array, slot (u32) → packets of an endpoint. Slot 0 is the host's side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Counters {
    /// Packets delivered to the endpoint (a GSO packet counts once).
    pub rx_packets: u64,
    /// Their bytes, Ethernet header included.
    pub rx_bytes: u64,
    /// Packets accepted from the endpoint.
    pub tx_packets: u64,
    /// Their bytes, Ethernet header included.
    pub tx_bytes: u64,
}

/// `USAGE`: array, slot (u32) → what an endpoint has of what all share, counted by the programs ([`Flow::payer`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Usage {
    /// Entries of `FLOWS`.
    pub flows: u32,
    /// Entries of `MAPPINGS` that flows use.
    pub ports: u32,
}

/// Entry 0 of `TOTALS` (array of one): counted by the programs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Totals {
    /// Entries of `FLOWS`.
    pub flows: u64,
    /// Entries of `MAPPINGS`.
    pub mappings: u64,
    /// Flows that share an outside port with others because none was free (RFC 7857, 3), since the maps were made.
    pub shared: u64,
    /// Flows that were ended because they were over.
    pub ended: u64,
    /// Of these, before their lifetime: room was needed.
    pub early: u64,
    /// Entries of `MAPPINGS` that flows use: of TCP.
    pub tcp_ports: u64,
    /// The same, of other protocols.
    pub other_ports: u64,
}

/// Key of `DROPS`: per-CPU hash → [`DropCount`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct DropKey {
    /// Slot of the endpoint that sent the packet; 0 for the host's side.
    pub slot: u32,
    /// Number of the [`crate::drop_reason::DropReason`].
    pub reason: u32,
}

/// Value of `DROPS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DropCount {
    /// Packets.
    pub packets: u64,
    /// Bytes, Ethernet header included.
    pub bytes: u64,
}

/// `ERRORS`: per-CPU array, slot (u32) → ICMP errors about packets of an endpoint; slot 0 for those from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ErrorBudget {
    /// When the present span of time began, nanoseconds of CLOCK_MONOTONIC.
    pub began: u64,
    /// Errors sent.
    pub sent: u64,
    /// Errors not sent because too many were.
    pub withheld: u64,
    /// Errors sent in the present span of time.
    pub used: u32,
    /// Zero.
    pub pad: u32,
}

/// How often something happened in the present span of time ([`crate::rate`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Rate {
    /// When the present span of time began, nanoseconds of CLOCK_MONOTONIC.
    pub began: u64,
    /// How often it happened since.
    pub used: u32,
    /// How often it was not let happen, since somebody asked.
    pub left_out: u32,
}

/// `RATES`: per-CPU array, slot (u32) → what one endpoint may cause only so often; slot 0 for what comes from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Rates {
    /// Fragmented datagrams whose ports are remembered.
    pub fragments: Rate,
    /// How often later fragments that wait for the first one were given back to their interface; slot 0 for all.
    pub holds: Rate,
    /// Packets to all members of a network.
    pub broadcasts: Rate,
    /// Events about refused packets.
    pub events: Rate,
}

/// Key of `SOCKET_PEERS`: LRU hash, for host sockets whose destination was replaced by an endpoint → [`SocketPeer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct SocketPeerKey {
    /// Socket cookie.
    pub cookie: u64,
    /// Address of the endpoint.
    pub addr: Addr,
    /// Port of the endpoint.
    pub port: Be16,
    /// Zero.
    pub pad: [u8; 6],
}

/// Value of `SOCKET_PEERS`: the destination that the process asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct SocketPeer {
    /// Address.
    pub addr: Addr,
    /// Port.
    pub port: Be16,
    /// IP protocol number; 0: written by an earlier build.
    pub protocol: u8,
    /// Zero.
    pub pad: u8,
}

/// How long a flow may be silent, nanoseconds, by the state it is in (`crate::lifetime`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Lifetimes {
    /// TCP, established (RFC 5382, REQ-5: 2 h 4 min).
    pub tcp_established: u64,
    /// TCP, opening, begun inside (RFC 5382, REQ-5: 4 min).
    pub tcp_opening: u64,
    /// TCP, opening, begun outside.
    pub tcp_inbound_opening: u64,
    /// TCP, closing: both FINs seen, or a RST that may have been forged (RFC 7857, 2.1 and 2.3: 4 min).
    pub tcp_closing: u64,
    /// TCP, closed: only retransmissions are to come.
    pub tcp_closed: u64,
    /// UDP (RFC 4787, REQ-5: 5 min).
    pub udp: u64,
    /// UDP, begun outside, until the second datagram.
    pub udp_inbound: u64,
    /// UDP, to port 53 (RFC 4787, REQ-5 a).
    pub udp_dns: u64,
    /// ICMP queries (RFC 5508, REQ-2: 60 s).
    pub icmp: u64,
    /// Other protocols.
    pub other: u64,
}

/// Entry 0 of `SETTINGS` (array of one): what the programs must know of the host and the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// Cookie of the host's network namespace (`SO_NETNS_COOKIE`, Linux 5.14): the cgroup hooks touch no other.
    pub host_netns_cookie: u64,
    /// How long flows may be silent.
    pub lifetimes: Lifetimes,
    /// How long a port rests that no flow uses any more, nanoseconds (RFC 6888, REQ-8: 120 s), while others are free.
    pub port_rest: u64,
    /// Entries that `FLOWS` has room for.
    pub flows: u32,
    /// Entries of `FLOWS` that one endpoint may have.
    pub flows_per_endpoint: u32,
    /// Ports of the pool that one endpoint may have to itself; beyond, it shares (RFC 7857, 3).
    pub ports_per_endpoint: u32,
    /// Changes with the host's addresses, routes and interfaces: routes that flows remember are looked up again.
    pub generation: u32,
    /// First port of the masquerade pool, host byte order.
    pub pool_first: u16,
    /// Last port of the masquerade pool, host byte order.
    pub pool_last: u16,
    /// 1: `bpf_fib_lookup` knows BPF_FIB_LOOKUP_SRC (Linux 6.7).
    pub fib_source: u32,
    /// Kinds of events that somebody listens for ([`watch`]).
    pub watch: u32,
    /// First source port of clients whose own port is taken, or may be, host byte order: above those that Linux chooses
    /// by itself.
    pub shifted_first: u16,
    /// The last one, host byte order.
    pub shifted_last: u16,
}

/// Bits of [`Settings::watch`].
pub mod watch {
    /// Refused packets: `DropEvent` in `EVENTS`.
    pub const DROPS: u32 = 1 << 0;
}

/// Element of `EVENTS`, a ring buffer: a refused packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct DropEvent {
    /// When, nanoseconds of CLOCK_MONOTONIC.
    pub time: u64,
    /// Slot of the endpoint that sent the packet; 0 for the host's side.
    pub slot: u32,
    /// Number of the [`crate::drop_reason::DropReason`].
    pub reason: u32,
    /// Events left out before this one, because there were too many.
    pub left_out: u32,
    /// Interface that the packet came by.
    pub ifindex: u32,
    /// Its bytes, Ethernet header included.
    pub bytes: u32,
    /// Source address, `::` when it could not be read.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port.
    pub sport: Be16,
    /// Destination port.
    pub dport: Be16,
    /// IP protocol number.
    pub protocol: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// Zero.
    pub pad: [u8; 5],
}

macro_rules! plain {
    ($($name:ty = $size:literal;)*) => {
        $(
            const _: () = assert!(core::mem::size_of::<$name>() == $size);
            // SAFETY: repr(C) of integers and arrays of them, without implicit padding (the size is asserted
            // above to be the sum of the fields), so any bytes are a valid value and all bytes are initialised.
            #[cfg(feature = "user")]
            unsafe impl aya::Pod for $name {}
        )*
    };
}

plain! {
    Addr = 16;
    Device = 84;
    Network = 80;
    AddressKey = 20;
    Target = 32;
    MemberKey = 8;
    Uplink = 40;
    TrustedKey = 8;
    HostAddress = 8;
    PublicationData = 20;
    Publication = 28;
    HomeKey = 8;
    Home = 36;
    FlowKey = 44;
    Flow = 152;
    ClockEntry = 56;
    MappingKey = 40;
    Mapping = 24;
    OutsidePort = 20;
    FragmentKey = 44;
    FragmentPorts = 16;
    Counters = 32;
    DropKey = 8;
    DropCount = 16;
    ErrorBudget = 32;
    SocketPeerKey = 32;
    SocketPeer = 20;
    Lifetimes = 80;
    Settings = 128;
    DropEvent = 72;
    Rate = 16;
    Rates = 64;
    Totals = 56;
    Usage = 8;
}
