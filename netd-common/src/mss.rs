//! The largest TCP segment that both ends of a connection through the host may send: hosts behind links of different
//! MTUs would otherwise depend on ICMP errors that firewalls like to eat.

use crate::{
    addr::Be16,
    checksum::field_difference,
    packet::{Class, Headers, Packet, protocol, tcp},
    work::forget,
};

/// Options looked at: there are but 40 bytes for them, and the MSS stands near the front.
const MAX_OPTIONS: u32 = 20;

const END: u8 = 0;
const NOTHING: u8 = 1;
const MSS: u8 = 2;

/// Whether the packet may carry the option.
#[inline(always)]
pub fn is_syn(h: &Headers) -> bool {
    h.protocol == protocol::TCP && h.class == Class::Plain && h.tcp_flags & tcp::SYN != 0
}

/// Lowers the MSS option of a SYN or SYN-ACK to what a path of this MTU takes (RFC 9293, 3.7.1); never raises it. A
/// header that makes no sense is left as it is: it is the receiver's to judge. `cell`: see [`forget`].
#[inline(never)]
pub fn clamp<P: Packet>(p: &mut P, h: &Headers, mtu: u32, cell: &mut u32) -> Option<()> {
    let headers = if h.v4 { 40 } else { 60 };
    if mtu <= headers {
        return None;
    }
    let room = mtu - headers;
    let end = h.l4 + u32::from(h.tcp_header);
    let mut at = h.l4 + 20;
    let mut i = 0;
    while i < MAX_OPTIONS {
        i += 1;
        at = forget(cell, at);
        // The shortest option that has a length.
        if at + 2 > end {
            return None;
        }
        let [kind, length] = p.load(at)?;
        match kind {
            END => return None,
            NOTHING => at += 1,
            MSS => {
                if length != 4 || at + 4 > end {
                    return None;
                }
                return lower(p, h, at + 2, room);
            }
            _ => {
                if length < 2 {
                    return None;
                }
                at += u32::from(length);
            }
        }
    }
    None
}

#[inline(always)]
fn lower<P: Packet>(p: &mut P, h: &Headers, at: u32, room: u32) -> Option<()> {
    let old: [u8; 2] = p.load(at)?;
    if u32::from(u16::from_be_bytes(old)) <= room {
        return None;
    }
    let new = (room as u16).to_be_bytes();
    // Across two words of the sum, the bytes count in the other order.
    let odd = (at - h.l4) & 1 != 0;
    let word = |b: [u8; 2]| Be16::from_bytes(if odd { [b[1], b[0]] } else { b });
    p.fix_transport(
        h.l4 + 16,
        field_difference(word(old), word(new)),
        false,
        false,
    )?;
    p.store(at, &new)
}
