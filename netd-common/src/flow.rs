//! Beginning flows: masquerading with endpoint-independent mappings, publications, and finding flows again.

use crate::{
    abi::{
        AddressKey, Device, FlowKey, FragmentKey, FragmentPorts, Mapping, MappingKey, OutsidePort,
        Publication, PublicationData, network_flags, seen,
    },
    addr::{Addr, Be16},
    drop_reason::DropReason,
    packet::{Class, Headers, Packet, ether_type, protocol, tcp},
    tables::{Refused, Tables, Verdict, Work},
    translate,
};

/// How often a random port is tried before the pool counts as exhausted.
const PORT_TRIES: u32 = 64;

/// Finds the flow of a packet that `endpoint` (0: outside) sent.
#[inline(always)]
pub fn find<T: Tables>(t: &T, w: &mut Work, endpoint: u32) -> bool {
    w.key = FlowKey {
        src: w.h.src,
        dst: w.h.dst,
        sport: w.h.sport,
        dport: w.h.dport,
        endpoint,
        protocol: w.h.protocol,
        pad: [0; 3],
    };
    t.flow(&w.key, seen_of(&w.h), &mut w.flow)
}

/// Finds the flow that the answer to the packet inside an ICMP error, sent by `endpoint`, would take.
/// An error refreshes nothing (RFC 5508, REQ-6).
#[inline(always)]
pub fn find_inner<T: Tables>(t: &T, w: &mut Work, endpoint: u32) -> bool {
    w.key = FlowKey {
        src: w.inner.dst,
        dst: w.inner.src,
        sport: w.inner.dport,
        dport: w.inner.sport,
        endpoint,
        protocol: w.inner.protocol,
        pad: [0; 3],
    };
    t.flow(&w.key, 0, &mut w.flow)
}

/// What a packet says of its flow's state.
#[inline(always)]
pub fn seen_of(h: &Headers) -> u8 {
    if h.protocol != protocol::TCP {
        return seen::PACKET;
    }
    let f = h.tcp_flags;
    let mut s = seen::PACKET;
    if f & tcp::SYN != 0 {
        s |= seen::SYN;
    } else if f & tcp::ACK != 0 {
        s |= seen::ACK;
    }
    if f & tcp::FIN != 0 {
        s |= seen::FIN;
    }
    if f & tcp::RST != 0 {
        s |= seen::RST;
    }
    s
}

/// Fills in the ports of a later fragment, or remembers those of a first one (RFC 4787, REQ-14).
#[inline(always)]
pub fn fragments<T: Tables>(t: &T, h: &mut Headers, endpoint: u32) -> Result<(), DropReason> {
    if h.fragmented {
        fragment_ports(t, h, endpoint)
    } else {
        Ok(())
    }
}

#[inline(never)]
fn fragment_ports<T: Tables>(t: &T, h: &mut Headers, endpoint: u32) -> Result<(), DropReason> {
    let key = FragmentKey {
        src: h.src,
        dst: h.dst,
        id: h.fragment_id,
        endpoint,
        protocol: h.protocol,
        pad: [0; 3],
    };
    if h.class == Class::LaterFragment {
        let ports = t.fragment(&key).ok_or(DropReason::Fragment)?;
        h.sport = ports.sport;
        h.dport = ports.dport;
    } else {
        t.insert_fragment(
            &key,
            &FragmentPorts {
                sport: h.sport,
                dport: h.dport,
            },
        );
    }
    Ok(())
}

/// The publication that a packet to an address of the host meets, if it may begin a flow.
#[inline(always)]
pub fn publication<T: Tables>(t: &T, h: &Headers) -> Option<Publication> {
    let begins = match h.protocol {
        protocol::TCP => h.is_first_syn(),
        protocol::UDP | protocol::SCTP => true,
        _ => false,
    };
    if !begins || h.class != Class::Plain {
        return None;
    }
    published(t, h.dst, h.protocol, h.dport, h.v4)
}

/// The publication of this port of this very address, or of all addresses of its family.
#[inline(always)]
pub fn published<T: Tables>(
    t: &T,
    addr: Addr,
    number: u8,
    port: Be16,
    v4: bool,
) -> Option<Publication> {
    let mut data = PublicationData {
        addr,
        protocol: number,
        pad: 0,
        port,
    };
    if let Some(found) = t.publication(&data) {
        return Some(found);
    }
    data.addr = if v4 {
        Addr::UNSPECIFIED_V4
    } else {
        Addr::UNSPECIFIED
    };
    t.publication(&data)
}

/// The endpoint's port that a publication leads this host port to.
#[inline(always)]
pub fn target_port(found: &Publication, port: Be16) -> Be16 {
    Be16::new(
        found
            .target_port
            .wrapping_add(port.get().wrapping_sub(found.first_port)),
    )
}

/// Begins a flow of a masquerading or routed endpoint to the outside, along `w.route`. `w.key` is the packet's.
#[inline(never)]
pub fn begin_outgoing<T: Tables>(t: &T, dev: &Device, w: &mut Work) -> Result<(), DropReason> {
    let wanted = if w.h.v4 {
        network_flags::MASQUERADE_V4
    } else {
        network_flags::MASQUERADE_V6
    };
    let mut src = w.h.src;
    let mut sport = w.h.sport;
    if dev.flags & wanted != 0 {
        if w.route.source.is_unspecified() {
            return Err(DropReason::NoUplinkAddress);
        }
        src = w.route.source;
        sport = outside_port(t, dev.endpoint, &w.h, &src)?;
    }
    w.flow.src = src;
    w.flow.sport = sport;
    w.flow.dst = w.h.dst;
    w.flow.dport = w.h.dport;
    w.flow.target = 0;
    w.flow.network = 0;
    w.back.src = w.h.dst;
    w.back.sport = w.h.dport;
    w.back.dst = w.h.src;
    w.back.dport = w.h.sport;
    w.back.target = dev.endpoint;
    w.back.network = dev.network;
    insert_pair(t, w)
}

/// Begins a flow to a published port; `w.key` is the packet's. `sender_network`: of the sending endpoint, or 0.
/// `own`: the gateway address that stands in when an endpoint reaches itself.
#[inline(never)]
pub fn begin_published<T: Tables>(
    t: &T,
    found: &Publication,
    sender_network: u32,
    own: &Addr,
    w: &mut Work,
) -> Result<(), DropReason> {
    let sender = w.key.endpoint;
    w.flow.src = w.h.src;
    w.flow.sport = w.h.sport;
    if sender != 0 && sender == found.endpoint {
        // A packet from its own address would be a martian to the endpoint's kernel.
        w.flow.sport = outside_port(t, sender, &w.h, own)?;
        w.flow.src = *own;
    }
    w.flow.dst = found.addr;
    w.flow.dport = target_port(found, w.h.dport);
    w.flow.target = found.endpoint;
    w.flow.network = found.network;
    w.back.src = w.h.dst;
    w.back.sport = w.h.dport;
    w.back.dst = w.h.src;
    w.back.dport = w.h.sport;
    w.back.target = sender;
    w.back.network = sender_network;
    insert_pair(t, w)
}

/// Writes both entries, the answering direction's first: that one must be new, or belong to the same two ends.
#[inline(always)]
fn insert_pair<T: Tables>(t: &T, w: &mut Work) -> Result<(), DropReason> {
    let now = t.now();
    w.flow.last_seen = now;
    w.flow.seen = seen_of(&w.h);
    w.flow.pad = [0; 3];
    w.back.last_seen = now;
    w.back.seen = 0;
    w.back.pad = [0; 3];
    w.reverse = w.flow.reverse_key(w.h.protocol);
    match t.insert_flow(&w.reverse, &w.back, true) {
        Ok(()) => {}
        Err(Refused::Full) => return Err(DropReason::FlowTableFull),
        Err(Refused::Exists) => {
            let (dst, dport, target) = (w.back.dst, w.back.dport, w.back.target);
            let there = t.flow(&w.reverse, 0, &mut w.back);
            if !there || dst != w.back.dst || dport != w.back.dport || target != w.back.target {
                return Err(DropReason::FlowConflict);
            }
        }
    }
    if t.insert_flow(&w.key, &w.flow, false).is_err() {
        t.remove_flow(&w.reverse);
        return Err(DropReason::FlowTableFull);
    }
    Ok(())
}

/// The outside port of an inside socket: the one it has, or a random free one of the pool (RFC 4787, REQ-1).
#[inline(never)]
fn outside_port<T: Tables>(
    t: &T,
    endpoint: u32,
    h: &Headers,
    outside: &Addr,
) -> Result<Be16, DropReason> {
    let outside = *outside;
    // Without ports there is nothing to map; SCTP keeps its port because its checksum cannot be updated in place.
    if !h.has_ports()
        || h.protocol == protocol::SCTP
        || (h.class == Class::Echo && h.sport == Be16::ZERO)
    {
        return Ok(h.sport);
    }
    let key = MappingKey {
        inside: h.src,
        outside,
        endpoint,
        port: h.sport,
        protocol: h.protocol,
        pad: 0,
    };
    if let Some(mapping) = t.mapping(&key) {
        return Ok(mapping.port);
    }
    let settings = t.settings().ok_or(DropReason::NoPort)?;
    let first = u32::from(settings.pool_first);
    let size = u32::from(settings.pool_last)
        .wrapping_sub(first)
        .wrapping_add(1);
    if size == 0 || size > 0xffff {
        return Err(DropReason::NoPort);
    }
    let mut i = 0;
    while i < PORT_TRIES {
        i += 1;
        let port = Be16::new((first + t.random() % size) as u16);
        if published(t, outside, h.protocol, port, h.v4).is_some() {
            continue;
        }
        let taken = OutsidePort {
            addr: outside,
            port,
            protocol: h.protocol,
            pad: 0,
        };
        match t.take_port(&taken, &key) {
            Ok(()) => {}
            Err(Refused::Exists) => continue,
            Err(Refused::Full) => return Err(DropReason::FlowTableFull),
        }
        let mapping = Mapping {
            last_used: t.now(),
            port,
            pad: [0; 6],
        };
        return match t.insert_mapping(&key, &mapping) {
            Ok(()) => Ok(port),
            Err(refused) => {
                t.free_port(&taken);
                // Another CPU mapped the same socket at the same moment: one mapping for both.
                match (refused, t.mapping(&key)) {
                    (Refused::Exists, Some(other)) => Ok(other.port),
                    _ => Err(DropReason::FlowTableFull),
                }
            }
        };
    }
    Err(DropReason::NoPort)
}

/// Sends a translated packet on to the endpoint of its flow: sets the Ethernet addresses.
#[inline(always)]
fn deliver<P: Packet, T: Tables>(p: &mut P, t: &T, w: &Work) -> Result<Verdict, DropReason> {
    let target = t
        .target(&AddressKey {
            network: w.flow.network,
            addr: w.flow.dst,
        })
        .filter(|found| found.endpoint == w.flow.target)
        .ok_or(DropReason::StaleTarget)?;
    if !p.is_gso() && p.len() - w.h.l3 > target.mtu {
        return Err(DropReason::TooBig);
    }
    if w.h.l3 == 0 {
        p.push_ethernet(if w.h.v4 {
            ether_type::IPV4
        } else {
            ether_type::IPV6
        })
        .ok_or(DropReason::Unsupported)?;
    }
    let d = target.mac;
    let s = target.gateway_mac;
    p.store(
        0,
        &[
            d[0], d[1], d[2], d[3], d[4], d[5], s[0], s[1], s[2], s[3], s[4], s[5],
        ],
    )
    .ok_or(DropReason::Unsupported)?;
    t.received(target.slot, p.len());
    Ok(Verdict::Peer(target.ifindex))
}

/// Translates a packet of the flow `w.flow` and sends it on: to its endpoint, or by the host's route as if it had come
/// in by `ifindex`.
#[inline(never)]
pub fn forward<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    ifindex: u32,
    w: &mut Work,
) -> Result<Verdict, DropReason> {
    if w.flow.target == 0 {
        t.route(ifindex, &w.h, &w.flow, &mut w.route)?;
    }
    send(p, t, w)
}

/// As [`forward`], with `w.route` known.
#[inline(always)]
pub fn send<P: Packet, T: Tables>(p: &mut P, t: &T, w: &mut Work) -> Result<Verdict, DropReason> {
    translate::hop(p, &w.h)?;
    translate::packet(p, &w.h, &w.flow).ok_or(DropReason::Unsupported)?;
    if w.flow.target == 0 {
        return Ok(Verdict::Neighbour(w.route.ifindex, w.route.next_hop));
    }
    deliver(p, t, w)
}

/// As [`forward`] for an ICMP error about a packet of the flow's other direction.
#[inline(never)]
pub fn forward_error<P: Packet, T: Tables>(
    p: &mut P,
    t: &T,
    ifindex: u32,
    w: &mut Work,
) -> Result<Verdict, DropReason> {
    translate::hop(p, &w.h)?;
    translate::icmp_error(p, &w.h, &w.inner, &w.flow).ok_or(DropReason::Unsupported)?;
    if w.flow.target != 0 {
        return deliver(p, t, w);
    }
    t.route(ifindex, &w.h, &w.flow, &mut w.route)?;
    Ok(Verdict::Neighbour(w.route.ifindex, w.route.next_hop))
}
