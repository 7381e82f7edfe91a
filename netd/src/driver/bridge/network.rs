//! A bridge network in the host: its device, and what the data plane knows of it. Every step may find its work done.

use ipnetwork::IpNetwork;
use netd_common::abi::network_flags as bits;

use super::{Bridge, GatewayMode};
use crate::{
    dataplane::NetworkSpec,
    driver::Context,
    error::Result,
    kernel::{NetworkDeviceSpec, Role, links, rtnl, sandbox, sysctl},
    model::{Endpoint, Network},
    observed::Device,
};

impl Bridge {
    /// What the programs read of the options.
    pub(super) fn flags(&self, network: &Network) -> u32 {
        let options = &self.options;
        let mode = |v4, routed, unprotected| match options.mode(v4) {
            GatewayMode::Routed => routed,
            GatewayMode::NatUnprotected => unprotected,
            GatewayMode::Nat | GatewayMode::Isolated => 0,
        };
        let when = |on, bit| if on { bit } else { 0 };
        when(network.internal, bits::INTERNAL)
            | when(!options.icc, bits::NO_ICC)
            | when(options.masquerades(true), bits::MASQUERADE_V4)
            | when(options.masquerades(false), bits::MASQUERADE_V6)
            | mode(true, bits::ROUTED_V4, bits::UNPROTECTED_V4)
            | mode(false, bits::ROUTED_V6, bits::UNPROTECTED_V6)
            | when(options.endpoint_independent, bits::ENDPOINT_INDEPENDENT)
            | when(!options.metadata, bits::NO_METADATA)
    }

    pub(super) fn set_device_switches(&self, network: &Network) -> Result<usize> {
        use crate::driver::NetworkDriver as _;
        let held = self.host_addresses(network);
        let wrong = sysctl::let_forward(&network.device, held.iter().any(IpNetwork::is_ipv6))?;
        sysctl::take_local_answers(&network.device, held.iter().any(IpNetwork::is_ipv4))?;
        Ok(wrong)
    }

    /// Makes or adopts the device and tells the data plane. Says how many things were missing.
    pub(super) async fn make_network(&self, context: &Context, network: &Network) -> Result<usize> {
        use crate::driver::NetworkDriver as _;
        let mut missing = 0;
        let held = self.host_addresses(network);
        let observed = context.observations.now();
        let known = observed.devices.get(&network.id);
        let device = match known {
            Some(found) => {
                for gateway in &held {
                    let new = context.netlink.add_address(found.ifindex, *gateway).await?;
                    missing += usize::from(new);
                }
                *found
            }
            None => {
                let mark = |role| links::alias(&context.instance, role, &network.id);
                let spec = NetworkDeviceSpec {
                    name: network.device.clone(),
                    peer_name: network.peer_device(),
                    aliases: (mark(Role::Network), mark(Role::Peer)),
                    mac: network.mac,
                    mtu: observed.mtu(network),
                    gateways: held.clone(),
                };
                let _turn = rtnl::turn().await;
                let made = context.netlink.create_network_device(&spec).await?;
                Device {
                    ifindex: made.ifindex,
                    peer: made.peer_ifindex,
                }
            }
        };
        context.observations.note(|o| {
            o.devices.insert(&network.id, device);
        });
        crate::failpoint!("network-device-made");
        missing += self.set_device_switches(network)?;
        let hung = context
            .dataplane
            .attach_gateway(device.peer, known.is_some());
        missing += usize::from(hung.await?);
        context.dataplane.set_network(&NetworkSpec {
            number: network.number,
            flags: self.flags(network),
            gateway_ifindex: device.ifindex,
            peer_ifindex: device.peer,
            gateway_mac: network.mac,
            gateways: network.gateways().collect(),
            host_addresses: held.iter().map(|a| a.ip()).collect(),
            trusted: observed.interfaces(&self.options.trusted),
        })?;
        crate::failpoint!("network-told");
        context.netlink.set_up(device.peer).await?;
        context.netlink.set_up(device.ifindex).await?;
        Ok(missing)
    }

    /// Takes the device away.
    pub(super) async fn remove_network(&self, context: &Context, network: &Network) -> Result<()> {
        let device = context.observations.note(|o| {
            let device = o.devices.remove(&network.id);
            for ifindex in device.iter().flat_map(|d| d.both()) {
                o.retired.insert(ifindex);
            }
            device
        });
        context.dataplane.remove_network(network.number);
        match device {
            Some(device) => context.reaper.remove(device.ifindex).await,
            // What failed half-way. The device itself may be somebody else's, who was there first.
            None => context.netlink.delete_by_name(&network.peer_device()).await,
        }
    }

    /// What of the device is not as it should be.
    pub(super) async fn network_faults(
        &self,
        context: &Context,
        network: &Network,
    ) -> Result<Vec<String>> {
        let observed = context.observations.now();
        let Some(device) = observed.devices.get(&network.id) else {
            return Ok(vec![format!("the device {} is missing", network.device)]);
        };
        let found = context.netlink.index_of(&network.device).await?;
        if found != Some(device.ifindex) {
            return Ok(vec![format!("the device {} is gone", network.device)]);
        }
        Ok(Vec::new())
    }

    /// Sets the MTU of the device and of the endpoints that are there; one that goes meanwhile needs none.
    pub(super) async fn follow_mtu(
        &self,
        context: &Context,
        network: &Network,
        endpoints: &[Endpoint],
        mtu: u32,
    ) -> Result<()> {
        let mut failure = None;
        let device = context.observations.now().devices.get(&network.id).copied();
        for ifindex in device.iter().flat_map(|d| [d.peer, d.ifindex]) {
            if let Err(e) = context.netlink.set_mtu(ifindex, mtu).await {
                failure = Some(e);
            }
        }
        for endpoint in endpoints {
            let now = || context.observations.now();
            let Some(ifindex) = now().links.get(&endpoint.id).copied() else {
                continue;
            };
            let netns = now().running.get(&endpoint.sandbox).cloned();
            let set = async {
                context.netlink.set_mtu(ifindex, mtu).await?;
                if let Some(netns) = netns {
                    sandbox::set_mtu(&netns, endpoint.interface.clone(), mtu).await?;
                }
                self.tell(context, network, endpoint)
            };
            if let Err(e) = set.await
                && now().links.get(&endpoint.id) == Some(&ifindex)
            {
                failure = Some(e);
            }
        }
        failure.map_or(Ok(()), Err)
    }
}
