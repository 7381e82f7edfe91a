//! Finding flows again, and what their packets say of their state.

use crate::{
    abi::{AddressKey, Flow, FlowKey, Target, flow_flags, seen},
    conntrack::{
        expire,
        lifetime::{self, Pressure, State},
    },
    packet::{Class, Headers, protocol, tcp},
    tables::{Before, Tables},
    work::Work,
};

/// Silence after which a flow's packet finds out whether its flow is over: less than any lifetime.
const SILENCE: u64 = 1_000_000_000;

impl Flow {
    /// Notes a packet of `bytes` bytes at `now` (CLOCK_MONOTONIC, nanoseconds).
    #[inline(always)]
    pub fn note(&mut self, h: &Headers, bytes: u32, now: u64) {
        self.last_seen = now;
        self.packets += 1;
        self.bytes += bytes as u64;
        let what = seen_of(h);
        let segment = h.protocol == protocol::TCP && h.class == Class::Plain;
        if segment && what & seen::RST == 0 {
            self.next = h.tcp_next;
            self.ack = h.tcp_ack;
            // What comes after a RST shows that it was not meant.
            self.seen = (self.seen & !seen::RST) | what;
        } else if self.seen | what != self.seen {
            self.seen |= what;
        }
    }
}

/// Writes the key of the flow of a packet that `endpoint` (0: outside) sent.
#[inline(always)]
pub fn write_key(h: &Headers, endpoint: u32, out: &mut FlowKey) {
    out.src = h.src;
    out.dst = h.dst;
    out.sport = h.sport;
    out.dport = h.dport;
    out.endpoint = endpoint;
    out.protocol = h.protocol;
    out.pad = [0; 3];
}

/// Finds the flow of a packet that `endpoint` (0: outside) sent, and where its target is. A flow that is over, or whose
/// target is gone, counts as none, and goes: its peer's packets would keep it for ever.
#[inline(always)]
pub fn find<T: Tables>(t: &T, w: &mut Work, endpoint: u32) -> bool {
    write_key(&w.h, endpoint, &mut w.key);
    let tcp = w.h.protocol == protocol::TCP;
    if tcp && w.h.is_first_syn() && !accepts_syn(t, w) {
        return false;
    }
    let Some(before) = t.note_flow(&w.key, &w.h, w.bytes, &mut w.flow) else {
        return false;
    };
    if w.flow.last_seen.wrapping_sub(before.last_seen) > SILENCE {
        w.ending.key = w.key;
        if was_expired(t, w, before) {
            return false;
        }
    }
    if tcp && changes_state(&w.h, &w.flow) {
        change_state(t, w);
    }
    if locate(t, w) {
        return true;
    }
    end(t, w);
    false
}

/// Ends the flow of `w.key` and `w.flow`.
#[inline(never)]
pub fn end<T: Tables>(t: &T, w: &mut Work) {
    w.ending.key = w.key;
    w.ending.flow = w.flow;
    expire::end(t, &mut w.ending);
}

/// Whether there is a flow that a first SYN with `w.key` belongs to: one that is closing or closed goes, and the SYN
/// begins a new one (RFC 7857, 2.2; RFC 9293, 3.6.1).
#[inline(never)]
fn accepts_syn<T: Tables>(t: &T, w: &mut Work) -> bool {
    let e = &mut w.ending;
    e.key = w.key;
    if !t.flow(&e.key, &mut e.flow) {
        return false;
    }
    let whole = expire::read_reply(t, e);
    let state = if e.flow.flags & flow_flags::INITIATOR != 0 {
        lifetime::state(protocol::TCP, &e.flow, &e.reply)
    } else {
        lifetime::state(protocol::TCP, &e.reply, &e.flow)
    };
    // A RST from outside that may be forged is no reason: the endpoint answers the SYN, and if it is a new connection's,
    // the other end's RST to that answer ends the old one (RFC 9293, 3.10.7.4).
    let both = e.flow.seen & e.reply.seen & seen::FIN != 0;
    let over = state == State::Closed || both || (state == State::Closing && e.key.endpoint != 0);
    if whole && !over {
        return true;
    }
    expire::end(t, e);
    false
}

/// Whether the flow of `w.ending.key` and `w.flow` was over when this packet came; then it goes. `before`: what the packet
/// found, of which the flow is to be judged.
#[inline(never)]
pub fn was_expired<T: Tables>(t: &T, w: &mut Work, before: Before) -> bool {
    let now = w.flow.last_seen;
    let e = &mut w.ending;
    e.flow = w.flow;
    e.flow.last_seen = before.last_seen;
    e.flow.seen = before.seen;
    e.flow.packets = e.flow.packets.wrapping_sub(1);
    if expire::read_reply(t, e) && now < expire::expires_at(t, e, Pressure::NONE) {
        return false;
    }
    expire::end(t, e);
    true
}

/// Whether a segment may change more than its own direction's entry.
#[inline(always)]
fn changes_state(h: &Headers, flow: &Flow) -> bool {
    h.tcp_flags & (tcp::FIN | tcp::RST) != 0
        || (flow.seen & (seen::PEER_FIN | seen::FIN_ACKED) == seen::PEER_FIN
            && h.tcp_flags & tcp::ACK != 0)
}

/// How far a FIN from outside may be ahead of what the endpoint has acknowledged, bytes: more is not on the way.
const AHEAD: u32 = 1 << 26;

/// What a segment of the flow `w.flow` with FIN or RST, or one that acknowledges a FIN, does to the connection.
#[inline(never)]
fn change_state<T: Tables>(t: &T, w: &mut Work) {
    w.flow.write_reverse_key(w.key.protocol, &mut w.reverse);
    let flags = w.h.tcp_flags;
    if flags & tcp::RST != 0 {
        // Both may refuse a SYN. From outside a RST may be a blind forgery, unless it has the number that the endpoint waits for
        // (RFC 5961, 3.2). Nobody else can send in an endpoint's name; but its kernel answers what is forged with a RST, too,
        // and the connection goes on: its own has the number behind what it sent, of which a keep-alive is one byte short
        // (RFC 9293, 3.8.4).
        let opening = w.flow.seen & (seen::SYN | seen::ACK) == 0;
        let outside = w.key.endpoint == 0;
        let believed = t.flow(&w.reverse, &mut w.reply)
            && if opening {
                flags & tcp::ACK != 0 && w.h.tcp_ack == w.reply.next
            } else if outside {
                w.h.tcp_next == w.reply.ack
            } else {
                w.h.tcp_next.wrapping_sub(w.flow.next) <= 1
            };
        if believed {
            expire::close(t, w);
        }
        return;
    }
    if flags & tcp::FIN != 0 {
        let fin = w.h.tcp_next;
        // One from outside counts when the endpoint has acknowledged it.
        let own = w.key.endpoint != 0;
        if own {
            t.change_flow(&w.key, |own| own.seen |= seen::FIN);
        }
        if own || (t.flow(&w.reverse, &mut w.reply) && fin.wrapping_sub(w.reply.ack) < AHEAD) {
            t.change_flow(&w.reverse, |other| {
                other.fin = fin;
                other.seen |= seen::PEER_FIN;
            });
        }
    }
    // Nothing follows a FIN, so one number alone acknowledges it.
    let acknowledged =
        w.flow.seen & seen::PEER_FIN != 0 && flags & tcp::ACK != 0 && w.h.tcp_ack == w.flow.fin;
    if acknowledged {
        t.change_flow(&w.key, |own| own.seen |= seen::FIN_ACKED);
        if w.key.endpoint != 0 {
            t.change_flow(&w.reverse, |other| other.seen |= seen::FIN);
        }
        if t.flow(&w.reverse, &mut w.reply) && w.reply.seen & seen::FIN_ACKED != 0 {
            expire::close(t, w);
        }
    }
}

/// Finds the flow that the answer to the packet inside an ICMP error, sent by `endpoint`, would take.
/// An error refreshes nothing (RFC 5508, REQ-6), and ends nothing.
#[inline(never)]
pub fn find_inner<T: Tables>(t: &T, w: &mut Work, endpoint: u32) -> bool {
    // Of a later fragment nobody knows the ports.
    if w.inner.class == Class::LaterFragment {
        return false;
    }
    w.key.src = w.inner.dst;
    w.key.dst = w.inner.src;
    w.key.sport = w.inner.dport;
    w.key.dport = w.inner.sport;
    w.key.endpoint = endpoint;
    w.key.protocol = w.inner.protocol;
    w.key.pad = [0; 3];
    let e = &mut w.ending;
    e.key = w.key;
    if !t.flow(&e.key, &mut e.flow)
        || !expire::read_reply(t, e)
        || t.now() >= expire::expires_at(t, e, Pressure::NONE)
    {
        return false;
    }
    w.flow = e.flow;
    locate(t, w)
}

/// The endpoint that a flow's packets go to, if it is there and still the same one.
#[inline(always)]
fn target_of<'a, T: Tables>(t: &'a T, flow: &Flow) -> Option<&'a Target> {
    t.target(&AddressKey {
        network: flow.network,
        addr: flow.dst,
    })
    .filter(|found| found.endpoint == flow.target)
}

/// Whether a flow leads somewhere: to the outside, to the host, or to an endpoint that is there.
#[inline(always)]
pub fn is_live<T: Tables>(t: &T, flow: &Flow) -> bool {
    !flow.is_to_endpoint() || target_of(t, flow).is_some()
}

/// As [`is_live`] for `w.flow`; its endpoint becomes `w.target`.
#[inline(always)]
pub fn locate<T: Tables>(t: &T, w: &mut Work) -> bool {
    if !w.flow.is_to_endpoint() {
        return true;
    }
    match target_of(t, &w.flow) {
        Some(found) => {
            w.target = *found;
            true
        }
        None => false,
    }
}

/// What a packet says of its flow's state by itself; a FIN counts where it is believed.
#[inline(always)]
pub fn seen_of(h: &Headers) -> u8 {
    if h.protocol != protocol::TCP {
        return seen::PACKET;
    }
    let f = h.tcp_flags;
    // What else a RST says is of no connection any more.
    if f & tcp::RST != 0 {
        return seen::PACKET | seen::RST;
    }
    let mut s = seen::PACKET;
    if f & tcp::SYN != 0 {
        s |= seen::SYN;
    } else if f & tcp::ACK != 0 {
        s |= seen::ACK;
    }
    s
}
