//! The decisions of netd-common over maps in memory, asked as the model is asked. The only place that knows both.

use std::net::IpAddr;

use netd_common::{
    abi::{
        self, AddressKey, Device, HostAddress, Lifetimes, Network, PublicationData, Settings,
        Target, network_flags,
    },
    addr::{Addr, Be16},
    container,
    drop_reason::DropReason,
    uplink,
    verdict::Verdict,
    work::Work,
};

use crate::{
    got::Got,
    memory::{Bytes, Maps},
    setup::{
        Endpoint, Mode, Net, Publication, Setup, UPLINK, gateway_ifindex, host, inside, link_local,
        mac,
    },
};

/// Length of a subnet's prefix in bytes, IPv4 in its mapped form.
const PREFIX: (usize, usize) = (15, 8);

const SECOND: u64 = 1_000_000_000;

/// As NAT.md and the configuration's defaults have them.
const LIFETIMES: Lifetimes = Lifetimes {
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

/// The decisions with their maps.
pub struct Subject {
    pub maps: Maps,
    work: Work,
}

fn flags(net: &Net, publishes: bool) -> u32 {
    let mut flags = 0;
    let mut set = |yes: bool, bits: u32| flags |= if yes { bits } else { 0 };
    set(
        net.masquerade,
        network_flags::MASQUERADE_V4 | network_flags::MASQUERADE_V6,
    );
    set(net.internal, network_flags::INTERNAL);
    set(!net.icc, network_flags::NO_ICC);
    set(
        net.mode == Mode::Routed,
        network_flags::ROUTED_V4 | network_flags::ROUTED_V6,
    );
    set(
        net.mode == Mode::Unprotected,
        network_flags::UNPROTECTED_V4 | network_flags::UNPROTECTED_V6,
    );
    set(net.independent, network_flags::ENDPOINT_INDEPENDENT);
    set(publishes, network_flags::PUBLISHED);
    flags
}

/// What an endpoint's device entry says.
pub fn device(setup: &Setup, e: &Endpoint) -> Device {
    let index = setup
        .endpoints
        .iter()
        .position(|other| other.number == e.number);
    let net = setup.net(e.network);
    Device {
        endpoint: e.number,
        network: e.network,
        slot: e.number,
        flags: flags(net, index.is_some_and(|i| setup.publishes(i))),
        gateway_ifindex: gateway_ifindex(e.network),
        mtu: net.mtu as u32,
        ipv4: inside(true, e.network, e.last).into(),
        ipv6: inside(false, e.network, e.last).into(),
        link_local: link_local(e.network, e.last).into(),
        mac: mac(e.network, e.last),
        gateway_mac: mac(e.network, 1),
    }
}

impl Subject {
    /// The maps of this setup.
    pub fn new(setup: &Setup) -> Self {
        let mut maps = Maps {
            uplink: UPLINK,
            mtu: setup.uplink_mtu as u32,
            settings: Settings {
                pool_first: setup.pool.0,
                pool_last: setup.pool.1,
                flows: 4_000_000,
                flows_per_endpoint: 1_000_000,
                ports_per_endpoint: 1_000_000,
                lifetimes: LIFETIMES,
                port_rest: 120 * SECOND,
                shifted_first: 61000,
                shifted_last: 65535,
                ..Settings::default()
            },
            // A host is never just started.
            now: (1_000 * SECOND).into(),
            ..Maps::default()
        };
        for v4 in [true, false] {
            maps.sources.insert(host(v4).into());
            maps.hosts.insert(host(v4).into(), HostAddress::default());
        }
        let mut subject = Self {
            maps,
            work: Work::default(),
        };
        for net in &setup.nets {
            subject.network(net);
        }
        subject.follow(setup);
        subject
    }

    fn network(&mut self, net: &Net) {
        let number = net.number;
        for v4 in [true, false] {
            let gateway: Addr = inside(v4, number, 1).into();
            let internal = if net.internal {
                network_flags::INTERNAL
            } else {
                0
            };
            self.maps.hosts.insert(
                gateway,
                HostAddress {
                    network: number,
                    flags: internal,
                },
            );
            let prefix = if v4 { PREFIX.0 } else { PREFIX.1 };
            self.maps.subnets.push((gateway, prefix, number));
        }
        let entry = Network {
            flags: flags(net, false),
            gateway_ifindex: gateway_ifindex(number),
            members: 2,
            pad: 0,
            gateway_v4: inside(true, number, 1).into(),
            broadcast_v4: inside(true, number, 255).into(),
            gateway_v6: inside(false, number, 1).into(),
            gateway_link_local: link_local(number, 1).into(),
        };
        self.maps.networks.insert(number, entry);
        if net.trusted {
            self.maps.trusted.insert((number, UPLINK));
        }
    }

    /// Makes endpoints and publications those of the setup again.
    pub fn follow(&mut self, setup: &Setup) {
        self.maps.targets.clear();
        for e in &setup.endpoints {
            let device = device(setup, e);
            let target = Target {
                ifindex: e.ifindex(),
                endpoint: e.number,
                slot: device.slot,
                mtu: device.mtu,
                flags: device.flags,
                mac: device.mac,
                gateway_mac: device.gateway_mac,
            };
            for addr in e.addresses() {
                let key = AddressKey {
                    network: e.network,
                    addr: addr.into(),
                };
                self.maps.targets.insert(key, target);
            }
        }
        self.maps.publications.clear();
        for p in &setup.publications {
            self.publish(setup, p);
        }
    }

    fn publish(&mut self, setup: &Setup, p: &Publication) {
        let e = &setup.endpoints[p.endpoint];
        let v4 = p.addr.is_ipv4();
        let data = |addr, port| PublicationData {
            addr,
            protocol: p.protocol,
            pad: 0,
            port: Be16::new(port),
        };
        let to = abi::Publication {
            network: e.network,
            endpoint: e.number,
            addr: inside(v4, e.network, e.last).into(),
            first_port: p.port,
            target_port: p.target,
        };
        self.maps
            .publications
            .insert(data(p.addr.into(), p.port), to);
        if setup.subnet(p.addr).is_none() {
            // It leads back, too.
            let back = abi::Publication {
                addr: p.addr.into(),
                first_port: p.target,
                target_port: p.port,
                ..to
            };
            self.maps
                .publications
                .entry(data(Addr::own_ports(e.number, v4), p.target))
                .or_insert(back);
        }
    }

    /// What becomes of a packet at last: a later fragment waits for the first one in vain.
    pub fn run_to_end(&mut self, setup: &Setup, from: Option<usize>, bytes: &[u8]) -> Got {
        loop {
            let got = self.run(setup, from, bytes);
            if !matches!(got, Got::Again) {
                return got;
            }
            self.wait(21);
        }
    }

    /// What becomes of a packet.
    pub fn run(&mut self, setup: &Setup, from: Option<usize>, bytes: &[u8]) -> Got {
        let mut p = Bytes(bytes.to_vec(), 0);
        self.work.bytes = bytes.len() as u32;
        let step = match from {
            Some(i) => {
                let e = &setup.endpoints[i];
                let device = device(setup, e);
                container::from_container(&mut p, &self.maps, e.ifindex(), &device, &mut self.work)
            }
            None => {
                let v4 = match bytes.get(12..14) {
                    Some([8, 0]) => true,
                    Some([0x86, 0xdd]) => false,
                    _ => return Got::Pass,
                };
                uplink::from_uplink(&mut p, &self.maps, UPLINK, 14, v4, &mut self.work)
            }
        };
        let verdict = step.verdict(self.work.route.next_hop);
        got(verdict, p.0)
    }
}

/// A verdict in the model's words.
pub fn got(verdict: Result<Verdict, DropReason>, p: Vec<u8>) -> Got {
    match verdict {
        Ok(Verdict::Pass) => Got::Pass,
        Ok(Verdict::Drop(why)) | Err(why) => Got::Drop(why.name().into()),
        Ok(Verdict::Peer(to)) => Got::Deliver(to, p),
        Ok(Verdict::Ingress(by)) => Got::ToHost(by, p),
        Ok(Verdict::Local) => Got::ToHost(netd_common::abi::LOOPBACK_IFINDEX, p),
        Ok(Verdict::Neighbour(by, to)) => Got::Out(by, IpAddr::from(to), p),
        Ok(Verdict::Back(by, _) | Verdict::Egress(by)) => Got::Back(by, p),
        Ok(Verdict::Again(_)) => Got::Again,
        Ok(Verdict::Replicate(network, host)) => Got::Replicate(network, host),
    }
}

impl Subject {
    /// Nothing is ever over.
    #[allow(dead_code, reason = "where time is the kernel's")]
    pub fn endless(&mut self) {
        const LONG: u64 = 1 << 60;
        self.maps.settings.lifetimes = Lifetimes {
            tcp_established: LONG,
            tcp_opening: LONG,
            tcp_inbound_opening: LONG,
            tcp_closing: LONG,
            tcp_closed: LONG,
            udp: LONG,
            udp_inbound: LONG,
            udp_dns: LONG,
            icmp: LONG,
            other: LONG,
        };
    }

    /// Nanoseconds.
    #[allow(dead_code, reason = "where time is the kernel's")]
    pub fn set_time(&self, now: u64) {
        self.maps.now.set(now);
    }

    /// Time passes.
    pub fn wait(&mut self, milliseconds: u64) {
        self.maps
            .now
            .set(self.maps.now.get() + milliseconds * 1_000_000);
    }
}
