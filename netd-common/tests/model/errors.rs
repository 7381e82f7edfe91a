//! The model: ICMP errors, which belong to the session of the packet inside them (RFC 5508, REQ-4 and REQ-5). They
//! refresh and end nothing (4787-12, 5508-6).

use crate::{
    expect::{Choice, Expect},
    got::Got,
    open,
    packet::{self, Seen, read},
    rewrite::{Fields, Rewritten},
    rules::{Case, Model, arrival},
    setup::{gateway_ifindex, mac},
    state::{Life, Place, Session, Tuple},
};

fn drop() -> Vec<Choice> {
    vec![Choice::plain(Expect::Drop)]
}

impl Model {
    /// The packet inside.
    fn inner(&self, case: &Case<'_>, seen: &Seen) -> Option<(Seen, Tuple)> {
        let inner = read(case.bytes, seen.l4 + 8, seen.v4, true)?;
        let tuple = Tuple::of(&inner, inner.ports.unwrap_or_default());
        Some((inner, tuple))
    }

    /// The error as the sender of the packet inside gets it.
    fn translated(
        &self,
        case: &Case<'_>,
        seen: &Seen,
        inner: &Seen,
        found: (&Session, usize),
    ) -> Expect {
        let (session, direction) = found;
        let (here, there) = (&session.sides[direction], &session.sides[1 - direction]);
        let holder = match there.place {
            Place::Outside => None,
            Place::Endpoint(number) => {
                match self.setup.endpoints.iter().find(|e| e.number == number) {
                    None => return Expect::Drop,
                    found => found,
                }
            }
        };
        let mtu = holder.map_or(self.setup.uplink_mtu, |e| self.setup.net(e.network).mtu);
        if seen.ttl <= 1 || seen.size(case.bytes) > mtu {
            return Expect::Drop;
        }
        // The packet inside left from there with other fields; who tells keeps its address, unless it is an inside one
        // that those outside know by another.
        let mut was = Fields {
            src: there.tuple.src,
            dst: there.tuple.dst,
        };
        // What a refused packet began may have a port that nobody has seen yet.
        if session.hidden
            && let Some(port) = quoted_port(case.got)
        {
            was.dst.1 = port;
        }
        let teller = if seen.src == here.tuple.src.0 {
            there.tuple.dst.0
        } else {
            seen.src
        };
        let outer = Fields {
            src: (teller, 0),
            dst: (there.tuple.src.0, 0),
        };
        let mut p = Rewritten::same(case.bytes);
        p.rewrite_error(seen, inner, outer, was);
        arrival(p, holder.copied())
    }

    fn by_inner(&self, case: &Case<'_>, seen: &Seen, else_: Vec<Choice>) -> Vec<Choice> {
        let Some((inner, tuple)) = self.inner(case, seen) else {
            return else_;
        };
        let mut all = Vec::new();
        let mut sure = false;
        // An answer to the packet inside would come from here as its reverse.
        if tuple.src.0 == seen.dst {
            for (id, direction, life) in self.state.find(case.place, tuple.reversed()) {
                // Without ports nobody can tell; but some protocols have none.
                sure |= life == Life::Live && inner.fragment.is_none();
                let session = &self.state.sessions[&id];
                let hairpin = session.is_inside() && session.mapped;
                all.push(Choice::plain(self.translated(
                    case,
                    seen,
                    &inner,
                    (session, direction),
                )));
                if open::INDEPENDENT && hairpin {
                    all.extend(drop());
                    // It goes out, to the host's own address.
                    let there = session.sides[1 - direction].tuple;
                    let inner_to = Fields {
                        src: session.sides[direction].tuple.dst,
                        dst: there.dst,
                    };
                    let outer = Fields {
                        src: there.dst,
                        dst: there.dst,
                    };
                    let mut p = Rewritten::same(case.bytes);
                    if seen.ttl > 1 {
                        p.rewrite_error(seen, &inner, outer, inner_to);
                    }
                    all.push(Choice::plain(Expect::Out(p)));
                }
            }
            if open::LATE_ERRORS
                && let Some((session, direction)) =
                    self.state.ghosts.get(&(case.place, tuple.reversed()))
            {
                all.push(Choice::plain(self.translated(
                    case,
                    seen,
                    &inner,
                    (session, *direction),
                )));
                all.extend(drop());
            }
        }
        if !sure {
            all.extend(else_);
        }
        all
    }

    /// From a container.
    pub fn error_from_container(
        &self,
        case: &Case<'_>,
        seen: &Seen,
        endpoint: usize,
    ) -> Vec<Choice> {
        let e = self.setup.endpoints[endpoint];
        let net = self.setup.net(e.network);
        let inner = self.inner(case, seen);
        // It must be about a packet that this container received: else it could spoil another's connection.
        if inner
            .as_ref()
            .is_some_and(|(_, tuple)| tuple.dst.0 != seen.src)
        {
            return drop();
        }
        let else_ = if let Some(peer) = self.setup.holder(e.network, seen.dst) {
            if seen.size(case.bytes) > net.mtu {
                drop()
            } else if net.icc || peer == endpoint {
                let to = self.setup.endpoints[peer];
                let mut p = Rewritten::same(case.bytes);
                p.bytes[..6].copy_from_slice(&mac(to.network, to.last));
                vec![Choice::plain(Expect::Deliver(to.ifindex(), p))]
            } else {
                drop()
            }
        } else if self.setup.is_host(seen.dst) && !net.internal {
            let mut p = Rewritten::same(case.bytes);
            p.bytes[..6].copy_from_slice(&mac(e.network, 1));
            let up = Expect::ToHost(gateway_ifindex(e.network), p);
            match self.setup.gateway(seen.dst) {
                Some(number) if self.setup.net(number).internal => drop(),
                _ => vec![Choice::plain(up)],
            }
        } else {
            drop()
        };
        let mut all = self.by_inner(case, seen, else_);
        if inner.is_none() {
            all.extend(drop());
        }
        all
    }

    /// From outside.
    pub fn error_from_uplink(&self, case: &Case<'_>, seen: &Seen) -> Vec<Choice> {
        let own = self.setup.subnet(seen.dst).is_some() && !self.setup.is_host(seen.dst);
        let else_ = if own {
            drop()
        } else {
            vec![Choice::plain(Expect::Pass)]
        };
        // A container's or the host's voice (X07).
        if self.is_forged(seen.src) && !open::FORGED_ERRORS {
            return [else_, drop()].concat();
        }
        self.by_inner(case, seen, else_)
    }
}

/// The destination port of the packet that an ICMP error came out with.
fn quoted_port(got: &Got) -> Option<u16> {
    let (Got::Deliver(_, bytes) | Got::Out(_, _, bytes)) = got else {
        return None;
    };
    let outer = packet::seen(bytes)?;
    let inner = read(bytes, outer.l4 + 8, outer.v4, true)?;
    Some(inner.ports?.1)
}
