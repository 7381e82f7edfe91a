//! The model: for each packet, everything that may become of it. Written from what is promised; slow, and without a
//! thought for how a program would do it.

use std::net::IpAddr;

use crate::{
    expect::{Choice, Error, Expect},
    got::Got,
    open,
    packet::{Icmp, Seen, seen},
    rewrite::{Fields, Rewritten},
    setup::{Setup, UDP, UPLINK, inside, link_local, mac},
    state::{Place, State},
};

/// The reference.
#[derive(Clone, Debug)]
pub struct Model {
    pub setup: Setup,
    pub state: State,
}

/// One packet under judgement.
pub struct Case<'a> {
    pub bytes: &'a [u8],
    /// What became of it: where a promise leaves a choice (which port), the choice is read from there and examined.
    pub got: &'a Got,
    pub place: Place,
    /// Interface that it came by.
    pub ifindex: u32,
    /// Who is told of an error, and by whom.
    pub teller: Option<IpAddr>,
    /// Largest packet of the link it came by.
    pub near_mtu: usize,
}

impl Model {
    /// Nothing has happened yet.
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            state: State::default(),
        }
    }

    /// Of two errors that a packet deserves either will do.
    fn other_error(&self, case: &Case<'_>, seen: &Seen, all: &mut Vec<Choice>) {
        let hopless = |c: &Choice| matches!(&c.expect, Expect::Error(_));
        if all.iter().any(hopless) {
            for mtu in [1300, 1400, 1500] {
                if seen.size(case.bytes) > mtu {
                    all.push(Choice::plain(self.error(case, seen, (3, 4), (2, 0), mtu)));
                }
            }
        }
    }

    /// A packet with its new fields, on its way to a place; and whether it gets there.
    pub fn send(&self, case: &Case<'_>, seen: &Seen, fields: Fields, to: Place) -> (Expect, bool) {
        let mut p = Rewritten::same(case.bytes);
        let holder = match to {
            Place::Outside => None,
            Place::Endpoint(number) => {
                match self.setup.endpoints.iter().find(|e| e.number == number) {
                    None => return (Expect::Drop, false),
                    found => found,
                }
            }
        };
        let mtu = holder.map_or(self.setup.uplink_mtu, |e| self.setup.net(e.network).mtu);
        if seen.ttl <= 1 {
            return (self.error(case, seen, (11, 0), (3, 0), 0), false);
        }
        if seen.size(case.bytes) > mtu {
            return (self.error(case, seen, (3, 4), (2, 0), mtu), false);
        }
        let headers = if seen.v4 { 40 } else { 60 };
        let mss =
            u16::try_from(mtu.min(case.near_mtu) - headers).expect("an MTU is less than 64 KiB");
        p.rewrite(seen, fields, true, Some(mss));
        (arrival(p, holder.copied()), true)
    }

    /// The ICMP error that a packet's sender is told, or silence where there must be none (RFC 1122, 3.2.2).
    pub fn error(
        &self,
        case: &Case<'_>,
        seen: &Seen,
        v4: (u8, u8),
        v6: (u8, u8),
        number: usize,
    ) -> Expect {
        let (kind, code) = if seen.v4 { v4 } else { v6 };
        let group = case.bytes[0] & 1 != 0;
        match case.teller {
            Some(from)
                if !seen.later
                    && !matches!(seen.icmp, Some(Icmp::Error | Icmp::Other))
                    && !group =>
            {
                Expect::Error(Error {
                    ifindex: case.ifindex,
                    about: case.bytes.to_vec(),
                    from,
                    kind,
                    code,
                    number: number as u32,
                    doubtful: seen.doubtful,
                })
            }
            _ => Expect::Drop,
        }
    }

    pub fn of_container(&self, endpoint: usize, bytes: &[u8], got: &Got) -> Vec<Choice> {
        let e = self.setup.endpoints[endpoint];
        let net = self.setup.net(e.network);
        let drop = vec![Choice::plain(Expect::Drop)];
        let Some(seen) = seen(bytes) else { return drop };
        let own = [
            inside(seen.v4, e.network, e.last),
            link_local(e.network, e.last),
        ];
        // 5-1: MAC, address and what only hosts and routers say (SECURITY, X07).
        if bytes[6..12] != mac(e.network, e.last) || !own.contains(&seen.src) || is_mapped(seen.dst)
        {
            return drop;
        }
        if seen.icmp == Some(Icmp::Control) || seen.protocol == 2 && !seen.later {
            return drop;
        }
        // Neighbours' DHCP clients look at their own port, whatever the other one is.
        let near = is_group(&self.setup, e.network, seen.dst)
            || self.setup.holder(e.network, seen.dst).is_some();
        let to_client = seen.ports.is_some_and(|p| matches!(p.1, 68 | 546));
        if seen.protocol == UDP
            && (seen.ports.is_some_and(|p| matches!(p.0, 67 | 547)) || to_client && near)
        {
            return drop;
        }
        let gateway = if is_link_local_v6(seen.src) {
            link_local(e.network, 1)
        } else {
            inside(seen.v4, e.network, 1)
        };
        let case = Case {
            bytes,
            got,
            place: Place::Endpoint(e.number),
            ifindex: e.ifindex(),
            teller: Some(gateway),
            near_mtu: net.mtu,
        };
        let mut all = if is_group(&self.setup, e.network, seen.dst) {
            if !net.icc {
                return drop;
            }
            let host = if net.internal {
                0
            } else {
                crate::setup::gateway_ifindex(e.network)
            };
            let mut all = vec![Choice::plain(Expect::Replicate(e.network, host))];
            if open::FRAGMENTS && seen.later {
                all.extend(drop.clone());
            }
            all
        } else if seen.icmp == Some(Icmp::Error) {
            self.error_from_container(&case, &seen, endpoint)
        } else {
            self.by_session(&case, &seen, |ports| {
                self.new_from_container(&case, &seen, endpoint, ports)
            })
        };
        self.other_error(&case, &seen, &mut all);
        if seen.doubtful || seen.protocol == UDP && to_client {
            all.extend(drop);
        }
        all
    }

    pub fn of_uplink(&self, bytes: &[u8], got: &Got) -> Vec<Choice> {
        let pass = vec![Choice::plain(Expect::Pass)];
        let Some(seen) = seen(bytes) else { return pass };
        let foreign = is_mapped(seen.src) || is_mapped(seen.dst);
        let pass = if seen.later {
            [pass, vec![Choice::plain(Expect::Drop)]].concat()
        } else {
            pass
        };
        if foreign
            || seen.dst.is_multicast()
            || is_broadcast(seen.dst)
            || seen.icmp == Some(Icmp::Control)
            || seen.protocol == 2
        {
            return pass;
        }
        let case = Case {
            bytes,
            got,
            place: Place::Outside,
            ifindex: UPLINK,
            teller: (!self.is_forged(seen.src)).then_some(seen.dst),
            near_mtu: self.setup.uplink_mtu,
        };
        let mut all = if seen.icmp == Some(Icmp::Error) {
            self.error_from_uplink(&case, &seen)
        } else {
            self.by_session(&case, &seen, |ports| {
                self.new_from_uplink(&case, &seen, ports)
            })
        };
        self.other_error(&case, &seen, &mut all);
        if seen.doubtful {
            all.extend(pass);
            all.push(Choice::plain(Expect::Drop));
        }
        all
    }

    /// From outside nobody may speak with the host's own or a container's voice.
    pub fn is_forged(&self, addr: IpAddr) -> bool {
        addr.is_loopback()
            || addr.is_unspecified()
            || addr.is_multicast()
            || is_broadcast(addr)
            || self.setup.is_host(addr)
            || self.setup.subnet(addr).is_some()
    }
}

/// A packet that arrives: of Ethernet's header only its last link is left.
pub fn arrival(mut p: Rewritten, holder: Option<crate::setup::Endpoint>) -> Expect {
    match holder {
        None => Expect::Out(p),
        Some(e) => {
            p.bytes[..6].copy_from_slice(&mac(e.network, e.last));
            p.bytes[6..12].copy_from_slice(&mac(e.network, 1));
            Expect::Deliver(e.ifindex(), p)
        }
    }
}

/// An IPv4-mapped address in an IPv6 header (RFC 4291, 2.5.5.2).
fn is_mapped(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(a) if a.to_ipv4_mapped().is_some())
}

/// `fe80::/10`.
pub fn is_link_local_v6(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(a) if a.segments()[0] & 0xffc0 == 0xfe80)
}

fn is_broadcast(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V4(a) if a.is_broadcast())
}

fn is_group(setup: &Setup, network: u32, addr: IpAddr) -> bool {
    let directed =
        addr.is_ipv4() && setup.subnet(addr) == Some(network) && addr == inside(true, network, 255);
    addr.is_multicast() || is_broadcast(addr) || directed
}
