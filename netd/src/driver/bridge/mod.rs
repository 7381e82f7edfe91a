//! The driver `bridge`: a veth for each endpoint, switched by eBPF programs, and a device in the host that carries the gateway
//! addresses.

mod endpoint;
mod network;
mod options;
mod publish;

use std::{collections::BTreeMap, net::IpAddr};

use async_trait::async_trait;
use ipnetwork::IpNetwork;

pub use options::GatewayMode;
use options::Options;

use super::{Context, EndpointWork, Gateways, NamesPolicy, NetworkDriver, Room};
use crate::{
    dataplane::{HomeSpec, PublicationSpec},
    error::{Error, Result},
    model::{self, Endpoint, EndpointSpec, NetworkRequest, Pool, PortBinding},
};

/// The device of the network `bridge`.
const DEFAULT_DEVICE: &str = "netd0";

/// A bridge network's options.
#[derive(Clone, Debug)]
pub struct Bridge {
    options: Options,
}

impl Room for Bridge {
    const PREDEFINED: Option<&'static str> = Some("bridge");

    fn parse(options: &BTreeMap<String, String>) -> Result<Self> {
        let options = Options::parse(options)?;
        Ok(Self { options })
    }
}

#[async_trait]
impl NetworkDriver for Bridge {
    fn check(&self, request: &NetworkRequest) -> Result<()> {
        let isolated =
            [self.options.mode_v4, self.options.mode_v6].contains(&GatewayMode::Isolated);
        if isolated && !request.internal && !request.config_only {
            return Err(Error::invalid(
                "gateway mode 'isolated' can only be used for an internal network",
            )
            .hint("add --internal"));
        }
        Ok(())
    }

    fn addressed(&self) -> bool {
        true
    }

    fn check_pools(&self, pools: &[Pool]) -> Result<()> {
        if pools.is_empty() {
            return Err(Error::invalid("ipv4 pool is empty")
                .hint("a bridge network needs a subnet: take the IPAM driver default"));
        }
        let of = |v4: bool| pools.iter().filter(|p| p.subnet.is_ipv4() == v4).count();
        if of(true) > 1 || of(false) > 1 {
            return Err(Error::conflict(
                "bridge driver doesn't support multiple subnets of one family",
            ));
        }
        Ok(())
    }

    fn plan_network(&self, network: &mut model::Network) {
        network.device = match &self.options.device {
            Some(name) => name.clone(),
            None if network.name == "bridge" => DEFAULT_DEVICE.into(),
            None => format!("br-{}", model::short(&network.id)),
        };
        network.mtu = self.options.mtu;
    }

    fn check_endpoint(&self, network: &model::Network, spec: &EndpointSpec) -> Result<()> {
        if network.predefined() && !(spec.ipv4.is_empty() && spec.ipv6.is_empty()) {
            return Err(Error::invalid(
                "user specified IP address is supported on user defined networks only",
            ));
        }
        if network.predefined() && !spec.aliases.is_empty() {
            return Err(Error::invalid(
                "network-scoped alias is supported only for containers in user defined networks",
            )
            .hint("create a network of your own"));
        }
        Ok(())
    }

    fn interface_prefix(&self) -> Option<&str> {
        Some(&self.options.interface_prefix)
    }

    fn gateway(&self, network: &model::Network, v4: bool) -> Option<IpAddr> {
        let isolated = self.options.mode(v4) == GatewayMode::Isolated;
        let pool = network.pool(v4)?;
        (!network.internal && !isolated).then_some(pool.gateway)
    }

    fn host_addresses(&self, network: &model::Network) -> Vec<IpNetwork> {
        let held = |net: &IpNetwork| {
            self.options.mode(net.is_ipv4()) != GatewayMode::Isolated
                && !(net.is_ipv4() && self.options.inhibit_ipv4)
        };
        network.gateways().filter(held).collect()
    }

    fn names(&self, network: &model::Network) -> NamesPolicy {
        // On the default bridge sandboxes do not know each other's names, as with Docker.
        let default = network.predefined();
        NamesPolicy {
            resolves: !default,
            forwards: !network.internal,
            links_in_hosts: default,
        }
    }

    fn default_binding(&self) -> Option<IpAddr> {
        self.options.binding
    }

    fn trusted_interfaces(&self) -> &[String] {
        &self.options.trusted
    }

    fn publications(
        &self,
        network: &model::Network,
        endpoint: &Endpoint,
        ports: &[PortBinding],
        gateways: Gateways<'_>,
    ) -> Vec<PublicationSpec> {
        self.published(network, endpoint, ports, gateways)
    }

    fn home(&self, network: &model::Network, endpoint: &Endpoint) -> Option<HomeSpec> {
        (!network.internal).then(|| HomeSpec {
            network: network.number,
            endpoint: endpoint.number,
            addresses: endpoint.addresses().iter().map(|a| a.ip()).collect(),
        })
    }

    async fn realize_network(&self, context: &Context, network: &model::Network) -> Result<usize> {
        self.make_network(context, network).await
    }

    async fn unrealize_network(&self, context: &Context, network: &model::Network) -> Result<()> {
        self.remove_network(context, network).await
    }

    async fn observe_network(
        &self,
        context: &Context,
        network: &model::Network,
    ) -> Result<Vec<String>> {
        self.network_faults(context, network).await
    }

    async fn set_mtu(
        &self,
        context: &Context,
        network: &model::Network,
        endpoints: &[Endpoint],
        mtu: u32,
    ) -> Result<()> {
        self.follow_mtu(context, network, endpoints, mtu).await
    }

    fn follow_trusted(&self, context: &Context, network: &model::Network) -> Result<()> {
        if self.options.trusted.is_empty() {
            return Ok(());
        }
        let trusted = context.observations.now().interfaces(&self.options.trusted);
        context.dataplane.set_trusted(network.number, &trusted)
    }

    fn set_switches(&self, network: &model::Network) -> Result<usize> {
        self.set_device_switches(network)
    }

    async fn realize_endpoint(&self, context: &Context, work: EndpointWork<'_>) -> Result<usize> {
        self.make_endpoint(context, work).await
    }

    async fn withdraw_endpoint(&self, context: &Context, endpoint: &Endpoint) {
        self.withdraw(context, endpoint).await;
    }

    async fn unrealize_endpoint(&self, context: &Context, endpoint: &Endpoint) -> Result<()> {
        self.remove_endpoint(context, endpoint).await
    }

    fn tell_endpoint(
        &self,
        context: &Context,
        network: &model::Network,
        endpoint: &Endpoint,
    ) -> Result<()> {
        self.tell(context, network, endpoint)
    }

    async fn observe_endpoint(
        &self,
        context: &Context,
        work: EndpointWork<'_>,
    ) -> Result<Vec<String>> {
        self.endpoint_faults(context, work).await
    }
}
