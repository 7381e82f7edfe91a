//! The host that the model speaks of: networks of every kind, their endpoints, what is published, and who else there is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How a network's endpoints are reached from outside at their own addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    Nat,
    /// At ports that are open there, and by ICMP echo.
    Routed,
    /// At every port.
    Unprotected,
}

/// A network.
#[derive(Clone, Copy, Debug)]
pub struct Net {
    pub number: u32,
    pub masquerade: bool,
    pub internal: bool,
    /// Its endpoints may talk to each other.
    pub icc: bool,
    pub mode: Mode,
    /// Filtering independent of the sender (RFC 4787, REQ-8).
    pub independent: bool,
    /// Trusts the uplink: open ports are reached at the endpoints' own addresses.
    pub trusted: bool,
    /// Of its endpoints' interfaces.
    pub mtu: usize,
}

const fn net(number: u32) -> Net {
    Net {
        number,
        masquerade: true,
        internal: false,
        icc: true,
        mode: Mode::Nat,
        independent: false,
        trusted: false,
        mtu: 1500,
    }
}

/// An endpoint; `number` changes when the container behind the address is replaced.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    pub network: u32,
    pub last: u8,
    pub number: u32,
}

/// A published port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Of the host, unspecified for all, or the endpoint's own (open there).
    pub addr: IpAddr,
    pub protocol: u8,
    pub port: u16,
    /// Index of the endpoint.
    pub endpoint: usize,
    pub target: u16,
}

/// Everything that is set.
#[derive(Clone, Debug)]
pub struct Setup {
    pub nets: Vec<Net>,
    pub endpoints: Vec<Endpoint>,
    pub publications: Vec<Publication>,
    pub pool: (u16, u16),
    pub uplink_mtu: usize,
}

/// Interface index of the uplink.
pub const UPLINK: u32 = 9;
/// A protocol's number.
pub const TCP: u8 = 6;
/// As [`TCP`].
pub const UDP: u8 = 17;
/// As [`TCP`].
pub const SCTP: u8 = 132;

/// The host's address.
pub fn host(v4: bool) -> IpAddr {
    remote(v4, 1)
}

/// Somebody outside; 1 is the host itself.
pub fn remote(v4: bool, last: u8) -> IpAddr {
    if v4 {
        Ipv4Addr::new(198, 51, 100, last).into()
    } else {
        Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, 0, last.into()).into()
    }
}

/// Address number `last` of a network; 1 is the gateway's.
pub fn inside(v4: bool, network: u32, last: u8) -> IpAddr {
    let net = u8::try_from(network).expect("few networks");
    if v4 {
        Ipv4Addr::new(172, 18, net, last).into()
    } else {
        Ipv6Addr::new(0xfd00, 0xff, 0, net.into(), 0, 0, 0, last.into()).into()
    }
}

/// Ethernet address of address number `last` of a network.
pub fn mac(network: u32, last: u8) -> [u8; 6] {
    [
        2,
        0,
        0,
        0,
        u8::try_from(network).expect("few networks"),
        last,
    ]
}

/// Link-local address made of [`mac`] (RFC 4291, appendix A).
pub fn link_local(network: u32, last: u8) -> IpAddr {
    let m = mac(network, last);
    let word = |a: u8, b: u8| u16::from_be_bytes([a, b]);
    let last = [
        word(m[0] ^ 2, m[1]),
        word(m[2], 0xff),
        word(0xfe, m[3]),
        word(m[4], m[5]),
    ];
    Ipv6Addr::new(0xfe80, 0, 0, 0, last[0], last[1], last[2], last[3]).into()
}

/// Interface index of a network's device.
pub const fn gateway_ifindex(network: u32) -> u32 {
    100 + network
}

impl Setup {
    /// One network of each kind, two endpoints each, some published.
    pub fn new() -> Self {
        let nets = vec![
            net(1),
            Net {
                mtu: 1300,
                ..net(2)
            },
            Net {
                masquerade: false,
                ..net(3)
            },
            Net {
                internal: true,
                ..net(4)
            },
            Net {
                icc: false,
                ..net(5)
            },
            Net {
                masquerade: false,
                mode: Mode::Routed,
                ..net(6)
            },
            Net {
                masquerade: false,
                mode: Mode::Unprotected,
                ..net(7)
            },
            Net {
                independent: true,
                trusted: true,
                ..net(8)
            },
        ];
        let mut setup = Self {
            endpoints: Vec::new(),
            publications: Vec::new(),
            nets,
            pool: (50000, 50999),
            uplink_mtu: 1400,
        };
        for network in 1..=8 {
            for last in [2, 3] {
                let number = network * 10 + u32::from(last);
                setup.endpoints.push(Endpoint {
                    network,
                    last,
                    number,
                });
            }
        }
        setup.publications = setup.offers().into_iter().take(12).collect();
        setup
    }

    /// All that can be published; a test may take any of them away and bring it back.
    pub fn offers(&self) -> Vec<Publication> {
        let mut all = Vec::new();
        let mut offer = |addr, protocol, port, endpoint, target| {
            all.push(Publication {
                addr,
                protocol,
                port,
                endpoint,
                target,
            });
        };
        for v4 in [true, false] {
            let any: IpAddr = if v4 {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            };
            for protocol in [TCP, UDP] {
                offer(host(v4), protocol, 8080, 0, 80);
                offer(any, protocol, 8081, 3, 80);
                offer(inside(v4, 6, 2), protocol, 80, 10, 80);
            }
        }
        for v4 in [true, false] {
            for protocol in [TCP, UDP] {
                offer(host(v4), protocol, 8082, 0, 80);
                offer(host(v4), protocol, 1001, 8, 1001);
                offer(inside(v4, 8, 2), protocol, 80, 14, 80);
            }
            offer(host(v4), SCTP, 8080, 0, 8080);
        }
        all
    }

    /// A network of this number.
    pub fn net(&self, number: u32) -> &Net {
        &self.nets[number as usize - 1]
    }

    /// The endpoint with this address on this network.
    pub fn holder(&self, network: u32, addr: IpAddr) -> Option<usize> {
        let holds = |e: &Endpoint| e.network == network && e.addresses().contains(&addr);
        self.endpoints.iter().position(holds)
    }

    /// The network whose subnet has this address.
    pub fn subnet(&self, addr: IpAddr) -> Option<u32> {
        let within = |n: &&Net| match (addr, inside(addr.is_ipv4(), n.number, 0)) {
            (IpAddr::V4(a), IpAddr::V4(b)) => a.octets()[..3] == b.octets()[..3],
            (IpAddr::V6(a), IpAddr::V6(b)) => a.octets()[..8] == b.octets()[..8],
            _ => false,
        };
        self.nets.iter().find(within).map(|n| n.number)
    }

    /// The network whose gateway has this address.
    pub fn gateway(&self, addr: IpAddr) -> Option<u32> {
        let number = self.subnet(addr)?;
        (addr == inside(addr.is_ipv4(), number, 1)).then_some(number)
    }

    /// An address of the host, its networks' gateways included.
    pub fn is_host(&self, addr: IpAddr) -> bool {
        addr == host(addr.is_ipv4()) || self.gateway(addr).is_some()
    }

    /// What is published at this address of the host.
    pub fn published(&self, addr: IpAddr, protocol: u8, port: u16) -> Option<&Publication> {
        let at = |p: &&Publication| p.protocol == protocol && p.port == port;
        let mut found = self.publications.iter().filter(at);
        let any = |p: &&Publication| p.addr.is_unspecified() && p.addr.is_ipv4() == addr.is_ipv4();
        found
            .clone()
            .find(|p| p.addr == addr)
            .or_else(|| found.find(any))
    }

    /// Whether an endpoint has any publication, so that its packets to peers may belong to a flow.
    pub fn publishes(&self, endpoint: usize) -> bool {
        self.publications.iter().any(|p| p.endpoint == endpoint)
    }
}

impl Endpoint {
    /// IPv4, IPv6, link-local.
    pub fn addresses(&self) -> [IpAddr; 3] {
        [
            inside(true, self.network, self.last),
            inside(false, self.network, self.last),
            link_local(self.network, self.last),
        ]
    }

    /// Interface index of its veth's host end.
    pub fn ifindex(&self) -> u32 {
        1000 + self.network * 10 + u32::from(self.last)
    }
}
