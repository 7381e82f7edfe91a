//! How long a flow may be silent: by its state, and by how much room is left.
//!
//! While there is room, the lifetimes are those of the settings, whose defaults are the RFCs'. As the table or the
//! payer's quota fills up, what may be over is held to be over sooner, so that new flows always find room; what is
//! established is left alone.

use crate::{
    abi::{Flow, Lifetimes, Settings, Totals, Usage, flow_flags, seen},
    addr::Be16,
    packet::protocol,
};

const SECOND: u64 = 1_000_000_000;

impl Lifetimes {
    /// Those of the RFCs where they name one; what is begun outside, asks a name server or is closed lives short.
    pub const RFC: Self = Self {
        tcp_established: 7440 * SECOND,
        tcp_opening: 240 * SECOND,
        tcp_inbound_opening: 30 * SECOND,
        tcp_closing: 240 * SECOND,
        tcp_closed: 10 * SECOND,
        udp: 300 * SECOND,
        udp_inbound: 30 * SECOND,
        udp_dns: 10 * SECOND,
        icmp: 60 * SECOND,
        other: 300 * SECOND,
    };
}

/// State of a flow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum State {
    /// TCP: not both ends have answered yet.
    Opening = 1,
    /// TCP: data may flow, in one direction at least.
    Established = 2,
    /// TCP: both ends have sent FIN, or a RST came that may have been forged.
    Closing = 3,
    /// TCP: it is over.
    Closed = 4,
    /// Packets went in one direction only.
    Unanswered = 5,
    /// One packet went, and was answered.
    Answered = 6,
    /// More went after an answer.
    Stream = 7,
}

impl State {
    /// The state of a number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Opening,
            2 => Self::Established,
            3 => Self::Closing,
            4 => Self::Closed,
            5 => Self::Unanswered,
            6 => Self::Answered,
            7 => Self::Stream,
            _ => return None,
        })
    }

    /// Short name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Closed => "closed",
            Self::Unanswered => "unanswered",
            Self::Answered => "answered",
            Self::Stream => "stream",
        }
    }
}

/// Packets of a stream that cannot be exchanges of sockets that had one port, one after the other.
const FEW: u64 = 8;

/// 1 if `a` is at least `b`, else 0; both below 2^63. Without a branch: the verifier would follow both ways of each, wherever
/// the pressure is asked for.
#[inline(always)]
const fn at_least(a: u64, b: u64) -> u64 {
    b.wrapping_sub(a).wrapping_sub(1) >> 63
}

/// How soon a flow is held to be over: its lifetime is divided by two to the power of this.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pressure(u32);

/// Entries that one endpoint may have: as many as the settings let it, and at most twice as many as are free. So several who take
/// all they may, *n* of them, leave one entry in *2n + 1* to the others (Choudhury and Hahne, Dynamic queue length
/// thresholds, 1998).
#[inline(always)]
pub fn share(settings: &Settings, totals: &Totals) -> u32 {
    let (all, most) = (
        u64::from(settings.flows),
        u64::from(settings.flows_per_endpoint),
    );
    let twice = 2 * all.wrapping_sub(totals.flows) * at_least(all, totals.flows);
    let more = at_least(twice, most);
    (most * more + twice * (1 - more)) as u32
}

impl Pressure {
    /// There is room.
    pub const NONE: Self = Self(0);
    /// The last resort: the very addresses and ports of a flow are needed by a new one, which takes back its own endpoint's, and
    /// of others only what has ended.
    pub const CONFLICT: Self = Self(11);

    /// From [`Pressure::shift`].
    #[inline(always)]
    pub const fn from_shift(shift: u32) -> Self {
        // The compiler need not know that a shift by more is none.
        Self(shift & 63)
    }

    /// The exponent.
    #[inline(always)]
    pub const fn shift(self) -> u32 {
        self.0
    }

    /// Of entries `used`, of which there may be `most`.
    #[inline(always)]
    pub const fn of(used: u64, most: u32) -> Self {
        let (sixteenths, most) = (used << 4, most as u64);
        let two = at_least(sixteenths, most * 8)
            + at_least(sixteenths, most * 12)
            + at_least(sixteenths, most * 14);
        Self((2 * two + 3 * at_least(sixteenths, most * 15)) as u32)
    }

    /// As [`Pressure::of`] for an endpoint's own share: as that ends, exchanges of datagrams live for 73 ms, so that they may
    /// come faster. For others' sake nobody's do.
    #[inline(always)]
    const fn of_share(used: u64, most: u32) -> Self {
        let last = at_least(used << 5, most as u64 * 31);
        Self(Self::of(used, most).0 + 2 * last as u32)
    }

    /// What the whole table, one endpoint's share of it, its share of the ports and the pool itself (for protocol `number`)
    /// make together.
    #[inline(always)]
    pub fn on(settings: &Settings, totals: &Totals, usage: Usage, number: u8) -> Self {
        let all = Self::of(totals.flows, settings.flows);
        let all = all.unless_little(usage.flows, settings.flows);
        let flows = Self::of_share(usage.flows as u64, share(settings, totals));
        let ports = Self::of(usage.ports as u64, settings.ports_per_endpoint);
        let taken = if number == protocol::TCP {
            totals.tcp_ports
        } else {
            totals.other_ports
        };
        let size = (settings.pool_last as u32)
            .wrapping_sub(settings.pool_first as u32)
            .wrapping_add(1);
        let pool = Self::of(taken, size).unless_little(usage.ports, size);
        all.max(flows).max(ports).max(pool)
    }

    /// Who has `used` of `most`, and that is little, is not made to hurry by what others take, as long as there is any room.
    #[inline(always)]
    const fn unless_little(self, used: u32, most: u32) -> Self {
        let little = 1 - at_least((used as u64) << 6, most as u64);
        let room = 1 - at_least(self.0 as u64, 9);
        Self(self.0 * (1 - little * room) as u32)
    }

    #[inline(always)]
    const fn max(self, other: Self) -> Self {
        let more = at_least(self.0 as u64, other.0 as u64) as u32;
        Self(self.0 * more + other.0 * (1 - more))
    }

    /// Whether lifetimes are shorter than they should be.
    #[inline(always)]
    pub const fn is_felt(self) -> bool {
        self.0 != 0
    }
}

/// Whether a direction was reset, and neither end has sent anything since that contradicts it. A RST in the window is
/// answered by silence, one that is not by more data (RFC 5961, 3.2; RFC 7857, 2.3).
#[inline(always)]
fn is_reset(one: &Flow, other: &Flow) -> bool {
    const DOUBT: u64 = 2_000_000_000;
    one.seen & seen::RST != 0 && other.last_seen <= one.last_seen.saturating_add(DOUBT)
}

/// State of a flow of protocol `number`. `original`: the entry of the direction that began it; `reply`: that of its answers.
#[inline(always)]
pub fn state(number: u8, original: &Flow, reply: &Flow) -> State {
    if number != protocol::TCP {
        return if reply.packets == 0 {
            State::Unanswered
        } else if original.packets < 2 {
            State::Answered
        } else {
            State::Stream
        };
    }
    if (original.seen | reply.seen) & seen::CLOSED != 0 {
        State::Closed
    } else if original.seen & reply.seen & seen::FIN != 0
        || is_reset(original, reply)
        || is_reset(reply, original)
    {
        State::Closing
    } else if original.seen & seen::ACK != 0 && reply.seen & (seen::SYN | seen::ACK) != 0 {
        State::Established
    } else {
        State::Opening
    }
}

/// How long a flow in this state may be silent, nanoseconds.
#[inline(always)]
pub fn lifetime(l: &Lifetimes, number: u8, dport: Be16, inbound: bool, state: State) -> u64 {
    match number {
        protocol::TCP => match state {
            State::Established => l.tcp_established,
            State::Closing => l.tcp_closing,
            State::Closed => l.tcp_closed,
            _ if inbound => l.tcp_inbound_opening,
            _ => l.tcp_opening,
        },
        protocol::UDP | protocol::UDP_LITE => {
            let shortest = if dport.get() == 53 { l.udp_dns } else { l.udp };
            if inbound && !matches!(state, State::Stream) && l.udp_inbound < shortest {
                l.udp_inbound
            } else {
                shortest
            }
        }
        protocol::ICMP | protocol::ICMPV6 => l.icmp,
        _ => l.other,
    }
}

/// By when a flow is over unless another packet comes, nanoseconds of CLOCK_MONOTONIC. `dport`: the destination port
/// that its first packet had.
#[inline(always)]
pub fn end(
    l: &Lifetimes,
    number: u8,
    dport: Be16,
    original: &Flow,
    reply: &Flow,
    pressure: Pressure,
) -> u64 {
    let state = state(number, original, reply);
    let inbound = original.flags & flow_flags::INBOUND != 0;
    let life = lifetime(l, number, dport, inbound, state);
    let shift = match state {
        State::Established => 0,
        // Most exchanges of datagrams are over with the answer; a socket that has the port of one before looks like a stream.
        State::Answered if pressure.is_felt() => pressure.0 + 1,
        State::Stream if pressure.0 >= 9 && original.packets < FEW => pressure.0 + 1,
        State::Stream => pressure.0 / 3,
        _ if pressure.0 > 9 => 9,
        _ => pressure.0,
    };
    let last = if original.last_seen > reply.last_seen {
        original.last_seen
    } else {
        reply.last_seen
    };
    last.saturating_add(life >> shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn side(seen: u8, packets: u64) -> Flow {
        Flow {
            seen,
            packets,
            ..Flow::default()
        }
    }

    fn seconds(number: u8, port: u16, original: Flow, reply: Flow, pressure: Pressure) -> u64 {
        end(
            &Lifetimes::RFC,
            number,
            Be16::new(port),
            &original,
            &reply,
            pressure,
        ) / SECOND
    }

    /// RFC 5382 REQ-5, RFC 7857 section 2.
    #[test]
    fn tcp_lives_by_its_state() {
        let tcp = |a: u8, b: u8| seconds(6, 80, side(a, 1), side(b, 1), Pressure::NONE);
        assert_eq!(tcp(seen::SYN, 0), 240);
        assert_eq!(tcp(seen::SYN, seen::SYN), 240);
        // The opener's ACK is enough: the other end may wait for a request for hours.
        assert_eq!(tcp(seen::SYN | seen::ACK, seen::SYN), 7440);
        let both = seen::SYN | seen::ACK;
        assert_eq!(tcp(both | seen::FIN, both), 7440);
        assert_eq!(tcp(both | seen::FIN, both | seen::FIN), 240);
        assert_eq!(tcp(both, both | seen::RST), 240);
        assert_eq!(tcp(both | seen::CLOSED, both), 10);
        let from_outside = Flow {
            flags: flow_flags::INBOUND,
            ..side(seen::SYN, 1)
        };
        assert_eq!(
            seconds(6, 80, from_outside, side(seen::SYN, 1), Pressure::NONE),
            30
        );
    }

    /// RFC 7857, 2.3: data after a RST shows that it was not taken.
    #[test]
    fn a_reset_that_is_contradicted_ends_nothing() {
        let both = seen::SYN | seen::ACK;
        let reset = side(both | seen::RST, 9);
        let goes_on = Flow {
            last_seen: 3 * SECOND,
            ..side(both, 9)
        };
        assert_eq!(state(6, &goes_on, &reset), State::Established);
        assert_eq!(state(6, &side(both, 9), &reset), State::Closing);
    }

    /// RFC 4787 REQ-5, RFC 5508 REQ-2.
    #[test]
    fn datagrams_live_by_what_they_are() {
        let udp = |port, a, b| seconds(17, port, side(0, a), side(0, b), Pressure::NONE);
        assert_eq!(udp(123, 1, 0), 300);
        assert_eq!(udp(123, 1, 1), 300);
        assert_eq!(udp(53, 1, 1), 10);
        assert_eq!(seconds(1, 0, side(0, 1), side(0, 1), Pressure::NONE), 60);
        let inbound = |packets| Flow {
            flags: flow_flags::INBOUND,
            ..side(0, packets)
        };
        assert_eq!(seconds(17, 9, inbound(1), side(0, 1), Pressure::NONE), 30);
        assert_eq!(seconds(17, 9, inbound(2), side(0, 1), Pressure::NONE), 300);
    }

    #[test]
    fn established_flows_live_on_under_pressure() {
        let both = seen::SYN | seen::ACK;
        let full = Pressure::of(100, 100);
        assert_eq!(seconds(6, 80, side(both, 9), side(both, 9), full), 7440);
        assert_eq!(seconds(17, 9, side(0, 9), side(0, 9), full), 37);

        assert_eq!(seconds(17, 9, side(0, 1), side(0, 1), full), 0);
        assert!(!Pressure::of(49, 100).is_felt() && Pressure::of(50, 100).is_felt());
    }
}
