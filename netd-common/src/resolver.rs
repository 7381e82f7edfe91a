//! The way to a sandbox's resolver. Its sockets are at a port that nobody wants, so that a name server of the sandbox's
//! own can listen on port 53 of all addresses; on the loopback device, questions to 127.0.0.11:53 are led there and
//! answers come from where they were sent to. Stateless: one pair of ports for all.

use crate::{
    addr::Be16,
    checksum::field_difference,
    packet::{ETHERNET, Packet, ether_type, protocol},
};

/// The resolver's address in every sandbox, as in Docker's.
pub const ADDRESS: [u8; 4] = [127, 0, 0, 11];

/// The port that is asked (RFC 1035, 4.2).
pub const PORT: u16 = 53;

/// The port where the sockets are: below the ephemeral ones, registered for nothing.
pub const SOCKETS: u16 = 20053;

/// Leads a packet on the loopback device; all but the resolver's stay as they are. `None`: it is none of those.
#[inline(always)]
pub fn redirect<P: Packet>(p: &mut P) -> Option<()> {
    if p.load(ETHERNET - 2)? != ether_type::IPV4 {
        return None;
    }
    let header: [u8; 20] = p.load(ETHERNET)?;
    let [
        first,
        ..,
        f6,
        f7,
        _,
        protocol,
        _,
        _,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
    ] = header;
    let udp = protocol == protocol::UDP;
    let later_fragment = (f6 & 0x1f) | f7 != 0;
    if later_fragment || !(udp || protocol == protocol::TCP) {
        return None;
    }
    let l4 = ETHERNET + u32::from(first & 0xf) * 4;
    let sum = l4 + if udp { 6 } else { 16 };
    if [d0, d1, d2, d3] == ADDRESS {
        replace(p, l4 + 2, PORT, SOCKETS, sum, udp);
    }
    if [s0, s1, s2, s3] == ADDRESS {
        replace(p, l4, SOCKETS, PORT, sum, udp);
    }
    Some(())
}

#[inline(always)]
fn replace<P: Packet>(p: &mut P, at: u32, old: u16, new: u16, sum: u32, udp: bool) -> Option<()> {
    let (old, new) = (Be16::new(old), Be16::new(new));
    if p.load(at)? != old.to_bytes() {
        return None;
    }
    p.store(at, &new.to_bytes())?;
    p.fix_transport(sum, field_difference(old, new), false, udp)
}
