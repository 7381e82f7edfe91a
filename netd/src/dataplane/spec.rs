//! What the engine tells the data plane: networks, endpoints, publications, uplinks, addresses.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netd_common::addr::Mac;

/// A network, as the programs must know it.
#[derive(Clone, Debug)]
pub struct NetworkSpec {
    /// Never used again for another network.
    pub number: u32,
    /// `netd_common::abi::network_flags`.
    pub flags: u32,
    /// The device that carries the gateway addresses.
    pub gateway_ifindex: u32,
    /// The other end of that device's veth pair, where `from_host` hangs.
    pub peer_ifindex: u32,
    /// Ethernet address of the gateway device.
    pub gateway_mac: Mac,
    /// Subnets with their gateways' addresses in front of the slash (`10.1.0.1/24`).
    pub gateways: Vec<IpNetwork>,
    /// Of these, the addresses that the device carries.
    pub host_addresses: Vec<IpAddr>,
    /// Uplinks from which published ports are reached at the endpoints' own addresses.
    pub trusted: Vec<u32>,
}

/// An endpoint, as the programs must know it.
#[derive(Clone, Debug)]
pub struct EndpointSpec {
    /// Never used again for another endpoint.
    pub number: u32,
    /// Its network.
    pub network: u32,
    /// `network_flags` of its network, and its own.
    pub flags: u32,
    /// The veth's host end.
    pub ifindex: u32,
    /// Largest IP packet its interface takes, bytes.
    pub mtu: u32,
    /// Its Ethernet address.
    pub mac: Mac,
    /// IPv4 and global IPv6 addresses.
    pub addresses: Vec<IpAddr>,
    /// Additional link-local addresses.
    pub link_local: Vec<IpAddr>,
    /// The network's gateway device.
    pub gateway_ifindex: u32,
    /// Its Ethernet address.
    pub gateway_mac: Mac,
}

/// A published range of ports of one host address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicationSpec {
    /// Unspecified: all addresses of the family.
    pub host: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// First and last host port.
    pub host_ports: (u16, u16),
    /// Network of the endpoint.
    pub network: u32,
    /// The endpoint.
    pub endpoint: u32,
    /// The endpoint's address.
    pub target: IpAddr,
    /// The endpoint's first port.
    pub target_port: u16,
}

/// Everything that is published by way of an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointPublications {
    /// The endpoint.
    pub endpoint: u32,
    /// What leads to it.
    pub specs: Vec<PublicationSpec>,
    /// Where clients of its sandbox's other networks are led instead.
    pub homes: Vec<HomeSpec>,
    /// It answers clients that asked by a publication of another endpoint.
    pub is_home: bool,
}

/// Another endpoint of a sandbox, on another network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HomeSpec {
    /// The network.
    pub network: u32,
    /// The endpoint there.
    pub endpoint: u32,
    /// Its addresses, at most one of each family.
    pub addresses: Vec<IpAddr>,
}

/// An interface of the host that is not netd's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UplinkSpec {
    /// Interface.
    pub ifindex: u32,
    /// Bytes.
    pub mtu: u32,
    /// Packets there start with an Ethernet header.
    pub ethernet: bool,
    /// Addresses that masqueraded traffic takes (the first global one of each family), if any.
    pub ipv4: Option<std::net::Ipv4Addr>,
    /// As `ipv4`.
    pub ipv6: Option<std::net::Ipv6Addr>,
}

/// An address of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAddressSpec {
    /// The address; not a loopback one.
    pub addr: IpAddr,
    /// Number of the network whose gateway it is, or 0.
    pub network: u32,
    /// Whether that network is internal.
    pub internal: bool,
}
