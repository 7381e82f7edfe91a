//! Default routes of a namespace, in the main table or another one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;
use rtnetlink::{
    RouteMessageBuilder,
    packet_route::route::{RouteAttribute, RouteMessage},
};

use super::Netlink;
use crate::error::{Error, Result};

/// Replaces the default route of the gateway's family, in the main table or another one. Routes with another metric
/// are not netd's and stay. Says whether there was none.
pub(super) async fn set_default(
    netlink: &Netlink,
    gateway: IpAddr,
    name: &str,
    table: Option<u32>,
) -> Result<bool> {
    let Some(ifindex) = netlink.index_of(name).await? else {
        return Ok(false);
    };
    let mut message: RouteMessage = match gateway {
        IpAddr::V4(g) => RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(g)
            .output_interface(ifindex)
            .build(),
        IpAddr::V6(g) => RouteMessageBuilder::<Ipv6Addr>::new()
            .gateway(g)
            .output_interface(ifindex)
            .build(),
    };
    if let Some(table) = table {
        message.header.table = 0;
        message.attributes.push(RouteAttribute::Table(table));
    }
    let fail = |e| Error::internal(format!("default route via {gateway} on {name}"), e);
    let route = || netlink.handle.route().add(message.clone());
    match route().execute().await {
        Ok(()) => Ok(true),
        Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -libc::EEXIST => {
            route().replace().execute().await.map_err(fail)?;
            Ok(false)
        }
        Err(e) => Err(fail(e)),
    }
}
