//! A host with two networks of two endpoints each, in both families; and packets between them and a LAN.

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use netd_common::{
    abi::*,
    addr::{Addr, Be16, Mac},
    container,
    drop_reason::DropReason,
    loopback,
    packet::protocol,
    uplink,
    verdict::Verdict,
    work::Work,
};

use crate::memory::{Bytes, Maps};

/// Interface index of the uplink.
pub const UPLINK: u32 = 9;
/// The protocols with ports that the tests speak.
pub const PROTOCOLS: [u8; 2] = [protocol::TCP, protocol::UDP];
/// Whether IPv4.
pub const FAMILIES: [bool; 2] = [true, false];

const FOREIGN_MAC: Mac = [2, 0, 0, 9, 9, 9];

/// An address, `ours.1.2` or so, of one of the families.
fn address(v4: bool, first: [u8; 3], net: u8, last: u8) -> Addr {
    if v4 {
        Addr::from_v4_bytes([first[0], first[1], net, last])
    } else {
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8, first[2], net]);
        bytes[15] = last;
        Addr::from_v6_bytes(bytes)
    }
}

/// The host's address on the LAN.
pub fn host(v4: bool) -> Addr {
    address(v4, [198, 51, 1], 100, 1)
}

/// A neighbour's address on the LAN.
pub fn lan(v4: bool) -> Addr {
    address(v4, [198, 51, 1], 100, 2)
}

/// Address of an endpoint: `last` 2 or 3 of network 1 or 2.
pub fn inside(v4: bool, network: u32, last: u8) -> Addr {
    address(v4, [172, 18, 0xff], network as u8, last)
}

/// Number of an endpoint; its veth's interface index is 10 more.
pub fn number(network: u32, last: u8) -> u32 {
    network * 10 + u32::from(last)
}

/// Interface index of a network's device.
pub const fn gateway_ifindex(network: u32) -> u32 {
    100 + network
}

/// Ethernet address of an endpoint.
pub fn mac(network: u32, last: u8) -> Mac {
    [2, 0, 0, 0, network as u8, last]
}

/// The host's side.
pub struct World {
    pub maps: Maps,
    pub work: Work,
    /// Flags of every device.
    pub flags: u32,
    /// MTU of endpoints placed from now on.
    pub mtu: u32,
}

impl World {
    /// Two masquerading networks.
    pub fn new() -> Self {
        let mut maps = Maps {
            uplink: UPLINK,
            mtu: 1500,
            settings: Settings {
                pool_first: 50000,
                pool_last: 50999,
                flows: 10_000,
                flows_per_endpoint: 1000,
                ports_per_endpoint: 500,
                shifted_first: 61000,
                shifted_last: 65535,
                lifetimes: Lifetimes::RFC,
                port_rest: 120_000_000_000,
                ..Settings::default()
            },
            ..Maps::default()
        };
        for v4 in FAMILIES {
            maps.sources.insert(host(v4));
            maps.hosts.insert(host(v4), HostAddress::default());
            for network in [1, 2] {
                let gateway = inside(v4, network, 1);
                let held = HostAddress { network, flags: 0 };
                maps.hosts.insert(gateway, held);
                let prefix = if v4 { 15 } else { 6 };
                maps.subnets.push((gateway, prefix, network));
                let entry = maps.networks.entry(network).or_default();
                entry.gateway_ifindex = gateway_ifindex(network);
                if v4 {
                    entry.gateway_v4 = gateway;
                } else {
                    entry.gateway_v6 = gateway;
                }
            }
        }
        let flags = network_flags::MASQUERADE_V4 | network_flags::MASQUERADE_V6;
        let mut world = Self {
            maps,
            work: Work::default(),
            flags,
            mtu: 1500,
        };
        for network in [1, 2] {
            for last in [2, 3] {
                world.place(network, last, number(network, last));
            }
        }
        world
    }

    /// Puts an endpoint of this number behind an address.
    pub fn place(&mut self, network: u32, last: u8, endpoint: u32) {
        for v4 in FAMILIES {
            let key = AddressKey {
                network,
                addr: inside(v4, network, last),
            };
            let target = Target {
                ifindex: 10 + endpoint,
                endpoint,
                slot: endpoint,
                mtu: self.mtu,
                flags: self.flags,
                mac: mac(network, last),
                gateway_mac: mac(network, 1),
            };
            self.maps.targets.insert(key, target);
        }
    }

    /// Takes an endpoint away.
    pub fn remove(&mut self, network: u32, last: u8) {
        for v4 in FAMILIES {
            self.maps.targets.remove(&AddressKey {
                network,
                addr: inside(v4, network, last),
            });
        }
    }

    /// Publishes a port of an address for an endpoint's port.
    pub fn publish(&mut self, addr: Addr, protocol: u8, port: u16, to: (u32, u8, u16)) {
        let (network, last, target_port) = to;
        let data = PublicationData {
            addr,
            protocol,
            pad: 0,
            port: Be16::new(port),
        };
        let to = Publication {
            network,
            endpoint: number(network, last),
            addr: inside(addr.is_v4(), network, last),
            first_port: port,
            target_port,
        };
        self.maps.publications.insert(data, to);
    }

    /// What an endpoint's device entry says.
    pub fn device(&self, network: u32, last: u8, endpoint: u32) -> Device {
        Device {
            endpoint,
            network,
            slot: endpoint,
            flags: self.flags,
            gateway_ifindex: gateway_ifindex(network),
            mtu: self.mtu,
            ipv4: inside(true, network, last),
            ipv6: inside(false, network, last),
            link_local: Addr::UNSPECIFIED,
            mac: mac(network, last),
            gateway_mac: mac(network, 1),
        }
    }

    /// A packet as an endpoint sends it to its gateway.
    pub fn framed(&self, network: u32, last: u8, p: &Bytes) -> Bytes {
        let mut p = p.clone();
        p.0[..6].copy_from_slice(&mac(network, 1));
        p.0[6..12].copy_from_slice(&mac(network, last));
        p
    }

    /// An endpoint sends.
    pub fn sends(&mut self, network: u32, last: u8, p: &mut Bytes) -> Result<Verdict, DropReason> {
        self.sends_as(network, last, number(network, last), p)
    }

    /// As [`World::sends`], for an endpoint of another number.
    pub fn sends_as(
        &mut self,
        network: u32,
        last: u8,
        endpoint: u32,
        p: &mut Bytes,
    ) -> Result<Verdict, DropReason> {
        let device = self.device(network, last, endpoint);
        *p = self.framed(network, last, p);
        self.work.bytes = p.0.len() as u32;
        container::from_container(p, &self.maps, 10 + endpoint, &device, &mut self.work)
            .verdict(self.work.route.next_hop)
    }

    /// A packet arrives on the uplink.
    pub fn arrives(&mut self, p: &mut Bytes) -> Result<Verdict, DropReason> {
        let v4 = p.0[12..14] == [8, 0];
        self.work.bytes = p.0.len() as u32;
        uplink::from_uplink(p, &self.maps, UPLINK, 14, v4, &mut self.work)
            .verdict(self.work.route.next_hop)
    }

    /// The host sends to itself.
    pub fn loops(&mut self, p: &mut Bytes) -> Result<Verdict, DropReason> {
        let v4 = p.0[12..14] == [8, 0];
        self.work.bytes = p.0.len() as u32;
        loopback::from_loopback(p, &self.maps, v4, &mut self.work).verdict(self.work.route.next_hop)
    }
}

/// Where an answer to a process of the host goes to, which asked an endpoint of `network` from the address `to`.
pub fn process(network: u32, to: Addr) -> Result<Verdict, DropReason> {
    Ok(if !to.is_v4() {
        Verdict::Ingress(LOOPBACK_IFINDEX)
    } else if to.is_loopback() {
        Verdict::Local
    } else {
        Verdict::Ingress(gateway_ifindex(network))
    })
}

/// Where a packet goes to inside.
pub fn peer(network: u32, last: u8) -> Result<Verdict, DropReason> {
    Ok(Verdict::Peer(10 + number(network, last)))
}

/// Where a packet to this address of the LAN goes to.
pub fn outside(addr: Addr) -> Result<Verdict, DropReason> {
    Ok(Verdict::Neighbour(UPLINK, addr))
}

/// An address with a port.
pub type End = (Addr, u16);

/// TCP flags of [`packet`].
pub const SYN: u8 = 2;
/// As [`SYN`].
pub const ACK: u8 = 16;

/// Both headers below the transport.
pub fn builder(from: Addr, to: Addr) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    let ethernet = PacketBuilder::ethernet2(FOREIGN_MAC, FOREIGN_MAC);
    if from.is_v4() {
        ethernet.ipv4(from.v4_bytes(), to.v4_bytes(), 64)
    } else {
        ethernet.ipv6(from.v6_bytes(), to.v6_bytes(), 64)
    }
}

/// A TCP or UDP packet.
pub fn packet(protocol: u8, from: End, to: End, flags: u8, payload: &[u8]) -> Bytes {
    let mut out = Vec::new();
    let builder = builder(from.0, to.0);
    if protocol == protocol::UDP {
        builder.udp(from.1, to.1).write(&mut out, payload).unwrap();
        return Bytes(out, 0);
    }
    let mut step = builder.tcp(from.1, to.1, 1000, 100);
    if flags & SYN != 0 {
        step = step.syn();
    }
    if flags & ACK != 0 {
        step = step.ack(1);
    }
    step.write(&mut out, payload).unwrap();
    Bytes(out, 0)
}

/// The first packet of a flow.
pub fn first(protocol: u8, from: End, to: End) -> Bytes {
    packet(
        protocol,
        from,
        to,
        SYN,
        if protocol == 6 { b"" } else { b"hello" },
    )
}

/// An ICMP echo request or reply.
pub fn echo(from: Addr, to: Addr, id: u16, request: bool) -> Bytes {
    let mut out = Vec::new();
    let b = builder(from, to);
    match (from.is_v4(), request) {
        (true, true) => b.icmpv4_echo_request(id, 1).write(&mut out, b"ping"),
        (true, false) => b.icmpv4_echo_reply(id, 1).write(&mut out, b"ping"),
        (false, true) => b.icmpv6_echo_request(id, 1).write(&mut out, b"ping"),
        (false, false) => b.icmpv6_echo_reply(id, 1).write(&mut out, b"ping"),
    }
    .unwrap();
    Bytes(out, 0)
}

/// Both ends of a packet whose every checksum is right; of an ICMP message the port is 0.
pub fn ends(p: &Bytes) -> (End, End) {
    let sliced = SlicedPacket::from_ethernet(&p.0).expect("a whole packet");
    let (src, dst): (Addr, Addr) = match sliced.net.as_ref().expect("an IP packet") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let (s, d) = (header.source, header.destination);
            (Addr::from_v4_bytes(s), Addr::from_v4_bytes(d))
        }
        NetSlice::Ipv6(ip) => {
            let (s, d) = (ip.header().source(), ip.header().destination());
            (Addr::from_v6_bytes(s), Addr::from_v6_bytes(d))
        }
        NetSlice::Arp(_) => panic!("ARP"),
    };
    let (s6, d6) = (src.v6_bytes(), dst.v6_bytes());
    let (s4, d4) = (src.v4_bytes(), dst.v4_bytes());
    let v4 = src.is_v4();
    let ports = match sliced.transport.expect("a transport header") {
        TransportSlice::Udp(udp) => {
            let (h, data) = (udp.to_header(), udp.payload());
            let sum = if v4 {
                h.calc_checksum_ipv4_raw(s4, d4, data)
            } else {
                h.calc_checksum_ipv6_raw(s6, d6, data)
            };
            assert_eq!(h.checksum, sum.unwrap());
            (h.source_port, h.destination_port)
        }
        TransportSlice::Tcp(tcp) => {
            let (h, data) = (tcp.to_header(), tcp.payload());
            let sum = if v4 {
                h.calc_checksum_ipv4_raw(s4, d4, data)
            } else {
                h.calc_checksum_ipv6_raw(s6, d6, data)
            };
            assert_eq!(h.checksum, sum.unwrap());
            (h.source_port, h.destination_port)
        }
        TransportSlice::Icmpv4(icmp) => {
            let sum = icmp.icmp_type().calc_checksum(icmp.payload());
            assert_eq!(icmp.checksum(), sum);
            (0, 0)
        }
        TransportSlice::Icmpv6(icmp) => {
            let sum = icmp.icmp_type().calc_checksum(s6, d6, icmp.payload());
            assert_eq!(icmp.checksum(), sum.unwrap());
            (0, 0)
        }
        TransportSlice::Igmp(_) => panic!("IGMP"),
    };
    ((src, ports.0), (dst, ports.1))
}
