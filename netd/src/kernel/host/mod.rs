//! What the host has of its own: links, addresses, routes, resolvers; and being told when they change. The state is read once and
//! then kept by what the kernel tells of each change, so that a change costs no listing of everything.

mod follow;
mod list;
mod routes;
mod state;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use ipnetwork::IpNetwork;
use rtnetlink::packet_route::RouteNetlinkMessage;
use tokio::sync::{mpsc, oneshot};

use super::Netlink;
use crate::{
    error::{Error, Result},
    resolv_conf::ResolvConf,
};
use follow::Follower;
pub use follow::{Ask, Counts};
pub use state::{Addresses, HostAddr, HostLink, HostState, Links};

/// Private addresses (RFC 1918, RFC 4193), of which automatic subnets are.
const PRIVATE: [&str; 4] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];

/// What changed in the host's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Interfaces with a change of themselves, their addresses or routes; 0: a change of something else.
    pub touched: BTreeSet<u32>,
    /// Interfaces that are gone, netd's own among them.
    pub removed: BTreeSet<u32>,
    /// Changes were lost and everything was read anew: whatever is known by single changes only must be looked at as a whole.
    pub overrun: bool,
}

impl Changes {
    fn is_empty(&self) -> bool {
        self.touched.is_empty() && self.removed.is_empty() && !self.overrun
    }

    fn add(&mut self, message: &RouteNetlinkMessage) {
        use RouteNetlinkMessage as M;
        match message {
            // A port that leaves its bridge is told of as one, and lives on.
            M::DelLink(m) if state::is_whole(m) => {
                self.touched.insert(m.header.index);
                self.removed.insert(m.header.index)
            }
            M::NewLink(m) | M::DelLink(m) => self.touched.insert(m.header.index),
            M::NewAddress(m) | M::DelAddress(m) => self.touched.insert(m.header.index),
            M::NewRoute(m) | M::DelRoute(m) => {
                self.touched.insert(routes::output(m).unwrap_or_default())
            }
            _ => false,
        };
    }
}

impl Netlink {
    /// Follows the host from now on, and tells of its changes as they come; those that come close together are told together.
    /// `pools`: where subnets may be taken from. Of routes, only those that overlap them, private addresses, or what is named to
    /// [`Netlink::mind`], are remembered, and the default ones.
    pub fn follow_host(&self, mut pools: Vec<IpNetwork>) -> Result<mpsc::Receiver<Changes>> {
        pools.extend(
            PRIVATE
                .iter()
                .filter_map(|net| net.parse::<IpNetwork>().ok()),
        );
        let (asks, asked) = mpsc::channel(16);
        let (sender, receiver) = mpsc::channel(1);
        let counts = Arc::new(Counts::default());
        let follower = Follower::new(self.clone(), pools, asked, sender, Arc::clone(&counts))?;
        self.host
            .set((asks, counts))
            .map_err(|_| Error::internal("following the host", "is done already"))?;
        tokio::spawn(follower.run());
        Ok(receiver)
    }

    async fn ask_host<R>(&self, ask: impl FnOnce(oneshot::Sender<R>) -> Ask) -> Result<R> {
        let gone = || Error::internal("reading the host's configuration", "nobody follows it");
        let (asks, _) = self.host.get().ok_or_else(gone)?;
        let (answer, answered) = oneshot::channel();
        asks.send(ask(answer)).await.map_err(|_| gone())?;
        answered.await.map_err(|_| gone())
    }

    /// The host's configuration, with everything that had changed before this was called; `resolv_conf` is the file that names
    /// its resolvers. Listed once if nobody follows the host.
    pub async fn host_state(&self, resolv_conf: &Path) -> Result<HostState> {
        let mut state = if self.host.get().is_some() {
            self.ask_host(Ask::State).await??
        } else {
            list::read(&self.handle, None).await?.state()
        };
        // A host without the file has none.
        let text = std::fs::read(resolv_conf).unwrap_or_default();
        let servers = ResolvConf::parse(&String::from_utf8_lossy(&text)).servers;
        state.resolvers = servers.iter().map(|s| s.address).collect();
        Ok(state)
    }

    /// Has routes that overlap these subnets remembered, too, from now on, in place of those named before.
    pub async fn mind(&self, subnets: Vec<IpNetwork>) -> Result<()> {
        self.ask_host(|done| Ask::Mind(subnets, done)).await
    }

    /// How often everything was listed since the host is followed, and how many changes were told by the kernel.
    pub fn host_counts(&self) -> (u64, u64) {
        self.host.get().map_or((0, 0), |(_, counts)| {
            (
                counts.listings.load(Ordering::Relaxed),
                counts.changes.load(Ordering::Relaxed),
            )
        })
    }
}
