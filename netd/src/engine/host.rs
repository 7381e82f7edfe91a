//! Following the host: uplinks and addresses come, go and change.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{Engine, Model};
use crate::{
    dataplane::{HostAddressSpec, UplinkSpec},
    error::Result,
    kernel::host,
};

/// How often silent flows are looked for.
const SWEEP: Duration = Duration::from_secs(5);

impl Engine {
    /// Reads the host's configuration and tells the data plane. Uplinks are all interfaces that are not netd's, of any
    /// instance.
    pub(super) async fn refresh_host(&self, model: &mut Model) -> Result<()> {
        let state = self.netlink.host_state().await?;
        let foreign = |alias: &str| !alias.starts_with("netd:");
        let uplinks: Vec<UplinkSpec> = state
            .links
            .iter()
            .filter(|l| !l.loopback && foreign(&l.alias))
            .map(|l| {
                let of = |v4: bool| {
                    let mut own = state
                        .addresses
                        .iter()
                        .filter(|a| a.ifindex == l.ifindex && a.global);
                    own.find(|a| a.net.is_ipv4() == v4).map(|a| a.net.ip())
                };
                UplinkSpec {
                    ifindex: l.ifindex,
                    mtu: l.mtu,
                    ethernet: l.ethernet,
                    ipv4: of(true).and_then(|a| if let IpAddr::V4(a) = a { Some(a) } else { None }),
                    ipv6: of(false)
                        .and_then(|a| if let IpAddr::V6(a) = a { Some(a) } else { None }),
                }
            })
            .collect();
        let addresses: Vec<HostAddressSpec> = state
            .addresses
            .iter()
            .filter(|a| !a.net.ip().is_loopback())
            .map(|a| {
                let owner = model
                    .devices
                    .iter()
                    .find(|(_, (ifindex, _))| *ifindex == a.ifindex);
                let network = owner.and_then(|(id, _)| model.networks.get(id));
                HostAddressSpec {
                    addr: a.net.ip(),
                    network: network.map_or(0, |n| n.number),
                    internal: network.is_some_and(|n| n.internal),
                }
            })
            .collect();
        model.host = state;
        self.dataplane.set_host_addresses(&addresses)?;
        self.dataplane.set_uplinks(&uplinks)
    }

    /// Keeps following, and sweeping, until the runtime ends.
    pub(super) fn follow(self: &Arc<Self>) -> Result<()> {
        let mut changes = host::watch()?;
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            while changes.recv().await.is_some() {
                let mut model = engine.model().await;
                if let Err(e) = engine.refresh_host(&mut model).await {
                    tracing::warn!("following the host's interfaces: {e}");
                }
            }
        });
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(SWEEP);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                let dataplane = Arc::clone(&engine.dataplane);
                match tokio::task::spawn_blocking(move || dataplane.sweep()).await {
                    Ok(Ok(report)) => tracing::trace!(?report, "swept"),
                    Ok(Err(e)) => tracing::warn!("sweeping flows: {e}"),
                    Err(e) => tracing::error!("sweeping flows: {e}"),
                }
            }
        });
        Ok(())
    }
}
