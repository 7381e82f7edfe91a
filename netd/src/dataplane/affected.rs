//! Which flows a withdrawn publication means: those that began by it, and no others.

use netd_common::{
    abi::{Flow, FlowKey, flow_flags},
    addr::Addr,
};

/// A block of published ports that leads to an endpoint no more, or elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawn {
    /// The published address; unspecified: all of its family.
    pub addr: Addr,
    /// IP protocol number.
    pub protocol: u8,
    /// First and last port of the block.
    pub ports: (u16, u16),
    /// The endpoint's port that the block's first one led to.
    pub target_port: u16,
    /// The endpoint that it led to, and its sandbox's other ones, where clients of their networks were led.
    pub targets: Vec<u32>,
}

/// Whether this entry is the initiator's direction of a flow that began by a withdrawn publication.
pub fn is_meant(key: &FlowKey, flow: &Flow, withdrawn: &Withdrawn) -> bool {
    let port = key.dport.get();
    let (first, last) = withdrawn.ports;
    key.protocol == withdrawn.protocol
        && (first..=last).contains(&port)
        && withdrawn.targets.contains(&flow.target)
        && covers(withdrawn.addr, key, flow)
        && flow.flags & flow_flags::INITIATOR != 0
        // Another port of the endpoint's may have this number outside, or have had it before.
        && (key.dst == flow.dst || flow.flags & flow_flags::PUBLISHED != 0)
        && flow.dport.get() == withdrawn.target_port.wrapping_add(port - first)
}

/// A publication of all addresses says nothing of the endpoint's own, which are reached without translation.
fn covers(addr: Addr, key: &FlowKey, flow: &Flow) -> bool {
    if addr.is_unspecified() {
        addr.is_v4() == key.dst.is_v4() && key.dst != flow.dst
    } else {
        addr == key.dst
    }
}

#[cfg(test)]
mod tests {
    use netd_common::addr::Be16;

    use super::*;

    const SERVER: u32 = 7;
    const OTHER: u32 = 8;

    fn addr(text: &str) -> Addr {
        text.parse::<std::net::IpAddr>().unwrap().into()
    }

    /// A flow from outside by `host:port` to `inside:to` of an endpoint.
    fn inbound(host: &str, port: u16, inside: &str, to: u16, target: u32) -> (FlowKey, Flow) {
        let client = if host.contains(':') {
            "2001:db8::9"
        } else {
            "198.51.100.2"
        };
        let key = FlowKey {
            src: addr(client),
            dst: addr(host),
            sport: Be16::new(40_000),
            dport: Be16::new(port),
            endpoint: 0,
            protocol: 6,
            pad: [0; 3],
        };
        let mut flow = Flow {
            src: key.src,
            sport: key.sport,
            dst: addr(inside),
            dport: Be16::new(to),
            target,
            network: 1,
            flags: flow_flags::INITIATOR,
            ..Flow::default()
        };
        if host != inside {
            flow.flags |= flow_flags::PUBLISHED;
        }
        (key, flow)
    }

    fn withdrawn(host: &str) -> Withdrawn {
        Withdrawn {
            addr: addr(host),
            protocol: 6,
            ports: (8080, 8087),
            target_port: 80,
            targets: vec![SERVER],
        }
    }

    fn meant(host: &str, (key, flow): (FlowKey, Flow)) -> bool {
        is_meant(&key, &flow, &withdrawn(host))
    }

    #[test]
    fn c05_flows_by_the_publication_are_meant() {
        for host in ["0.0.0.0", "198.51.100.1"] {
            assert!(meant(
                host,
                inbound("198.51.100.1", 8080, "10.1.0.2", 80, SERVER)
            ));
            assert!(meant(
                host,
                inbound("198.51.100.1", 8083, "10.1.0.2", 83, SERVER)
            ));
        }
        assert!(meant(
            "::",
            inbound("2001:db8::1", 8080, "fd00::2", 80, SERVER)
        ));
        // A neighbour on the same host, by the host's address.
        let (mut key, flow) = inbound("198.51.100.1", 8080, "10.1.0.2", 80, SERVER);
        key.endpoint = OTHER;
        assert!(is_meant(&key, &flow, &withdrawn("0.0.0.0")));
        // At its own address, where that is published.
        assert!(meant(
            "10.1.0.2",
            inbound("10.1.0.2", 8080, "10.1.0.2", 80, SERVER)
        ));
    }

    #[test]
    fn c05_others_are_not() {
        let by = |port, to, target| inbound("198.51.100.1", port, "10.1.0.2", to, target);
        assert!(!meant("0.0.0.0", by(8080, 80, OTHER)));
        assert!(!meant("0.0.0.0", by(8088, 88, SERVER)));
        assert!(!meant("198.51.100.9", by(8080, 80, SERVER)));
        assert!(!meant("::", by(8080, 80, SERVER)));
        let (mut key, flow) = by(8080, 80, SERVER);
        key.protocol = 17;
        assert!(!is_meant(&key, &flow, &withdrawn("0.0.0.0")));
        // By a mapping of the endpoint's own, whose port outside lies among the published ones.
        assert!(!meant("0.0.0.0", by(8080, 51_000, SERVER)));
        let (key, mut flow) = by(8080, 80, SERVER);
        flow.flags = flow_flags::INITIATOR;
        assert!(!is_meant(&key, &flow, &withdrawn("0.0.0.0")));
        // Answers to a connection that the published port itself began.
        flow.flags = flow_flags::MASQUERADED;
        assert!(!is_meant(&key, &flow, &withdrawn("0.0.0.0")));
        // A connection to a remote port of the same number, and its answers.
        let (key, flow) = inbound("203.0.113.5", 8080, "203.0.113.5", 8080, 0);
        assert!(!is_meant(&key, &flow, &withdrawn("0.0.0.0")));
        // On a routed network, to the endpoint's own address.
        let own = inbound("10.1.0.2", 8080, "10.1.0.2", 8080, SERVER);
        assert!(!meant("0.0.0.0", own));
    }
}
