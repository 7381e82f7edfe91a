//! An endpoint of a bridge network: its veth, its interface in the sandbox, and what the data plane knows of it. Every step
//! may find its work done.

use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::IpNetwork;
use netd_common::addr::link_local_of;

use super::Bridge;
use crate::{
    dataplane::EndpointSpec,
    driver::{Context, EndpointWork},
    error::{Error, Reason, Result},
    kernel::{
        EndpointLinkSpec, Role, links, rtnl,
        sandbox::{self, InterfaceSpec},
    },
    model::{Endpoint, Network},
};

/// What an endpoint's interface carries: its addresses, the link-local one that the data plane knows by its Ethernet
/// address, and the additional ones.
fn interface_addresses(endpoint: &Endpoint) -> Vec<IpNetwork> {
    let own = endpoint.ipv6.map(|_| {
        let address = Ipv6Addr::from(link_local_of(endpoint.mac).v6_bytes());
        IpAddr::V6(address)
    });
    let local = own.into_iter().chain(endpoint.link_local.iter().copied());
    let local = local.filter_map(|a| IpNetwork::new(a, if a.is_ipv4() { 16 } else { 64 }).ok());
    endpoint.addresses().into_iter().chain(local).collect()
}

impl Bridge {
    /// Makes or adopts an endpoint's veth. The program denies before the link is up and knows the endpoint before its first
    /// packet. Says how many things were missing.
    pub(super) async fn make_endpoint(
        &self,
        context: &Context,
        work: EndpointWork<'_>,
    ) -> Result<usize> {
        let endpoint = work.endpoint;
        let observed = context.observations.note(|o| {
            // One whose removal is taken back.
            if let Some(ifindex) = o.leaving.remove(&endpoint.id) {
                o.retired.remove(&ifindex);
                o.links.insert(&endpoint.id, ifindex);
            }
            o.clone()
        });
        let known = observed.links.get(&endpoint.id);
        let ifindex = match known {
            Some(found) => *found,
            None => {
                self.make_link(context, &work, observed.mtu(work.network))
                    .await?
            }
        };
        crate::failpoint!("endpoint-link-made");
        let again = known.is_some();
        let filter = usize::from(context.dataplane.attach_endpoint(ifindex, again).await?);
        self.tell(context, work.network, endpoint)?;
        crate::failpoint!("endpoint-told");
        if !work.inside {
            return Ok(filter);
        }
        context.netlink.set_up(ifindex).await?;
        let interface = InterfaceSpec {
            name: endpoint.interface.clone(),
            addresses: interface_addresses(endpoint),
        };
        let addresses = sandbox::configure(work.netns, Some(interface), work.routes).await?;
        crate::failpoint!("endpoint-configured");
        Ok(filter + addresses)
    }

    async fn make_link(&self, context: &Context, work: &EndpointWork<'_>, mtu: u32) -> Result<u32> {
        let endpoint = work.endpoint;
        let spec = EndpointLinkSpec {
            host_name: endpoint.host_interface(),
            alias: links::alias(&context.instance, Role::Endpoint, &endpoint.id),
            netns: work.netns,
            name: endpoint.interface.clone(),
            mac: endpoint.mac,
            mtu,
        };
        let ifindex = {
            let _turn = rtnl::turn().await;
            context.netlink.create_endpoint(&spec).await?
        };
        context.observations.note(|o| {
            o.links.insert(&endpoint.id, ifindex);
        });
        // The way out may have another MTU by now, and whoever follows it did not see this link.
        let now = context.observations.now().mtu(work.network);
        if now != mtu {
            context.netlink.set_mtu(ifindex, now).await?;
            sandbox::set_mtu(work.netns, endpoint.interface.clone(), now).await?;
        }
        Ok(ifindex)
    }

    /// Tells the data plane of an endpoint that has a link; of one without there is nothing to tell.
    pub(super) fn tell(
        &self,
        context: &Context,
        network: &Network,
        endpoint: &Endpoint,
    ) -> Result<()> {
        // Under the lock of what is there: an endpoint that is being withdrawn is not written again.
        context.observations.note(|observed| {
            let Some(ifindex) = observed.links.get(&endpoint.id).copied() else {
                return Ok(());
            };
            let device = observed.devices.get(&network.id).ok_or_else(|| {
                let what = format!("network {}", network.name);
                Error::internal(what, "its device is not there")
                    .because(Reason::Degraded)
                    .about("object", &network.id)
            })?;
            context.dataplane.set_endpoint(&EndpointSpec {
                number: endpoint.number,
                network: network.number,
                flags: self.flags(network),
                ifindex,
                mtu: observed.mtu(network),
                mac: endpoint.mac,
                addresses: endpoint.addresses().iter().map(|a| a.ip()).collect(),
                link_local: endpoint.link_local.clone(),
                gateway_ifindex: device.ifindex,
                gateway_mac: network.mac,
            })
        })
    }

    /// Takes an endpoint out of the data plane. From its first step on nobody tells the data plane of it again.
    pub(super) async fn withdraw(&self, context: &Context, endpoint: &Endpoint) {
        context.observations.note(|o| {
            if let Some(ifindex) = o.links.remove(&endpoint.id) {
                o.leaving.insert(&*endpoint.id, ifindex);
                o.retired.insert(ifindex);
            }
        });
        context.dataplane.remove_endpoint(endpoint.number).await;
    }

    /// Removes the link of an endpoint that was withdrawn.
    pub(super) async fn remove_endpoint(
        &self,
        context: &Context,
        endpoint: &Endpoint,
    ) -> Result<()> {
        let leaving = context
            .observations
            .now()
            .leaving
            .get(&endpoint.id)
            .copied();
        match leaving {
            Some(ifindex) => context.reaper.remove(ifindex).await?,
            // What failed half-way.
            None => {
                context
                    .netlink
                    .delete_by_name(&endpoint.host_interface())
                    .await?
            }
        }
        context.observations.note(|o| {
            o.leaving.remove(&endpoint.id);
        });
        Ok(())
    }

    /// What of the link and the interface is not as it should be.
    pub(super) async fn endpoint_faults(
        &self,
        context: &Context,
        work: EndpointWork<'_>,
    ) -> Result<Vec<String>> {
        let endpoint = work.endpoint;
        let observed = context.observations.now();
        let name = endpoint.host_interface();
        let found = context.netlink.index_of(&name).await?;
        if found.is_none() || observed.links.get(&endpoint.id) != found.as_ref() {
            return Ok(vec![format!("the interface {name} is gone")]);
        }
        let interface = InterfaceSpec {
            name: endpoint.interface.clone(),
            addresses: interface_addresses(endpoint),
        };
        sandbox::faults(work.netns, interface, work.routes).await
    }
}
