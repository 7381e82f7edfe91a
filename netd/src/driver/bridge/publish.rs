//! Which publications an endpoint of a bridge network has in the data plane.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Bridge, GatewayMode};
use crate::{
    dataplane::PublicationSpec,
    driver::Gateways,
    model::{Endpoint, Network, PortBinding},
};

/// Host addresses that a binding means.
fn hosts(binding: &PortBinding) -> Vec<IpAddr> {
    match binding.host_ip {
        Some(ip) => vec![ip],
        None => vec![
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ],
    }
}

impl Bridge {
    /// The host's ports if the endpoint is the gateway of a family whose network translates, its own ports where its network
    /// is routed or trusts an uplink.
    pub(super) fn published(
        &self,
        network: &Network,
        endpoint: &Endpoint,
        ports: &[PortBinding],
        gateways: Gateways<'_>,
    ) -> Vec<PublicationSpec> {
        let mut specs = Vec::new();
        for binding in ports {
            for host in hosts(binding) {
                specs.extend(self.translated(network, endpoint, binding, host, gateways));
                specs.extend(self.direct(network, endpoint, binding, host));
            }
        }
        specs
    }

    /// From a host address to the endpoint. A published address of one family leads to an endpoint of only the other one for
    /// host processes.
    fn translated(
        &self,
        network: &Network,
        endpoint: &Endpoint,
        binding: &PortBinding,
        host: IpAddr,
        gateways: Gateways<'_>,
    ) -> Option<PublicationSpec> {
        let same = host.is_ipv4();
        let v4 = if gateways.of(same).is_some() {
            same
        } else {
            !same
        };
        if gateways.of(v4)?.id != endpoint.id {
            return None;
        }
        let mode = self.options.mode(v4);
        if !matches!(mode, GatewayMode::Nat | GatewayMode::NatUnprotected) {
            return None;
        }
        let target = endpoint.address(v4)?;
        Some(spec(network, endpoint, binding, host, target, binding.host))
    }

    /// From the endpoint's own address to itself.
    fn direct(
        &self,
        network: &Network,
        endpoint: &Endpoint,
        binding: &PortBinding,
        host: IpAddr,
    ) -> Option<PublicationSpec> {
        let v4 = host.is_ipv4();
        let opened =
            self.options.mode(v4) == GatewayMode::Routed || !self.options.trusted.is_empty();
        let target = endpoint.address(v4)?;
        // A port that is bound to loopback is not for other machines, however they reach it.
        (opened && !network.internal && !host.is_loopback())
            .then(|| spec(network, endpoint, binding, target, target, binding.target))
    }
}

fn spec(
    network: &Network,
    endpoint: &Endpoint,
    binding: &PortBinding,
    host: IpAddr,
    target: IpAddr,
    host_ports: (u16, u16),
) -> PublicationSpec {
    PublicationSpec {
        host,
        protocol: binding.protocol,
        host_ports,
        network: network.number,
        endpoint: endpoint.number,
        target,
        target_port: binding.target.0,
    }
}
